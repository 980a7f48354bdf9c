//! The figures of one kind of operation at one target, or of several together, as programs and people read them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::figures::{Codes, Figures, float, ms};
use crate::keys::Kind;
use crate::latency::LatencyHistogram;
use crate::run::Origin;

/// The figures of one kind of operation at one target, or of several together. What other versions of this program leave out
/// is read as nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Where they come from.
    #[serde(flatten)]
    pub origin: Origin,
    /// `increment`, `id`, `read`, `live`, or `all`.
    pub operation: Cow<'static, str>,
    /// Operations by what became of them.
    #[serde(flatten)]
    pub counts: RowCounts,
    /// The refused ones by code.
    #[serde(default)]
    pub refused_by_code: Codes,
    /// The unknown ones by code.
    #[serde(default)]
    pub unknown_by_code: Codes,
    /// From the intended time to the answer. What the node refused is left out; what got no answer counts as it waited.
    pub latency_ms: Latency,
    /// From the actual sending to the answer, as a generator that waits for answers would have measured it; what was
    /// never sent is not in it.
    #[serde(default)]
    pub uncorrected_ms: Latency,
    /// Operations a second acknowledged within the measured part.
    pub achieved_per_s: f64,
    /// Operations a second asked for; none in a closed loop.
    pub asked_per_s: Option<f64>,
}

/// Operations by what became of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RowCounts {
    /// Operations due in the measured part that were acknowledged, then or later.
    pub acknowledged: u64,
    /// Certainly not carried out: refused by the node, or the connection was away.
    pub refused: u64,
    /// Perhaps carried out: no answer, or one that does not tell.
    pub unknown: u64,
    /// Due, but not sent before the run was over.
    pub unsent: u64,
}

/// Percentiles in milliseconds, to three digits.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
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

impl Row {
    /// Sums up the `figures` of `kind`, or of all kinds, measured for so long.
    pub fn new(
        origin: Origin,
        kind: Option<Kind>,
        figures: &Figures,
        duration_s: f64,
        asked_per_s: Option<f64>,
    ) -> Self {
        Self {
            origin,
            operation: kind.map_or("all", Kind::name).into(),
            counts: RowCounts::of(figures),
            refused_by_code: figures.refused.clone(),
            unknown_by_code: figures.unknown.clone(),
            latency_ms: Latency::of(&figures.latency),
            uncorrected_ms: Latency::of(&figures.uncorrected),
            achieved_per_s: float(figures.acknowledged_in_time) / duration_s,
            asked_per_s,
        }
    }
}

impl RowCounts {
    /// Sums up.
    pub fn of(figures: &Figures) -> Self {
        Self {
            acknowledged: figures.acknowledged,
            refused: figures.refused.values().sum(),
            unknown: figures.unknown.values().sum(),
            unsent: figures.unsent,
        }
    }

    /// Operations that were not acknowledged.
    pub fn errors(&self) -> u64 {
        self.refused.saturating_add(self.unknown).saturating_add(self.unsent)
    }
}

impl Latency {
    fn of(histogram: &LatencyHistogram) -> Self {
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

/// Milliseconds for people: three digits that count, and no more.
pub(crate) fn digits(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::figures::Tally;
    use crate::measure::{Phases, Recorder, Times};

    pub(crate) fn figures() -> Figures {
        let start = Instant::now();
        let recorder = Recorder::new(1, Phases::new(start, Duration::ZERO, Duration::from_secs(2), Duration::ZERO));
        for ms in 1..=1_000 {
            let tally = Tally { acknowledged: 2, failures: Vec::new() };
            let times = Times { intended: start, sent: start, done: start + Duration::from_millis(ms) };
            recorder.finished(0, Kind::Read, times, &tally);
        }
        recorder.figures(|_, _| true)
    }

    #[test]
    fn a_row_has_percentiles_in_milliseconds_and_the_rate_of_the_measured_part() {
        let origin = Origin { target: "quic://127.0.0.1:1".into(), region: Some("eu-west".into()), node: Some(3) };
        let row = Row::new(origin, Some(Kind::Read), &figures(), 2.0, Some(1_500.0));
        assert_eq!(row.origin.name(), "eu-west/3 quic");
        assert_eq!((row.counts.acknowledged, row.achieved_per_s), (2_000, 1_000.0));
        let near = |value: f64, expected: f64| (value - expected).abs() < expected / 500.0;
        assert!(
            near(row.latency_ms.p50, 500.0) && near(row.latency_ms.p99, 990.0) && near(row.latency_ms.max, 1_000.0)
        );
    }

    #[test]
    fn no_operations_give_zeros_not_nonsense() {
        let row = Row::new(Origin::all(), None, &Figures::default(), 2.0, None);
        assert_eq!((row.latency_ms.p50, row.latency_ms.max, row.achieved_per_s), (0.0, 0.0, 0.0));
        assert_eq!(row.origin.name(), "all");
    }
}
