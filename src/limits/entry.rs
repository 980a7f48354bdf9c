//! What a node knows of its own use of one key: 64 bytes, one line of a processor's cache.

use super::key::KeyHash;
use super::level::Level;
use super::policy::Algorithm;
use super::rule::Place;
use super::slot;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// In the window that it shows, the node has begun to take its share of a rest.
const RESTED: u8 = 1;
/// It stands in its policy's queue.
const QUEUED: u8 = 2;
/// This node has decided on the key. Others were only heard of.
const DECIDED: u8 = 4;
/// Its policy came with a request.
const GIVEN: u8 = 8;

/// One key.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) key: KeyHash,
    /// What this node admitted in window `number`. `gcra` adds what it had not told of earlier ones.
    pub(super) used: u64,
    /// Windows: what was used in the one before, and what in this one before the rest was shared out. `gcra`: the level.
    memory: [u64; 2],
    /// What of `used` the peers were not told.
    pub(super) untold: u32,
    pub(super) number: u32,
    /// The first slot of what peers told.
    pub(super) heard: u32,
    /// The neighbours in the queue.
    pub(super) after: u32,
    pub(super) before: u32,
    pub(super) policy: Place,
    flags: u8,
    /// The epoch of the side whose level this is; zero is the node's own.
    pub(super) epoch: u8,
}

impl Entry {
    pub(super) fn new(key: KeyHash, policy: Place, number: u32) -> Self {
        let (used, memory, untold, flags, epoch) = (0, [0; 2], 0, 0, 0);
        Self { key, used, memory, untold, number, heard: slot::NONE, after: NONE, before: NONE, policy, flags, epoch }
    }

    /// Moves on to a window; never back.
    pub(super) fn roll(&mut self, algorithm: Algorithm, number: u32) {
        if number <= self.number {
            return;
        }
        match algorithm {
            Algorithm::Fixed => (self.used, self.memory, self.untold) = (0, [0; 2], 0),
            Algorithm::Sliding => {
                let before = if self.number.checked_add(1) == Some(number) { self.used } else { 0 };
                (self.used, self.memory, self.untold) = (0, [before, 0], 0);
            }
            // What was used in silence outlives the level that it made: else many small bursts were never told.
            Algorithm::Gcra => self.used = self.untold.into(),
        }
        self.number = number;
        self.set(RESTED, false);
    }

    /// Counts what was admitted.
    pub(super) fn charge(&mut self, cost: u64) {
        self.used = self.used.saturating_add(cost);
        self.untold = self.untold.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
    }

    /// What was used in the window before; of `sliding` only.
    pub(super) fn used_before(&self) -> u64 {
        self.memory[0]
    }

    /// From now on, for the rest of the window, the node takes its share of what is left. Returns what it has used since.
    pub(super) fn used_of_rest(&mut self) -> u64 {
        if !self.is(RESTED) {
            self.memory[1] = self.used;
            self.set(RESTED, true);
        }
        self.used.saturating_sub(self.memory[1])
    }

    /// Of `gcra`.
    pub(super) fn level(&self) -> Level {
        let [scaled, at_ms] = self.memory;
        Level { scaled, at_ms }
    }

    pub(super) fn set_level(&mut self, level: Level) {
        self.memory = [level.scaled, level.at_ms];
    }

    pub(super) fn is_queued(&self) -> bool {
        self.is(QUEUED)
    }

    pub(super) fn set_queued(&mut self, queued: bool) {
        self.set(QUEUED, queued);
    }

    pub(super) fn is_decided(&self) -> bool {
        self.is(DECIDED)
    }

    pub(super) fn set_decided(&mut self) {
        self.set(DECIDED, true);
    }

    pub(super) fn is_given(&self) -> bool {
        self.is(GIVEN)
    }

    pub(super) fn set_given(&mut self, given: bool) {
        self.set(GIVEN, given);
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(used: u64) -> Entry {
        let mut entry = Entry::new(KeyHash::of(7), Place(0), 100);
        entry.charge(used);
        entry
    }

    #[test]
    fn an_entry_is_one_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn windows_forget_and_levels_do_not() {
        for (algorithm, next, later) in [
            (Algorithm::Fixed, (0, 0), (0, 0)),
            (Algorithm::Sliding, (0, 5), (0, 0)),
            (Algorithm::Gcra, (5, 0), (5, 0)),
        ] {
            let mut entry = entry(5);
            entry.roll(algorithm, 99);
            assert_eq!((entry.used, entry.number), (5, 100), "a window never comes again");
            entry.roll(algorithm, 101);
            assert_eq!((entry.used, entry.used_before()), next, "{algorithm:?}");
            entry.roll(algorithm, 103);
            assert_eq!((entry.used, entry.used_before()), later, "{algorithm:?}");
        }
    }

    #[test]
    fn a_rest_begins_once_in_a_window() {
        let mut entry = entry(5);
        assert_eq!(entry.used_of_rest(), 0);
        entry.charge(2);
        assert_eq!(entry.used_of_rest(), 2);
        entry.roll(Algorithm::Fixed, 101);
        entry.charge(1);
        assert_eq!(entry.used_of_rest(), 0);
    }
}
