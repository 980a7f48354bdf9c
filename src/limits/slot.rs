//! What one peer's boot has told of one key: its total in a window, and in the window before.
//!
//! A record is an absolute total with its window's number, so joining is taking the greater of two for each number. That
//! is idempotent, commutative and associative for as long as numbers are at most one behind the latest; what is older
//! counts for nothing.

use crate::identity::WorkerId;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
const WORKER_BITS: u32 = crate::identity::WORKER_BITS;

/// Forty-eight bits: more than can be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Units([u16; 3]);

/// Which boot of a worker, as this node counts the boots that it meets; zero is all before the one that told it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Teller(u32);

/// 24 bytes for each peer that told of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) teller: Teller,
    /// The next slot of the same key.
    pub(super) next: u32,
    number: u32,
    total: Units,
    before: Units,
}

impl Units {
    fn of(units: u64) -> Self {
        let part = |shift: u32| u16::try_from((units.min((1 << 48) - 1) >> shift) & 0xffff).unwrap_or(u16::MAX);
        Self([part(0), part(16), part(32)])
    }

    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | (middle << 16) | (high << 32)
    }
}

impl Teller {
    /// A boot of a worker. Numbers come around after four million boots.
    pub(super) fn new(worker: WorkerId, boot: u32) -> Self {
        Self((boot << WORKER_BITS) | u32::from(worker.bits()))
    }

    /// All boots of a worker before its present one.
    pub(super) fn earlier(worker: WorkerId) -> Self {
        Self::new(worker, 0)
    }

    /// The bits of the worker's id.
    #[allow(clippy::cast_possible_truncation)] // ten bits
    pub(super) fn worker_bits(self) -> u16 {
        (self.0 & ((1 << WORKER_BITS) - 1)) as u16
    }

    /// All boots before this one.
    pub(super) fn earlier_boots(self) -> Self {
        Self(self.0 & ((1 << WORKER_BITS) - 1))
    }

    pub(super) fn is_same_worker(self, other: Self) -> bool {
        self.worker_bits() == other.worker_bits()
    }

    pub(super) fn is_of(self, worker: WorkerId) -> bool {
        self.worker_bits() == worker.bits()
    }
}

impl Slot {
    pub(super) fn new(teller: Teller) -> Self {
        Self { teller, next: NONE, number: 0, total: Units::default(), before: Units::default() }
    }

    /// The total in a window.
    pub(super) fn at(&self, number: u32) -> u64 {
        match self.number.checked_sub(number) {
            Some(0) => self.total.get(),
            Some(1) => self.before.get(),
            _ => 0,
        }
    }

    /// The greater of what is known of a window and `total`. Returns by how much that is more than before.
    pub(super) fn join(&mut self, number: u32, total: u64) -> u64 {
        if number > self.number {
            self.before = if self.number.checked_add(1) == Some(number) { self.total } else { Units::default() };
            (self.number, self.total) = (number, Units::default());
        }
        let known = self.at(number);
        let joined = Units::of(known.max(total));
        match self.number.checked_sub(number) {
            Some(0) => self.total = joined,
            Some(1) => self.before = joined,
            _ => return 0,
        }
        total.saturating_sub(known)
    }

    /// Takes in what another boot of the same worker used: both count.
    pub(super) fn absorb(&mut self, other: &Self) {
        let latest = self.number.max(other.number);
        let both = |number: u32| self.at(number).saturating_add(other.at(number));
        let (total, before) = (both(latest), latest.checked_sub(1).map_or(0, both));
        (self.number, self.total, self.before) = (latest, Units::of(total), Units::of(before));
    }

    /// What is known, by window.
    pub(super) fn totals(&self) -> [(u32, u64); 2] {
        [(self.number, self.total.get()), (self.number.saturating_sub(1), self.before.get())]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(records: &[(u32, u64)]) -> Slot {
        let mut slot = Slot::new(Teller::new(WorkerId::new(3, 4).unwrap(), 5));
        records.iter().for_each(|(number, total)| _ = slot.join(*number, *total));
        slot
    }

    #[test]
    fn a_slot_takes_24_bytes_and_keeps_what_is_put_in() {
        assert_eq!(size_of::<Slot>(), 24);
        let told = slot(&[(7, 3), (8, (1 << 44) + 1), (8, 4)]);
        assert_eq!([6, 7, 8, 9].map(|number| told.at(number)), [0, 3, (1 << 44) + 1, 0]);
        assert!(told.teller.is_of(WorkerId::new(3, 4).unwrap()) && !told.teller.is_of(WorkerId::new(3, 5).unwrap()));
    }

    #[test]
    fn two_boots_of_a_worker_both_count() {
        let mut one = slot(&[(7, 3), (8, 4)]);
        one.absorb(&slot(&[(8, 10), (9, 20)]));
        assert_eq!([7, 8, 9].map(|number| one.at(number)), [0, 14, 20]);
    }

    fn records() -> impl Strategy<Value = Vec<(u32, u64)>> {
        proptest::collection::vec((100u32..104, 0u64..1 << 42), 0..12)
    }

    proptest! {
        /// In whatever order records come, and however often, the last two windows show the greatest of each.
        #[test]
        fn joining_is_taking_the_greatest(records in records(), again in records(), seed in any::<u64>()) {
            let mut all: Vec<_> = records.iter().chain(&again).copied().collect();
            let latest = all.iter().map(|(number, _)| *number).max().unwrap_or(0);
            let greatest = |number| all.iter().filter(|(n, _)| *n == number).map(|(_, total)| *total).max().unwrap_or(0);
            // What is more than one window behind when it comes is of no use any more: begin with what is latest.
            let expected = (latest, greatest(latest), greatest(latest.wrapping_sub(1)));
            all.sort_by_key(|(number, total)| (*number != latest, total.wrapping_mul(seed | 1)));
            all.extend(again.iter().copied());
            let joined = slot(&all);
            prop_assert_eq!((joined.number, joined.at(latest), joined.at(latest.wrapping_sub(1))), expected);
        }

        /// What joins return adds up to what is known.
        #[test]
        fn what_is_new_is_counted_once(totals in proptest::collection::vec(0u64..1 << 42, 0..12)) {
            let mut slot = slot(&[]);
            let new: u64 = totals.iter().map(|total| slot.join(9, *total)).sum();
            prop_assert_eq!(new, slot.at(9));
        }
    }
}
