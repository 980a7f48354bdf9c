//! The keys of one shard: entries and what was heard of them, at places that never move, and the queues of what is to be
//! told. It has room for so many and takes no more.

use std::hint::black_box;

use super::entry::{Entry, NONE};
use super::index::Index;
use super::key::KeyHash;
use super::policy::Algorithm;
use super::rule::{Place, Rule};
use super::rules::Rules;
use super::slot::{self, Slot, Teller};
use super::timeline::Moment;

/// So many keys are fetched at once: more are on their way at a time than a processor keeps track of.
pub(super) const FETCHED: usize = 32;
/// Of the keys that a part may have, this part may be known from others alone.
const HEARD_PART: u32 = 4;
/// What free entries have: there are never so many.
const NO_POLICY: Place = Place(u16::MAX);

/// What a node does with a new key when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The key with the least use goes, of the policy that is furthest over its part of the room.
    #[default]
    Evict,
    /// It is denied, unless another policy than its own is furthest over.
    Deny,
}

/// Among whom the room is shared out: each policy that was declared, and all that came with requests together, so that
/// whoever makes up policies takes no room from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part(pub(super) usize);

/// How many keys a part has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) all: u32,
    /// Those that this node has not decided on.
    pub(super) heard: u32,
}

/// Keys of a policy in the order in which they are to be told, linked through their entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    pub(super) len: u32,
}

#[derive(Debug)]
pub(super) struct Keys {
    /// By place. All of them, and the index, are made for the first key.
    entries: Vec<Entry>,
    index: Index,
    capacity: u32,
    /// Keys that are there.
    taken: u32,
    slots: Vec<Slot>,
    slots_max: usize,
    free_slot: u32,
    /// By place.
    queues: Vec<Queue>,
    /// By part.
    pub(super) counts: Vec<Count>,
    /// How many parts there are; counts of policies that are gone are not among them.
    parts: u32,
    /// Where the search for a victim goes on.
    pub(super) cursor: u32,
    pub(super) when_full: WhenFull,
    /// Keys that went while they were in use, and records of peers for which there was no room.
    pub(super) evicted: u64,
    pub(super) unheard: u64,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    At(u32),
    Nowhere,
    /// Under another policy.
    Elsewhere,
}

impl Queue {
    const EMPTY: Self = Self { first: NONE, last: NONE, len: 0 };
}

impl Part {
    pub(super) fn of(entry: &Entry) -> Self {
        if entry.is_given() { Self(0) } else { Self(1 + usize::from(entry.policy.0)) }
    }
}

impl Keys {
    /// For so many keys, and at most `peers` slots for each on average.
    pub(super) fn new(capacity: u32, peers: usize, when_full: WhenFull) -> Self {
        Self {
            entries: Vec::new(),
            index: Index::default(),
            capacity,
            taken: 0,
            slots: Vec::new(),
            slots_max: (capacity as usize).saturating_mul(peers),
            free_slot: slot::NONE,
            queues: Vec::new(),
            counts: Vec::new(),
            parts: 0,
            cursor: 0,
            when_full,
            evicted: 0,
            unheard: 0,
        }
    }

    pub(super) fn find(&self, key: KeyHash) -> Option<u32> {
        self.index.find(key, |at| self.get(at).is_some_and(|entry| entry.key == key))
    }

    /// The same under a policy. What is there of the key under another one, is left of one that is gone, or somebody
    /// lied; unless it `may_stay`, it goes.
    pub(super) fn find_of(&mut self, policy: Place, key: KeyHash, may_stay: impl Fn(Place) -> bool) -> Found {
        let Some(at) = self.find(key) else { return Found::Nowhere };
        let held = self.get(at).map_or(NO_POLICY, |entry| entry.policy);
        if held == policy {
            return Found::At(at);
        }
        if may_stay(held) {
            return Found::Elsewhere;
        }
        self.remove(at);
        Found::Nowhere
    }

    /// Reads a little of where these keys are likely to be, so that the processor fetches all of it at once, and none has
    /// to be waited for when the keys are decided on, one after another.
    pub(super) fn fetch(&self, keys: impl Iterator<Item = KeyHash> + Clone) {
        let mut guesses = [None; FETCHED];
        guesses.iter_mut().zip(keys).for_each(|(guess, key)| *guess = self.index.guess(key));
        let entries = guesses.iter().flatten().filter_map(|at| self.get(*at));
        black_box(entries.fold(0, |read, entry| read ^ entry.key.low));
    }

    pub(super) fn get(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)
    }

    /// An entry and what was heard of it.
    pub(super) fn with_heard(&mut self, at: u32) -> Option<(&mut Entry, Heard<'_>)> {
        let entry = self.entries.get_mut(at as usize)?;
        let heard = Heard { slots: &self.slots, next: entry.heard };
        Some((entry, heard))
    }

    pub(super) fn heard(&self, entry: &Entry) -> Heard<'_> {
        Heard { slots: &self.slots, next: entry.heard }
    }

    /// Makes an entry for a key that this node decides on, or was told of. `None` if there is no room for it.
    pub(super) fn insert(&mut self, rules: &Rules, entry: Entry, now: Moment) -> Option<u32> {
        let part = Part::of(&entry);
        if !entry.is_decided() && self.count(part).heard >= (self.quota() / HEARD_PART).max(1) {
            self.evict_heard(rules, part, now)?;
        }
        if self.is_full() {
            self.evict(rules, part, now)?;
        }
        let count = self.counts.get_mut(part.0)?;
        count.all += 1;
        count.heard += u32::from(!entry.is_decided());
        self.place(entry)
    }

    /// Keys for each part.
    pub(super) fn quota(&self) -> u32 {
        self.capacity / self.parts.max(1)
    }

    fn is_full(&self) -> bool {
        self.taken >= self.capacity
    }

    pub(super) fn count(&self, part: Part) -> Count {
        self.counts.get(part.0).copied().unwrap_or_default()
    }

    /// How many keys wait under each place.
    pub(super) fn queued(&self) -> impl Iterator<Item = usize> {
        self.queues.iter().map(|queue| queue.len as usize)
    }

    fn place(&mut self, entry: Entry) -> Option<u32> {
        if self.entries.is_empty() {
            self.index = Index::new(self.capacity as usize);
            self.entries = vec![Self::free_entry(); self.index.places()];
        }
        let at = self.index.insert(entry.key)?;
        *self.get_mut(at)? = entry;
        self.taken += 1;
        Some(at)
    }

    /// Takes a key out, with all that was heard of it.
    pub(super) fn remove(&mut self, at: u32) {
        self.unqueue(at);
        let Some(held) = self.get_mut(at).filter(|entry| !Self::is_free(entry)) else { return };
        let entry = std::mem::replace(held, Self::free_entry());
        self.index.remove(entry.key, at);
        self.taken -= 1;
        self.free_slots(entry.heard);
        if let Some(count) = self.counts.get_mut(Part::of(&entry).0) {
            count.all -= 1;
            count.heard -= u32::from(!entry.is_decided());
        }
    }

    /// This node decides on the key: it is not only heard of.
    pub(super) fn decide_on(&mut self, at: u32) {
        let Some(entry) = self.entries.get_mut(at as usize).filter(|entry| !entry.is_decided()) else { return };
        entry.set_decided();
        if let Some(count) = self.counts.get_mut(Part::of(entry).0) {
            count.heard -= 1;
        }
    }

    /// Joins what a teller said of a key. Returns what is new in it; `None` if there is no room for a slot.
    pub(super) fn join(&mut self, at: u32, teller: Teller, number: u32, total: u64) -> Option<u64> {
        let slot = match self.slot_of(at, |slot| slot.teller == teller) {
            Some(slot) => slot,
            None => self.add_slot(at, teller)?,
        };
        Some(self.slots.get_mut(slot as usize)?.join(number, total))
    }

    fn slot_of(&self, at: u32, is: impl Fn(&Slot) -> bool) -> Option<u32> {
        let mut heard = self.heard(self.get(at)?);
        std::iter::from_fn(|| heard.step()).find(|(_, slot)| is(slot)).map(|(place, _)| place)
    }

    /// A slot for a boot that this key has not heard of. What the worker's boot before it told is put with all earlier.
    fn add_slot(&mut self, at: u32, teller: Teller) -> Option<u32> {
        let earlier = teller.earlier_boots();
        if teller != earlier
            && let Some(old) = self.slot_of(at, |slot| slot.teller != earlier && slot.teller.is_same_worker(teller))
        {
            return self.retire(at, old, teller);
        }
        let place = self.take_slot(Slot::new(teller))?;
        let entry = self.entries.get_mut(at as usize)?;
        let next = std::mem::replace(&mut entry.heard, place);
        self.slots.get_mut(place as usize)?.next = next;
        Some(place)
    }

    /// Takes over the slot of a worker's boot before this one.
    fn retire(&mut self, at: u32, old: u32, teller: Teller) -> Option<u32> {
        let retired = *self.slots.get(old as usize)?;
        let earlier = teller.earlier_boots();
        match self.slot_of(at, |slot| slot.teller == earlier) {
            Some(place) => {
                self.slots.get_mut(place as usize)?.absorb(&retired);
                let slot = self.slots.get_mut(old as usize)?;
                *slot = Slot::new(teller);
                slot.next = retired.next;
                Some(old)
            }
            None => {
                self.slots.get_mut(old as usize)?.teller = earlier;
                self.add_slot(at, teller)
            }
        }
    }

    fn take_slot(&mut self, slot: Slot) -> Option<u32> {
        let free = self.free_slot;
        if let Some(held) = self.slots.get_mut(free as usize) {
            self.free_slot = held.next;
            *held = slot;
            return Some(free);
        }
        if self.slots.len() >= self.slots_max {
            return None;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len() - 1).ok()
    }

    fn free_slots(&mut self, mut at: u32) {
        while let Some(slot) = self.slots.get_mut(at as usize) {
            let next = std::mem::replace(&mut slot.next, self.free_slot);
            self.free_slot = std::mem::replace(&mut at, next);
        }
    }

    /// Puts a key at the end of its policy's queue, if it stands in none.
    pub(super) fn queue(&mut self, at: u32) {
        let Some(entry) = self.entries.get_mut(at as usize).filter(|entry| !entry.is_queued()) else { return };
        let Some(queue) = self.queues.get_mut(usize::from(entry.policy.0)) else { return };
        entry.set_queued(true);
        (entry.before, entry.after) = (queue.last, NONE);
        let last = std::mem::replace(&mut queue.last, at);
        queue.len += 1;
        if last == NONE {
            queue.first = at;
        } else if let Some(last) = self.get_mut(last) {
            last.after = at;
        }
    }

    /// The key that has waited longest, out of its queue.
    pub(super) fn next_to_tell(&mut self, policy: Place) -> Option<&mut Entry> {
        let at = self.queues.get(usize::from(policy.0))?.first;
        self.unqueue(at);
        self.get_mut(at)
    }

    fn unqueue(&mut self, at: u32) {
        let Some(entry) = self.entries.get_mut(at as usize).filter(|entry| entry.is_queued()) else { return };
        entry.set_queued(false);
        let (policy, before, after) = (entry.policy, entry.before, entry.after);
        let Some(queue) = self.queues.get_mut(usize::from(policy.0)) else { return };
        queue.len -= 1;
        if before == NONE {
            queue.first = after;
        }
        if after == NONE {
            queue.last = before;
        }
        if let Some(entry) = self.get_mut(before) {
            entry.after = after;
        }
        if let Some(entry) = self.get_mut(after) {
            entry.before = before;
        }
    }

    /// There are so many places and parts from now on.
    pub(super) fn arrange(&mut self, places: usize, parts: usize) {
        self.queues.resize(places.max(self.queues.len()), Queue::EMPTY);
        self.counts.resize((places + 1).max(self.counts.len()), Count::default());
        self.parts = u32::try_from(parts).unwrap_or(u32::MAX);
    }

    /// At most so many keys from a place on, and where to go on if there is more.
    pub(super) fn some(&self, from: usize, many: usize) -> (impl Iterator<Item = (u32, &Entry)>, Option<usize>) {
        let next = self.index.taken(from).nth(many);
        let taken =
            self.index.taken(from).take(many).filter_map(|at| Some((u32::try_from(at).ok()?, self.entries.get(at)?)));
        (taken, next)
    }

    /// Goes on through the keys from a place on and takes out those whose policy is gone. Returns where to go on, if there
    /// is more.
    pub(super) fn sweep(&mut self, rules: &Rules, from: usize, many: usize) -> Option<usize> {
        let (some, next) = self.some(from, many);
        let gone: Vec<u32> = some.filter(|(_, entry)| rules.held(entry.policy).is_none()).map(|(at, _)| at).collect();
        gone.into_iter().for_each(|at| self.remove(at));
        next
    }

    /// What stands where no key is.
    fn free_entry() -> Entry {
        Entry::new(KeyHash::of(0), NO_POLICY, 0)
    }

    /// Whether nobody has this entry.
    pub(super) fn is_free(entry: &Entry) -> bool {
        entry.policy == NO_POLICY
    }
}

/// What was heard of one key.
#[derive(Clone, Copy)]
pub(super) struct Heard<'a> {
    slots: &'a [Slot],
    next: u32,
}

impl<'a> Heard<'a> {
    /// Of a key that nobody told of.
    pub(super) const NOTHING: Self = Heard { slots: &[], next: slot::NONE };

    fn step(&mut self) -> Option<(u32, &'a Slot)> {
        let place = self.next;
        let slot = self.slots.get(place as usize)?;
        self.next = slot.next;
        Some((place, slot))
    }
}

impl<'a> Iterator for Heard<'a> {
    type Item = &'a Slot;

    fn next(&mut self) -> Option<&'a Slot> {
        self.step().map(|(_, slot)| slot)
    }
}

/// Whether nothing that a policy can still ask for is lost with this entry.
pub(super) fn is_stale(rule: &Rule, entry: &Entry, now: Moment) -> bool {
    let windows = rule.windows;
    // A peer may have been a window ahead when it told.
    let old = windows.number(now.unix_ms) > entry.number.saturating_add(1 + windows.memory);
    let drained = || entry.untold == 0 && entry.level().drained(rule.own.units, now).scaled == 0;
    old && (rule.policy.algorithm != Algorithm::Gcra || drained())
}
