//! The figures of one kind of operation at one target, or of several together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latency::LatencyHistogram;
use crate::target::{Failure, Fate};

/// Different codes that are told apart; a server that invents more is counted under [`OTHER`].
const CODES_MAX: usize = 64;
const OTHER: &str = "other";

/// Operations by the code of what went wrong with them.
pub type Codes = BTreeMap<Cow<'static, str>, u64>;

/// How one request went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations that were done.
    pub acknowledged: u64,
    /// The others, by reason; few different ones.
    pub failures: Vec<(Failure, u64)>,
}

impl Tally {
    /// Counts `operations` more that failed like this.
    pub fn fail(&mut self, failure: &Failure, operations: u64) {
        match self.failures.iter_mut().find(|(known, _)| known == failure) {
            Some((_, count)) => *count = count.saturating_add(operations),
            None => self.failures.push((failure.clone(), operations)),
        }
    }

    /// Operations that were not done, or not to our knowledge.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|(_, count)| count).sum()
    }

    /// Operations that waited for an answer, be it in vain.
    pub fn waited(&self) -> u64 {
        let unanswered = self.failures.iter().filter(|(failure, _)| failure.fate != Fate::Refused);
        self.acknowledged + unanswered.map(|(_, count)| count).sum::<u64>()
    }
}

/// The figures of one kind of operation at one target, or of several together.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Operations due in the measured part that were acknowledged, whenever.
    pub acknowledged: u64,
    /// Operations acknowledged within the measured part, whenever they were due: the throughput.
    pub acknowledged_in_time: u64,
    /// Certainly not carried out, by code: refused by the node, or never sent.
    pub refused: Codes,
    /// Perhaps carried out, by code.
    pub unknown: Codes,
    /// Due, but not sent before the run was over.
    pub unsent: u64,
    /// In microseconds, from the intended time.
    pub latency: LatencyHistogram,
    /// In microseconds, from the time of sending: what a generator that waits for answers would have measured. What
    /// was never sent is not in it.
    pub uncorrected: LatencyHistogram,
}

/// A count among figures for people, where the last digits do not matter.
pub fn float(count: u64) -> f64 {
    count as f64
}

/// Microseconds, as histograms count them, in milliseconds.
pub fn ms(micros: u64) -> f64 {
    float(micros) / 1_000.0
}

impl Figures {
    /// Adds the figures of another target, kind or process.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.acknowledged_in_time += other.acknowledged_in_time;
        self.unsent += other.unsent;
        other.refused.iter().for_each(|(code, count)| count_code(&mut self.refused, code.clone(), *count));
        other.unknown.iter().for_each(|(code, count)| count_code(&mut self.unknown, code.clone(), *count));
        self.latency.add(&other.latency);
        self.uncorrected.add(&other.uncorrected);
    }

    /// Takes in one request that was due, by `latency` after its intended time and `uncorrected` after its sending.
    pub fn take(&mut self, tally: &Tally, latency: Duration, uncorrected: Duration) {
        self.acknowledged += tally.acknowledged;
        for (failure, count) in &tally.failures {
            let codes = match failure.fate {
                Fate::Refused | Fate::Undone => &mut self.refused,
                Fate::Unknown => &mut self.unknown,
            };
            count_code(codes, failure.code.clone(), *count);
        }
        self.latency.record(latency, tally.waited());
        self.uncorrected.record(uncorrected, tally.waited());
    }

    /// `operations` were never sent, and have waited for so long.
    pub fn give_up(&mut self, operations: u64, waited: Duration) {
        self.unsent += operations;
        self.latency.record(waited, operations);
    }

    /// Operations that were not acknowledged.
    pub fn errors(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.unknown.values().sum::<u64>() + self.unsent
    }
}

fn count_code(codes: &mut Codes, code: Cow<'static, str>, count: u64) {
    let code = if codes.len() < CODES_MAX || codes.contains_key(&code) { code } else { OTHER.into() };
    let known = codes.entry(code).or_default();
    *known = known.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn figures_add_up() {
        let mut tally = Tally { acknowledged: 2, ..Tally::default() };
        tally.fail(&Failure::refused("a"), 1);
        let mut one = Figures::default();
        one.take(&tally, seconds(1), seconds(1));
        let mut two = Figures::default();
        two.take(&tally, seconds(2), seconds(1));
        two.add(&one);
        assert_eq!((two.acknowledged, two.refused["a"], two.latency.len(), two.errors()), (4, 2, 4, 2));
        assert!(two.uncorrected.equivalent(two.uncorrected.max(), 1_000_000));
    }

    #[test]
    fn invented_codes_are_bounded() {
        let mut codes = Codes::new();
        (0..1_000).for_each(|number| count_code(&mut codes, format!("code_{number}").into(), 1));
        assert_eq!(codes.len(), CODES_MAX + 1);
        assert_eq!(codes.values().sum::<u64>(), 1_000);
    }

    proptest! {
        /// What several processes measured and packed adds up to what one would have measured.
        #[test]
        fn parts_merge_into_what_one_would_have_measured(
            latencies in prop::collection::vec(1_u64..10_000_000, 1..200),
            parts in 1_usize..5,
        ) {
            let tally = Tally { acknowledged: 1, ..Tally::default() };
            let mut alone = Figures::default();
            let mut of_parts = vec![Figures::default(); parts];
            for (number, latency) in latencies.iter().enumerate() {
                let latency = Duration::from_micros(*latency);
                alone.take(&tally, latency, latency);
                of_parts[number % parts].take(&tally, latency, latency);
            }
            let mut merged = Figures::default();
            for part in of_parts {
                let json = serde_json::to_string(&part).unwrap();
                merged.add(&serde_json::from_str(&json).unwrap());
            }
            prop_assert_eq!(&merged.latency, &alone.latency);
            prop_assert_eq!(merged.acknowledged, alone.acknowledged);
        }
    }
}
