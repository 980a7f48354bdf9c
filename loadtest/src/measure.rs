//! What is measured: counts and latencies per target and kind.
//!
//! Latencies run from the intended send time to the answer. An operation is never left out for having been slow: one
//! whose answer never came counts with the time it waited, and so does one that was due but could not be sent in time.
//! Only refusals by the node are left out, and counted by their code instead: they are quick, and nothing was done.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::keys::{KINDS, Kind};
use crate::target::{Failure, Fate};

/// Histograms count in microseconds, 1 to an hour, and keep three digits.
const LATENCY_MICROS_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// Different codes that are told apart; a server that invents more is counted under [`OTHER`].
const CODES_MAX: usize = 64;
const OTHER: &str = "other";

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

    /// The length of the measured part.
    pub fn duration(&self) -> Duration {
        self.end.saturating_duration_since(self.measured)
    }
}

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

    fn failed(&self) -> u64 {
        self.failures.iter().map(|(_, count)| count).sum()
    }

    /// Operations that waited for an answer, be it in vain.
    fn waited(&self) -> u64 {
        let unanswered = self.failures.iter().filter(|(failure, _)| failure.fate != Fate::Refused);
        self.acknowledged + unanswered.map(|(_, count)| count).sum::<u64>()
    }
}

/// The figures of one kind of operation at one target, or of several together.
#[derive(Clone)]
pub struct Figures {
    /// Operations due in the measured part that were acknowledged, whenever.
    pub acknowledged: u64,
    /// Operations acknowledged within the measured part, whenever they were due: the throughput.
    pub acknowledged_in_time: u64,
    /// Certainly not carried out, by code: refused by the node, or never sent.
    pub refused: BTreeMap<Cow<'static, str>, u64>,
    /// Perhaps carried out, by code.
    pub unknown: BTreeMap<Cow<'static, str>, u64>,
    /// Due, but not sent before the run was over.
    pub unsent: u64,
    /// In microseconds.
    pub latency: Histogram<u64>,
}

impl Default for Figures {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, DIGITS);
        Self {
            acknowledged: 0,
            acknowledged_in_time: 0,
            refused: BTreeMap::new(),
            unknown: BTreeMap::new(),
            unsent: 0,
            latency: latency.expect("these bounds are valid"),
        }
    }
}

impl Figures {
    /// Adds the figures of another target or kind.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.acknowledged_in_time += other.acknowledged_in_time;
        self.unsent += other.unsent;
        other.refused.iter().for_each(|(code, count)| count_code(&mut self.refused, code.clone(), *count));
        other.unknown.iter().for_each(|(code, count)| count_code(&mut self.unknown, code.clone(), *count));
        // All histograms have the same bounds.
        let _infallible = self.latency.add(&other.latency);
    }

    fn take(&mut self, tally: &Tally, latency: Duration) {
        self.acknowledged += tally.acknowledged;
        for (failure, count) in &tally.failures {
            let codes = match failure.fate {
                Fate::Refused | Fate::Undone => &mut self.refused,
                Fate::Unknown => &mut self.unknown,
            };
            count_code(codes, failure.code.clone(), *count);
        }
        self.latency.saturating_record_n(micros(latency), tally.waited());
    }
}

/// The figures of all targets and kinds, filled in by all lanes.
pub struct Board {
    phases: Phases,
    targets: Vec<[Mutex<Figures>; KINDS]>,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl Board {
    /// All zero.
    pub fn new(targets: usize, phases: Phases) -> Self {
        let targets = (0..targets).map(|_| Default::default()).collect();
        Self { phases, targets, acknowledged: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// A request that was due at `intended` has come to its end at `done`.
    pub fn finished(&self, target: u16, kind: Kind, intended: Instant, done: Instant, tally: &Tally) {
        self.acknowledged.fetch_add(tally.acknowledged, Ordering::Relaxed);
        self.failed.fetch_add(tally.failed(), Ordering::Relaxed);
        let mut figures = self.figures(target, kind);
        if (self.phases.measured..self.phases.end).contains(&done) {
            figures.acknowledged_in_time += tally.acknowledged;
        }
        if intended >= self.phases.measured {
            figures.take(tally, done.saturating_duration_since(intended));
        }
    }

    /// `operations` that were due at `intended` have not been sent, and it is `now` too late.
    pub fn unsent(&self, target: u16, kind: Kind, intended: Instant, now: Instant, operations: u64) {
        if intended >= self.phases.measured {
            let mut figures = self.figures(target, kind);
            figures.unsent += operations;
            figures.latency.saturating_record_n(micros(now.saturating_duration_since(intended)), operations);
        }
    }

    /// Operations so far, warm-up included: acknowledged, and not.
    pub fn progress(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// A copy of one target's figures of one kind.
    pub fn copy(&self, target: u16, kind: Kind) -> Figures {
        self.figures(target, kind).clone()
    }

    fn figures(&self, target: u16, kind: Kind) -> MutexGuard<'_, Figures> {
        self.targets[usize::from(target)][kind.position()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn count_code(codes: &mut BTreeMap<Cow<'static, str>, u64>, code: Cow<'static, str>, count: u64) {
    let code = if codes.len() < CODES_MAX || codes.contains_key(&code) { code } else { OTHER.into() };
    let known = codes.entry(code).or_default();
    *known = known.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn board() -> (Board, Instant) {
        let start = Instant::now();
        (Board::new(1, Phases::new(start, seconds(1), seconds(10), seconds(5))), start)
    }

    fn done(acknowledged: u64) -> Tally {
        Tally { acknowledged, failures: Vec::new() }
    }

    #[test]
    fn latency_runs_from_the_intended_time() {
        let (board, start) = board();
        board.finished(0, Kind::Read, start + seconds(2), start + seconds(5), &done(10));
        let figures = board.copy(0, Kind::Read);
        assert_eq!((figures.latency.len(), figures.acknowledged), (10, 10));
        assert!(figures.latency.equivalent(figures.latency.max(), 3_000_000));
    }

    #[test]
    fn warm_up_is_left_out_by_the_intended_time() {
        let (board, start) = board();
        board.finished(0, Kind::Read, start, start + seconds(5), &done(1));
        let figures = board.copy(0, Kind::Read);
        assert_eq!((figures.latency.len(), figures.acknowledged), (0, 0));
        assert_eq!(figures.acknowledged_in_time, 1, "it is throughput of the measured part all the same");
        assert_eq!(board.progress(), (1, 0));
    }

    #[test]
    fn late_answers_are_no_throughput() {
        let (board, start) = board();
        board.finished(0, Kind::Read, start + seconds(10), start + seconds(12), &done(1));
        let figures = board.copy(0, Kind::Read);
        assert_eq!((figures.acknowledged, figures.acknowledged_in_time), (1, 0));
    }

    #[test]
    fn the_slow_are_never_left_out() {
        let (board, start) = board();
        let mut tally = done(0);
        tally.fail(&Failure::TIMED_OUT, 3);
        tally.fail(&Failure::refused("throttled"), 4);
        tally.fail(&Failure::TIMED_OUT, 2);
        tally.fail(&Failure::undone("busy"), 1);
        board.finished(0, Kind::Increment, start + seconds(2), start + seconds(9), &tally);
        board.unsent(0, Kind::Increment, start + seconds(3), start + seconds(16), 7);
        let figures = board.copy(0, Kind::Increment);
        assert_eq!((figures.unknown["timed_out"], figures.refused["throttled"], figures.unsent), (5, 4, 7));
        assert_eq!(figures.latency.len(), 13);
        assert!(figures.latency.equivalent(figures.latency.max(), 13_000_000));
        assert!(figures.latency.equivalent(figures.latency.min(), 7_000_000));
    }

    #[test]
    fn figures_add_up() {
        let mut tally = done(2);
        tally.fail(&Failure::refused("a"), 1);
        let mut one = Figures::default();
        one.take(&tally, seconds(1));
        let mut two = Figures::default();
        two.take(&tally, seconds(2));
        two.add(&one);
        assert_eq!((two.acknowledged, two.refused["a"], two.latency.len()), (4, 2, 4));
    }

    #[test]
    fn invented_codes_are_bounded() {
        let mut codes = BTreeMap::new();
        (0..1_000).for_each(|number| count_code(&mut codes, format!("code_{number}").into(), 1));
        assert_eq!(codes.len(), CODES_MAX + 1);
        assert_eq!(codes.values().sum::<u64>(), 1_000);
    }
}
