//! Every ID that was ever given out under one worker id, and the proof that none was given twice.
//!
//! It keeps ranges, not IDs: a range for each stretch of numbers without a gap. Numbers of two milliseconds never touch
//! (the worker's bits lie between), and within one millisecond a gap is left only where an answer was lost, or where
//! two streams took turns and one of them has not told yet. So memory is about 40 bytes for each millisecond in which
//! something was minted, and for each answer that was lost: 20 MB for 10^9 IDs at the full rate of 4 096 a millisecond,
//! 60 MB where IDs trickle for half an hour.

use std::collections::BTreeMap;

use snowtide_protocol::wire::IdRun;

/// Findings that are kept in words; all are counted.
const TOLD_MAX: usize = 20;

#[derive(Default)]
pub(crate) struct Ledger {
    /// First and last of each stretch; stretches neither overlap nor touch.
    stretches: BTreeMap<u64, u64>,
    ids: u64,
    duplicates: u64,
    findings: Vec<String>,
}

/// The answers to one caller that asks for one thing after the other.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    last: Option<u64>,
}

impl Ledger {
    /// Notes an answer; the IDs of one stream must increase, whatever has befallen the node in between.
    pub(crate) fn note(&mut self, stream: &mut Stream, runs: &[IdRun]) {
        for run in runs {
            if stream.last.is_some_and(|last| run.first <= last) {
                self.find(format!("{} came after {:?} in one stream", run.first, stream.last));
            }
            stream.last = Some(run.first + u64::from(run.count) - 1);
            self.insert(*run);
        }
    }

    pub(crate) fn ids(&self) -> u64 {
        self.ids
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(crate) fn stretches(&self) -> usize {
        self.stretches.len()
    }

    pub(crate) fn findings(&self) -> &[String] {
        &self.findings
    }

    fn insert(&mut self, run: IdRun) {
        let (mut first, mut last) = (run.first, run.first + u64::from(run.count) - 1);
        self.ids += u64::from(run.count);
        // All that overlap or touch lie in one row that ends at the last stretch that begins by `last + 1`.
        while let Some((&from, &to)) = self.stretches.range(..=last.saturating_add(1)).next_back() {
            if to.saturating_add(1) < first {
                break;
            }
            let (low, high) = (from.max(run.first), to.min(run.first + u64::from(run.count) - 1));
            if low <= high {
                self.duplicates += high - low + 1;
                self.find(format!("{low} to {high} came twice"));
            }
            self.stretches.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.stretches.insert(first, last);
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < TOLD_MAX {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn run(first: u64, count: u32) -> IdRun {
        IdRun { first, count }
    }

    #[test]
    fn a_planted_duplicate_is_found_wherever_it_lies() {
        for planted in [run(1_000, 1), run(1_999, 1), run(2_500, 100), run(999, 2), run(4_499, 2), run(0, 100_000)] {
            let mut ledger = Ledger::default();
            let mut stream = Stream::default();
            ledger.note(&mut stream, &[run(1_000, 1_000), run(2_000, 1_000), run(4_000, 500)]);
            assert_eq!((ledger.ids(), ledger.duplicates(), ledger.stretches()), (2_500, 0, 2));
            assert!(ledger.findings().is_empty());
            ledger.note(&mut Stream::default(), &[planted]);
            let clean = if planted.count == 100_000 { 2_500 } else { u64::from(planted.count.min(100)) };
            let touching = matches!((planted.first, planted.count), (999 | 4_499, 2));
            assert_eq!(ledger.duplicates(), if touching { 1 } else { clean }, "{planted:?}");
            assert!(!ledger.findings().is_empty());
        }
    }

    #[test]
    fn one_stream_that_goes_back_is_found_even_without_a_duplicate() {
        let mut ledger = Ledger::default();
        let mut stream = Stream::default();
        ledger.note(&mut stream, &[run(10, 5)]);
        ledger.note(&mut Stream::default(), &[run(1, 5)]);
        assert!(ledger.findings().is_empty(), "streams take turns");
        ledger.note(&mut stream, &[run(6, 1)]);
        assert_eq!((ledger.findings().len(), ledger.duplicates()), (1, 0));
    }

    proptest! {
        #[test]
        fn it_counts_as_a_set_of_all_ids_does(runs in prop::collection::vec((0_u64..300, 1_u32..40), 0..40)) {
            let (mut ledger, mut all, mut twice) = (Ledger::default(), BTreeSet::new(), 0);
            for (first, count) in runs {
                ledger.note(&mut Stream::default(), &[run(first, count)]);
                twice += run(first, count).iter().filter(|id| !all.insert(*id)).count() as u64;
            }
            prop_assert_eq!(ledger.duplicates(), twice);
            let stretches = all.iter().filter(|id| id.checked_sub(1).is_none_or(|before| !all.contains(&before)));
            prop_assert_eq!(ledger.stretches(), stretches.count());
        }
    }
}
