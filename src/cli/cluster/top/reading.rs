//! What a node measures, out of its metrics.

use std::time::Duration;

use crate::telemetry::metric::{
    COMMIT_SYNC_SECONDS, DISK_FREE_BYTES, IDS, INCREMENTS, JOURNAL_BYTES, PROCESS_START_SECONDS,
};

/// What a node has counted since its start, and what it measures now. What it does not tell is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    started: Option<f64>,
    increments: Option<f64>,
    ids: Option<f64>,
    sync_seconds: Option<f64>,
    syncs: Option<f64>,
    pub(super) disk_free: Option<f64>,
    pub(super) journal: Option<f64>,
}

/// What happened between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// A second.
    pub(super) increments: f64,
    pub(super) ids: f64,
    /// Of one commit, on average, if there was one.
    pub(super) sync_seconds: Option<f64>,
}

impl Reading {
    pub(super) fn of(metrics: &str) -> Self {
        Self {
            started: sum(metrics, PROCESS_START_SECONDS),
            increments: sum(metrics, INCREMENTS),
            ids: sum(metrics, IDS),
            sync_seconds: sum(metrics, &format!("{COMMIT_SYNC_SECONDS}_sum")),
            syncs: sum(metrics, &format!("{COMMIT_SYNC_SECONDS}_count")),
            disk_free: sum(metrics, DISK_FREE_BYTES),
            journal: sum(metrics, JOURNAL_BYTES),
        }
    }

    /// `None` if it was started in between, or no time has passed.
    pub(super) fn since(&self, before: &Self, elapsed: Duration) -> Option<Rates> {
        if self.started != before.started || elapsed.is_zero() {
            return None;
        }
        let rise =
            |now: Option<f64>, before: Option<f64>| (now? - before?).is_finite().then_some((now? - before?).max(0.0));
        let rate = |now, before| rise(now, before).map_or(0.0, |rise| rise / elapsed.as_secs_f64());
        let syncs = rise(self.syncs, before.syncs).filter(|syncs| *syncs > 0.0);
        let seconds = rise(self.sync_seconds, before.sync_seconds);
        Some(Rates {
            increments: rate(self.increments, before.increments),
            ids: rate(self.ids, before.ids),
            sync_seconds: syncs.zip(seconds).map(|(syncs, seconds)| seconds / syncs),
        })
    }
}

/// The values of all lines of this name, whatever their labels.
fn sum(metrics: &str, name: &str) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# TYPE snowtide_increments_acknowledged_total counter
snowtide_increments_acknowledged_total{door=\"http\"} 10
snowtide_increments_acknowledged_total{door=\"quic\"} 32
snowtide_ids_minted_total{door=\"a}b\"} 7
snowtide_commit_sync_seconds_bucket{le=\"0.1\"} 4
snowtide_commit_sync_seconds_sum 0.5
snowtide_commit_sync_seconds_count 5
snowtide_journal_bytes 1024
process_start_time_seconds 1763800000.5
";

    #[test]
    fn lines_of_a_name_are_added_up_whatever_their_labels() {
        let reading = Reading::of(METRICS);
        assert_eq!((reading.increments, reading.ids, reading.journal), (Some(42.0), Some(7.0), Some(1024.0)));
        assert_eq!((reading.sync_seconds, reading.syncs), (Some(0.5), Some(5.0)));
        assert_eq!(reading.disk_free, None, "it is not told");
        assert_eq!(
            Reading::of("snowtide_journal_bytes_x 1\nsnowtide_journal_bytes{ 2\nsnowtide_journal_bytes NaNs"),
            Reading::default()
        );
    }

    #[test]
    fn rates_are_what_was_added_over_the_time_between() {
        let before = Reading::of(METRICS);
        let mut now = Reading { increments: Some(142.0), syncs: Some(7.0), sync_seconds: Some(0.504), ..before };
        let rates = now.since(&before, Duration::from_secs(2)).unwrap();
        assert_eq!((rates.increments, rates.ids), (50.0, 0.0));
        assert!((rates.sync_seconds.unwrap() - 0.002).abs() < 1e-9);
        assert_eq!(before.since(&before, Duration::from_secs(2)).unwrap().sync_seconds, None, "there was no commit");
        assert_eq!(now.since(&before, Duration::ZERO), None);
        now.started = Some(1.0);
        assert_eq!(now.since(&before, Duration::from_secs(2)), None, "it is another process");
    }
}
