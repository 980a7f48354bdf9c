//! A block of IDs that came as one answer, handed out one by one without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use snowtide_protocol::wire::IdRun;

use crate::error::Error;

/// IDs of one answer. Any number of threads take from it; each gets another one.
#[derive(Debug)]
pub(super) struct Block {
    runs: Box<[IdRun]>,
    taken: AtomicU64,
    /// Whoever takes this one, or a later one, asks for the next block.
    low_at: u64,
    /// From now on, too.
    refresh_at: Instant,
    /// From now on nothing is taken.
    expires_at: Instant,
}

/// When a block has to be replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) low_water: u64,
    pub(super) refresh_at: Instant,
    pub(super) expires_at: Instant,
}

/// An ID, and whether it is time to ask for the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) id: u64,
    pub(super) low: bool,
}

impl Block {
    /// A block of these runs, which must ascend: what a node answers is not believed unseen.
    pub(super) fn new(runs: Vec<IdRun>, life: Life) -> Result<Self, Error> {
        let mut next = Some(0);
        for run in &runs {
            next = match next {
                Some(least) if run.first >= least => run.first.checked_add(u64::from(run.count)),
                _ => None,
            };
        }
        if next.is_none() {
            return Err(Error::Protocol("the ids of one answer do not ascend".into()));
        }
        let total: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
        let Life { low_water, refresh_at, expires_at } = life;
        let low_at = total.saturating_sub(low_water);
        Ok(Self { runs: runs.into(), taken: AtomicU64::new(0), low_at, refresh_at, expires_at })
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.expires_at
    }

    /// The next ID, unless the block is used up or past its age.
    pub(super) fn take(&self, now: Instant) -> Option<Taken> {
        if !self.is_fresh(now) {
            return None;
        }
        // Only the number matters; the rest of the block never changes. 2^64 calls are none of our concern.
        let at = self.taken.fetch_add(1, Ordering::Relaxed);
        let id = self.nth(at)?;
        Some(Taken { id, low: at >= self.low_at || now >= self.refresh_at })
    }

    fn nth(&self, mut at: u64) -> Option<u64> {
        for run in &self.runs {
            let count = u64::from(run.count);
            if at < count {
                return run.first.checked_add(at);
            }
            at -= count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(first: u64, count: u32) -> IdRun {
        IdRun { first, count }
    }

    fn life(now: Instant, low_water: u64) -> Life {
        let after = |ms| now + Duration::from_millis(ms);
        Life { low_water, refresh_at: after(50), expires_at: after(100) }
    }

    #[test]
    fn ids_come_in_order_over_all_runs_and_the_last_ones_say_that_it_is_time() {
        let now = Instant::now();
        let block = Block::new(vec![run(10, 2), run(20, 3)], life(now, 2)).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| block.take(now)).map(|taken| (taken.id, taken.low)).collect();
        assert_eq!(taken, [(10, false), (11, false), (20, false), (21, true), (22, true)]);
        assert_eq!(block.take(now), None);
    }

    #[test]
    fn a_block_asks_to_be_replaced_at_half_its_age_and_gives_nothing_past_it() {
        let now = Instant::now();
        let block = Block::new(vec![run(1, 9)], life(now, 0)).unwrap();
        let at = |ms| block.take(now + Duration::from_millis(ms));
        assert_eq!(at(49), Some(Taken { id: 1, low: false }));
        assert_eq!(at(50), Some(Taken { id: 2, low: true }));
        assert_eq!(at(99), Some(Taken { id: 3, low: true }));
        assert_eq!(at(100), None);
        assert_eq!(at(99), Some(Taken { id: 4, low: true }), "an expired look costs no id");
    }

    #[test]
    fn runs_that_do_not_ascend_are_refused() {
        let life = life(Instant::now(), 0);
        for runs in [vec![run(5, 2), run(6, 1)], vec![run(5, 1), run(1, 1)], vec![run(u64::MAX, 1)]] {
            assert!(matches!(Block::new(runs, life), Err(Error::Protocol(_))));
        }
        assert!(Block::new(vec![run(5, 2), run(7, 1)], life).is_ok());
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let now = Instant::now();
        let block = Block::new(vec![run(0, 4_000), run(10_000, 6_000)], life(now, 0)).unwrap();
        let take_all = || std::iter::from_fn(|| block.take(now)).map(|taken| taken.id).collect::<Vec<_>>();
        let mut all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take_all)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b));
        assert_eq!(all.len(), 10_000);
    }
}
