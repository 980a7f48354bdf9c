//! What must have been counted: per counter, the sum that was acknowledged and the sum that was attempted.
//!
//! An increment is *issued* before it is sent. Its answer makes it *acknowledged* or *refused*; no answer, or one that
//! says nothing (a timeout, a broken connection), leaves it unknown for ever. So at all times
//!
//! `baseline + acknowledged ≤ value ≤ baseline + issued − refused`
//!
//! must hold, where the left side is owed once the regions have exchanged everything (G1) and the right side always
//! (G2). Memory is 24 bytes a counter, fixed at the start.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What one run did to each counter; shared by all lanes.
pub struct Ledger {
    counters: Vec<Counter>,
    baseline: Vec<i128>,
}

#[derive(Default)]
struct Counter {
    issued: AtomicU64,
    refused: AtomicU64,
    acknowledged: AtomicU64,
}

/// What one process did to one counter, in sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    key: u32,
    issued: u64,
    refused: u64,
    acknowledged: u64,
}

/// Where the value of a counter must lie, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Baseline and what was acknowledged.
    pub least: i128,
    /// Baseline and what was attempted and not refused.
    pub most: i128,
}

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Kept,
    /// Something acknowledged is missing.
    Loss,
    /// More than was ever attempted.
    Excess,
}

impl Expected {
    /// Compares.
    pub fn judge(self, value: i128) -> Verdict {
        match value {
            value if value < self.least => Verdict::Loss,
            value if value > self.most => Verdict::Excess,
            _ => Verdict::Kept,
        }
    }
}

impl Ledger {
    /// A ledger of so many counters that stand at zero.
    pub fn new(counters: u32) -> Self {
        let counters = (0..counters).map(|_| Counter::default()).collect();
        Self { counters, baseline: Vec::new() }
    }

    /// A ledger of counters that already stand at these values.
    pub fn with_baseline(baseline: Vec<i128>) -> Self {
        Self { counters: baseline.iter().map(|_| Counter::default()).collect(), baseline }
    }

    /// An increment is about to be sent.
    pub fn issue(&self, key: u32, by: u32) {
        self.add(key, by, |counter| &counter.issued);
    }

    /// The increment was certainly not carried out.
    pub fn refuse(&self, key: u32, by: u32) {
        self.add(key, by, |counter| &counter.refused);
    }

    /// The increment was acknowledged.
    pub fn acknowledge(&self, key: u32, by: u32) {
        self.add(key, by, |counter| &counter.acknowledged);
    }

    /// Where the value must lie now. While increments are in flight only the upper end means anything.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn expected(&self, key: u32) -> Expected {
        let counter = &self.counters[key as usize];
        let baseline = self.baseline(key);
        let acknowledged = counter.acknowledged.load(Ordering::Acquire);
        // Refused before issued: what is issued in between may only widen the range, never narrow it wrongly.
        let refused = counter.refused.load(Ordering::Acquire);
        let issued = counter.issued.load(Ordering::Acquire);
        let attempted = issued.saturating_sub(refused);
        Expected { least: baseline + i128::from(acknowledged), most: baseline + i128::from(attempted) }
    }

    /// Where the counter stood before the run.
    pub fn baseline(&self, key: u32) -> i128 {
        self.baseline.get(key as usize).copied().unwrap_or(0)
    }

    /// The counters that any increment was issued for, refused ones included: a refused increment that was carried
    /// out all the same must be found too.
    pub fn touched(&self) -> Vec<u32> {
        let issued = |key: &u32| self.counters[*key as usize].issued.load(Ordering::Acquire) > 0;
        (0..u32::try_from(self.counters.len()).unwrap_or(u32::MAX)).filter(issued).collect()
    }

    /// What was done to each counter that any increment was issued for, for another process.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |key: u32| {
            let counter = &self.counters[key as usize];
            let [issued, refused, acknowledged] =
                [&counter.issued, &counter.refused, &counter.acknowledged].map(|sum| sum.load(Ordering::Acquire));
            Entry { key, issued, refused, acknowledged }
        };
        self.touched().into_iter().map(entry).collect()
    }

    /// Adds what another process did to the same counters.
    pub fn absorb(&self, entries: &[Entry]) {
        for entry in entries {
            let Some(counter) = self.counters.get(entry.key as usize) else { continue };
            counter.issued.fetch_add(entry.issued, Ordering::AcqRel);
            counter.refused.fetch_add(entry.refused, Ordering::AcqRel);
            counter.acknowledged.fetch_add(entry.acknowledged, Ordering::AcqRel);
        }
    }

    /// Over all counters, without the baseline: acknowledged, and attempted and not refused.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |field: fn(&Counter) -> &AtomicU64| -> u64 {
            self.counters.iter().map(|counter| field(counter).load(Ordering::Acquire)).sum()
        };
        let refused = sum(|counter| &counter.refused);
        (sum(|counter| &counter.acknowledged), sum(|counter| &counter.issued).saturating_sub(refused))
    }

    fn add(&self, key: u32, by: u32, field: fn(&Counter) -> &AtomicU64) {
        field(&self.counters[key as usize]).fetch_add(u64::from(by), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unanswered_increment_widens_the_range() {
        let ledger = Ledger::new(2);
        ledger.issue(1, 7);
        assert_eq!(ledger.expected(1), Expected { least: 0, most: 7 });
        ledger.acknowledge(1, 7);
        assert_eq!(ledger.expected(1), Expected { least: 7, most: 7 });
        assert_eq!(ledger.expected(0), Expected { least: 0, most: 0 });
    }

    #[test]
    fn a_refused_increment_counts_in_neither_bound_but_is_checked() {
        let ledger = Ledger::new(2);
        ledger.issue(0, 7);
        ledger.refuse(0, 7);
        assert_eq!(ledger.expected(0), Expected { least: 0, most: 0 });
        assert_eq!(ledger.expected(0).judge(7), Verdict::Excess);
        assert_eq!(ledger.touched(), [0]);
    }

    #[test]
    fn the_ledgers_of_several_processes_add_up() {
        let (one, other) = (Ledger::new(3), Ledger::with_baseline(vec![0, 100, 0]));
        one.issue(1, 7);
        one.acknowledge(1, 7);
        other.issue(1, 5);
        other.absorb(&one.entries());
        assert_eq!(other.expected(1), Expected { least: 107, most: 112 });
        assert_eq!(one.entries().len(), 1);
    }

    #[test]
    fn a_baseline_shifts_both_ends() {
        let ledger = Ledger::with_baseline(vec![-5, i128::from(i64::MAX)]);
        ledger.issue(0, 3);
        assert_eq!(ledger.expected(0), Expected { least: -5, most: -2 });
        assert_eq!(ledger.expected(1).least, i128::from(i64::MAX));
    }

    proptest! {
        /// Any history, then any one increment lost or counted twice: the verdict names it unless an unknown outcome
        /// is large enough to explain it.
        #[test]
        fn planted_faults_are_judged(history in prop::collection::vec((1_u32..=1_000, 0_u8..3), 1..50)) {
            let ledger = Ledger::new(1);
            let (mut acknowledged, mut unknown) = (0_i128, 0_i128);
            for (by, outcome) in &history {
                ledger.issue(0, *by);
                match outcome {
                    0 => { ledger.acknowledge(0, *by); acknowledged += i128::from(*by); }
                    1 => ledger.refuse(0, *by),
                    _ => unknown += i128::from(*by),
                }
            }
            let expected = ledger.expected(0);
            prop_assert_eq!(expected.judge(acknowledged), Verdict::Kept);
            prop_assert_eq!(expected.judge(acknowledged + unknown), Verdict::Kept);
            for (by, outcome) in history {
                let by = i128::from(by);
                if outcome == 0 {
                    prop_assert_eq!(expected.judge(acknowledged - by), Verdict::Loss);
                }
                prop_assert_eq!(expected.judge(acknowledged + unknown + by), Verdict::Excess);
            }
        }
    }
}
