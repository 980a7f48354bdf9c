//! Each fault that a clock can have, before and after a start, and that its end is the end of the trouble. Tests only.

use crate::identity::WorkerId;

use super::{Bits, Generator, Layout, Limits, Reading, Verdict, ceiling_max};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;
const EPOCH_MS: u64 = 1_735_689_600_000;
/// Where the true time stands when a test begins, since the epoch: two years.
const START_MS: u64 = 63_072_000_000;
const LIMITS: Limits =
    Limits { max_backstep_ms: 1_000, max_leap_ms: 3_600_000, max_absence_ms: 31_536_000_000, probation_ms: 3_000 };

/// A machine whose disk keeps the ceiling.
struct Machine {
    generator: Generator,
    ceiling: u64,
    /// The true time since the test began.
    passed_ms: u64,
    booted_ms: u64,
    /// By how much the clock on the wall is wrong.
    off_ms: i64,
    last: u64,
}

impl Machine {
    /// It has run for a moment, and minted.
    fn running() -> Self {
        let generator = Self::boot(0);
        let mut machine = Self { generator, ceiling: 0, passed_ms: 0, booted_ms: 0, off_ms: 0, last: 0 };
        machine.generator.claim(machine.now(), 0);
        machine.goes_on();
        machine
    }

    fn boot(ceiling: u64) -> Generator {
        let layout = Layout::new(EPOCH_MS, Bits { time: 41, region: 5, node: 5, sequence: 12 }).unwrap();
        Generator::new(layout, WorkerId::new(1, 0).unwrap(), LIMITS, ceiling).unwrap()
    }

    fn restart(&mut self) {
        self.generator = Self::boot(self.ceiling);
        self.booted_ms = self.passed_ms;
        self.generator.claim(self.now(), 0);
    }

    fn now(&self) -> Reading {
        let wall = (EPOCH_MS + START_MS + self.passed_ms).saturating_add_signed(self.off_ms);
        Reading { wall_ms: wall, mono_ms: self.passed_ms - self.booted_ms }
    }

    /// Mints one, with as many ceilings as that takes; the disk is fast.
    fn mint(&mut self) -> Result<u64, Verdict> {
        let mut runs = Vec::new();
        for _ in 0..10 {
            let now = self.now();
            if let Some(ceiling) = self.generator.ceiling_due(now) {
                self.ceiling = ceiling;
                self.generator.raise_ceiling(ceiling);
            }
            match self.generator.allocate(now, now.wall_ms, 1, &mut runs) {
                Verdict::Done => return Ok(runs[0].first),
                Verdict::NeedsCeiling => {}
                Verdict::Wait { ms } => self.passed_ms += ms,
                refused => return Err(refused),
            }
        }
        panic!("neither an ID nor a refusal")
    }

    /// IDs flow in order, and near the true time.
    fn goes_on(&mut self) {
        for _ in 0..3 {
            self.passed_ms += 1;
            let id = self.mint().unwrap();
            assert!(id > self.last, "in order");
            self.last = id;
            let ahead = (id >> 22).saturating_sub(START_MS + self.passed_ms);
            assert!(ahead <= LIMITS.max_backstep_ms, "{ahead} ms of the epoch are burnt");
            assert!(self.ceiling <= START_MS + self.passed_ms + LIMITS.max_backstep_ms);
        }
    }
}

#[test]
fn a_step_back_by_milliseconds_is_not_noticed() {
    for step in [1, 20, 500, 900] {
        let mut machine = Machine::running();
        machine.off_ms = -step;
        machine.goes_on();
    }
}

#[test]
fn a_step_back_by_seconds_or_years_is_refused_until_the_clock_is_right_or_has_caught_up() {
    for step in [2 * SECOND, 60 * SECOND, HOUR, YEAR, 3 * YEAR, 50 * YEAR] {
        let mut machine = Machine::running();
        machine.off_ms = -step;
        let refused = machine.mint().unwrap_err();
        assert!(matches!(refused, Verdict::ClockRegressed { behind_ms } if behind_ms + 10 > step.unsigned_abs()));
        machine.off_ms = 0;
        machine.goes_on();
        machine.off_ms = -step;
        machine.passed_ms += step.unsigned_abs();
        machine.passed_ms += 10;
        let id = machine.mint().unwrap();
        assert!(id > machine.last, "it has caught up");
    }
}

#[test]
fn a_step_forward_is_refused_burns_nothing_and_is_over_when_the_clock_is_right() {
    for step in [HOUR + SECOND, 24 * HOUR, YEAR, 50 * YEAR, 500 * YEAR] {
        let mut machine = Machine::running();
        let before = machine.ceiling;
        machine.off_ms = step;
        for _ in 0..100 {
            machine.passed_ms += 100;
            let refused = machine.mint().unwrap_err();
            assert!(matches!(refused, Verdict::ClockAhead { ahead_ms } if ahead_ms + 10 > step.unsigned_abs()));
        }
        assert_eq!(machine.ceiling, before, "no ceiling follows such a clock");
        machine.off_ms = 0;
        machine.goes_on();
    }
}

#[test]
fn a_start_with_a_clock_that_is_years_ahead_burns_nothing_and_recovers_in_the_same_process() {
    for step in [YEAR + HOUR, 2 * YEAR, 50 * YEAR] {
        let mut machine = Machine::running();
        let before = machine.ceiling;
        machine.off_ms = step;
        machine.restart();
        for wait in [0, 3_000, 60_000, 600_000] {
            machine.passed_ms += wait;
            assert!(matches!(machine.mint(), Err(Verdict::ClockAhead { .. })));
        }
        assert_eq!(machine.ceiling, before);
        machine.off_ms = 0;
        machine.goes_on();
        machine.off_ms = 2 * HOUR;
        assert!(matches!(machine.mint(), Err(Verdict::ClockAhead { .. })), "from now on it is held to the right time");
    }
}

#[test]
fn a_start_with_a_clock_that_is_behind_waits_for_it() {
    for step in [5 * SECOND, YEAR] {
        let mut machine = Machine::running();
        machine.off_ms = -step;
        machine.restart();
        assert!(matches!(machine.mint(), Err(Verdict::ClockRegressed { .. })));
        machine.off_ms = 0;
        machine.passed_ms += 1_000;
        machine.goes_on();
    }
}

#[test]
fn a_start_after_months_is_believed_with_nobody_to_ask() {
    let mut machine = Machine::running();
    machine.passed_ms += (YEAR / 2).unsigned_abs();
    machine.restart();
    machine.goes_on();
}

#[test]
fn a_peer_whose_clock_is_believed_ends_a_refusal_of_a_clock_that_is_right() {
    let mut machine = Machine::running();
    machine.passed_ms += (3 * YEAR).unsigned_abs();
    machine.restart();
    assert!(matches!(machine.mint(), Err(Verdict::ClockAhead { .. })), "three years after its last ceiling, alone");
    let now = machine.now();
    assert!(!machine.generator.believes(now));
    machine.generator.hear_clock(now, now.wall_ms - 40);
    assert!(machine.generator.believes(now));
    machine.goes_on();
}

#[test]
fn restarts_within_one_millisecond_repeat_nothing() {
    let mut machine = Machine::running();
    for _ in 0..50 {
        machine.restart();
        machine.passed_ms += 600;
        let id = machine.mint().unwrap();
        assert!(id > machine.last);
        machine.last = id;
        machine.restart();
        // The clock stands, as far as the disk knows: everything up to the ceiling may have been issued.
        if let Ok(id) = machine.mint() {
            assert!(id > machine.last);
            machine.last = id;
        }
    }
}

#[test]
fn one_clock_that_lies_moves_no_bound_where_two_others_are_known() {
    let layout = Layout::new(1_000, Bits { time: 41, region: 5, node: 5, sequence: 12 }).unwrap();
    let latest = |clocks: &[u64]| ceiling_max(layout, clocks.into(), 7) + 1_000 - 7;
    assert_eq!(latest(&[u64::MAX, 5_000, 4_990]), 5_000);
    assert_eq!(latest(&[4_990, u64::MAX, 0, 5_000]), 5_000);
    // Ours may be the one that is wrong: then the other's counts.
    assert_eq!(latest(&[4_010, 5_000]), 5_000);
    assert_eq!(latest(&[5_000]), 5_000);
    assert_eq!(ceiling_max(layout, Vec::new(), 7), 0);
    assert_eq!(ceiling_max(layout, vec![u64::MAX], 7), layout.timestamp_ms_max());
}
