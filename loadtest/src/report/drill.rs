//! What came of a drill. The sums follow from the ledger and the last values; availability from the timelines. Pure.

use std::time::Duration;

use serde::Serialize;

use super::row::RowCounts;
use crate::conserve::Agreement;
use crate::faults::script::FaultRecord;
use crate::ledger::Expected;
use crate::run::{Origin, Outcome};
use crate::timeline::{self, Counts};

/// Fewer requests than this in a slice, and an empty slice says little.
const REQUESTS_PER_SLICE_MIN: f64 = 5.0;

/// What came of a drill. Sums of increments are strings, since they may exceed what JSON numbers hold.
#[derive(Clone, Debug, Serialize)]
pub struct DrillReport {
    /// In the order in which they were given.
    pub faults: Vec<FaultRecord>,
    /// By position of the targets.
    pub regions: Vec<RegionRow>,
    /// The sum of what was acknowledged.
    pub acknowledged: String,
    /// The sum of what got no answer that tells.
    pub in_doubt: String,
    /// What was acknowledged and is not counted, in the region that lacks most.
    pub lost: String,
    /// What is counted beyond what was acknowledged or in doubt, in the region that has most.
    pub doubled: String,
    /// IDs that came again.
    pub duplicate_ids: u64,
    /// From the end of the load until all regions agreed; none if they did not in time.
    pub agreed_after_s: Option<f64>,
}

/// One region as its clients saw it.
#[derive(Clone, Debug, Serialize)]
pub struct RegionRow {
    /// Its name, node and door.
    pub target: String,
    /// The time in which nothing was acknowledged; none if there were too few requests to tell.
    pub unavailable_s: Option<f64>,
    /// The longest stretch of that.
    pub longest_s: Option<f64>,
    /// Operations that were refused.
    pub refused: u64,
    /// Operations in doubt.
    pub unknown: u64,
    /// Operations that were never sent.
    pub unsent: u64,
}

/// What the counters hold too little and too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Balance {
    /// Acknowledged, not counted.
    lost: i128,
    /// Counted, neither acknowledged nor in doubt.
    doubled: i128,
}

impl Balance {
    /// Of the region that is worst off in each respect.
    fn of(agreement: &Agreement, expected: impl Fn(u32) -> Expected) -> Self {
        agreement.values.iter().fold(Self::default(), |worst, values| {
            let of_region = agreement.keys.iter().zip(values).fold(Self::default(), |sum, (key, value)| {
                let Some(value) = value else { return sum };
                let Expected { least, most } = expected(*key);
                Self { lost: sum.lost + (least - value).max(0), doubled: sum.doubled + (value - most).max(0) }
            });
            Self { lost: worst.lost.max(of_region.lost), doubled: worst.doubled.max(of_region.doubled) }
        })
    }
}

/// Seconds in which nothing was acknowledged, in all and at a stretch, in so many slices of this width.
fn unavailable(counts: &[Counts], slices: usize, width: Duration) -> (f64, f64) {
    let (mut all, mut longest, mut stretch) = (0_u32, 0_u32, 0_u32);
    for slice in 0..slices {
        let silent = counts.get(slice).is_none_or(|counts| counts.acknowledged == 0);
        stretch = if silent { stretch + 1 } else { 0 };
        all += u32::from(silent);
        longest = longest.max(stretch);
    }
    ((width * all).as_secs_f64(), (width * longest).as_secs_f64())
}

/// Whether there are enough requests to each region for a slice without any answer to mean something.
fn is_dense(requests_per_s: f64, width: Duration) -> bool {
    requests_per_s * width.as_secs_f64() >= REQUESTS_PER_SLICE_MIN
}

impl DrillReport {
    /// What came of these faults in this run.
    pub fn of(outcome: &Outcome, faults: &[FaultRecord]) -> Self {
        let Outcome { sent, agreement, .. } = outcome;
        let (acknowledged, attempted) = sent.record.ledger.totals();
        let balance = Balance::of(agreement, |key| sent.record.ledger.expected(key));
        Self {
            faults: faults.to_vec(),
            regions: outcome.targets().map(|(target, origin)| RegionRow::of(outcome, target, origin)).collect(),
            acknowledged: acknowledged.to_string(),
            in_doubt: attempted.saturating_sub(acknowledged).to_string(),
            lost: balance.lost.to_string(),
            doubled: balance.doubled.to_string(),
            duplicate_ids: sent.ids.found.duplicates,
            agreed_after_s: agreement.settled.then_some(agreement.waited.as_secs_f64()),
        }
    }

    /// Why it was no drill, if it was none.
    pub fn error(&self) -> Option<&str> {
        self.faults.iter().find_map(|fault| fault.error.as_deref())
    }

    /// Nothing was lost, doubled or given twice, and the regions agreed.
    pub fn is_clean(&self) -> bool {
        self.lost == "0" && self.doubled == "0" && self.duplicate_ids == 0 && self.agreed_after_s.is_some()
    }

    /// The last word.
    pub fn verdict(&self) -> String {
        let Self { acknowledged, in_doubt, lost, doubled, duplicate_ids, .. } = self;
        let agreed = match self.agreed_after_s {
            Some(after) => format!("the regions agreed {after:.2} s after the load"),
            None => "the regions did not agree in time".to_owned(),
        };
        format!(
            "acknowledged {acknowledged}, in doubt {in_doubt}: lost {lost}, doubled {doubled}, \
             {duplicate_ids} duplicate IDs; {agreed}"
        )
    }
}

/// Headings, for people.
pub const FAULTS: [&str; 5] = ["fault", "from s", "to s", "whole again after s", "error"];
/// Headings, for people.
pub const REGIONS: [&str; 6] = ["region", "unavailable s", "longest s", "refused", "in doubt", "unsent"];

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.2}"))
}

/// As in [`FAULTS`].
pub fn fault_cells(fault: &FaultRecord) -> [String; 5] {
    let error = fault.error.clone().unwrap_or_else(|| "-".to_owned());
    let [began, ended, whole] = [fault.began_s, fault.ended_s, fault.converged_after_s].map(seconds);
    [fault.fault.clone(), began, ended, whole, error]
}

impl RegionRow {
    fn of(outcome: &Outcome, target: u16, origin: &Origin) -> Self {
        let pace = &outcome.setup.plan.pace;
        let width = outcome.sent.record.recorder.slice_width();
        // The last slice may lie in the measured part only in part, and then it says nothing.
        let end = timeline::slice_at(Duration::from_secs_f64(outcome.sent.measured_s), width);
        let batches = outcome.setup.origins.len() as f64 * f64::from(outcome.setup.workload.batch);
        let is_dense = is_dense(pace.rate.per_second().unwrap_or(0.0) / batches, width);
        let timeline = outcome.timeline(|each, _| each == target);
        let (unavailable_s, longest_s) = is_dense.then(|| unavailable(timeline.counts(), end, width)).unzip();
        let figures = outcome.figures(|each, _| each == target);
        let RowCounts { refused, unknown, unsent, .. } = RowCounts::of(&figures);
        Self { target: origin.name(), unavailable_s, longest_s, refused, unknown, unsent }
    }

    /// As in [`REGIONS`].
    pub fn cells(&self) -> [String; 6] {
        let [refused, unknown, unsent] = [self.refused, self.unknown, self.unsent].map(|count| count.to_string());
        [self.target.clone(), seconds(self.unavailable_s), seconds(self.longest_s), refused, unknown, unsent]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(values: &[&[i128]]) -> Balance {
        let values = values.iter().map(|values| values.iter().map(|value| Some(*value)).collect()).collect();
        let agreement = Agreement { keys: vec![0, 1], values, settled: true, waited: Duration::ZERO };
        // Ten acknowledged and two in doubt, each.
        Balance::of(&agreement, |_| Expected { least: 10, most: 12 })
    }

    #[test]
    fn what_is_in_doubt_is_neither_lost_nor_doubled() {
        assert_eq!(balance(&[&[10, 12], &[11, 10]]), Balance::default());
    }

    #[test]
    fn losses_and_doublings_do_not_make_up_for_each_other() {
        assert_eq!(balance(&[&[7, 15]]), Balance { lost: 3, doubled: 3 });
        assert_eq!(balance(&[&[7, 10], &[5, 15]]), Balance { lost: 5, doubled: 3 }, "the worst region counts");
    }

    #[test]
    fn a_region_that_was_not_read_is_no_loss_here_but_a_finding_elsewhere() {
        let values = vec![vec![None, Some(10)]];
        let agreement = Agreement { keys: vec![0, 1], values, settled: false, waited: Duration::ZERO };
        assert_eq!(Balance::of(&agreement, |_| Expected { least: 10, most: 10 }), Balance::default());
    }

    #[test]
    fn silence_is_unavailability() {
        let at = |acknowledged| Counts { acknowledged, errors: 7 };
        let counts = [at(5), at(0), at(0), at(1), at(0)];
        assert_eq!(unavailable(&counts, 5, Duration::from_millis(500)), (1.5, 1.0));
        assert_eq!(unavailable(&counts, 7, Duration::from_millis(500)), (2.5, 1.5), "nothing came after it");
        assert!(is_dense(100.0, Duration::from_millis(100)) && !is_dense(10.0, Duration::from_millis(100)));
    }
}
