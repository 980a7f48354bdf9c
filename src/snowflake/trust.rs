//! Whether to believe the wall clock when it claims that it is later than expected.
//!
//! A clock that leaps far ahead would carry the IDs along, and they can never come back: every later ID of the worker
//! has to be higher. So a reading is believed only within `max_leap` of an expectation:
//!
//! - **While running**, the expectation is the last believed reading plus the monotonic time since then. A wall clock
//!   that outruns it is refused, and believed again when it falls back, when a peer's ceiling comes near it, or when
//!   an operator confirms it.
//! - **At the start** there is no monotonic time that reaches back. The clock is believed if it is not far past our last
//!   ceiling or the highest that peers told, and in a cluster that has no ceiling yet. A clock further ahead may be
//!   wrong, or the node was switched off for a week, or the whole cluster was: old ceilings prove nothing. So the clock
//!   is on *probation* for a few seconds, if there is anybody to ask. A peer's clock, or a ceiling that moves in our
//!   sight, shows where a living peer stands; if all of them are far behind ours, ours is ahead. If none shows, nobody
//!   contradicts, and the clock is believed as long as it is at most `max_absence` past the highest ceiling: so no start
//!   burns years of the epoch on its own word.
//!
//! Only clocks that their own node believes count. Else all clocks that leap together, as under one bad time server,
//! would confirm each other.
//!
//! A clock that is behind is none of this module's concern: IDs never follow it back.

use std::collections::BTreeMap;

use crate::identity::WorkerId;

use super::layout::Layout;

/// The highest ceiling that any node can have by now, in milliseconds since the layout's epoch: `max_leap_ms` beyond the
/// clocks that are known, which are given in Unix time, and no more than an ID can carry. Where three or more are known,
/// our own among them, the latest does not count, so that a peer that lies about its clock cannot raise this.
pub fn ceiling_max(layout: Layout, mut clocks_ms: Vec<u64>, max_leap_ms: u64) -> u64 {
    clocks_ms.sort_unstable_by(|one, other| other.cmp(one));
    let liars = usize::from(clocks_ms.len() > 2);
    let latest = clocks_ms.get(liars).copied().unwrap_or(0);
    let ceiling = latest.saturating_add(max_leap_ms).saturating_sub(layout.epoch_ms());
    ceiling.min(layout.timestamp_ms_max())
}

/// What both clocks of the machine say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds of Unix time; may jump either way.
    pub wall_ms: u64,
    /// Milliseconds since any fixed moment of this boot; never jumps.
    pub mono_ms: u64,
}

/// A reading with the wall clock on the IDs' time line, where a moment before their epoch is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) wall: i64,
    pub(super) mono: u64,
}

/// What is believed of the wall clock, and why.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    max_leap: i64,
    max_absence: i64,
    probation_ms: u64,
    /// The highest ceiling that was told of each peer: at most one per worker id.
    told: BTreeMap<WorkerId, i64>,
    /// Where the clock of the living peer that is furthest ahead stood, and when.
    live: Option<Moment>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Before the claim.
    Unjudged,
    /// At `since` it was far past every ceiling, or far before our own. From `until` on, of monotonic time, a reading
    /// from `floor` to `max_absence` past `known` is believed.
    Probation { since: Moment, until: u64, known: i64, floor: i64 },
    /// At this monotonic time it was this late.
    Anchored(Moment),
}

impl Trust {
    pub(super) fn new(max_leap_ms: u64, max_absence_ms: u64, probation_ms: u64) -> Self {
        Self {
            max_leap: i64::try_from(max_leap_ms).unwrap_or(i64::MAX),
            max_absence: i64::try_from(max_absence_ms).unwrap_or(i64::MAX),
            probation_ms,
            told: BTreeMap::new(),
            live: None,
            standing: Standing::Unjudged,
        }
    }

    /// Judges the clock once, when IDs are claimed; `floor` is our own last ceiling, 0 if there was none.
    pub(super) fn begin(&mut self, at: Moment, floor: i64) {
        if self.standing != Standing::Unjudged {
            return;
        }
        let known = self.latest_told().max(floor);
        let probation =
            |wait_ms, known| Standing::Probation { since: at, until: at.mono.saturating_add(wait_ms), known, floor };
        self.standing = match self.live.map(|live| latest(live, at)) {
            Some(theirs) if at.wall > theirs.saturating_add(self.max_leap) => {
                Standing::Anchored(Moment { wall: theirs, ..at })
            }
            Some(theirs) => Standing::Anchored(Moment { wall: theirs.max(at.wall), ..at }),
            // It is certainly wrong. Once it comes right it will seem to leap, and must not be taken for a leap.
            None if known <= 0 && at.wall < 0 => probation(0, i64::MAX),
            None if at.wall < floor.saturating_sub(self.max_leap) => probation(0, floor),
            None if known <= 0 || at.wall <= known.saturating_add(self.max_leap) => Standing::Anchored(at),
            None if self.told.is_empty() => probation(0, known),
            None => probation(self.probation_ms, known),
        };
    }

    /// A reading that is believed after its probation is what the next ones are held to, also if it is `backstep` behind
    /// our own last ceiling: IDs are issued by it, so one that leaps from there must not pass for one that comes right.
    pub(super) fn settle(&mut self, at: Moment, backstep: i64) {
        if let Standing::Probation { until, floor, .. } = self.standing
            && at.mono >= until
            && at.wall >= floor.saturating_sub(backstep)
            && self.ahead_ms(at).is_none()
        {
            self.standing = Standing::Anchored(at);
        }
    }

    /// How far the clock is ahead of what is believable, in milliseconds; `None` if it is believed.
    pub(super) fn ahead_ms(&self, at: Moment) -> Option<u64> {
        let (expected, slack) = match self.standing {
            Standing::Unjudged => return None,
            Standing::Anchored(anchor) => (latest(anchor, at), self.max_leap),
            Standing::Probation { until, known, .. } if at.mono < until => (known, self.max_leap),
            Standing::Probation { since, known, .. } => {
                (latest(Moment { wall: known, ..since }, at), self.max_absence.max(self.max_leap))
            }
        };
        let ahead = at.wall.saturating_sub(expected);
        if ahead > slack { u64::try_from(ahead).ok() } else { None }
    }

    /// Whether a node says to others that its clock is right.
    pub(super) fn believes(&self, at: Moment) -> bool {
        matches!(self.standing, Standing::Anchored(_)) && self.ahead_ms(at).is_none()
    }

    /// A peer's durable ceiling, as it tells it or as others tell it of that peer.
    pub(super) fn witness(&mut self, at: Moment, peer: WorkerId, ceiling: i64) {
        let before = self.told.insert(peer, ceiling).unwrap_or(ceiling);
        if before > ceiling {
            self.told.insert(peer, before);
        } else if before < ceiling {
            self.lives(at, ceiling);
        }
        self.compare(at, ceiling);
    }

    /// A living peer's clock, which that peer believes, stands here now.
    pub(super) fn hear(&mut self, at: Moment, wall: i64) {
        self.lives(at, wall);
        self.compare(at, wall);
    }

    fn lives(&mut self, at: Moment, wall: i64) {
        if self.live.is_none_or(|live| latest(live, at) < wall) {
            self.live = Some(Moment { wall, mono: at.mono });
        }
    }

    /// A time near ours confirms it. One that lives and is far behind ends a probation.
    fn compare(&mut self, at: Moment, wall: i64) {
        let near = at.wall.saturating_sub(wall).checked_abs().is_some_and(|apart| apart <= self.max_leap);
        match (self.standing, self.live) {
            (Standing::Unjudged, _) => {}
            _ if near => self.standing = Standing::Anchored(at),
            (Standing::Probation { .. }, Some(live)) => self.standing = Standing::Anchored(live),
            _ => {}
        }
    }

    /// An operator says that the clock is right.
    pub(super) fn confirm(&mut self, at: Moment) {
        if self.standing != Standing::Unjudged {
            self.standing = Standing::Anchored(at);
        }
    }

    /// Ceilings that were told so far are no evidence any more.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }

    fn latest_told(&self) -> i64 {
        self.told.values().copied().max().unwrap_or(i64::MIN)
    }
}

/// What a clock that stood at `anchor` shows now.
fn latest(anchor: Moment, at: Moment) -> i64 {
    anchor.wall.saturating_add(i64::try_from(at.mono.saturating_sub(anchor.mono)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const WEEK: i64 = 7 * 24 * HOUR;
    const YEAR: i64 = 365 * 24 * HOUR;
    const BACKSTEP: i64 = 1_000;

    /// A leap of an hour and an absence of four weeks are believed.
    fn trust() -> Trust {
        Trust::new(u64::try_from(HOUR).unwrap(), u64::try_from(4 * WEEK).unwrap(), 3_000)
    }

    fn at(wall: i64, mono: u64) -> Moment {
        Moment { wall, mono }
    }

    fn peer(node: u8) -> WorkerId {
        WorkerId::new(2, node).unwrap()
    }

    #[test]
    fn a_node_that_no_peer_answers_believes_its_clock_even_after_a_week() {
        let mut trust = trust();
        trust.begin(at(WEEK, 0), 5);
        assert_eq!(trust.ahead_ms(at(WEEK, 0)), None);
    }

    #[test]
    fn a_node_that_was_off_for_a_week_is_believed_at_once_where_a_peer_is_near() {
        let mut trust = trust();
        trust.witness(at(WEEK, 0), peer(1), WEEK - 10);
        trust.begin(at(WEEK, 0), 5);
        assert_eq!(trust.ahead_ms(at(WEEK, 0)), None);
    }

    #[test]
    fn a_cluster_that_was_off_for_a_week_is_believed_after_the_probation() {
        let mut trust = trust();
        trust.witness(at(WEEK, 0), peer(1), 10);
        trust.begin(at(WEEK, 0), 5);
        assert!(trust.ahead_ms(at(WEEK + 2_999, 2_999)).is_some());
        trust.witness(at(WEEK + 2_999, 2_999), peer(1), 10);
        assert_eq!(trust.ahead_ms(at(WEEK + 3_000, 3_000)), None);
        trust.settle(at(WEEK + 3_000, 3_000), BACKSTEP);
        trust.witness(at(WEEK + 3_000, 3_000), peer(1), 20);
        assert_eq!(trust.ahead_ms(at(WEEK + 3_000, 3_000)), None);
        assert!(trust.ahead_ms(at(2 * WEEK, 3_001)).is_some());
    }

    #[test]
    fn a_start_years_ahead_is_believed_by_nobodys_word_but_a_peers_or_an_operators() {
        for alone in [true, false] {
            let mut trust = trust();
            if !alone {
                trust.witness(at(3 * YEAR, 0), peer(1), 10);
            }
            trust.begin(at(3 * YEAR, 0), 5);
            for mono in [0, 3_000, 1_000_000] {
                trust.settle(at(3 * YEAR, mono), BACKSTEP);
                assert!(trust.ahead_ms(at(3 * YEAR, mono)).is_some(), "alone: {alone}, after {mono} ms");
                assert!(!trust.believes(at(3 * YEAR, mono)));
            }
            let (mut heard, mut confirmed) = (trust.clone(), trust.clone());
            heard.hear(at(3 * YEAR, 1_000_000), 3 * YEAR - HOUR);
            confirmed.confirm(at(3 * YEAR, 1_000_000));
            for trust in [heard, confirmed] {
                assert!(trust.believes(at(3 * YEAR, 1_000_000)));
            }
        }
    }

    #[test]
    fn a_clock_that_started_years_ahead_is_believed_once_it_is_set_right() {
        let mut trust = trust();
        trust.begin(at(3 * YEAR, 0), 5);
        trust.settle(at(3 * YEAR, 60_000), BACKSTEP);
        assert!(trust.ahead_ms(at(3 * YEAR, 60_000)).is_some());
        // It was off for two weeks, in truth.
        trust.settle(at(2 * WEEK, 60_001), BACKSTEP);
        assert!(trust.believes(at(2 * WEEK, 60_001)));
        assert!(trust.ahead_ms(at(4 * WEEK, 60_001)).is_some(), "from now on it is held to that");
    }

    #[test]
    fn a_clock_that_starts_years_behind_is_believed_when_it_is_set_right_even_after_a_pause() {
        for heard in [false, true] {
            let mut trust = trust();
            trust.begin(at(YEAR, 0), 3 * YEAR);
            trust.settle(at(YEAR, 5), BACKSTEP);
            assert!(!trust.believes(at(YEAR, 5)), "it is behind our own ceiling");
            if heard {
                trust.hear(at(YEAR, 6), 3 * YEAR + WEEK);
            }
            trust.settle(at(3 * YEAR + WEEK, 10), BACKSTEP);
            assert!(trust.believes(at(3 * YEAR + WEEK, 10)));
            assert!(trust.ahead_ms(at(3 * YEAR + 2 * WEEK, 11)).is_some(), "held to that from now on");
        }
    }

    #[test]
    fn a_clock_that_came_right_and_leaps_before_it_has_reached_our_ceiling_is_not_believed() {
        let mut trust = trust();
        trust.begin(at(YEAR, 0), 3 * YEAR);
        let right = at(3 * YEAR - BACKSTEP, 5);
        trust.settle(right, BACKSTEP);
        assert!(trust.believes(right));
        assert!(trust.ahead_ms(at(3 * YEAR + 2 * HOUR, 6)).is_some());
    }

    #[test]
    fn a_machine_that_has_no_time_at_its_first_start_takes_the_first_that_it_gets() {
        let mut trust = trust();
        trust.begin(at(-50 * YEAR, 0), 0);
        trust.settle(at(-50 * YEAR + 5, 5), BACKSTEP);
        assert!(!trust.believes(at(-50 * YEAR + 5, 5)));
        trust.settle(at(2 * YEAR, 10), BACKSTEP);
        assert!(trust.believes(at(2 * YEAR, 10)));
        assert!(trust.ahead_ms(at(3 * YEAR, 11)).is_some());
    }

    #[test]
    fn a_first_start_of_all_has_nothing_to_be_held_to() {
        let mut trust = trust();
        trust.begin(at(3 * YEAR, 0), 0);
        assert!(trust.believes(at(3 * YEAR, 0)));
    }

    #[test]
    fn a_peers_clock_far_behind_ends_the_probation_and_one_that_is_near_outweighs_it() {
        for before_the_claim in [true, false] {
            let mut trust = trust();
            trust.witness(at(WEEK, 0), peer(1), 10);
            if before_the_claim {
                trust.hear(at(WEEK, 1), 2 * HOUR);
            }
            trust.begin(at(WEEK, 2), 5);
            trust.hear(at(WEEK, 3), 2 * HOUR);
            assert!(trust.ahead_ms(at(WEEK, 1_000_000)).is_some());
            assert_eq!(trust.ahead_ms(at(2 * HOUR + 1_000_000, 1_000_000)), None, "recovers by itself");
            trust.hear(at(WEEK, 1_000_000), WEEK + 7);
            assert!(trust.believes(at(WEEK, 1_000_000)));
        }
    }

    #[test]
    fn clocks_that_leap_together_are_believed_by_neither_node() {
        let (mut one, mut other) = (trust(), trust());
        one.begin(at(WEEK, 0), WEEK);
        other.begin(at(WEEK, 0), WEEK);
        // Each is asked what its clock says, and says whether it believes that; what it does not believe is not heard.
        let leapt = at(WEEK + YEAR, 1);
        for _ in 0..10 {
            if other.believes(leapt) {
                one.hear(leapt, leapt.wall);
            }
            if one.believes(leapt) {
                other.hear(leapt, leapt.wall);
            }
        }
        assert!(one.ahead_ms(leapt).is_some() && other.ahead_ms(leapt).is_some());
        assert!(one.believes(at(WEEK + 5, 5)) && other.believes(at(WEEK + 5, 5)), "both recover by themselves");
    }

    #[test]
    fn a_clock_that_starts_far_past_a_living_peer_is_refused_until_it_falls_back_or_is_confirmed() {
        for moved_before_the_claim in [true, false] {
            let mut trust = trust();
            trust.witness(at(WEEK, 0), peer(1), 10);
            if moved_before_the_claim {
                trust.witness(at(WEEK, 1), peer(1), 20);
            }
            trust.begin(at(WEEK, 2), 5);
            trust.witness(at(WEEK, 3), peer(1), 30);
            assert!(trust.ahead_ms(at(WEEK, 1_000_000)).is_some());
            assert_eq!(trust.ahead_ms(at(20 + HOUR, 3)), None);
            let mut confirmed = trust.clone();
            confirmed.confirm(at(WEEK, 1_000_000));
            assert_eq!(confirmed.ahead_ms(at(WEEK, 1_000_000)), None);
            trust.witness(at(WEEK, 1_000_000), peer(2), WEEK + 5);
            assert_eq!(trust.ahead_ms(at(WEEK, 1_000_000)), None);
        }
    }

    #[test]
    fn a_running_clock_that_outruns_monotonic_time_is_refused_and_recovers() {
        let mut trust = trust();
        trust.begin(at(0, 0), 0);
        assert_eq!(trust.ahead_ms(at(10 * HOUR, 10 * 3_600_000)), None);
        assert_eq!(trust.ahead_ms(at(HOUR, 0)), None);
        assert_eq!(trust.ahead_ms(at(HOUR + 1, 0)), Some(3_600_001));
        assert_eq!(trust.ahead_ms(at(HOUR + 1, 1)), None);
        trust.witness(at(WEEK, 1), peer(1), WEEK - HOUR - 1);
        assert!(trust.ahead_ms(at(WEEK, 1)).is_some());
        trust.witness(at(WEEK, 1), peer(1), WEEK - HOUR);
        assert_eq!(trust.ahead_ms(at(WEEK, 1)), None);
    }

    #[test]
    fn one_peer_with_a_slow_clock_stops_nobody() {
        let mut trust = trust();
        trust.begin(at(WEEK, 0), 0);
        for ceiling in [10, 20, 30] {
            trust.witness(at(WEEK, 1), peer(1), ceiling);
        }
        assert_eq!(trust.ahead_ms(at(WEEK, 1)), None);
    }

    #[test]
    fn absurd_numbers_get_a_verdict() {
        let mut trust = Trust::new(u64::MAX, u64::MAX, u64::MAX);
        trust.witness(at(i64::MIN, u64::MAX), peer(1), i64::MAX);
        trust.witness(at(i64::MAX, 0), peer(1), i64::MIN);
        trust.begin(at(i64::MAX, u64::MAX), i64::MIN);
        assert_eq!(trust.ahead_ms(at(i64::MIN, 0)), None);
    }
}
