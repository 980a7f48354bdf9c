//! Decisions: what a key's use, its pool and a cost come to.

use super::entry::Entry;
use super::keys::Heard;
use super::level;
use super::policy::{Algorithm, Mode};
use super::rule::{Pool, Rule};
use super::standing::{Standing, View};
use super::timeline::Moment;

/// What a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the cost was charged. A cost of zero looks: it is always admitted.
    pub admitted: bool,
    /// Units in a window, or at once.
    pub limit: u64,
    /// Units that could still be had here and now.
    pub remaining: u64,
    /// Until the key is as if unused, as far as this node can tell.
    pub reset_ms: u64,
    /// Until it is worth while to try the same again; zero if it was admitted.
    pub retry_after_ms: u64,
    /// The number of the window that was counted in.
    pub window: u32,
}

/// Why a node does not decide. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is fenced.
    #[error("this node is fenced")]
    Fenced,
    /// The policy is gone, or counts anew, since it was looked up. Look it up again, after [`super::Limits::settle`].
    #[error("the policy has changed")]
    Changed,
    /// The policy is other nodes' business.
    #[error("this node does not decide by this policy")]
    NotHere,
    /// The cost is above what can be had at all.
    #[error("the cost is above {max}, the most that can ever be admitted")]
    Never {
        /// The greatest cost that makes sense.
        max: u64,
    },
    /// There is no room for one key more.
    #[error("there is no room for another key")]
    Full,
}

/// Admits if it fits, and charges only then.
#[inline] // A decision that is copied as a whole right after its parts were written waits for all writes before.
pub(super) fn decide(
    rule: &Rule,
    view: &View,
    entry: &mut Entry,
    heard: Heard<'_>,
    now: Moment,
    cost: u64,
) -> Decision {
    entry.roll(rule.policy.algorithm, rule.windows.number(now.unix_ms));
    match rule.policy.algorithm {
        Algorithm::Gcra => by_level(rule, view, entry, now, cost),
        Algorithm::Fixed | Algorithm::Sliding => by_windows(rule, view, entry, heard, now, cost),
    }
}

#[inline]
fn by_level(rule: &Rule, view: &View, entry: &mut Entry, now: Moment, cost: u64) -> Decision {
    let pool = settle_level(rule, view, entry, now);
    let room = entry.level().room(pool, rule);
    let admitted = cost <= room;
    if admitted {
        entry.set_level(entry.level().plus(cost, rule));
        entry.charge(cost);
    }
    let (level, window_ms) = (entry.level(), rule.policy.window_ms);
    let fits = pool.burst.saturating_sub(cost).saturating_mul(window_ms);
    let retry_after_ms = if admitted { 0 } else { level.until(fits, pool).unwrap_or(window_ms) };
    let reset_ms = level.until(0, pool).unwrap_or(window_ms);
    let remaining = if admitted { room - cost } else { room };
    Decision { admitted, limit: pool.burst, remaining, reset_ms, retry_after_ms, window: entry.number }
}

/// Brings a level to this moment, and to the pool that it is counted by now.
pub(super) fn settle_level<'a>(rule: &'a Rule, view: &'a View, entry: &mut Entry, now: Moment) -> &'a Pool {
    let (pool, epoch, joined_ms) = level::pool(rule, view, entry.number, now);
    let level = entry.level();
    let same = entry.epoch == epoch;
    entry.set_level(if same { level.drained(pool.units, now) } else { level.changed(pool, joined_ms, rule, now) });
    entry.epoch = epoch;
    pool
}

#[inline]
fn by_windows(rule: &Rule, view: &View, entry: &mut Entry, heard: Heard<'_>, now: Moment, cost: u64) -> Decision {
    let known = |entry: &Entry, pool: &Pool| known(rule, entry, heard, pool, now);
    let (pool, room) = match view.standing(rule, entry.number, now) {
        Standing::Whole(pool) => (pool, pool.units.saturating_sub(known(entry, pool))),
        Standing::Rest(pool) => {
            let of_rest = entry.used_of_rest();
            let left = pool.units.saturating_sub(known(entry, pool).saturating_sub(of_rest));
            (pool, part(left, rule.own.units, pool.units).saturating_sub(of_rest))
        }
    };
    let admitted = cost <= room;
    if admitted {
        entry.charge(cost);
    }
    let reset_ms =
        rule.windows.left_ms(entry.number, now).saturating_add(u64::from(rule.windows.memory) * rule.windows.length_ms);
    let retry_after_ms = if admitted { 0 } else { retry_after_ms(rule, entry, pool, known(entry, pool), now, cost) };
    let remaining = if admitted { room - cost } else { room };
    Decision { admitted, limit: rule.policy.limit, remaining, reset_ms, retry_after_ms, window: entry.number }
}

/// All that is known to have been used by members of a pool, this node's earlier boots among them. Of the window before,
/// as much counts as of it lies within the last window's length.
fn known(rule: &Rule, entry: &Entry, heard: Heard<'_>, pool: &Pool, now: Moment) -> u64 {
    let (windows, number) = (rule.windows, entry.number);
    let (mut used, mut before) = (entry.used, entry.used_before());
    if rule.policy.mode == Mode::Shared {
        for slot in heard.filter(|slot| pool.members.contains_bits(slot.teller.worker_bits())) {
            used = used.saturating_add(slot.at(number));
            before = before.saturating_add(number.checked_sub(1).map_or(0, |number| slot.at(number)));
        }
    }
    if windows.memory == 0 || before == 0 {
        return used;
    }
    let left_ms = windows.length_ms - windows.passed_ms(number, now);
    used.saturating_add(before.saturating_mul(left_ms).div_ceil(windows.length_ms))
}

fn part(units: u64, share: u64, whole: u64) -> u64 {
    let exact = u128::from(units) * u128::from(share);
    exact.checked_div(whole.into()).and_then(|part| u64::try_from(part).ok()).unwrap_or(0)
}

/// In this window, if what counts of the one before gets small enough; or else in the next one.
fn retry_after_ms(rule: &Rule, entry: &Entry, pool: &Pool, known: u64, now: Moment, cost: u64) -> u64 {
    let (windows, left_ms) = (rule.windows, rule.windows.left_ms(entry.number, now));
    if windows.memory == 0 {
        return left_ms;
    }
    // So much of the window before the present one may still count.
    let until = |before: u64, used: u64, window_left_ms: u64| {
        let fits = pool.units.checked_sub(used.saturating_add(cost))?;
        let most_ms = u128::from(fits) * u128::from(windows.length_ms) / u128::from(before.max(1));
        Some(window_left_ms.saturating_sub(u64::try_from(most_ms).unwrap_or(u64::MAX)))
    };
    let used = known.min(pool.units);
    let next = || left_ms.saturating_add(until(used, 0, windows.length_ms).unwrap_or(windows.length_ms));
    let here = until(entry.used_before(), entry.used, left_ms).filter(|ms| *ms < left_ms && *ms > 0);
    here.unwrap_or_else(next)
}
