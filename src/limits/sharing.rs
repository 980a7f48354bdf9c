//! Sharing: what this node says to its peers and hears of them, and with whom it counts for it.
//!
//! Each node **names**, for each policy, the set of those that are present to it, itself among them, and since when it
//! has been this set without a break. A **side** is a set that all its members name, each in its own words. The node
//! counts with a side in windows that began after all of them had named it ([`super::standing`]); a node that nobody
//! agrees with is alone. Words that are on their way make two nodes see a side differently, for at most the presence
//! time and one way.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::identity::{Peer, WorkerId};

use super::given::GIVEN_MAX;
use super::link::{Link, Parted};
use super::message::{Beat, Message, Naming, Opening, Told, Violation};
use super::policy::POLICIES_MAX;
use super::register::Register;
use super::rule::{Place, PolicyId, Rule};
use super::rules::{Held, Rules};
use super::slot::Teller;
use super::standing::{Together, View};
use super::table::Table;
use super::telling::Telling;
use super::timeline::{Moment, Reading, Timeline};
use super::workers::Workers;

/// How nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A peer that has not echoed a beat for so long is not present.
    pub presence_ms: u64,
    /// Totals that are told to each peer at a time.
    pub totals_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { presence_ms: 1_000, totals_max: 4_096 }
    }
}

/// Whom this node names under one rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) members: Workers,
    pub(super) since_ms: u64,
    /// Until then, unless more is heard; in monotonic time.
    until_ms: u64,
}

#[derive(Debug)]
pub(super) struct Sharing {
    pub(super) me: Peer,
    pub(super) pace: Pace,
    pub(super) timeline: Timeline,
    /// When the node began to count, by its window time.
    pub(super) began_ms: Option<u64>,
    pub(super) rules: Arc<Rules>,
    pub(super) register: Register,
    /// By place.
    named: Vec<Named>,
    pub(super) links: BTreeMap<WorkerId, Link>,
    pub(super) telling: Telling,
    /// Beats that may still be echoed in time: their numbers, and when they were sent.
    pub(super) beats: VecDeque<(u64, u64)>,
    pub(super) beat_due_ms: u64,
    /// When policies are looked at next.
    pub(super) look_due_ms: u64,
    pub(super) outbox: VecDeque<(WorkerId, Message)>,
}

impl Sharing {
    pub(super) fn new(me: Peer, pace: Pace) -> Self {
        Self {
            me,
            pace,
            timeline: Timeline::default(),
            began_ms: None,
            rules: Arc::default(),
            register: Register::default(),
            named: Vec::new(),
            links: BTreeMap::new(),
            telling: Telling::default(),
            beats: VecDeque::new(),
            beat_due_ms: 0,
            look_due_ms: 0,
            outbox: VecDeque::new(),
        }
    }

    /// Reads the clocks, and says whatever is due.
    pub(super) fn tick(&mut self, table: &Table, reading: Reading) {
        let leapt_ms = self.timeline.read(reading);
        let Some(now) = self.timeline.at(reading.mono_ms) else { return };
        self.links.values_mut().for_each(|link| link.leapt(leapt_ms));
        if self.began_ms.is_none() {
            self.begin(table, now);
        }
        self.settle(table, now);
        self.announce(table, now);
        self.tell_tables(table, now);
        self.tidy(table, now);
        if now.mono_ms >= self.beat_due_ms {
            self.beat(now);
        }
    }

    /// Counts from now on. What earlier boots of this node did in this window it does not know.
    fn begin(&mut self, table: &Table, now: Moment) {
        self.began_ms = Some(now.unix_ms);
        self.beat_due_ms = now.mono_ms;
        let mut rules = Rules::clone(&self.rules);
        for (_, Held { rule, view, .. }) in rules.iter_mut() {
            *view = View::begin(rule, rule.windows.number(now.unix_ms), view.epoch);
        }
        self.publish(table, rules);
        self.introduce_all();
    }

    /// With whom this node counts under a policy, or would from the next window on.
    pub(super) fn side(&self, id: PolicyId) -> Workers {
        let together = self.rules.resolve(id).and_then(|(_, view)| view.together);
        together.map_or(Workers::only(self.me.worker), |together| together.pool.members)
    }

    /// Whether a peer has told all that this boot needs of the window that it began in.
    pub(super) fn has_table(&self, peer: WorkerId) -> bool {
        self.links.get(&peer).and_then(|link| link.incoming.as_ref()).is_some_and(|incoming| incoming.has_table)
    }

    /// A stream to a peer is open.
    pub(super) fn opened(&mut self, table: &Table, peer: Peer, mono_ms: u64) {
        self.closed(table, peer.worker, mono_ms);
        let link = self.links.entry(peer.worker).or_default();
        if link.meet(peer.boot) {
            link.is_open = true;
            link.table = link.incoming.is_some().then_some((0, 0));
            self.introduce(peer.worker);
        }
        self.settle_at(table, mono_ms);
    }

    /// The stream to a peer has ended, or took no more.
    pub(super) fn closed(&mut self, table: &Table, to: WorkerId, mono_ms: u64) {
        self.settle_at(table, mono_ms);
        self.outbox.retain(|(of, _)| *of != to);
        if let Some(link) = self.links.get_mut(&to) {
            (link.is_open, link.table) = (false, None);
        }
        self.settle_at(table, mono_ms);
    }

    /// The stream from a peer has ended.
    pub(super) fn ended(&mut self, table: &Table, from: WorkerId, mono_ms: u64) {
        self.settle_at(table, mono_ms);
        if let Some(link) = self.links.get_mut(&from) {
            link.end();
        }
        self.settle_at(table, mono_ms);
    }

    /// A message of a stream from a peer. Once it is an error, the stream has to end.
    pub(super) fn receive(
        &mut self,
        table: &Table,
        from: WorkerId,
        message: Message,
        mono_ms: u64,
    ) -> Result<(), Violation> {
        match message {
            Message::Opening(opening) => return self.open(table, from, opening, mono_ms),
            Message::Beat(beat) => {
                self.settle_at(table, mono_ms);
                self.hear_beat(from, beat, mono_ms)?;
                self.settle_at(table, mono_ms);
            }
            Message::Naming(naming) => {
                self.settle_at(table, mono_ms);
                self.hear_naming(from, naming)?;
                self.settle_at(table, mono_ms);
            }
            Message::Brought(brought) => self.learn(table, from, &brought, mono_ms)?,
            Message::Totals(told) | Message::Table(told) => {
                self.hear(table, from, told, mono_ms, |link| link.teller(from))?;
            }
            Message::Yours(told) => {
                let earlier = Teller::earlier(self.me.worker);
                self.hear(table, from, told, mono_ms, |_| earlier)?;
            }
            Message::TableEnd => {
                let link = self.links.get_mut(&from);
                link.and_then(|link| link.incoming.as_mut()).ok_or(Violation::NotOpened)?.has_table = true;
            }
        }
        Ok(())
    }

    fn open(&mut self, table: &Table, from: WorkerId, opening: Opening, mono_ms: u64) -> Result<(), Violation> {
        if opening.fingerprints.len() > POLICIES_MAX + GIVEN_MAX {
            return Err(Violation::TooManyPolicies);
        }
        self.settle_at(table, mono_ms);
        let link = self.links.entry(from).or_default();
        if !link.meet(opening.boot) {
            return Err(Violation::EarlierBoot);
        }
        let begins = link.incoming.is_none();
        link.open(opening);
        if begins && link.is_open {
            link.table = Some((0, 0));
        }
        self.settle_at(table, mono_ms);
        Ok(())
    }

    fn hear_beat(&mut self, from: WorkerId, beat: Beat, mono_ms: u64) -> Result<(), Violation> {
        let link = self.links.get_mut(&from).filter(|link| link.incoming.is_some()).ok_or(Violation::NotOpened)?;
        let Some(now) = self.timeline.at(mono_ms) else { return Ok(()) };
        let beats = &self.beats;
        link.beat(beat, now, |number| beats.iter().find(|(of, _)| *of == number).map(|(_, sent_ms)| *sent_ms));
        Ok(())
    }

    fn hear_naming(&mut self, from: WorkerId, naming: Naming) -> Result<(), Violation> {
        let link = self.links.get_mut(&from).and_then(|link| link.incoming.as_mut()).ok_or(Violation::NotOpened)?;
        if link.fingerprints.contains(&naming.fingerprint) {
            link.namings.insert(naming.fingerprint, (naming.members, naming.since_ms));
        }
        Ok(())
    }

    fn hear(
        &self,
        table: &Table,
        from: WorkerId,
        told: Vec<Told>,
        mono_ms: u64,
        teller: impl Fn(&Link) -> Teller,
    ) -> Result<(), Violation> {
        let link = self.links.get(&from).filter(|link| link.incoming.is_some()).ok_or(Violation::NotOpened)?;
        let Some(now) = self.timeline.at(mono_ms) else { return Ok(()) };
        for Told { fingerprint, totals } in told {
            let Some(place) = self.register.by_fingerprint(fingerprint) else { continue };
            totals.into_iter().for_each(|total| table.hear(now, place, teller(link), total));
        }
        Ok(())
    }

    pub(super) fn settle_at(&mut self, table: &Table, mono_ms: u64) {
        if let Some(now) = self.timeline.at(mono_ms).filter(|_| self.began_ms.is_some()) {
            self.settle(table, now);
        }
    }

    /// Looks at who is present now, names them, and counts with those that agree.
    ///
    /// To be done before anything that is heard takes effect, too: presence that has run out in the meantime has been
    /// broken, whatever comes now.
    fn settle(&mut self, table: &Table, now: Moment) {
        let mut rules = Cow::Borrowed(&*self.rules);
        let (mut names, mut namings) = (Vec::new(), Vec::new());
        for (place, Held { rule, view: before, .. }) in self.rules.iter() {
            let (named, mut view) = (self.named(place), *before);
            let now_named = self.names(place, rule, named, now);
            if (now_named.members, now_named.since_ms) != (named.members, named.since_ms) {
                let (members, since_ms) = (now_named.members, now_named.since_ms);
                namings.push(Naming { fingerprint: rule.fingerprint, members, since_ms });
            }
            names.push((place, now_named));
            view.update(self.agreed(rule, now_named), rule, now);
            if view != *before {
                rules.to_mut().set_view(place, view);
            }
        }
        let changed = if let Cow::Owned(rules) = rules { Some(rules) } else { None };
        names.into_iter().for_each(|(place, names)| self.set_named(place, names));
        changed.into_iter().for_each(|rules| self.publish(table, rules));
        namings.into_iter().for_each(|naming| self.send_all(&Message::Naming(naming)));
    }

    /// Whom this node names under the rule at a place.
    pub(super) fn named(&self, place: Place) -> Named {
        let alone = Named { members: Workers::only(self.me.worker), since_ms: u64::MAX, until_ms: u64::MAX };
        self.named.get(usize::from(place.0)).copied().unwrap_or(alone)
    }

    fn set_named(&mut self, place: Place, names: Named) {
        let at = usize::from(place.0);
        if at >= self.named.len() {
            self.named.resize(at + 1, self.named(Place(u16::MAX)));
        }
        if let Some(held) = self.named.get_mut(at) {
            *held = names;
        }
    }

    /// A rule that has its place from now on names nobody else yet.
    pub(super) fn name_alone(&mut self, place: Place, now: Option<Moment>) {
        let members = Workers::only(self.me.worker);
        let since_ms = now.map_or(u64::MAX, |now| now.unix_ms);
        self.set_named(place, Named { members, since_ms, until_ms: u64::MAX });
    }

    /// Whom this node names now. A node that cannot tell what it admits in time names nobody else.
    fn names(&self, place: Place, rule: &Rule, before: Named, now: Moment) -> Named {
        let mut present = Named { members: Workers::only(self.me.worker), since_ms: now.unix_ms, until_ms: u64::MAX };
        let tells = rule.is_told() && rule.is_decided_by_me();
        if tells && !self.is_behind(place, now.mono_ms) {
            for (worker, link) in self.links.iter().filter(|(worker, _)| rule.is_decided_by(**worker)) {
                let Ok(until_ms) = link.presence(rule, now, self.pace.presence_ms) else { continue };
                present.members.insert(*worker);
                present.until_ms = present.until_ms.min(until_ms);
            }
        }
        if present.members == before.members { Named { since_ms: before.since_ms, ..present } } else { present }
    }

    fn is_behind(&self, place: Place, mono_ms: u64) -> bool {
        self.telling.is_behind(place, mono_ms, self.pace.presence_ms)
    }

    /// Why a node that decides by a rule is not on this node's side, if it is not.
    pub(super) fn parted(&self, place: Place, rule: &Rule, worker: WorkerId, mono_ms: u64) -> Option<Parted> {
        if !rule.is_told() || !rule.is_decided_by_me() {
            return Some(Parted::ByItself);
        }
        if self.is_behind(place, mono_ms) {
            return Some(Parted::Behind);
        }
        let (Some(now), Some(link)) = (self.timeline.at(mono_ms), self.links.get(&worker)) else {
            return Some(Parted::NoLink);
        };
        if let Err(parted) = link.presence(rule, now, self.pace.presence_ms) {
            return Some(parted);
        }
        let names_the_same = link.naming(rule.fingerprint).is_some_and(|(of, _)| of == self.named(place).members);
        (!names_the_same).then_some(Parted::NamesOthers)
    }

    /// The side that all those named agree on.
    fn agreed(&self, rule: &Rule, names: Named) -> Option<Together> {
        let mut since_ms = names.since_ms;
        for (worker, link) in self.links.iter().filter(|(w, _)| **w != self.me.worker && names.members.contains(**w)) {
            debug_assert!(rule.is_decided_by(*worker));
            let (members, theirs_ms) = link.naming(rule.fingerprint)?;
            if members != names.members {
                return None;
            }
            since_ms = since_ms.max(theirs_ms);
        }
        let pool = rule.pool(names.members);
        (names.members.len() > 1).then_some(Together { pool, since_ms, until_ms: names.until_ms })
    }

    fn publish(&mut self, table: &Table, rules: Rules) {
        self.rules = Arc::new(rules);
        table.publish(&self.rules);
    }
}
