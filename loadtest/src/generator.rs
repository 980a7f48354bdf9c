//! Whether the generator itself is the bottleneck: then its figures tell of itself as much as of the target.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::figures::ms;
use crate::latency::LatencyHistogram;

/// This part of all cores is as good as all of them.
const CPU_SHARE_MAX: f64 = 0.9;
/// Being late by less than this is how timers are.
const LATE_MS_MIN: f64 = 1.0;
/// Being late by less than this part of the latency hardly changes it.
const LATE_SHARE_MAX: f64 = 0.1;

/// How late lanes were woken that had nothing to wait for but the time; filled in by all lanes.
#[derive(Default)]
pub struct Lateness {
    histogram: Mutex<LatencyHistogram>,
}

/// What the generator took of the machine; of several processes together.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Usage {
    /// How late lanes were woken.
    pub late: LatencyHistogram,
    /// Time on cores.
    pub cpu_s: f64,
    /// Time by the clock.
    pub elapsed_s: f64,
}

/// The same for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// Cores that were busy with it, on average.
    pub cores_used: f64,
    /// Cores that there are for it.
    pub cores: usize,
    /// How late it sent what it could have sent in time, in milliseconds: the 99th percentile.
    pub late_p99_ms: f64,
    /// And the latest.
    pub late_max_ms: f64,
    /// Why the figures tell of the generator as well; empty if they do not.
    pub warnings: Vec<String>,
}

/// Runs from the start of the load to its end.
pub struct Stopwatch {
    start: Instant,
    cpu: Duration,
}

impl Lateness {
    /// A lane that waited for `due` alone goes on `now`.
    pub fn woke(&self, due: Instant, now: Instant) {
        let late = now.saturating_duration_since(due);
        self.histogram.lock().unwrap_or_else(PoisonError::into_inner).record(late, 1);
    }

    /// So far.
    pub fn copy(&self) -> LatencyHistogram {
        self.histogram.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Stopwatch {
    /// Begins.
    pub fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    /// What this process took since the start.
    pub fn stop(&self, lateness: &Lateness) -> Usage {
        let cpu_s = cpu().saturating_sub(self.cpu).as_secs_f64();
        Usage { late: lateness.copy(), cpu_s, elapsed_s: self.start.elapsed().as_secs_f64() }
    }
}

/// Time that this process has spent on cores; none on systems that do not tell.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

impl Usage {
    /// Adds another process, which ran at the same time.
    pub fn add(&mut self, other: &Self) {
        self.late.add(&other.late);
        self.cpu_s += other.cpu_s;
        self.elapsed_s = self.elapsed_s.max(other.elapsed_s);
    }

    /// Sums up, on a machine with so many cores, where the 99th percentile of all latencies was `p99_ms`.
    pub fn judge(&self, cores: usize, p99_ms: f64) -> Generator {
        let cores_used = if self.elapsed_s > 0.0 { self.cpu_s / self.elapsed_s } else { 0.0 };
        let late_p99_ms = ms(self.late.value_at_quantile(0.99));
        let mut warnings = Vec::new();
        let cores_max = CPU_SHARE_MAX * cores as f64;
        if cores_used > cores_max {
            warnings.push(format!("it used {cores_used:.1} of {cores} cores"));
        }
        if late_p99_ms > LATE_MS_MIN && late_p99_ms > LATE_SHARE_MAX * p99_ms {
            warnings.push(format!(
                "a hundredth of what it could have sent in time it sent {late_p99_ms:.1} ms late or later"
            ));
        }
        Generator { cores_used, cores, late_p99_ms, late_max_ms: ms(self.late.max()), warnings }
    }
}

impl Generator {
    /// What people are told; `None` if nothing is wrong.
    pub fn warning(&self) -> Option<String> {
        (!self.warnings.is_empty()).then(|| {
            format!(
                "WARNING: the generator itself was a bottleneck: {}. These figures tell of it as much as of the \
                 targets; use a machine of its own, larger batches, fewer connections, or several --processes.",
                self.warnings.join("; ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(late_ms: u64, cpu_s: f64) -> Usage {
        let lateness = Lateness::default();
        let due = Instant::now();
        lateness.woke(due, due + Duration::from_millis(late_ms));
        Usage { late: lateness.copy(), cpu_s, elapsed_s: 10.0 }
    }

    #[test]
    fn a_generator_in_time_with_cores_to_spare_is_no_bottleneck() {
        assert!(usage(0, 10.0).judge(2, 5.0).warning().is_none());
        assert!(usage(20, 10.0).judge(2, 1_000.0).warning().is_none(), "the target is far slower");
    }

    #[test]
    fn a_late_generator_and_one_without_cores_to_spare_are_warned_of() {
        let warning = usage(20, 10.0).judge(2, 50.0).warning().unwrap();
        assert!(warning.contains("ms late") && !warning.contains("cores:"), "{warning}");
        let warning = usage(0, 19.0).judge(2, 5.0).warning().unwrap();
        assert!(warning.contains("it used 1.9 of 2 cores"), "{warning}");
    }

    #[test]
    fn processes_add_up() {
        let mut both = usage(0, 9.5);
        both.add(&usage(20, 9.5));
        assert_eq!((both.late.len(), both.judge(2, 5.0).warnings.len()), (2, 2));
    }

    #[test]
    fn time_on_cores_passes() {
        let watch = Stopwatch::start();
        while watch.stop(&Lateness::default()).cpu_s == 0.0 {}
    }
}
