//! One shard: some of the keys, and all that a decision on them looks at, under one lock.
//!
//! Everything that threads share is in here, so that a decision is one lock and what is under it, and the order of
//! decisions, records of peers and changes of rules is the order in which they had the lock.

use std::sync::Arc;

use crate::identity::WorkerId;

use super::decision::{self, Decision, Refusal};
use super::entry::Entry;
use super::key::KeyHash;
use super::keys::{Found, Heard, Keys};
use super::message::Total;
use super::policy::Algorithm;
use super::rule::{Place, PolicyId, Rule};
use super::rules::Rules;
use super::slot::Teller;
use super::timeline::Moment;

/// Records of windows further from the present one than this are not believed.
const WINDOWS_OFF_MAX: u32 = 1;

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) rules: Arc<Rules>,
    pub(super) keys: Keys,
    /// By place.
    usage: Vec<Usage>,
    pub(super) fenced: bool,
}

/// What was decided by one policy, since the node has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All decisions; those that look are among them.
    pub decisions: u64,
    /// Units that were admitted.
    pub admitted: u64,
    /// Decisions that denied.
    pub denied: u64,
    /// When a decision was made last, in this boot's monotonic time.
    pub decided_ms: Option<u64>,
    /// When peers told of a key last, in the same time.
    pub heard_ms: Option<u64>,
}

impl Usage {
    fn count(&mut self, decided: &Decision, cost: u64, now: Moment) {
        self.decisions += 1;
        self.denied += u64::from(!decided.admitted);
        self.admitted = self.admitted.saturating_add(if decided.admitted { cost } else { 0 });
        self.decided_ms = self.decided_ms.max(Some(now.mono_ms));
    }

    /// Adds what another shard counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.admitted = self.admitted.saturating_add(other.admitted);
        self.denied += other.denied;
        self.decided_ms = self.decided_ms.max(other.decided_ms);
        self.heard_ms = self.heard_ms.max(other.heard_ms);
    }
}

/// What a peer that began lately is told of some entries.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) ours: Vec<(Place, Total)>,
    pub(super) yours: Vec<(Place, Total)>,
}

impl Shard {
    pub(super) fn new(keys: Keys) -> Self {
        Self { rules: Arc::default(), keys, usage: Vec::new(), fenced: false }
    }

    /// Other policies hold from now on, each at a place that none of them had that may still have keys.
    pub(super) fn arrange(&mut self, rules: &Arc<Rules>) {
        self.usage.resize(rules.places().max(self.usage.len()), Usage::default());
        for (place, usage) in (0..).map(Place).zip(&mut self.usage) {
            let serial = |rules: &Rules| rules.held(place).map(|held| held.serial);
            if serial(rules) != serial(&self.rules) {
                *usage = Usage::default();
            }
        }
        self.keys.arrange(rules.places(), rules.parts());
        self.rules = rules.clone();
    }

    /// What was decided under a place.
    pub(super) fn usage(&self, place: Place) -> Usage {
        self.usage.get(usize::from(place.0)).copied().unwrap_or_default()
    }

    /// Decides on a key. No allocation, no system call, and a bounded number of steps.
    pub(super) fn decide(&mut self, now: Moment, id: PolicyId, key: KeyHash, cost: u64) -> Result<Decision, Refusal> {
        if self.fenced {
            return Err(Refusal::Fenced);
        }
        let (rule, view) = self.rules.resolve(id).ok_or(Refusal::Changed)?;
        if !rule.is_decided_by_me() {
            return Err(Refusal::NotHere);
        }
        if cost > rule.policy.cost_max() {
            return Err(Refusal::Never { max: rule.policy.cost_max() });
        }
        let new = || entry(rule, id.place, key, rule.windows.number(now.unix_ms));
        let at = match self.keys.find_of(id.place, key, |_| false) {
            Found::At(at) => Some(at),
            _ if cost == 0 => None,
            _ => {
                let mut entry = new();
                entry.set_decided();
                Some(self.keys.insert(&self.rules, entry, now).ok_or(Refusal::Full)?)
            }
        };
        let decided = match at {
            None => decision::decide(rule, view, &mut new(), Heard::NOTHING, now, 0),
            Some(at) => {
                self.keys.decide_on(at);
                let (entry, heard) = self.keys.with_heard(at).ok_or(Refusal::Full)?;
                let decided = decision::decide(rule, view, entry, heard, now, cost);
                if rule.is_told() && u64::from(entry.untold) >= rule.threshold {
                    self.keys.queue(at);
                }
                decided
            }
        };
        if let Some(usage) = self.usage.get_mut(usize::from(id.place.0)) {
            usage.count(&decided, cost, now);
        }
        Ok(decided)
    }

    /// Joins what a boot of a peer admitted to a key, or an earlier boot of this node.
    pub(super) fn hear(&mut self, now: Moment, place: Place, teller: Teller, total: Total) {
        let Some((rule, view)) = self.rules.get(place).filter(|(rule, _)| rule.is_told()) else { return };
        let present = rule.windows.number(now.unix_ms);
        let units = total.units.min(rule.claim_max());
        if total.window.abs_diff(present) > WINDOWS_OFF_MAX || units == 0 {
            return;
        }
        if let Some(usage) = self.usage.get_mut(usize::from(place.0)) {
            usage.heard_ms = usage.heard_ms.max(Some(now.mono_ms));
        }
        let rules = &self.rules;
        let at = match self.keys.find_of(place, total.key, |other| rules.held(other).is_some()) {
            Found::At(at) => Some(at),
            Found::Nowhere => self.keys.insert(rules, entry(rule, place, total.key, present), now),
            Found::Elsewhere => None,
        };
        let Some(at) = at else {
            self.keys.unheard += 1;
            return;
        };
        if let Some(entry) = self.keys.get_mut(at) {
            entry.roll(rule.policy.algorithm, present);
        }
        match self.keys.join(at, teller, total.window, units) {
            Some(more) if rule.policy.algorithm == Algorithm::Gcra => {
                if let Some(entry) = self.keys.get_mut(at) {
                    let pool = decision::settle_level(rule, view, entry, now);
                    let counts = pool.members.contains_bits(teller.worker_bits());
                    entry.set_level(entry.level().plus(if counts { more } else { 0 }, rule));
                }
            }
            Some(_) => {}
            None => self.keys.unheard += 1,
        }
    }

    /// What waits longest of a policy, at most so much; it counts as told.
    pub(super) fn tell(&mut self, place: Place, most: usize, totals: &mut Vec<Total>) {
        let Some((rule, _)) = self.rules.get(place) else { return };
        let claim_max = rule.claim_max();
        for _ in 0..most {
            let Some(entry) = self.keys.next_to_tell(place) else { break };
            // What was not told of a window that is over stays below the threshold.
            if entry.untold > 0 {
                entry.untold = 0;
                totals.push(Total { key: entry.key, window: entry.number, units: entry.used.min(claim_max) });
            }
        }
    }

    /// Goes on through the entries from a place on, for a peer that began at `began_ms`. Returns where to go on, if there
    /// is more.
    pub(super) fn survey(
        &self,
        from: usize,
        many: usize,
        peer: (WorkerId, Teller, u64),
        told: &mut Survey,
    ) -> Option<usize> {
        let (_, _, began_ms) = peer;
        let (some, next) = self.keys.some(from, many);
        for (_, entry) in some {
            let Some((rule, _)) = self.rules.get(entry.policy).filter(|(rule, _)| rule.is_told()) else { continue };
            if rule.windows.remembers(rule.windows.number(began_ms), entry.number) {
                self.survey_entry(rule, entry, peer, told);
            }
        }
        next
    }

    fn survey_entry(
        &self,
        rule: &Rule,
        entry: &Entry,
        (worker, teller, _): (WorkerId, Teller, u64),
        told: &mut Survey,
    ) {
        let total = |window, units| (entry.policy, Total { key: entry.key, window, units });
        let before = if rule.policy.algorithm == Algorithm::Sliding { entry.used_before() } else { 0 };
        let used = [(entry.number, entry.used), (entry.number.saturating_sub(1), before)];
        told.ours.extend(used.into_iter().filter(|(_, units)| *units > 0).map(|(window, units)| total(window, units)));
        // What a worker's earlier boots used is the sum of what each of them told.
        let earlier = self.keys.heard(entry).filter(|slot| slot.teller.is_of(worker) && slot.teller != teller);
        let mut sum =
            [entry.number.saturating_add(1), entry.number, entry.number.saturating_sub(1)].map(|of| (of, 0u64));
        for (window, units) in earlier.flat_map(super::slot::Slot::totals) {
            let same = sum.iter_mut().filter(|(of, _)| *of == window);
            same.for_each(|(_, sum)| *sum = sum.saturating_add(units));
        }
        told.yours.extend(sum.into_iter().filter(|(_, units)| *units > 0).map(|(window, units)| total(window, units)));
    }
}

fn entry(rule: &Rule, place: Place, key: KeyHash, number: u32) -> Entry {
    let mut entry = Entry::new(key, place, number);
    entry.set_given(rule.given.is_some());
    entry
}
