//! What comes out: a summary for programs, a table for people, percentile files for plotting.

pub mod charts;
pub(crate) mod files;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod plot;
pub mod table;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::drill::report::DrillReport;
use crate::figures::{Codes, Figures};
use crate::finding::Finding;
use crate::generator::Generator;
use crate::keys::{KINDS, Kind};
use crate::threshold::Judged;

/// The version of the summary's shape: fields may be added to it, none is renamed or removed.
const FORMAT: u32 = 1;

/// Everything about a run. Sums of counters are strings, since they may exceed what JSON numbers hold.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The version of this shape.
    pub format: u32,
    /// What was asked for.
    pub settings: Settings,
    /// Per target and kind of operation.
    pub results: Vec<Row>,
    /// Per kind over all targets, then everything.
    pub totals: Vec<Row>,
    /// The check at the end.
    pub conservation: Conservation,
    /// Whether the generator itself was a bottleneck.
    pub generator: Generator,
    /// What was done to the cluster meanwhile, and what came of it; none unless it was a drill.
    pub drill: Option<DrillReport>,
    /// What became of each `--threshold`.
    pub thresholds: Vec<Judged>,
    /// The first findings of each kind.
    pub findings: Vec<Finding>,
    /// How many of each kind there were.
    pub findings_by_kind: BTreeMap<&'static str, u64>,
    /// Nothing was found.
    pub ok: bool,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Operations a second over all targets; none in a closed loop.
    pub rate_per_s: Option<f64>,
    /// `constant` or `poisson`; none in a closed loop.
    pub arrivals: Option<&'static str>,
    /// Processes that sent.
    pub processes: u32,
    /// The share of operations that were on the first counter, besides its usual share.
    pub celebrity: Option<f64>,
    /// Where the other settings came from.
    pub scenario: Option<String>,
    /// Latencies run from intended times.
    pub open_loop: bool,
    /// Measured.
    pub duration_s: f64,
    /// Before that.
    pub warmup_s: f64,
    /// To each target.
    pub connections: u32,
    /// On each QUIC connection.
    pub in_flight: u32,
    /// Operations in each request.
    pub batch: u32,
    /// Counters.
    pub keys: u32,
    /// `uniform` or `zipf`.
    pub distribution: &'static str,
    /// With `zipf`.
    pub zipf_exponent: Option<f64>,
    /// Increments, IDs, reads, questions whether the node lives.
    pub mix: [u32; KINDS],
    /// The kinds took turns for so long each; none if they were mixed.
    pub turns_s: Option<f64>,
    /// Repeats the operations.
    pub seed: String,
    /// Where the counters live.
    pub namespace: String,
    /// How their names begin.
    pub key_prefix: String,
}

/// The figures of one kind of operation at one target, or of several together.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The URL, or `all`.
    pub target: String,
    /// The region behind it; none in totals.
    pub region: Option<String>,
    /// The node's number in its region.
    pub node: Option<u32>,
    /// `increment`, `id`, `read`, `live`, or `all`.
    pub operation: &'static str,
    /// Operations due in the measured part that were acknowledged, then or later.
    pub acknowledged: u64,
    /// Certainly not carried out: refused by the node, or the connection was away.
    pub refused: u64,
    /// Perhaps carried out: no answer, or one that does not tell.
    pub unknown: u64,
    /// Due, but not sent before the run was over.
    pub unsent: u64,
    /// The refused ones by code.
    pub refused_by_code: Codes,
    /// The unknown ones by code.
    pub unknown_by_code: Codes,
    /// From the intended time to the answer. What the node refused is left out; what got no answer counts as it waited.
    pub latency_ms: Latency,
    /// From the actual sending to the answer, as a generator that waits for answers would have measured it; what was
    /// never sent is not in it.
    pub uncorrected_ms: Latency,
    /// Operations a second acknowledged within the measured part.
    pub achieved_per_s: f64,
    /// Operations a second asked for; none in a closed loop.
    pub asked_per_s: Option<f64>,
}

/// Percentiles in milliseconds, to three digits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Latency {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

/// The check at the end.
#[derive(Clone, Debug, Serialize)]
pub struct Conservation {
    /// Distinct regions among the targets.
    pub regions: Vec<String>,
    /// Counters that any increment was sent for.
    pub counters: u64,
    /// The sum of what was acknowledged.
    pub acknowledged_sum: String,
    /// The sum of what was attempted and not refused.
    pub attempted_sum: String,
    /// What the counters grew by, by target; none where a target could not be read.
    pub counted_sum: BTreeMap<String, Option<String>>,
    /// All targets answered the same and nothing was missing.
    pub agreed: bool,
    /// How long that took.
    pub agree_wait_s: f64,
    /// IDs that came in.
    pub ids: u64,
    /// How many of them had come before.
    pub duplicate_ids: u64,
}

/// Where a row comes from.
pub struct Origin {
    /// The URL.
    pub target: String,
    /// The region behind it.
    pub region: String,
    /// The node's number in it.
    pub node: u32,
}

impl Row {
    /// Sums `figures` up. `origin` and `kind` are `None` in totals.
    pub fn new(
        origin: Option<&Origin>,
        kind: Option<Kind>,
        figures: &Figures,
        duration_s: f64,
        asked_per_s: Option<f64>,
    ) -> Self {
        Self {
            target: origin.map_or_else(|| "all".into(), |origin| origin.target.clone()),
            region: origin.map(|origin| origin.region.clone()),
            node: origin.map(|origin| origin.node),
            operation: kind.map_or("all", Kind::name),
            acknowledged: figures.acknowledged,
            refused: figures.refused.values().sum(),
            unknown: figures.unknown.values().sum(),
            unsent: figures.unsent,
            refused_by_code: figures.refused.clone(),
            unknown_by_code: figures.unknown.clone(),
            latency_ms: Latency::of(&figures.latency),
            uncorrected_ms: Latency::of(&figures.uncorrected),
            achieved_per_s: float(figures.acknowledged_in_time) / duration_s,
            asked_per_s,
        }
    }

    /// How the row's target is called in tables: `eu-west/0 quic`.
    pub fn place(&self) -> String {
        let door = self.target.split("://").next().unwrap_or_default();
        match (&self.region, self.node) {
            (Some(region), Some(node)) => format!("{region}/{node} {door}"),
            _ => self.target.clone(),
        }
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| if histogram.is_empty() { 0.0 } else { ms(histogram.value_at_quantile(quantile)) };
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: at(1.0),
        }
    }
}

impl Summary {
    /// The version of the shape that this program writes.
    pub const FORMAT: u32 = FORMAT;

    /// The last line of a run without findings, and what to say otherwise.
    pub fn verdict(&self) -> String {
        let Conservation { regions, counters, acknowledged_sum, ids, .. } = &self.conservation;
        if !self.ok {
            let counts = self.findings_by_kind.iter().map(|(kind, count)| format!("{count} {kind}"));
            return format!("NOT CONSERVED: {}", counts.collect::<Vec<_>>().join(", "));
        }
        let regions = match regions.len() {
            1 => "1 region".to_owned(),
            many => format!("{many} regions"),
        };
        let excess = self.unknown_sum().map_or_else(String::new, |sum| format!(", {sum} more from unknown outcomes"));
        format!(
            "acknowledged = counted in each of {regions}, 0 duplicate IDs \
             ({acknowledged_sum} in {counters} counters{excess}; {ids} IDs)"
        )
    }

    /// No threshold was crossed.
    pub fn kept(&self) -> bool {
        self.thresholds.iter().all(|judged| !judged.crossed)
    }

    /// Requests for IDs a second in relation to those that ask whether the node lives, where the two took turns.
    pub fn ids_to_live(&self) -> Option<f64> {
        self.settings.turns_s?;
        let rate =
            |kind: Kind| self.totals.iter().find(|row| row.operation == kind.name()).map(|row| row.achieved_per_s);
        let (ids, live) = (rate(Kind::Id)? / f64::from(self.settings.batch), rate(Kind::Live)?);
        (live > 0.0).then_some(ids / live)
    }

    /// What was counted above what was acknowledged: unanswered increments that did happen.
    fn unknown_sum(&self) -> Option<i128> {
        let counted: i128 = self.conservation.counted_sum.values().next()?.as_ref()?.parse().ok()?;
        let acknowledged: i128 = self.conservation.acknowledged_sum.parse().ok()?;
        counted.checked_sub(acknowledged).filter(|more| *more != 0)
    }
}

/// Milliseconds for people: three digits that count, and no more.
pub(crate) fn digits(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn float(count: u64) -> f64 {
    count as f64
}

fn ms(micros: u64) -> f64 {
    float(micros) / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::figures::Tally;
    use crate::measure::{Board, Phases, Times};

    pub(super) fn figures() -> Figures {
        let start = Instant::now();
        let board = Board::new(1, Phases::new(start, Duration::ZERO, Duration::from_secs(2), Duration::ZERO));
        for ms in 1..=1_000 {
            let tally = Tally { acknowledged: 2, failures: Vec::new() };
            let times = Times { intended: start, sent: start, done: start + Duration::from_millis(ms) };
            board.finished(0, Kind::Read, times, &tally);
        }
        board.copy(0, Kind::Read)
    }

    #[test]
    fn a_row_has_percentiles_in_milliseconds_and_the_rate_of_the_measured_part() {
        let origin = Origin { target: "quic://127.0.0.1:1".into(), region: "eu-west".into(), node: 3 };
        let row = Row::new(Some(&origin), Some(Kind::Read), &figures(), 2.0, Some(1_500.0));
        assert_eq!(row.place(), "eu-west/3 quic");
        assert_eq!((row.acknowledged, row.achieved_per_s), (2_000, 1_000.0));
        let near = |value: f64, expected: f64| (value - expected).abs() < expected / 500.0;
        assert!(
            near(row.latency_ms.p50, 500.0) && near(row.latency_ms.p99, 990.0) && near(row.latency_ms.max, 1_000.0)
        );
    }

    #[test]
    fn no_operations_give_zeros_not_nonsense() {
        let row = Row::new(None, None, &Figures::default(), 2.0, None);
        assert_eq!((row.latency_ms.p50, row.latency_ms.max, row.achieved_per_s), (0.0, 0.0, 0.0));
        assert_eq!(row.place(), "all");
    }
}
