//! The level of `gcra`: what was admitted, less what has drained since (the "leaky bucket as a meter").
//!
//! It is counted in units times the window's milliseconds, so that a pool of so many units a window drains exactly so
//! much in a millisecond, without fractions.

use super::rule::{Pool, Rule};
use super::standing::{Standing, View};
use super::timeline::Moment;

/// A level at a moment of monotonic time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) scaled: u64,
    pub(super) at_ms: u64,
}

impl Level {
    /// What is left of it by now.
    pub(super) fn drained(self, units: u64, now: Moment) -> Self {
        let passed = now.mono_ms.saturating_sub(self.at_ms);
        let scaled = self.scaled.saturating_sub(passed.saturating_mul(units));
        Self { scaled, at_ms: self.at_ms.max(now.mono_ms) }
    }

    /// With so many units more. It is never above what all nodes can have come to at once, whatever somebody claims.
    pub(super) fn plus(self, units: u64, rule: &Rule) -> Self {
        let most = rule.level_max().saturating_mul(rule.policy.window_ms);
        let more = units.saturating_mul(rule.policy.window_ms);
        Self { scaled: self.scaled.saturating_add(more).min(most.max(self.scaled)), ..self }
    }

    /// How many units fit on it.
    pub(super) fn room(self, pool: &Pool, rule: &Rule) -> u64 {
        let full = pool.burst.saturating_mul(rule.policy.window_ms);
        full.saturating_sub(self.scaled) / rule.policy.window_ms
    }

    /// Until so many units fit, or none is left, in milliseconds; `None` if it does not drain.
    pub(super) fn until(self, scaled: u64, pool: &Pool) -> Option<u64> {
        (pool.units > 0).then(|| self.scaled.saturating_sub(scaled).div_ceil(pool.units))
    }

    /// A key's level as it is when its node comes to count by another pool. By itself, the node takes up no more than its
    /// own burst. With others, whose levels it does not know, all of the pool was used when they began.
    pub(super) fn changed(self, pool: &Pool, joined_ms: Option<u64>, rule: &Rule, now: Moment) -> Self {
        let full = pool.burst.saturating_mul(rule.policy.window_ms);
        match joined_ms {
            Some(at_ms) => Self { scaled: full, at_ms }.drained(pool.units, now),
            None => {
                let own = self.drained(rule.own.units, now);
                Self { scaled: own.scaled.min(full), ..own }
            }
        }
    }
}

/// The pool that a level drains at, its epoch, and when the node began to count by it, in monotonic time.
pub(super) fn pool<'a>(rule: &'a Rule, view: &'a View, number: u32, now: Moment) -> (&'a Pool, u8, Option<u64>) {
    match (view.standing(rule, number, now), &view.together) {
        (Standing::Whole(pool), Some(together)) if pool.members == together.pool.members => {
            let windows = rule.windows;
            let first = windows.start_ms(windows.number(together.since_ms.saturating_sub(1)).saturating_add(1));
            (pool, view.epoch, Some(now.mono_ms.saturating_sub(now.unix_ms.saturating_sub(first))))
        }
        _ => (&rule.own, 0, None),
    }
}
