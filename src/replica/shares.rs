//! How much of the table of requests that may be repeated is whose.
//!
//! Nothing that the table holds is evicted, so what one caller has filled stays filled. Two rules keep room for others:
//! - A caller may hold [`SHARE`] times what is still free (a dynamic threshold, as Choudhury and Hahne share out the buffers of
//!   a switch): alone he gets three quarters, and however many callers there are, the next one finds room.
//! - A quarter is for sessions alone. They are forgotten soon, so they always find some; keys stay for a day.

use std::collections::BTreeMap;

use super::operation::Refusal;
use super::request::{Caller, Kind};

/// A caller may hold so many times what is free.
const SHARE: usize = 3;
/// One part of so many is for sessions alone.
const RESERVE: usize = 4;

/// Who holds how many bytes.
#[derive(Debug, Default)]
pub(super) struct Shares {
    used: usize,
    /// Of that, for idempotency keys.
    keys: usize,
    callers: BTreeMap<Caller, usize>,
}

impl Shares {
    /// Everything that is held.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// What `caller` may still take for a record of this kind.
    fn free(&self, caller: Caller, kind: Kind, bytes_max: usize) -> usize {
        let free = bytes_max.saturating_sub(self.used);
        let free = match kind {
            Kind::Session => free,
            Kind::Key => free.min((bytes_max - bytes_max / RESERVE).saturating_sub(self.keys)),
        };
        let held = self.callers.get(&caller).copied().unwrap_or_default();
        // The most that he may add so that what he then holds is no more than his share of what is then free.
        (SHARE.saturating_mul(free).saturating_sub(held) / (SHARE + 1)).min(free)
    }

    /// Keeps room for something new; what adds nothing always has room.
    pub(super) fn take(&mut self, caller: Caller, kind: Kind, bytes: usize, bytes_max: usize) -> Result<(), Refusal> {
        if bytes > 0 && bytes > self.free(caller, kind, bytes_max) {
            return Err(Refusal::TooManyNames);
        }
        self.add(caller, kind, bytes);
        Ok(())
    }

    /// Something is there, whether it has room or not.
    pub(super) fn add(&mut self, caller: Caller, kind: Kind, bytes: usize) {
        self.used += bytes;
        if kind == Kind::Key {
            self.keys += bytes;
        }
        *self.callers.entry(caller).or_default() += bytes;
    }

    /// Something is there no more.
    pub(super) fn remove(&mut self, caller: Caller, kind: Kind, bytes: usize) {
        self.used -= bytes;
        if kind == Kind::Key {
            self.keys -= bytes;
        }
        let held = self.callers.entry(caller).or_default();
        *held -= bytes;
        if *held == 0 {
            self.callers.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64_000;
    const RECORD: usize = 100;

    /// Takes as many records as there is room for; how many bytes that were.
    fn fill(shares: &mut Shares, caller: u64, kind: Kind) -> usize {
        let mut taken = 0;
        while shares.take(Caller(caller), kind, RECORD, MAX).is_ok() {
            taken += RECORD;
        }
        taken
    }

    #[test]
    fn one_caller_gets_three_quarters_and_leaves_room_for_each_that_comes_after() {
        let mut shares = Shares::default();
        let mut taken = Vec::new();
        for caller in 0..5 {
            taken.push(fill(&mut shares, caller, Kind::Session));
        }
        let quarters = |power| 3 * MAX / 4usize.pow(power);
        assert!(taken.iter().zip(1..).all(|(taken, power)| taken.abs_diff(quarters(power)) <= RECORD), "{taken:?}");
    }

    #[test]
    fn callers_that_come_together_get_the_same_however_many_they_are() {
        for count in [2, 10, 50] {
            let mut shares = Shares::default();
            let mut more = true;
            while more {
                more = false;
                for caller in 0..count {
                    more |= shares.take(Caller(caller), Kind::Session, RECORD, MAX).is_ok();
                }
            }
            let held: Vec<usize> = shares.callers.values().copied().collect();
            let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
            assert!(held.len() == usize::try_from(count).unwrap() && most - least <= 4 * RECORD, "{held:?}");
            assert!(shares.take(Caller(99), Kind::Session, RECORD, MAX).is_ok(), "and one more finds room");
        }
    }

    #[test]
    fn keys_leave_a_quarter_to_sessions() {
        let mut shares = Shares::default();
        for caller in 0..1_000 {
            fill(&mut shares, caller, Kind::Key);
        }
        assert!(shares.used().abs_diff(MAX - MAX / RESERVE) < 4 * RECORD, "{}", shares.used());
        assert!(shares.take(Caller(5_000), Kind::Key, RECORD, MAX).is_err());
        assert!(shares.take(Caller(5_000), Kind::Session, RECORD, MAX).is_ok());
        let whole = fill(&mut shares, 5_001, Kind::Session);
        assert!(whole > MAX / RESERVE / 2, "{whole}");
    }

    proptest! {
        #[test]
        fn what_was_taken_and_given_back_leaves_nothing(
            steps in prop::collection::vec((0u64..4, any::<bool>(), 1usize..3_000), 1..200),
        ) {
            let mut shares = Shares::default();
            let mut held = Vec::new();
            for (caller, key, bytes) in steps {
                let (caller, kind) = (Caller(caller), if key { Kind::Key } else { Kind::Session });
                if shares.take(caller, kind, bytes, MAX).is_ok() {
                    held.push((caller, kind, bytes));
                }
                prop_assert!(shares.used() <= MAX && shares.keys <= MAX - MAX / RESERVE);
            }
            held.into_iter().for_each(|(caller, kind, bytes)| shares.remove(caller, kind, bytes));
            prop_assert_eq!((shares.used, shares.keys, shares.callers.len()), (0, 0, 0));
        }
    }
}
