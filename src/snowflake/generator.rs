//! The generator: told the time, it allocates whole ranges of IDs, or says what it is waiting for.
//!
//! # Laws
//! - **Order.** IDs strictly increase, whatever the clock does. After a start they begin above the last durable
//!   ceiling, so they strictly increase over restarts as well.
//! - **I10.** No ID carries a timestamp above the durable ceiling. A ceiling is asked for at most `max_backstep`
//!   ahead of the clock, so that restarts, each of which begins above the last ceiling, cannot creep ahead.
//!   The one exception is the floor of a claim, above which every ID lies anyway: it is asked for as it is.
//! - **No borrowing.** Where the clock keeps up, an ID's timestamp lies between the arrival of its request and now. A
//!   request that had to wait may use the milliseconds that have passed meanwhile, so a coarse timer loses none.
//! - **Logical time.** Where the clock stands behind the last timestamp (it stepped back, or a restart began above it),
//!   IDs go on from the last timestamp as long as it is at most `max_backstep` ahead. A new millisecond is begun ahead
//!   of the clock only once monotonic time has moved on, so that the lead does not grow while the clock runs, and
//!   shrinks at any load below the highest. Further back, IDs are refused until the clock has caught up.
//! - **Clocks that leap ahead** are refused as [`super::trust`] judges. Nothing is asked for on their behalf.
//!
//! Gates close for good: unclaimed, open, draining, fenced, in this order only.

use crate::identity::WorkerId;

use super::layout::Layout;
use super::trust::{Moment, Reading, Trust};

/// A shorter backstep would let the ceiling lead by less than a slow sync takes.
const BACKSTEP_MS_MIN: u64 = 10;

/// How far clocks may stray, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far behind the last timestamp the clock may be; also the furthest that a ceiling leads it. At least 10.
    pub max_backstep_ms: u64,
    /// A clock further than this ahead of what is expected is not believed.
    pub max_leap_ms: u64,
    /// At a start that no peer's clock can settle, one further than this past every ceiling is not believed.
    pub max_absence_ms: u64,
    /// How long, after a start, peers have to contradict a clock that is far past all that they told.
    pub probation_ms: u64,
}

/// Why there is no generator for these arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The worker's numbers need more bits than the layout gives them.
    #[error("the ID layout ({layout}) has no room for the worker id {worker}")]
    Worker {
        /// Whose.
        worker: WorkerId,
        /// In which.
        layout: Layout,
    },
    /// The ceiling could not lead.
    #[error("ids.max_backstep is at least {BACKSTEP_MS_MIN} ms, this one {0} ms")]
    Backstep(u64),
}

/// Consecutive IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// How many, at least one.
    pub count: u32,
}

/// How an allocation ended. Whatever it says, the runs that were appended are issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was asked for is issued.
    Done,
    /// This millisecond is used up: ask again after so many.
    Wait {
        /// Milliseconds.
        ms: u64,
    },
    /// The next ID lies above the durable ceiling: persist [`Generator::ceiling_due`], raise it, ask again.
    NeedsCeiling,
    /// The clock stands further behind the last timestamp than `max_backstep`; it recovers by itself.
    ClockRegressed {
        /// Behind by this much, in milliseconds.
        behind_ms: u64,
    },
    /// The clock claims to be later than is believable.
    ClockAhead {
        /// Ahead of the expectation by this much, in milliseconds.
        ahead_ms: u64,
    },
    /// The clock stands past the last timestamp that the layout can hold.
    TimeExhausted,
    /// Somebody else had this worker id: IDs begin once the clock has passed theirs and the quarantine after them.
    Quarantined {
        /// Left of it, in milliseconds.
        left_ms: u64,
    },
    /// No IDs before the claim.
    Unclaimed,
    /// No more IDs: the node shuts down.
    Draining,
    /// No more IDs: the node has stopped itself.
    Fenced,
}

/// Allocates the IDs of one worker.
#[derive(Clone, Debug)]
pub struct Generator {
    layout: Layout,
    worker: WorkerId,
    max_backstep: i64,
    trust: Trust,
    gate: Gate,
    /// The highest timestamp that may be issued.
    ceiling: i64,
    last: Position,
    /// Monotonic time when the last timestamp was first used.
    entered_mono: u64,
    /// Timestamps are kept clear of somebody else's.
    quarantine: Option<Quarantine>,
}

/// What peers told of somebody else's IDs under this worker id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quarantine {
    /// Up to here, timestamps are kept clear.
    upto: i64,
    /// Our own last timestamp before that.
    before: i64,
}

/// The timestamp that was used last, and how many of its IDs are used.
#[derive(Clone, Copy, Debug)]
struct Position {
    timestamp: i64,
    used: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    Unclaimed,
    Open,
    Draining,
    Fenced,
}

impl Generator {
    /// A generator that issues nothing until [`Self::claim`]; `ceiling` is the last durable one, 0 if there was none.
    /// Ceilings are in milliseconds since the layout's epoch.
    pub fn new(layout: Layout, worker: WorkerId, limits: Limits, ceiling: u64) -> Result<Self, Misfit> {
        if !layout.admits(worker) {
            return Err(Misfit::Worker { worker, layout });
        }
        if limits.max_backstep_ms < BACKSTEP_MS_MIN {
            return Err(Misfit::Backstep(limits.max_backstep_ms));
        }
        let ceiling = signed(ceiling);
        Ok(Self {
            layout,
            worker,
            max_backstep: signed(limits.max_backstep_ms),
            trust: Trust::new(limits.max_leap_ms, limits.max_absence_ms, limits.probation_ms),
            gate: Gate::Unclaimed,
            ceiling,
            last: Position { timestamp: ceiling, used: layout.ids_per_ms() },
            entered_mono: 0,
            quarantine: None,
        })
    }

    /// The split of the IDs.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The worker id is ours: IDs begin above `ceiling` and our own last one. Does nothing once drained or fenced.
    pub fn claim(&mut self, now: Reading, ceiling: u64) {
        let floor = signed(ceiling);
        if floor > self.last.timestamp {
            self.last = Position { timestamp: floor, used: self.layout.ids_per_ms() };
        }
        self.trust.begin(self.moment(now), self.last.timestamp);
        self.gate = self.gate.max(Gate::Open);
    }

    /// [`Self::claim`], where the ceiling is above what somebody else had under this worker id. It may come after a
    /// claim, too, and is kept then.
    pub fn claim_quarantined(&mut self, now: Reading, ceiling: u64) {
        let (upto, last) = (signed(ceiling), self.last.timestamp);
        if upto > last {
            // Nothing was issued since an earlier one that still lasts.
            let before = self.quarantine.filter(|held| held.upto == last).map_or(last, |held| held.before);
            self.quarantine = Some(Quarantine { upto, before });
        }
        self.claim(now, ceiling);
    }

    /// A quarantine that an earlier start began above `before` still lasts: its end is the last ceiling. To be told before
    /// the claim.
    pub fn resume_quarantine(&mut self, before: u64) {
        let (upto, before) = (self.last.timestamp, signed(before));
        if before < upto {
            self.quarantine = Some(Quarantine { upto, before });
        }
    }

    /// What peers told is taken back, on an operator's word: IDs begin above our own last one again. The ceiling that is
    /// then to be persisted before anything else; `None` if no quarantine lasts.
    pub fn forget_quarantine(&mut self) -> Option<u64> {
        let Quarantine { upto, before } = self.quarantine?;
        self.quarantine = None;
        if upto != self.last.timestamp {
            return None;
        }
        self.last = Position { timestamp: before, used: self.layout.ids_per_ms() };
        self.ceiling = before;
        u64::try_from(before).ok()
    }

    /// Our own last timestamp before the quarantine that lasts up to this ceiling; `None` if none does.
    pub fn before_quarantine(&self, ceiling: u64) -> Option<u64> {
        let held = self.quarantine.filter(|held| held.upto == self.last.timestamp && held.upto == signed(ceiling))?;
        u64::try_from(held.before).ok()
    }

    /// What was told of peers' ceilings is no evidence any more.
    pub fn forget_witnesses(&mut self) {
        self.trust.forget_told();
    }

    /// A peer's ceiling: evidence of where its clock stands. Ceilings of our own worker id are ignored here; they
    /// matter in [`Self::claim`].
    pub fn witness(&mut self, now: Reading, peer: WorkerId, ceiling: u64) {
        if peer != self.worker {
            self.trust.witness(self.moment(now), peer, signed(ceiling));
        }
    }

    /// A living peer's clock says `unix_ms` now, and that peer believes it.
    pub fn hear_clock(&mut self, now: Reading, unix_ms: u64) {
        self.trust.hear(self.moment(now), self.timestamp(unix_ms));
    }

    /// Whether this clock can be held against others: IDs are claimed, and it is neither ahead nor behind too far.
    pub fn believes(&mut self, now: Reading) -> bool {
        let at = self.moment(now);
        self.trust.settle(at, self.max_backstep);
        self.trust.believes(at) && self.last.timestamp.saturating_sub(at.wall) <= self.max_backstep
    }

    /// An operator says that the clock is right.
    pub fn confirm_clock(&mut self, now: Reading) {
        self.trust.confirm(self.moment(now));
    }

    /// No more IDs: the node shuts down.
    pub fn drain(&mut self) {
        self.gate = self.gate.max(Gate::Draining);
    }

    /// No more IDs, for good.
    pub fn fence(&mut self) {
        self.gate = Gate::Fenced;
    }

    /// Appends up to `count` IDs to `runs`, ascending, as many as can be issued at once. `since_unix_ms` is when the
    /// request arrived: no ID of it carries an earlier timestamp.
    pub fn allocate(&mut self, now: Reading, since_unix_ms: u64, count: u32, runs: &mut Vec<Run>) -> Verdict {
        let at = self.moment(now);
        self.trust.settle(at, self.max_backstep);
        let since = self.timestamp(since_unix_ms).min(at.wall);
        let mut left = count;
        while left > 0 {
            match self.obstacle(at).map_or_else(|| self.issue(at, since, left), Err) {
                Ok(run) => {
                    left -= run.count;
                    runs.push(run);
                }
                Err(verdict) => return verdict,
            }
        }
        Verdict::Done
    }

    /// The ceiling to persist now, if less than half of the lead is left and enough is gained, or if nothing can be
    /// issued without it.
    pub fn ceiling_due(&self, now: Reading) -> Option<u64> {
        let at = self.moment(now);
        let target = self.ceiling_target(at)?;
        let left = self.ceiling.saturating_sub(self.front(at));
        let gain = target.saturating_sub(self.ceiling);
        let due = left < 1 || left < self.lead() / 2 && gain >= self.lead() / 4;
        if due { u64::try_from(target).ok() } else { None }
    }

    /// The highest ceiling that may be persisted now, if it is higher than the present one.
    pub fn ceiling_possible(&self, now: Reading) -> Option<u64> {
        u64::try_from(self.ceiling_target(self.moment(now))?).ok()
    }

    /// The highest timestamp that may be issued.
    pub fn ceiling(&self) -> u64 {
        u64::try_from(self.ceiling).unwrap_or(0)
    }

    /// This ceiling is durable.
    pub fn raise_ceiling(&mut self, ceiling: u64) {
        self.ceiling = self.ceiling.max(signed(ceiling));
    }

    /// The run that comes next, of at most `count` IDs, all of one millisecond.
    fn issue(&mut self, at: Moment, since: i64, count: u32) -> Result<Run, Verdict> {
        let next = self.next(at, since)?;
        let timestamp = u64::try_from(next.timestamp).map_err(|_| Verdict::TimeExhausted)?;
        let first = self.layout.compose(timestamp, self.worker, next.used).ok_or(Verdict::TimeExhausted)?;
        if next.timestamp > self.ceiling {
            return Err(Verdict::NeedsCeiling);
        }
        let count = count.min(self.layout.ids_per_ms() - next.used);
        if next.timestamp > self.last.timestamp {
            self.entered_mono = at.mono;
        }
        self.last = Position { timestamp: next.timestamp, used: next.used + count };
        Ok(Run { first, count })
    }

    /// The first position that is free and in order: at `since` or later, and not ahead of time.
    fn next(&self, at: Moment, since: i64) -> Result<Position, Verdict> {
        if since > self.last.timestamp {
            return Ok(Position { timestamp: since, used: 0 });
        }
        if self.last.used < self.layout.ids_per_ms() {
            return Ok(self.last);
        }
        let timestamp = self.last.timestamp.checked_add(1).ok_or(Verdict::TimeExhausted)?;
        let begins_logically = at.mono > self.entered_mono && timestamp <= at.wall.saturating_add(self.max_backstep);
        if timestamp <= at.wall || begins_logically {
            Ok(Position { timestamp, used: 0 })
        } else {
            Err(Verdict::Wait { ms: 1 })
        }
    }

    /// Why nothing at all can be issued now.
    fn obstacle(&self, at: Moment) -> Option<Verdict> {
        match self.gate {
            Gate::Unclaimed => return Some(Verdict::Unclaimed),
            Gate::Draining => return Some(Verdict::Draining),
            Gate::Fenced => return Some(Verdict::Fenced),
            Gate::Open => {}
        }
        let behind = self.last.timestamp.saturating_sub(at.wall);
        if behind > 0
            && self.quarantine.is_some_and(|held| held.upto == self.last.timestamp)
            && let Ok(left_ms) = u64::try_from(behind)
        {
            return Some(Verdict::Quarantined { left_ms });
        }
        if behind > self.max_backstep {
            return u64::try_from(behind).ok().map(|behind_ms| Verdict::ClockRegressed { behind_ms });
        }
        self.trust.ahead_ms(at).map(|ahead_ms| Verdict::ClockAhead { ahead_ms })
    }

    /// The lead is half of what may be lost to a step back, so that after a restart the other half is left.
    fn lead(&self) -> i64 {
        self.max_backstep / 2
    }

    /// Where the next ID is likely to be.
    fn front(&self, at: Moment) -> i64 {
        self.last.timestamp.max(at.wall)
    }

    fn ceiling_target(&self, at: Moment) -> Option<i64> {
        // What peers told in the claim is made durable at once, whatever the clock says: they may have forgotten it at
        // the next start, and a disk that was lost must not make us forget it twice. It lets no ID be issued.
        if self.last.timestamp > self.ceiling {
            return Some(self.last.timestamp);
        }
        if self.obstacle(at).is_some() {
            return None;
        }
        let target = self.front(at).saturating_add(self.lead());
        let bound = at.wall.saturating_add(self.max_backstep).min(signed(self.layout.timestamp_ms_max()));
        Some(target.min(bound)).filter(|target| *target > self.ceiling)
    }

    fn moment(&self, now: Reading) -> Moment {
        Moment { wall: self.timestamp(now.wall_ms), mono: now.mono_ms }
    }

    /// Unix time on the IDs' time line; negative before the epoch.
    fn timestamp(&self, unix_ms: u64) -> i64 {
        signed(unix_ms).saturating_sub(signed(self.layout.epoch_ms()))
    }
}

/// Times beyond 292 million years are as good as that.
fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snowflake::layout::Bits;

    const EPOCH_MS: u64 = 1_735_689_600_000;
    const START_MS: u64 = 50_000_000;
    const LIMITS: Limits =
        Limits { max_backstep_ms: 1_000, max_leap_ms: 60_000, max_absence_ms: 86_400_000, probation_ms: 3_000 };

    fn worker() -> WorkerId {
        WorkerId::new(1, 2).unwrap()
    }

    fn layout() -> Layout {
        Layout::new(EPOCH_MS, Bits { time: 41, region: 5, node: 5, sequence: 12 }).unwrap()
    }

    /// So many milliseconds after the start by both clocks, the wall stepped by `step`.
    fn at(ms: u64, step: i64) -> Reading {
        Reading { wall_ms: (EPOCH_MS + START_MS + ms).saturating_add_signed(step), mono_ms: ms }
    }

    #[test]
    fn what_peers_told_in_the_claim_is_made_durable_even_if_the_clock_stands_behind_it() {
        let told = START_MS + 3_600_000;
        let mut generator = Generator::new(layout(), worker(), LIMITS, 0).unwrap();
        generator.claim(at(0, 0), told);
        assert_eq!(generator.ceiling_possible(at(0, 0)), Some(told));
        assert_eq!(generator.ceiling_due(at(0, 0)), Some(told));
        generator.raise_ceiling(told);
        assert_eq!(generator.ceiling_due(at(0, 0)), None);
        let verdict = generator.allocate(at(0, 0), at(0, 0).wall_ms, 1, &mut Vec::new());
        assert_eq!(verdict, Verdict::ClockRegressed { behind_ms: 3_600_000 });
    }

    #[test]
    fn a_quarantine_is_taken_back_until_something_was_issued_above_it() {
        let told = START_MS + 3_600_000;
        let mut generator = claimed(0);
        generator.raise_ceiling(START_MS + 500);
        let (ids, _) = mint(&mut generator, at(0, 0), 1);
        for upto in [told, 2 * told] {
            generator.claim_quarantined(at(1, 0), upto);
            generator.raise_ceiling(upto);
        }
        assert_eq!(generator.before_quarantine(2 * told), Some(START_MS));
        assert_eq!(generator.before_quarantine(told), None);
        // The next start knows of it by what was written down.
        let mut next = Generator::new(layout(), worker(), LIMITS, 2 * told).unwrap();
        next.resume_quarantine(START_MS);
        next.claim(at(0, 0), 0);
        for mut generator in [generator.clone(), next] {
            assert!(matches!(mint(&mut generator, at(1, 0), 1).1, Verdict::Quarantined { .. }));
            assert_eq!(generator.forget_quarantine(), Some(START_MS));
            assert_eq!(generator.forget_quarantine(), None);
            assert_eq!(mint(&mut generator, at(1, 0), 1), (vec![], Verdict::NeedsCeiling), "I10");
            generator.raise_ceiling(START_MS + 600);
            let (later, verdict) = mint(&mut generator, at(1, 0), 1);
            assert_eq!(verdict, Verdict::Done);
            assert!(later > ids);
        }
        // Once IDs are issued above it, they stay.
        let after = at(2 * told - START_MS + 10, 0);
        generator.confirm_clock(after);
        generator.raise_ceiling(2 * told + 500);
        assert_eq!(mint(&mut generator, after, 1).1, Verdict::Done);
        assert_eq!((generator.before_quarantine(2 * told), generator.forget_quarantine()), (None, None));
    }

    fn claimed(ceiling: u64) -> Generator {
        let mut generator = Generator::new(layout(), worker(), LIMITS, ceiling).unwrap();
        generator.claim(at(0, 0), 0);
        generator
    }

    /// Claimed, and with a durable ceiling far ahead.
    fn ready() -> Generator {
        let mut generator = claimed(0);
        generator.raise_ceiling(START_MS * 2);
        generator
    }

    fn mint(generator: &mut Generator, now: Reading, count: u32) -> (Vec<u64>, Verdict) {
        let mut runs = Vec::new();
        let verdict = generator.allocate(now, now.wall_ms, count, &mut runs);
        (runs.iter().flat_map(|run| (0..u64::from(run.count)).map(|offset| run.first + offset)).collect(), verdict)
    }

    fn timestamp(id: u64) -> u64 {
        layout().decode(id).unwrap().timestamp_ms
    }

    #[test]
    fn nothing_is_issued_before_the_claim_and_before_a_ceiling() {
        let mut generator = Generator::new(layout(), worker(), LIMITS, 0).unwrap();
        assert_eq!(mint(&mut generator, at(0, 0), 1), (vec![], Verdict::Unclaimed));
        assert_eq!(generator.ceiling_possible(at(0, 0)), None);
        generator.claim(at(0, 0), 0);
        assert_eq!(mint(&mut generator, at(0, 0), 1), (vec![], Verdict::NeedsCeiling));
        let ceiling = generator.ceiling_due(at(0, 0)).unwrap();
        assert_eq!(ceiling, START_MS + 500);
        generator.raise_ceiling(ceiling);
        assert_eq!(generator.ceiling_due(at(0, 0)), None);
        let (ids, verdict) = mint(&mut generator, at(0, 0), 2);
        assert_eq!(verdict, Verdict::Done);
        assert_eq!(ids, [0, 1].map(|sequence| layout().compose(START_MS, worker(), sequence).unwrap()));
    }

    #[test]
    fn a_used_up_millisecond_waits_and_a_waiting_request_uses_those_that_passed() {
        let mut generator = ready();
        let mut runs = Vec::new();
        let since = at(0, 0).wall_ms;
        assert_eq!(generator.allocate(at(0, 0), since, 10_000, &mut runs), Verdict::Wait { ms: 1 });
        assert_eq!(runs.len(), 1);
        assert_eq!(generator.allocate(at(3, 0), since, 10_000 - 4_096, &mut runs), Verdict::Done);
        assert_eq!(runs.iter().map(|run| run.count).collect::<Vec<_>>(), [4_096, 4_096, 1_808]);
        assert_eq!(runs.iter().map(|run| timestamp(run.first) - START_MS).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_new_request_uses_no_millisecond_from_before_it_came() {
        let mut generator = ready();
        assert_eq!(mint(&mut generator, at(0, 0), 4_096).1, Verdict::Done);
        let (ids, _) = mint(&mut generator, at(9, 0), 1);
        assert_eq!(timestamp(ids[0]), START_MS + 9);
    }

    #[test]
    fn a_small_step_back_goes_on_in_logical_time_at_the_pace_of_monotonic_time() {
        let mut generator = ready();
        let (before, _) = mint(&mut generator, at(0, 0), 1);
        let (after, verdict) = mint(&mut generator, at(0, -1_000), 4_096);
        assert_eq!((after.len(), verdict), (4_095, Verdict::Wait { ms: 1 }));
        assert!(before[0] < after[0]);
        let (next, verdict) = mint(&mut generator, at(1, -1_000), 5_000);
        assert_eq!((next.len(), verdict), (4_096, Verdict::Wait { ms: 1 }));
        assert_eq!(timestamp(next[0]), START_MS + 1);
        assert_eq!(mint(&mut generator, at(1_500, -1_000), 1).1, Verdict::Done);
    }

    #[test]
    fn a_large_step_back_is_refused_and_recovers_by_itself() {
        let mut generator = ready();
        let (before, _) = mint(&mut generator, at(0, 0), 1);
        let refused = mint(&mut generator, at(5, -5_000), 1);
        assert_eq!(refused, (vec![], Verdict::ClockRegressed { behind_ms: 4_995 }));
        assert_eq!(generator.ceiling_possible(at(5, -5_000)), None);
        let (after, verdict) = mint(&mut generator, at(4_000, -5_000), 1);
        assert_eq!(verdict, Verdict::Done);
        assert!(after[0] > before[0]);
    }

    #[test]
    fn a_restart_begins_above_the_last_ceiling_and_above_what_peers_saw() {
        let mut generator = claimed(START_MS + 500);
        assert_eq!(mint(&mut generator, at(0, 0), 1).1, Verdict::Wait { ms: 1 });
        assert_eq!(mint(&mut generator, at(1, 0), 1).1, Verdict::NeedsCeiling);
        generator.raise_ceiling(generator.ceiling_due(at(1, 0)).unwrap());
        let (ids, _) = mint(&mut generator, at(1, 0), 1);
        assert_eq!(timestamp(ids[0]), START_MS + 501);

        let mut generator = Generator::new(layout(), worker(), LIMITS, START_MS).unwrap();
        generator.claim(at(0, 0), START_MS + 700);
        generator.raise_ceiling(START_MS * 2);
        let (ids, _) = mint(&mut generator, at(1, 0), 1);
        assert_eq!(timestamp(ids[0]), START_MS + 701);
    }

    #[test]
    fn restarts_in_quick_succession_do_not_creep_ahead() {
        let mut durable = 0;
        for restart in 0..100 {
            let mut generator = Generator::new(layout(), worker(), LIMITS, durable).unwrap();
            generator.claim(at(restart, 0), 0);
            if let Some(ceiling) = generator.ceiling_possible(at(restart, 0)) {
                durable = ceiling;
                generator.raise_ceiling(ceiling);
            }
            let (_, verdict) = mint(&mut generator, at(restart, 0), 4_096);
            assert!(matches!(verdict, Verdict::Done | Verdict::Wait { .. }), "{verdict:?}");
            assert!(durable <= START_MS + restart + LIMITS.max_backstep_ms);
        }
    }

    #[test]
    fn a_leaping_clock_gets_neither_ids_nor_a_ceiling_until_a_peer_or_an_operator_confirms() {
        for by_peer in [true, false] {
            let mut generator = ready();
            let leapt = at(10, 3_600_000);
            assert_eq!(mint(&mut generator, leapt, 1).1, Verdict::ClockAhead { ahead_ms: 3_600_000 });
            assert_eq!(generator.ceiling_possible(leapt), None);
            assert_eq!(mint(&mut generator, at(11, 0), 1).1, Verdict::Done);
            if by_peer {
                generator.witness(leapt, worker(), START_MS + 3_600_000);
                assert!(matches!(mint(&mut generator, leapt, 1).1, Verdict::ClockAhead { .. }));
                generator.witness(leapt, WorkerId::new(2, 0).unwrap(), START_MS + 3_600_000);
            } else {
                generator.confirm_clock(leapt);
            }
            assert_eq!(mint(&mut generator, leapt, 1).1, Verdict::Done);
        }
    }

    #[test]
    fn the_last_timestamp_of_the_layout_is_issued_and_nothing_after_it() {
        let last = layout().timestamp_ms_max();
        let end = Reading { wall_ms: layout().exhausted_unix_ms(), mono_ms: 0 };
        let mut generator = Generator::new(layout(), worker(), LIMITS, 0).unwrap();
        generator.claim(end, 0);
        assert_eq!(generator.ceiling_due(end), Some(last));
        generator.raise_ceiling(u64::MAX);
        let (ids, verdict) = mint(&mut generator, end, 1);
        assert_eq!((timestamp(ids[0]), verdict), (last, Verdict::Done));
        let after = Reading { wall_ms: end.wall_ms + 1, mono_ms: 1 };
        assert_eq!(mint(&mut generator, after, 1), (vec![], Verdict::TimeExhausted));
    }

    #[test]
    fn a_clock_from_before_the_epoch_is_behind() {
        let mut generator = Generator::new(layout(), worker(), LIMITS, 0).unwrap();
        let now = Reading { wall_ms: 0, mono_ms: 0 };
        generator.claim(now, 0);
        assert_eq!(mint(&mut generator, now, 1).1, Verdict::ClockRegressed { behind_ms: EPOCH_MS });
    }

    #[test]
    fn a_quarantine_is_waited_for_to_its_end_and_survives_a_restart() {
        let theirs = START_MS + 10_000;
        let mut generator = Generator::new(layout(), worker(), LIMITS, 0).unwrap();
        generator.claim_quarantined(at(0, 0), theirs);
        let durable = generator.ceiling_due(at(0, 0)).unwrap();
        assert_eq!(durable, theirs);
        generator.raise_ceiling(durable);
        assert_eq!(mint(&mut generator, at(0, 0), 1).1, Verdict::Quarantined { left_ms: 10_000 });
        // No IDs ahead of time, not even by the backstep.
        assert_eq!(mint(&mut generator, at(9_999, 0), 1).1, Verdict::Quarantined { left_ms: 1 });
        assert_eq!(mint(&mut generator, at(10_001, 0), 1).1, Verdict::NeedsCeiling);
        let mut again = Generator::new(layout(), worker(), LIMITS, durable).unwrap();
        again.claim(at(20, 0), theirs - 500);
        assert!(matches!(mint(&mut again, at(20, 0), 1).1, Verdict::ClockRegressed { .. }));
        generator.raise_ceiling(START_MS * 2);
        let (ids, _) = mint(&mut generator, at(10_001, 0), 1);
        assert_eq!(timestamp(ids[0]), theirs + 1);
        assert_eq!(mint(&mut generator, at(9_700, 0), 1).1, Verdict::Done, "from then on it is as any other");
    }

    #[test]
    fn a_quarantine_that_comes_late_lifts_ids_over_it() {
        let mut generator = ready();
        let (before, _) = mint(&mut generator, at(0, 0), 1);
        generator.claim_quarantined(at(1, 0), START_MS + 3_000);
        assert_eq!(mint(&mut generator, at(1, 0), 1).1, Verdict::Quarantined { left_ms: 2_999 });
        let (after, _) = mint(&mut generator, at(3_001, 0), 1);
        assert!(after[0] > before[0] && timestamp(after[0]) > START_MS + 3_000);
        // One that lies below our own IDs changes nothing.
        generator.claim_quarantined(at(3_002, 0), START_MS + 2_000);
        assert_eq!(mint(&mut generator, at(3_002, 0), 1).1, Verdict::Done);
    }

    #[test]
    fn gates_close_for_good() {
        let mut generator = ready();
        generator.drain();
        generator.claim(at(0, 0), 0);
        assert_eq!(mint(&mut generator, at(0, 0), 1).1, Verdict::Draining);
        generator.fence();
        generator.drain();
        generator.claim(at(0, 0), 0);
        assert_eq!(mint(&mut generator, at(0, 0), 1).1, Verdict::Fenced);
        assert_eq!(generator.ceiling_possible(at(0, 0)), None);
    }

    #[test]
    fn arguments_that_do_not_fit_make_no_generator() {
        let narrow = Layout::new(EPOCH_MS, Bits { time: 50, region: 0, node: 1, sequence: 12 }).unwrap();
        assert!(matches!(Generator::new(narrow, worker(), LIMITS, 0), Err(Misfit::Worker { .. })));
        let limits = Limits { max_backstep_ms: 9, ..LIMITS };
        assert!(matches!(Generator::new(layout(), worker(), limits, 0), Err(Misfit::Backstep(9))));
    }

    #[test]
    fn absurd_ceilings_get_a_verdict() {
        let mut generator = Generator::new(layout(), worker(), LIMITS, u64::MAX).unwrap();
        generator.claim(at(0, 0), u64::MAX);
        generator.witness(at(0, 0), WorkerId::new(0, 0).unwrap(), u64::MAX);
        assert!(matches!(mint(&mut generator, at(0, 0), 1).1, Verdict::ClockRegressed { .. }));
        let eternity = Reading { wall_ms: u64::MAX, mono_ms: u64::MAX };
        assert!(mint(&mut generator, eternity, 1).0.is_empty());
    }
}
