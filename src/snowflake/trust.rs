//! Whether to believe the wall clock when it claims that it is later than expected.
//!
//! A clock that leaps far ahead would carry the IDs along, and they can never come back: every later ID of the worker
//! has to be higher. So a reading is believed only within `max_leap` of an expectation:
//!
//! - **While running**, the expectation is the last believed reading plus the monotonic time since then. A wall clock
//!   that outruns it is refused, and believed again when it falls back, when a peer's ceiling comes near it, or when
//!   an operator confirms it.
//! - **At the start** there is no monotonic time that reaches back. If no peer has told a ceiling, the clock is
//!   believed. It is believed too if it is not far past our last ceiling or the highest of theirs. A clock further
//!   ahead may be wrong, or the node was switched off for a week, or the whole cluster was. So old ceilings prove
//!   nothing: the clock is on *probation* for a few seconds. A ceiling that moves in our sight shows where a living
//!   peer's clock stands, and if all that moved are far behind ours, ours is ahead. If none moves, nobody
//!   contradicts, and the clock is believed.
//!
//! A clock that is behind is none of this module's concern: IDs never follow it back.

use std::collections::BTreeMap;

use crate::identity::WorkerId;

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
    probation_ms: u64,
    /// The highest ceiling that was told of each peer: at most one per worker id.
    told: BTreeMap<WorkerId, i64>,
    /// The highest ceiling that moved in our sight, and when.
    live: Option<Moment>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Before the claim.
    Unjudged,
    /// At `since` it was far past everything told; from `until` on, of monotonic time, that reading is believed.
    Probation { since: Moment, until: u64 },
    /// At this monotonic time it was this late.
    Anchored(Moment),
}

impl Trust {
    pub(super) fn new(max_leap_ms: u64, probation_ms: u64) -> Self {
        Self {
            max_leap: i64::try_from(max_leap_ms).unwrap_or(i64::MAX),
            probation_ms,
            told: BTreeMap::new(),
            live: None,
            standing: Standing::Unjudged,
        }
    }

    /// Judges the clock once, when IDs are claimed; `floor` is our own last ceiling.
    pub(super) fn begin(&mut self, at: Moment, floor: i64) {
        if self.standing != Standing::Unjudged {
            return;
        }
        self.standing = match self.live {
            _ if self.told.is_empty() || at.wall <= self.latest_told().max(floor).saturating_add(self.max_leap) => {
                Standing::Anchored(at)
            }
            Some(live) => Standing::Anchored(live),
            None => Standing::Probation { since: at, until: at.mono.saturating_add(self.probation_ms) },
        };
    }

    /// How far the clock is ahead of what is believable, in milliseconds; `None` if it is believed.
    pub(super) fn ahead_ms(&self, at: Moment) -> Option<u64> {
        let expected = match self.standing {
            Standing::Unjudged => return None,
            Standing::Probation { until, .. } if at.mono < until => self.latest_told(),
            Standing::Probation { since: anchor, .. } | Standing::Anchored(anchor) => {
                anchor.wall.saturating_add(elapsed(anchor, at))
            }
        };
        let ahead = at.wall.saturating_sub(expected);
        if ahead > self.max_leap { u64::try_from(ahead).ok() } else { None }
    }

    /// A peer's durable ceiling, as it tells it or as others tell it of that peer.
    pub(super) fn witness(&mut self, at: Moment, peer: WorkerId, ceiling: i64) {
        let before = self.told.insert(peer, ceiling).unwrap_or(ceiling);
        if before > ceiling {
            self.told.insert(peer, before);
        } else if before < ceiling && self.live.is_none_or(|live| live.wall < ceiling) {
            self.live = Some(Moment { wall: ceiling, mono: at.mono });
        }
        let near = at.wall.saturating_sub(ceiling).checked_abs().is_some_and(|apart| apart <= self.max_leap);
        match (self.standing, self.live) {
            (Standing::Unjudged, _) => {}
            _ if near => self.standing = Standing::Anchored(at),
            (Standing::Probation { until, .. }, Some(live)) if at.mono < until => {
                self.standing = Standing::Anchored(live);
            }
            _ => {}
        }
    }

    /// An operator says that the clock is right.
    pub(super) fn confirm(&mut self, at: Moment) {
        if self.standing != Standing::Unjudged {
            self.standing = Standing::Anchored(at);
        }
    }

    fn latest_told(&self) -> i64 {
        self.told.values().copied().max().unwrap_or(i64::MIN)
    }
}

fn elapsed(anchor: Moment, at: Moment) -> i64 {
    i64::try_from(at.mono.saturating_sub(anchor.mono)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const WEEK: i64 = 7 * 24 * HOUR;

    fn trust() -> Trust {
        Trust::new(u64::try_from(HOUR).unwrap(), 3_000)
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
        trust.witness(at(WEEK + 3_000, 3_000), peer(1), 20);
        assert_eq!(trust.ahead_ms(at(WEEK + 3_000, 3_000)), None);
        assert!(trust.ahead_ms(at(2 * WEEK, 3_001)).is_some());
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
        let mut trust = Trust::new(u64::MAX, u64::MAX);
        trust.witness(at(i64::MIN, u64::MAX), peer(1), i64::MAX);
        trust.witness(at(i64::MAX, 0), peer(1), i64::MIN);
        trust.begin(at(i64::MAX, u64::MAX), i64::MIN);
        assert_eq!(trust.ahead_ms(at(i64::MIN, 0)), None);
    }
}
