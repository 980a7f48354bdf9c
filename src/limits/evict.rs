//! Who goes when there is no room. A bounded look at some entries, where the last look ended, stands for a look at all: so
//! a flood costs each new key the same, and the keys that are used most stay (as Redis samples).

use super::entry::Entry;
use super::keys::{Keys, WhenFull, is_stale};
use super::rule::PolicyId;
use super::rules::Rules;
use super::timeline::Moment;

/// Entries that a decision looks at.
const LOOKED_AT: u32 = 32;
/// Entries that a record of a peer looks at, off the path of decisions.
const LOOKED_AT_HEARD: u32 = 128;

/// The best victim so far: where, and its use.
type Best = Option<(u32, u64)>;

impl Keys {
    /// Makes room for a key of `policy` on which this node decides. `None` if nobody may go.
    pub(super) fn evict(&mut self, rules: &Rules, policy: PolicyId, now: Moment) -> Option<()> {
        let over = self.furthest_over(policy)?;
        let may_go = self.when_full == WhenFull::Evict || over != policy;
        self.evict_least(rules, now, LOOKED_AT, |_| true, |entry| may_go && entry.policy == over)
    }

    /// Makes room among the keys of `policy` that were only heard of.
    pub(super) fn evict_heard(&mut self, rules: &Rules, policy: PolicyId, now: Moment) -> Option<()> {
        let heard = |entry: &Entry| entry.policy == policy && !entry.is_decided();
        self.evict_least(rules, now, LOOKED_AT_HEARD, heard, heard)
    }

    /// The policy that has most beyond its part, if one key more of `policy` were there.
    fn furthest_over(&self, policy: PolicyId) -> Option<PolicyId> {
        let more = |id: PolicyId| u32::from(id == policy);
        let counts = (0..).map(PolicyId).zip(&self.counts);
        counts.max_by_key(|(id, count)| (count.all.saturating_add(more(*id)), more(*id))).map(|(id, _)| id)
    }

    /// The first that is out of use, or else the one with the least use of those that may go.
    fn evict_least(
        &mut self,
        rules: &Rules,
        now: Moment,
        looked_at: u32,
        may_go_unused: impl Fn(&Entry) -> bool,
        may_go: impl Fn(&Entry) -> bool,
    ) -> Option<()> {
        let mut best: Best = None;
        for _ in 0..looked_at {
            let at = self.next_place();
            let Some(entry) = self.get(at) else { break };
            let Some((rule, _)) = rules.0.get(usize::from(entry.policy.0)) else { continue };
            if may_go_unused(entry) && is_stale(rule, entry, now) {
                self.remove(at);
                return Some(());
            }
            let usage = self.usage(entry);
            if may_go(entry) && best.is_none_or(|(_, least)| usage < least) {
                best = Some((at, usage));
            }
        }
        let (at, _) = best?;
        self.remove(at);
        self.evicted += 1;
        Some(())
    }

    /// Where to look next, around and around.
    fn next_place(&mut self) -> u32 {
        let at = if self.get(self.cursor).is_some() { self.cursor } else { 0 };
        self.cursor = at + 1;
        at
    }

    /// All that is known to have been used of a key lately, here and elsewhere.
    fn usage(&self, entry: &Entry) -> u64 {
        let heard = self.heard(entry).map(|slot| slot.at(entry.number));
        heard.fold(entry.used.saturating_add(entry.used_before()), u64::saturating_add)
    }
}
