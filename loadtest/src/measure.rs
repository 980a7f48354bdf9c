//! What is measured: counts and latencies per target and kind.
//!
//! Latencies run from the intended send time to the answer. An operation is never left out for having been slow: one
//! whose answer never came counts with the time it waited, and so does one that was due but could not be sent in time.
//! Only refusals by the node are left out, and counted by their code instead: they are quick, and nothing was done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::figures::{Figures, Tally};
use crate::keys::{KINDS, Kind};
use crate::plan::Plan;
use crate::schedule::Rate;
use crate::timeline::{self, Counts, Timeline};

/// Lanes are told the start this long before, so that none begins late.
const LEAD: Duration = Duration::from_millis(20);

/// The times of a run.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// The first intended time.
    pub start: Instant,
    /// What is due from here on is measured.
    pub measured: Instant,
    /// Nothing is due any more.
    pub end: Instant,
    /// What was due and is not sent by now stays unsent.
    pub sent: Instant,
}

impl Phases {
    /// A run that starts at `start` and may send late for as long as `grace`.
    pub fn new(start: Instant, warmup: Duration, duration: Duration, grace: Duration) -> Self {
        let measured = start + warmup;
        let end = measured + duration;
        Self { start, measured, end, sent: end + grace }
    }

    /// The times that `plan` asks for, from about now on.
    pub fn starting_now(plan: &Plan) -> Self {
        let grace = if plan.pace.rate == Rate::Max { Duration::ZERO } else { plan.network.timeout };
        Self::new(Instant::now() + LEAD, plan.pace.warmup, plan.pace.duration, grace)
    }

    /// The length of the measured part.
    pub fn duration(&self) -> Duration {
        self.end.saturating_duration_since(self.measured)
    }
}

/// The times of one request.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it was due.
    pub intended: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When it came to its end.
    pub done: Instant,
}

/// What is known of one kind at one target.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Cell {
    figures: Figures,
    timeline: Timeline,
}

/// The figures of all targets and kinds, filled in by all lanes.
pub struct Recorder {
    phases: Phases,
    slice_width: Duration,
    targets: Vec<[Mutex<Cell>; KINDS]>,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl Recorder {
    /// All zero.
    pub fn new(targets: usize, phases: Phases) -> Self {
        let targets = (0..targets).map(|_| Default::default()).collect();
        let slice_width = timeline::width(phases.duration());
        Self { phases, slice_width, targets, acknowledged: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// A request has come to its end.
    pub fn finished(&self, target: u16, kind: Kind, times: Times, tally: &Tally) {
        self.acknowledged.fetch_add(tally.acknowledged, Ordering::Relaxed);
        self.failed.fetch_add(tally.failed(), Ordering::Relaxed);
        let Times { intended, sent, done } = times;
        let latency = done.saturating_duration_since(intended);
        let mut cell = self.cell(target, kind);
        if (self.phases.measured..self.phases.end).contains(&done) {
            cell.figures.acknowledged_in_time += tally.acknowledged;
        }
        if done >= self.phases.measured {
            let counts = Counts { acknowledged: tally.acknowledged, errors: tally.failed() };
            cell.timeline.take(self.slice_at(done), counts, tally.waited(), latency);
        }
        if intended >= self.phases.measured {
            cell.figures.take(tally, latency, done.saturating_duration_since(sent));
        }
    }

    /// `operations` that were due at `intended` have not been sent, and it is `now` too late.
    pub fn unsent(&self, target: u16, kind: Kind, intended: Instant, now: Instant, operations: u64) {
        if intended >= self.phases.measured {
            let mut cell = self.cell(target, kind);
            cell.figures.give_up(operations, now.saturating_duration_since(intended));
            cell.timeline.count(self.slice_at(intended), Counts { acknowledged: 0, errors: operations });
        }
    }

    /// Operations so far, warm-up included: acknowledged, and not.
    pub fn progress(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The figures of the targets and kinds that are `wanted`, summed up.
    pub fn figures(&self, wanted: impl Fn(u16, Kind) -> bool) -> Figures {
        let mut sum = Figures::default();
        self.each(wanted, |cell| sum.add(&cell.figures));
        sum
    }

    /// The timelines of the targets and kinds that are `wanted`, summed up and closed.
    pub fn timeline(&self, wanted: impl Fn(u16, Kind) -> bool) -> Timeline {
        let mut sum = Timeline::default();
        self.each(wanted, |cell| {
            cell.timeline.close();
            sum.add(&cell.timeline);
        });
        sum
    }

    /// A copy of everything, by target, then by kind as in [`Kind::ALL`].
    pub fn copy(&self) -> Vec<[Cell; KINDS]> {
        let copy = |target: u16| {
            Kind::ALL.map(|kind| {
                let mut cell = self.cell(target, kind);
                cell.timeline.close();
                cell.clone()
            })
        };
        self.positions().map(copy).collect()
    }

    /// Adds what another process has measured.
    pub fn absorb(&self, theirs: &[[Cell; KINDS]]) {
        for (target, kinds) in self.positions().zip(theirs) {
            for (kind, Cell { figures, timeline }) in Kind::ALL.into_iter().zip(kinds) {
                let mut cell = self.cell(target, kind);
                cell.figures.add(figures);
                cell.timeline.close();
                cell.timeline.add(timeline);
            }
        }
    }

    /// How wide the slices of the timelines are.
    pub fn slice_width(&self) -> Duration {
        self.slice_width
    }

    fn slice_at(&self, at: Instant) -> usize {
        timeline::slice_at(at.saturating_duration_since(self.phases.measured), self.slice_width)
    }

    fn positions(&self) -> impl Iterator<Item = u16> + use<> {
        (0..).take(self.targets.len())
    }

    fn each(&self, wanted: impl Fn(u16, Kind) -> bool, mut visit: impl FnMut(&mut Cell)) {
        for target in self.positions() {
            let kinds = Kind::ALL.into_iter().filter(|kind| wanted(target, *kind));
            kinds.for_each(|kind| visit(&mut self.cell(target, kind)));
        }
    }

    fn cell(&self, target: u16, kind: Kind) -> MutexGuard<'_, Cell> {
        self.targets[usize::from(target)][kind.position()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Failure;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn recorder() -> (Recorder, Instant) {
        let start = Instant::now();
        (Recorder::new(1, Phases::new(start, seconds(1), seconds(10), seconds(5))), start)
    }

    fn times(start: Instant, [intended, sent, done]: [u64; 3]) -> Times {
        Times { intended: start + seconds(intended), sent: start + seconds(sent), done: start + seconds(done) }
    }

    fn done(acknowledged: u64) -> Tally {
        Tally { acknowledged, failures: Vec::new() }
    }

    #[test]
    fn latency_runs_from_the_intended_time() {
        let (recorder, start) = recorder();
        recorder.finished(0, Kind::Read, times(start, [2, 4, 5]), &done(10));
        let figures = recorder.figures(|_, kind| kind == Kind::Read);
        assert_eq!((figures.latency.len(), figures.acknowledged), (10, 10));
        assert!(figures.latency.equivalent(figures.latency.max(), 3_000_000));
        assert!(figures.uncorrected.equivalent(figures.uncorrected.max(), 1_000_000), "this from the sending");
    }

    #[test]
    fn warm_up_is_left_out_by_the_intended_time() {
        let (recorder, start) = recorder();
        recorder.finished(0, Kind::Read, times(start, [0, 0, 5]), &done(1));
        let figures = recorder.figures(|_, kind| kind == Kind::Read);
        assert_eq!((figures.latency.len(), figures.acknowledged), (0, 0));
        assert_eq!(figures.acknowledged_in_time, 1, "it is throughput of the measured part all the same");
        assert_eq!(recorder.progress(), (1, 0));
    }

    #[test]
    fn late_answers_are_no_throughput() {
        let (recorder, start) = recorder();
        recorder.finished(0, Kind::Read, times(start, [10, 10, 12]), &done(1));
        let figures = recorder.figures(|_, kind| kind == Kind::Read);
        assert_eq!((figures.acknowledged, figures.acknowledged_in_time), (1, 0));
    }

    #[test]
    fn the_slow_are_never_left_out() {
        let (recorder, start) = recorder();
        let mut tally = done(0);
        tally.fail(&Failure::TIMED_OUT, 3);
        tally.fail(&Failure::refused("throttled"), 4);
        tally.fail(&Failure::TIMED_OUT, 2);
        tally.fail(&Failure::undone("busy"), 1);
        recorder.finished(0, Kind::Increment, times(start, [2, 2, 9]), &tally);
        recorder.unsent(0, Kind::Increment, start + seconds(3), start + seconds(16), 7);
        let figures = recorder.figures(|_, kind| kind == Kind::Increment);
        assert_eq!((figures.unknown["timed_out"], figures.refused["throttled"], figures.unsent), (5, 4, 7));
        assert_eq!(figures.latency.len(), 13);
        assert!(figures.latency.equivalent(figures.latency.max(), 13_000_000));
        assert!(figures.latency.equivalent(figures.latency.min(), 7_000_000));
    }

    #[test]
    fn what_happened_when_is_kept_by_the_time_of_its_end() {
        let (recorder, start) = recorder();
        recorder.finished(0, Kind::Read, times(start, [0, 0, 1]), &done(3));
        recorder.finished(0, Kind::Read, times(start, [0, 0, 0]), &done(3));
        recorder.unsent(0, Kind::Read, start + seconds(2), start + seconds(16), 7);
        let timeline = recorder.timeline(|_, kind| kind == Kind::Read);
        let at = |slice: usize| (timeline.counts()[slice].acknowledged, timeline.counts()[slice].errors);
        assert_eq!((timeline.counts().len(), at(0), at(10)), (11, (3, 0), (0, 7)));
    }
}
