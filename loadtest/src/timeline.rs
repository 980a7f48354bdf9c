//! What happened when: the measured part in slices of equal width, each with its counts and its latencies.
//!
//! A slice is told by the time at which an operation came to its end. Only one slice's histogram is open at a time; the
//! others are packed, a few kilobytes each, and there are at most [`SLICES_MAX`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latency::LatencyHistogram;

/// What comes later than this is counted in the last one.
pub const SLICES_MAX: usize = 1_024;
/// Slices in the measured part, about: as many as a chart can show.
const SLICES_WANTED: u32 = 300;
const WIDTHS_MS: [u64; 10] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

/// How wide the slices of so long a run are.
pub fn width(duration: Duration) -> Duration {
    let least = duration / SLICES_WANTED;
    let fits = WIDTHS_MS.into_iter().map(Duration::from_millis).find(|width| *width >= least);
    // Longer than a day: the width is what it must be.
    fits.unwrap_or(least)
}

/// The number of the slice in which lies what happens so long after the beginning.
pub fn slice_at(since: Duration, width: Duration) -> usize {
    let number = since.as_nanos().checked_div(width.as_nanos()).unwrap_or_default();
    usize::try_from(number).unwrap_or(usize::MAX).min(SLICES_MAX - 1)
}

/// What came to its end in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations that were not: refused, without an answer, or never sent.
    pub errors: u64,
}

/// One target's timeline of one kind, or several together.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Timeline {
    counts: Vec<Counts>,
    packed: BTreeMap<usize, Vec<u8>>,
    #[serde(skip)]
    open: Option<(usize, LatencyHistogram)>,
}

impl Timeline {
    /// Operations came to their end in this slice; `waited` of them had so long a latency.
    pub fn take(&mut self, slice: usize, counts: Counts, waited: u64, latency: Duration) {
        self.count(slice, counts);
        if waited > 0 {
            self.open(slice).record(latency, waited);
        }
    }

    /// Counts alone.
    pub fn count(&mut self, slice: usize, counts: Counts) {
        let slice = slice.min(SLICES_MAX - 1);
        if self.counts.len() <= slice {
            self.counts.resize(slice + 1, Counts::default());
        }
        let known = &mut self.counts[slice];
        known.acknowledged = known.acknowledged.saturating_add(counts.acknowledged);
        known.errors = known.errors.saturating_add(counts.errors);
    }

    /// The open histogram. Slices go forward only: what is a moment late is recorded in the slice after its own.
    fn open(&mut self, slice: usize) -> &mut LatencyHistogram {
        let (number, histogram) = self.open.get_or_insert_with(|| (slice, LatencyHistogram::default()));
        if *number < slice {
            self.packed.insert(*number, histogram.pack());
            (*number, *histogram) = (slice, LatencyHistogram::default());
        }
        histogram
    }

    /// Packs the last slice: nothing more is expected.
    pub fn close(&mut self) {
        if let Some((number, histogram)) = self.open.take() {
            self.packed.insert(number, histogram.pack());
        }
    }

    /// Adds another timeline of the same width. Both must be closed.
    pub fn add(&mut self, other: &Self) {
        other.counts.iter().enumerate().for_each(|(slice, counts)| self.count(slice, *counts));
        other.packed.iter().for_each(|(slice, bytes)| self.add_histogram(*slice, bytes));
    }

    fn add_histogram(&mut self, slice: usize, bytes: &[u8]) {
        let (Some(mut sum), Some(more)) = (self.histogram(slice), LatencyHistogram::unpack(bytes)) else { return };
        sum.add(&more);
        self.packed.insert(slice, sum.pack());
    }

    /// The same in slices that are so many times as wide. It must be closed.
    #[must_use]
    pub fn coarser(&self, times: usize) -> Self {
        let mut coarser = Self::default();
        let times = times.max(1);
        self.counts.iter().enumerate().for_each(|(slice, counts)| coarser.count(slice / times, *counts));
        for (slice, bytes) in &self.packed {
            coarser.add_histogram(slice / times, bytes);
        }
        coarser
    }

    /// What was counted, by slice.
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }

    /// The slices in which anything waited, ascending.
    pub fn filled(&self) -> impl Iterator<Item = usize> {
        self.packed.keys().copied()
    }

    /// The latencies of one slice, in microseconds. Unpacked they are large: better not to hold all at once.
    pub fn histogram(&self, slice: usize) -> Option<LatencyHistogram> {
        self.packed
            .get(&slice)
            .map_or_else(|| Some(LatencyHistogram::default()), |bytes| LatencyHistogram::unpack(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Counts = Counts { acknowledged: 1, errors: 0 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn slices_fit_the_run() {
        assert_eq!(width(ms(500)), ms(100));
        assert_eq!(width(ms(60_000)), ms(200));
        assert_eq!(width(ms(3_600_000)), ms(30_000));
        let year = Duration::from_secs(365 * 86_400);
        assert!(slice_at(year, width(year)) <= 301);
        assert_eq!((slice_at(ms(199), ms(100)), slice_at(year, ms(100))), (1, SLICES_MAX - 1));
    }

    #[test]
    fn each_slice_has_its_own_latencies() {
        let mut timeline = Timeline::default();
        timeline.take(0, DONE, 1, ms(1));
        timeline.take(3, DONE, 1, ms(9));
        timeline.take(2, DONE, 1, ms(5));
        timeline.take(3, Counts { acknowledged: 0, errors: 4 }, 0, ms(5));
        timeline.close();
        let counts: Vec<_> = timeline.counts().iter().map(|counts| (counts.acknowledged, counts.errors)).collect();
        assert_eq!(counts, [(1, 0), (0, 0), (1, 0), (1, 4)]);
        let kept: Vec<_> = timeline.filled().map(|slice| (slice, timeline.histogram(slice).unwrap().len())).collect();
        assert_eq!(kept, [(0, 1), (3, 2)], "what is a moment late counts in the slice after its own");
    }

    #[test]
    fn wider_slices_hold_what_the_narrow_ones_held() {
        let mut timeline = Timeline::default();
        (0..10).for_each(|slice| timeline.take(slice, DONE, 1, ms(slice as u64 + 1)));
        timeline.close();
        let coarser = timeline.coarser(4);
        let counts: Vec<_> = coarser.counts().iter().map(|counts| counts.acknowledged).collect();
        assert_eq!(counts, [4, 4, 2]);
        assert_eq!(coarser.histogram(1).unwrap().len(), 4);
        assert!(coarser.histogram(1).unwrap().equivalent(8_000, coarser.histogram(1).unwrap().max()));
    }

    #[test]
    fn timelines_add_up_by_histogram() {
        let mut one = Timeline::default();
        (1..=100).for_each(|latency| one.take(1, DONE, 1, ms(latency)));
        one.close();
        let mut other = Timeline::default();
        (101..=200).for_each(|latency| other.take(1, DONE, 1, ms(latency)));
        other.close();
        let carried: Timeline = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
        one.add(&carried);
        let histogram = one.histogram(1).unwrap();
        assert_eq!((one.filled().count(), histogram.len(), one.counts()[1].acknowledged), (1, 200, 200));
        assert!(histogram.equivalent(histogram.value_at_quantile(0.5), 100_000));
    }
}
