//! Finds every ID that was given out twice, in bounded memory. Pure.
//!
//! IDs come as runs of consecutive numbers. They are gathered, sorted and joined with their neighbours from time to
//! time, so that what one node minted within a millisecond takes 16 bytes however many requests it went to. The number
//! of runs is bounded by the caller; when joining no longer gets below it, the finder says so and the run must end:
//! it never goes on without checking.

use serde::{Deserialize, Serialize};

/// Runs that are gathered at least before they are joined: sorting fewer is not worth the trouble.
const GATHERED_MIN: usize = 1 << 16;
/// Duplicates that are named; all are counted.
const NAMED_MAX: usize = 20;

/// Consecutive IDs from one target. Sorted by `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// The position of the target that gave them.
    pub target: u16,
}

impl Run {
    /// The last ID; numbers past the end of 64 bits count as the last one.
    fn last(self) -> u64 {
        self.first.saturating_add(u64::from(self.count).saturating_sub(1))
    }
}

/// An ID, or several in a row, that came twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The first such ID.
    pub id: u64,
    /// How many in a row.
    pub count: u64,
    /// The positions of the targets that gave it; equal if one target gave it twice.
    pub targets: (u16, u16),
}

/// There are more separate runs than the caller allows to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("more than {runs_max} separate runs of IDs")]
pub struct Full {
    /// The bound.
    pub runs_max: usize,
}

/// What the finder found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// IDs that came in, every time counted.
    pub seen: u64,
    /// How many of them had come before.
    pub duplicates: u64,
    /// The first few of these.
    pub named: Vec<Duplicate>,
}

/// Remembers every ID.
///
/// Memory is up to about 40 bytes for each of `runs_max`: 16 for the run, the rest while sorting and growing.
pub struct Finder {
    /// `runs[..joined]` is ascending and disjoint; the rest is as it came.
    runs: Vec<Run>,
    joined: usize,
    runs_max: usize,
    found: Found,
}

impl Finder {
    /// Remembers up to so many separate runs.
    pub fn new(runs_max: usize) -> Self {
        Self { runs: Vec::new(), joined: 0, runs_max, found: Found::default() }
    }

    /// Takes IDs in. On an error they are remembered all the same, but the caller must stop soon.
    pub fn add(&mut self, run: Run) -> Result<(), Full> {
        if run.count == 0 {
            return Ok(());
        }
        self.found.seen = self.found.seen.saturating_add(u64::from(run.count));
        self.runs.push(run);
        if self.gathered() < self.gathered_max() {
            return Ok(());
        }
        self.join();
        if self.runs.len() > self.runs_max { Err(Full { runs_max: self.runs_max }) } else { Ok(()) }
    }

    /// The final word, and all that came, each ID once.
    pub fn finish(mut self) -> (Found, Vec<Run>) {
        self.join();
        (self.found, self.runs)
    }

    /// Takes in what another finder has found, and all that came there.
    pub fn absorb(&mut self, theirs: Found, runs: Vec<Run>) -> Result<(), Full> {
        let mut full = Ok(());
        for run in runs {
            // All are remembered, whether there is room or not.
            full = full.and(self.add(run));
        }
        // Adding has counted each ID once already; the others had come there before.
        self.found.seen = self.found.seen.saturating_add(theirs.duplicates);
        self.found.duplicates = self.found.duplicates.saturating_add(theirs.duplicates);
        let room = NAMED_MAX.saturating_sub(self.found.named.len());
        self.found.named.extend(theirs.named.into_iter().take(room));
        full
    }

    fn gathered(&self) -> usize {
        self.runs.len().saturating_sub(self.joined)
    }

    /// Grows with what is joined already, so that joining costs each run a logarithmic number of copies in all.
    fn gathered_max(&self) -> usize {
        (self.joined / 2).max(GATHERED_MIN).min(self.runs_max.max(1))
    }

    fn join(&mut self) {
        self.runs[self.joined..].sort_unstable();
        // A stable sort sees two ascending halves and merges them in linear time.
        self.runs.sort();
        let mut kept = 0_usize;
        for position in 0..self.runs.len() {
            let run = self.runs[position];
            let Some(previous) = kept.checked_sub(1).map(|last| self.runs[last]) else {
                kept = 1;
                continue;
            };
            let Some(rest) = self.without_overlap(previous, run) else { continue };
            match joined(previous, rest) {
                Some(longer) => self.runs[kept - 1] = longer,
                None => {
                    self.runs[kept] = rest;
                    kept += 1;
                }
            }
        }
        self.runs.truncate(kept);
        self.joined = kept;
    }

    /// The part of `run` behind `previous`, if any; what they share is a finding. `previous` ends latest of all before.
    fn without_overlap(&mut self, previous: Run, run: Run) -> Option<Run> {
        if run.first > previous.last() {
            return Some(run);
        }
        let shared_last = previous.last().min(run.last());
        let shared = (shared_last - run.first).saturating_add(1);
        self.name(Duplicate { id: run.first, count: shared, targets: (previous.target, run.target) });
        let first = shared_last.checked_add(1).filter(|first| *first <= run.last())?;
        let count = u32::try_from(run.last() - first).ok()?.checked_add(1)?;
        Some(Run { first, count, target: run.target })
    }

    fn name(&mut self, duplicate: Duplicate) {
        self.found.duplicates = self.found.duplicates.saturating_add(duplicate.count);
        if self.found.named.len() < NAMED_MAX {
            self.found.named.push(duplicate);
        }
    }
}

/// One run out of two, if the second follows directly, from the same target.
fn joined(previous: Run, next: Run) -> Option<Run> {
    let follows = previous.last().checked_add(1) == Some(next.first) && previous.target == next.target;
    let count = previous.count.checked_add(next.count)?;
    follows.then_some(Run { count, ..previous })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn run(first: u64, count: u32) -> Run {
        Run { first, count, target: 0 }
    }

    fn found(runs: impl IntoIterator<Item = Run>) -> Found {
        let mut finder = Finder::new(1_000_000);
        runs.into_iter().for_each(|run| finder.add(run).unwrap());
        finder.finish().0
    }

    #[test]
    fn distinct_ids_are_no_finding() {
        let found = found([run(10, 5), run(0, 10), run(u64::MAX, 1), run(15, 1)]);
        assert_eq!((found.seen, found.duplicates), (17, 0));
    }

    #[test]
    fn a_planted_duplicate_is_named_with_both_targets() {
        let planted = Run { first: 12, count: 1, target: 3 };
        let found = found([run(10, 5), run(100, 1), planted]);
        assert_eq!(found.named, [Duplicate { id: 12, count: 1, targets: (0, 3) }]);
        assert_eq!(found.duplicates, 1);
    }

    #[test]
    fn a_duplicate_long_after_the_first_was_joined_is_found() {
        let mut finder = Finder::new(GATHERED_MIN * 8);
        for first in 0..(GATHERED_MIN as u64 * 6) {
            finder.add(run(first * 2, 1)).unwrap();
        }
        finder.add(run(2 * 777, 1)).unwrap();
        assert_eq!(finder.finish().0.named, [Duplicate { id: 1_554, count: 1, targets: (0, 0) }]);
    }

    #[test]
    fn neighbours_of_one_target_take_one_place() {
        let mut finder = Finder::new(16);
        for first in (0..10_000).rev() {
            finder.add(run(first, 1)).unwrap();
        }
        finder.join();
        assert_eq!(finder.runs, [run(0, 10_000)]);
    }

    #[test]
    fn too_many_runs_are_refused_not_forgotten() {
        let mut finder = Finder::new(100);
        let full = (0..1_000_u64).find_map(|number| finder.add(run(number * 10, 1)).err());
        assert_eq!(full, Some(Full { runs_max: 100 }));
        finder.add(run(10, 1)).unwrap_or_default();
        assert_eq!(finder.finish().0.duplicates, 1);
    }

    #[test]
    fn a_run_past_the_end_of_64_bits_does_no_harm() {
        let found = found([run(u64::MAX - 1, u32::MAX), run(u64::MAX, 5)]);
        assert_eq!(found.duplicates, 1);
    }

    #[test]
    fn an_id_that_two_processes_were_given_is_found() {
        let mut theirs = Finder::new(100);
        [run(10, 5), run(12, 1)].into_iter().for_each(|run| theirs.add(run).unwrap());
        let mut ours = Finder::new(100);
        ours.add(run(14, 3)).unwrap();
        let (found, runs) = theirs.finish();
        ours.absorb(found, runs).unwrap();
        let found = ours.finish().0;
        assert_eq!((found.seen, found.duplicates, found.named.len()), (9, 2, 2));
    }

    proptest! {
        #[test]
        fn counts_as_a_plain_map_would(
            runs in prop::collection::vec((0_u64..500, 0_u32..20, 0_u16..3), 0..60),
            runs_max in 1_usize..100,
        ) {
            let mut finder = Finder::new(runs_max);
            let mut times = HashMap::<u64, u64>::new();
            for (first, count, target) in runs {
                let _ = finder.add(Run { first, count, target });
                (first..first + u64::from(count)).for_each(|id| *times.entry(id).or_default() += 1);
            }
            let found = finder.finish().0;
            prop_assert_eq!(found.seen, times.values().sum::<u64>());
            prop_assert_eq!(found.duplicates, times.values().map(|times| times - 1).sum::<u64>());
        }
    }
}
