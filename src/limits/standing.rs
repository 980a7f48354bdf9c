//! With whom a node counts in one window, and out of which pool.
//!
//! A node counts **together** with the members of a side in a window that the side has lasted through so far: since
//! before the window began (`sliding`: the one before it, which still counts) each member has named exactly this set,
//! without a break. Everything that members admit in such a window is told to all of them on streams that were open
//! before it began. When a side ends, each member takes its own share of what is **left** of the pool, for the rest of
//! the window; a side that forms begins to count with the next one. So within a window there is one change at most, and
//! no flapping adds to it. In a window that was begun alone a node has its own share.

use super::rule::{Pool, Rule};
use super::timeline::Moment;

/// A side as one node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Together {
    pub(super) pool: Pool,
    /// Since when every member names it, each by its own window time; the latest of these.
    pub(super) since_ms: u64,
    /// Until then nothing is to be heard of the others; in monotonic time.
    pub(super) until_ms: u64,
}

/// How a node stands with the others under one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) together: Option<Together>,
    /// The last window in which a side ended that the node had counted with, and that side's pool.
    pub(super) broken: Option<(u32, Pool)>,
    /// Differs from one side to the next.
    pub(super) epoch: u8,
}

/// What a node may admit out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// The whole of this pool, less what its members used.
    Whole(&'a Pool),
    /// This node's share of what its members had left.
    Rest(&'a Pool),
}

impl View {
    /// The standing in a window, at a moment in it.
    pub(super) fn standing<'a>(&'a self, rule: &'a Rule, number: u32, now: Moment) -> Standing<'a> {
        let windows = rule.windows;
        if let Some(together) = self.together.as_ref().filter(|t| windows.holds_throughout(t.since_ms, number)) {
            if now.mono_ms < together.until_ms {
                return Standing::Whole(&together.pool);
            }
            if together.ended(rule, now).is_some_and(|ended| windows.remembers(ended, number)) {
                return Standing::Rest(&together.pool);
            }
        }
        let broken = self.broken.as_ref().filter(|(ended, _)| windows.remembers(*ended, number));
        broken.map_or(Standing::Whole(&rule.own), |(_, pool)| Standing::Rest(pool))
    }

    /// Takes what is known of the others now. A side that has ended is remembered with the window in which it did.
    pub(super) fn update(&mut self, together: Option<Together>, rule: &Rule, now: Moment) {
        let same = |old: &Together| {
            now.mono_ms < old.until_ms
                && together.is_some_and(|new| (old.pool, old.since_ms) == (new.pool, new.since_ms))
        };
        if let Some(old) = self.together.filter(|old| !same(old)) {
            self.broken = old.ended(rule, now).map(|number| (number, old.pool)).or(self.broken);
        }
        if together.is_some() && !self.together.as_ref().is_some_and(same) {
            // Zero stands for a node by itself.
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        }
        self.together = together;
    }

    /// All that was known of the others is void; what is left of the whole is shared out.
    pub(super) fn begin(rule: &Rule, number: u32, epoch: u8) -> Self {
        Self { together: None, broken: Some((number, rule.whole)), epoch }
    }
}

impl Together {
    /// The window in which the side ended, or ends now, if the node counted with it there.
    fn ended(&self, rule: &Rule, now: Moment) -> Option<u32> {
        let number = rule.windows.number(now.unix_at(self.until_ms.min(now.mono_ms)));
        rule.windows.holds_throughout(self.since_ms, number).then_some(number)
    }
}
