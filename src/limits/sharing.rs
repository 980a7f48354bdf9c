//! Sharing: what this node says to its peers and hears of them, and with whom it counts for it.
//!
//! Each node **names**, for each policy, the set of those that are present to it, itself among them, and since when it
//! has been this set without a break. A **side** is a set that all its members name, each in its own words. The node
//! counts with a side in windows that began after all of them had named it ([`super::standing`]); a node that nobody
//! agrees with is alone. Words that are on their way make two nodes see a side differently, for at most the presence
//! time and one way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::identity::{Peer, WorkerId};

use super::link::Link;
use super::message::{Beat, Message, Naming, Opening, Told, Total, Violation};
use super::policy::{POLICIES_MAX, Policy, PolicyError};
use super::rule::{PolicyId, Rule};
use super::rules::Rules;
use super::slot::Teller;
use super::standing::{Together, View};
use super::table::Table;
use super::telling::Telling;
use super::timeline::{Moment, Reading, Timeline};
use super::workers::Workers;

/// Beats in the time within which a node has to be heard.
const BEATS: u64 = 10;
/// Entries that one piece of a table looks at.
const PIECE: usize = 1_024;
/// Pieces for each peer at a time.
const PIECES: usize = 8;

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
struct Named {
    members: Workers,
    since_ms: u64,
    /// Until then, unless more is heard; in monotonic time.
    until_ms: u64,
}

#[derive(Debug)]
pub(super) struct Sharing {
    me: Peer,
    pace: Pace,
    pub(super) timeline: Timeline,
    /// When the node began to count, by its window time.
    began_ms: Option<u64>,
    rules: Arc<Rules>,
    /// Beside each rule.
    named: Vec<Named>,
    links: BTreeMap<WorkerId, Link>,
    telling: Telling,
    /// Beats that may still be echoed in time: their numbers, and when they were sent.
    beats: VecDeque<(u64, u64)>,
    beat_due_ms: u64,
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
            named: Vec::new(),
            links: BTreeMap::new(),
            telling: Telling::default(),
            beats: VecDeque::new(),
            beat_due_ms: 0,
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
        if now.mono_ms >= self.beat_due_ms {
            self.beat(now);
        }
    }

    /// Counts from now on. What earlier boots of this node did in this window it does not know.
    fn begin(&mut self, table: &Table, now: Moment) {
        self.began_ms = Some(now.unix_ms);
        self.beat_due_ms = now.mono_ms;
        let mut rules = Rules::clone(&self.rules);
        for (rule, view) in &mut rules.0 {
            *view = View::begin(rule, rule.windows.number(now.unix_ms), view.epoch);
        }
        self.publish(table, rules);
        let open: Vec<WorkerId> = self.open_links().collect();
        open.into_iter().for_each(|to| self.introduce(to));
    }

    /// Takes other policies from now on. Keys of those that count as before are kept.
    pub(super) fn replace(&mut self, table: &Table, policies: Vec<Policy>, mono_ms: u64) -> Result<(), PolicyError> {
        let new: Vec<Rule> = policies.into_iter().map(|p| Rule::new(p, self.me.worker)).collect::<Result<_, _>>()?;
        let now = self.timeline.at(mono_ms);
        let alone = Named { members: Workers::only(self.me.worker), since_ms: u64::MAX, until_ms: u64::MAX };
        let fresh = Named { since_ms: now.map_or(u64::MAX, |now| now.unix_ms), ..alone };
        let (mut rules, mut named, mut new_ids) = (Rules::default(), Vec::new(), BTreeMap::new());
        for (at, rule) in (0..).map(PolicyId).zip(new) {
            let old = self.rules.iter().find(|(_, (old, _))| rule.continues(old));
            new_ids.extend(old.map(|(id, _)| (id, at)));
            let kept = old.filter(|(_, (old, _))| old.fingerprint == rule.fingerprint);
            let kept = kept.and_then(|(id, (_, view))| Some((*view, *self.named.get(usize::from(id.0))?)));
            let epoch = old.map_or(0, |(_, (_, view))| view.epoch);
            let begun =
                || now.map_or_else(View::default, |now| View::begin(&rule, rule.windows.number(now.unix_ms), epoch));
            let (view, names) = kept.unwrap_or_else(|| (begun(), fresh));
            named.push(names);
            rules.0.push((Arc::new(rule), view));
        }
        (self.rules, self.named) = (Arc::new(rules), named);
        self.telling.forget();
        table.replace(&self.rules, |id| new_ids.get(&id).copied());
        let open: Vec<WorkerId> = self.open_links().collect();
        open.into_iter().for_each(|to| self.introduce(to));
        if let Some(now) = now {
            self.settle(table, now);
        }
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Option<PolicyId> {
        self.rules.iter().find(|(_, (rule, _))| rule.policy.name == name).map(|(id, _)| id)
    }

    /// With whom this node counts under a policy, or would from the next window on.
    pub(super) fn side(&self, id: PolicyId) -> Workers {
        let together = self.rules.get(id).and_then(|(_, view)| view.together);
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
        if opening.fingerprints.len() > POLICIES_MAX {
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
            let Some(id) = self.rules.find(fingerprint) else { continue };
            totals.into_iter().for_each(|total| table.hear(now, id, teller(link), total));
        }
        Ok(())
    }

    fn settle_at(&mut self, table: &Table, mono_ms: u64) {
        if let Some(now) = self.timeline.at(mono_ms).filter(|_| self.began_ms.is_some()) {
            self.settle(table, now);
        }
    }

    /// Looks at who is present now, names them, and counts with those that agree.
    ///
    /// To be done before anything that is heard takes effect, too: presence that has run out in the meantime has been
    /// broken, whatever comes now.
    fn settle(&mut self, table: &Table, now: Moment) {
        let mut views = Vec::with_capacity(self.rules.0.len());
        let mut changed = Vec::new();
        for ((id, (rule, view)), named) in self.rules.iter().zip(&self.named) {
            let names = self.names(id, rule, *named, now);
            if (names.members, names.since_ms) != (named.members, named.since_ms) {
                changed.push((rule.fingerprint, names));
            }
            let mut view = *view;
            view.update(self.agreed(rule, names), rule, now);
            views.push((view, names));
        }
        let before: Vec<View> = self.rules.0.iter().map(|(_, view)| *view).collect();
        self.named = views.iter().map(|(_, names)| *names).collect();
        let views: Vec<View> = views.into_iter().map(|(view, _)| view).collect();
        if views != before {
            let rules = self.rules.0.iter().zip(views).map(|((rule, _), view)| (rule.clone(), view));
            self.publish(table, Rules(rules.collect()));
        }
        for (fingerprint, names) in changed {
            let naming = Naming { fingerprint, members: names.members, since_ms: names.since_ms };
            self.send_all(&Message::Naming(naming));
        }
    }

    /// Whom this node names now. A node that cannot tell what it admits in time names nobody else.
    fn names(&self, id: PolicyId, rule: &Rule, before: Named, now: Moment) -> Named {
        let mut present = Named { members: Workers::only(self.me.worker), since_ms: now.unix_ms, until_ms: u64::MAX };
        let tells = rule.is_told() && rule.is_decided_by_me();
        if tells && !self.telling.is_behind(id, now.mono_ms, self.pace.presence_ms) {
            for (worker, link) in self.links.iter().filter(|(worker, _)| rule.is_decided_by(**worker)) {
                let Some(until_ms) = link.present_until(rule, now, self.pace.presence_ms) else { continue };
                present.members.insert(*worker);
                present.until_ms = present.until_ms.min(until_ms);
            }
        }
        let goes_on = present.members == before.members && now.mono_ms < before.until_ms;
        if goes_on { Named { since_ms: before.since_ms, ..present } } else { present }
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

    /// Tells what is due of all keys to everybody.
    fn announce(&mut self, table: &Table, now: Moment) {
        let told = self.telling.take(table, self.pace.totals_max, now.mono_ms);
        let told = self.by_fingerprint(told);
        if !told.is_empty() {
            self.send_all(&Message::Totals(told));
        }
    }

    fn by_fingerprint(&self, totals: Vec<(PolicyId, Vec<Total>)>) -> Vec<Told> {
        let told = totals.into_iter().filter_map(|(id, totals)| {
            let (rule, _) = self.rules.get(id)?;
            Some(Told { fingerprint: rule.fingerprint, totals })
        });
        told.collect()
    }

    /// Goes on with the tables that peers are owed.
    fn tell_tables(&mut self, table: &Table, now: Moment) {
        let owed: Vec<WorkerId> = self.links.iter().filter(|(_, link)| link.table.is_some()).map(|(w, _)| *w).collect();
        for worker in owed {
            for _ in 0..PIECES {
                self.tell_piece(table, worker, now);
            }
        }
    }

    fn tell_piece(&mut self, table: &Table, to: WorkerId, now: Moment) {
        let Some(link) = self.links.get(&to) else { return };
        let (Some(cursor), Some(incoming)) = (link.table, &link.incoming) else { return };
        let (teller, began_ms) = (link.teller(to), incoming.began_ms);
        let needs = |rule: &Rule| {
            let windows = rule.windows;
            rule.is_told() && windows.remembers(windows.number(began_ms), windows.number(now.unix_ms).saturating_sub(1))
        };
        let (told, next) = if self.rules.0.iter().any(|(rule, _)| needs(rule)) {
            table.survey(cursor, PIECE, (to, teller, began_ms))
        } else {
            Default::default()
        };
        let messages = [(told.ours, Message::Table as fn(_) -> _), (told.yours, Message::Yours)];
        for (totals, message) in messages {
            let told = self.by_fingerprint(grouped(totals));
            if !told.is_empty() {
                self.outbox.push_back((to, message(told)));
            }
        }
        if next.is_none() {
            self.outbox.push_back((to, Message::TableEnd));
        }
        if let Some(link) = self.links.get_mut(&to) {
            link.table = next;
        }
    }

    fn beat(&mut self, now: Moment) {
        self.beat_due_ms = now.mono_ms.saturating_add(self.pace.presence_ms / BEATS);
        let number = self.beats.back().map_or(self.me.boot.nonce, |(number, _)| number.wrapping_add(1));
        self.beats.push_back((number, now.mono_ms));
        let old = |sent_ms: u64| sent_ms.saturating_add(self.pace.presence_ms) <= now.mono_ms;
        while self.beats.len() > 1 && self.beats.front().is_some_and(|(_, sent_ms)| old(*sent_ms)) {
            self.beats.pop_front();
        }
        let open: Vec<WorkerId> = self.open_links().collect();
        for to in open {
            let echo = self.links.get(&to).and_then(|link| link.echo(now.mono_ms));
            self.outbox.push_back((to, Message::Beat(Beat { number, unix_ms: now.unix_ms, echo })));
        }
    }

    /// What a stream begins with.
    fn introduce(&mut self, to: WorkerId) {
        let Some(began_ms) = self.began_ms else { return };
        let told = || self.rules.0.iter().zip(&self.named).filter(|((rule, _), _)| rule.is_told());
        let fingerprints = told().map(|((rule, _), _)| rule.fingerprint).collect();
        let opening = Opening { boot: self.me.boot, began_ms, fingerprints };
        let namings = told().map(|((rule, _), named)| {
            let (fingerprint, members, since_ms) = (rule.fingerprint, named.members, named.since_ms);
            Message::Naming(Naming { fingerprint, members, since_ms })
        });
        let messages: Vec<Message> = [Message::Opening(opening)].into_iter().chain(namings).collect();
        self.outbox.extend(messages.into_iter().map(|message| (to, message)));
    }

    fn send_all(&mut self, message: &Message) {
        let open: Vec<WorkerId> = self.open_links().collect();
        self.outbox.extend(open.into_iter().map(|to| (to, message.clone())));
    }

    fn open_links(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.links.iter().filter(|(_, link)| link.is_open).map(|(worker, _)| *worker)
    }
}

fn grouped(totals: Vec<(PolicyId, Total)>) -> Vec<(PolicyId, Vec<Total>)> {
    let mut groups: BTreeMap<PolicyId, Vec<Total>> = BTreeMap::new();
    for (id, total) in totals {
        groups.entry(id).or_default().push(total);
    }
    groups.into_iter().collect()
}
