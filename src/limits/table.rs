//! All keys of a node, in shards: decisions from many threads at once, each under the lock of its shard.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identity::WorkerId;

use super::decision::{Decision, Refusal};
use super::key::KeyHash;
use super::keys::{FETCHED, Keys, WhenFull};
use super::message::Total;
use super::rule::{Place, PolicyId};
use super::rules::Rules;
use super::shard::{Shard, Survey, Usage};
use super::slot::Teller;
use super::timeline::Moment;

/// Keys of a shard: places have numbers of 32 bits.
const KEYS_MAX: u32 = 1 << 31;

/// One decision of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// By which policy.
    pub policy: PolicyId,
    /// On which key.
    pub key: KeyHash,
    /// How much; zero looks.
    pub cost: u64,
}

/// What a thread needs to decide on a round: kept from one to the next, so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Round {
    /// Places of requests, shard by shard.
    order: Vec<u32>,
    /// Where those of each shard end.
    ends: Vec<u32>,
}

/// How large a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Keys in all.
    pub keys_max: u32,
    /// Locks; a power of two.
    pub shards: u32,
    /// What happens to a new key when there is no room.
    pub when_full: WhenFull,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Keys.
    pub keys: u64,
    /// Of them, those that this node has not decided on.
    pub heard: u64,
    /// Keys that went while they were in use.
    pub evicted: u64,
    /// Records of peers for which there was no room.
    pub unheard: u64,
}

impl Round {
    /// Sorts requests by their shards, and keeps their order within each: by counting, in two looks at each.
    fn sort(&mut self, shards: usize, requests: &[Request], shard_of: impl Fn(&Request) -> usize) {
        self.ends.clear();
        self.ends.resize(shards, 0);
        let mut count = |request| self.ends.get_mut(shard_of(request)).map(|many| *many += 1);
        requests.iter().for_each(|request| _ = count(request));
        // Ends move up from where each shard begins.
        let mut sum = 0;
        self.ends.iter_mut().for_each(|end| sum += std::mem::replace(end, sum));
        self.order.clear();
        self.order.resize(requests.len(), 0);
        for (at, request) in (0..).zip(requests) {
            let Some(end) = self.ends.get_mut(shard_of(request)) else { continue };
            if let Some(place) = self.order.get_mut(*end as usize) {
                *place = at;
            }
            *end += 1;
        }
    }

    /// The shards that are asked, and for what.
    fn runs(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let runs = begins.zip(&self.ends).map(|(begin, end)| self.order.get(begin as usize..*end as usize));
        (0..).zip(runs).filter_map(|(shard, run)| Some((shard, run.filter(|run| !run.is_empty())?)))
    }
}

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// How far a hash is shifted to get its shard.
    shift: u32,
}

impl Table {
    /// `peers` is how many nodes tell this one of their keys.
    pub(super) fn new(room: Room, peers: usize) -> Self {
        let shards = room.shards.clamp(1, 1 << 16).next_power_of_two();
        let each = room.keys_max.div_ceil(shards).clamp(1, KEYS_MAX);
        let shard = |_| {
            let keys = Keys::new(each, peers, room.when_full);
            Mutex::new(Shard::new(keys))
        };
        Self { shards: (0..shards).map(shard).collect(), shift: 64 - shards.trailing_zeros() }
    }

    pub(super) fn decide(&self, now: Moment, request: Request) -> Result<Decision, Refusal> {
        let mut shard = self.lock(self.shard_of(request.key)).ok_or(Refusal::Fenced)?;
        shard.decide(now, request.policy, request.key, request.cost)
    }

    /// Decides on all, each shard locked once. Requests of one key are decided in their order; so are the answers.
    pub(super) fn decide_all(
        &self,
        now: Moment,
        round: &mut Round,
        requests: &[Request],
        mut answer: impl FnMut(usize, Result<Decision, Refusal>),
    ) {
        round.sort(self.shards.len(), requests, |request| self.shard_of(request.key) as usize);
        for (shard, run) in round.runs() {
            let Some(mut shard) = self.lock(shard) else { continue };
            for some in run.chunks(FETCHED) {
                let asked = some.iter().filter_map(|at| Some((*at as usize, requests.get(*at as usize)?)));
                shard.keys.fetch(asked.clone().map(|(_, request)| request.key));
                for (at, request) in asked {
                    answer(at, shard.decide(now, request.policy, request.key, request.cost));
                }
            }
        }
    }

    pub(super) fn hear(&self, now: Moment, place: Place, teller: Teller, total: Total) {
        if let Some(mut shard) = self.lock(self.shard_of(total.key)) {
            shard.hear(now, place, teller, total);
        }
    }

    /// How many keys of each place are to be told.
    pub(super) fn queued(&self) -> Vec<usize> {
        let mut queued = Vec::new();
        for shard in self.locked() {
            queued.resize(queued.len().max(shard.rules.places()), 0);
            queued.iter_mut().zip(shard.keys.queued()).for_each(|(sum, many)| *sum += many);
        }
        queued
    }

    /// Takes at most so many totals out of a policy's queues, beginning with shard `from`. Returns where to go on.
    pub(super) fn tell(&self, place: Place, most: usize, from: u32, totals: &mut Vec<Total>) -> u32 {
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let mut at = from % shards;
        for _ in 0..shards {
            let Some(mut shard) = self.lock(at) else { break };
            shard.tell(place, most.saturating_sub(totals.len()), totals);
            if totals.len() >= most {
                break;
            }
            at = (at + 1) % shards;
        }
        at
    }

    /// Goes on through all entries, shard by shard; see [`Shard::survey`].
    pub(super) fn survey(
        &self,
        (shard, from): (u32, usize),
        many: usize,
        peer: (WorkerId, Teller, u64),
    ) -> (Survey, Option<(u32, usize)>) {
        let mut told = Survey::default();
        let Some(held) = self.lock(shard) else { return (told, None) };
        let next = match held.survey(from, many, peer, &mut told) {
            Some(next) => (shard, next),
            None => (shard + 1, 0),
        };
        (told, ((next.0 as usize) < self.shards.len()).then_some(next))
    }

    /// From now on these rules hold, of the same policies.
    pub(super) fn publish(&self, rules: &Arc<Rules>) {
        self.locked().for_each(|mut shard| shard.rules = rules.clone());
    }

    /// From now on these rules hold, of other policies. Keys of those that are gone stay until they are swept.
    pub(super) fn arrange(&self, rules: &Arc<Rules>) {
        self.locked().for_each(|mut shard| shard.arrange(rules));
    }

    /// Goes on through all entries, shard by shard, and takes out those whose policy is gone. Returns where to go on, if
    /// there is more.
    pub(super) fn sweep(&self, (at, from): (u32, usize), many: usize) -> Option<(u32, usize)> {
        let mut shard = self.lock(at)?;
        let Shard { rules, keys, .. } = &mut *shard;
        let next = keys.sweep(rules, from, many).map_or((at + 1, 0), |next| (at, next));
        ((next.0 as usize) < self.shards.len()).then_some(next)
    }

    /// What was decided under a place, by all shards.
    pub(super) fn usage(&self, place: Place) -> Usage {
        self.locked().fold(Usage::default(), |mut sum, shard| {
            sum.add(&shard.usage(place));
            sum
        })
    }

    /// No more decisions. When this returns, none is being made.
    pub(super) fn fence(&self) {
        self.locked().for_each(|mut shard| shard.fenced = true);
    }

    pub(super) fn fill(&self) -> Fill {
        self.locked().fold(Fill::default(), |mut fill, shard| {
            fill.keys += shard.keys.counts.iter().map(|count| u64::from(count.all)).sum::<u64>();
            fill.heard += shard.keys.counts.iter().map(|count| u64::from(count.heard)).sum::<u64>();
            fill.evicted += shard.keys.evicted;
            fill.unheard += shard.keys.unheard;
            fill
        })
    }

    fn shard_of(&self, key: KeyHash) -> u32 {
        u32::try_from(key.high.checked_shr(self.shift).unwrap_or(0)).unwrap_or(0)
    }

    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    fn lock(&self, at: u32) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(at as usize).map(lock)
    }
}

/// A panic under the lock would leave the shard in an unknown state: it decides nothing more.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
        let mut shard = poisoned.into_inner();
        shard.fenced = true;
        shard
    })
}
