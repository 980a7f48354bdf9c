//! Who goes when there is no room. A bounded look at some entries, where the last look ended, stands for a look at all: so
//! a flood costs each new key the same, and the keys that are used most stay (as Redis samples).

use super::entry::Entry;
use super::keys::{Keys, Part, WhenFull, is_stale};
use super::rules::Rules;
use super::timeline::Moment;

/// Entries that a decision looks at.
const LOOKED_AT: u32 = 32;
/// Entries that it looks at as long as none of them may go.
const LOOKED_AT_MAX: u32 = 128;
/// Entries that a record of a peer looks at, off the path of decisions.
const LOOKED_AT_HEARD: u32 = 128;
/// A part that has less than another one by no more than this part counts as being as large.
const ABOUT: u32 = 8;

/// The best victim so far: where, how many keys its part has, and its use.
type Best = Option<(u32, u32, u64)>;

impl Keys {
    /// Makes room for a key of `part` on which this node decides. `None` if nobody may go.
    pub(super) fn evict(&mut self, rules: &Rules, part: Part, now: Moment) -> Option<()> {
        let may_go = |keys: &Self, entry: &Entry| keys.gives_way(Part::of(entry), part);
        self.evict_least(rules, now, (LOOKED_AT, LOOKED_AT_MAX), |_| true, may_go)
    }

    /// Makes room among the keys of `part` that were only heard of.
    pub(super) fn evict_heard(&mut self, rules: &Rules, part: Part, now: Moment) -> Option<()> {
        let heard = move |entry: &Entry| Part::of(entry) == part && !entry.is_decided();
        let looked_at = (LOOKED_AT_HEARD, LOOKED_AT_HEARD);
        self.evict_least(rules, now, looked_at, heard, move |_, entry| heard(entry).then_some(0))
    }

    /// How many keys `other` has, if one of them may go for one more of `part`: it is as large, or has more than its quota.
    fn gives_way(&self, other: Part, part: Part) -> Option<u32> {
        let own = self.count(part).all.saturating_add(1);
        let all = if other == part { own } else { self.count(other).all };
        let gives = match self.when_full {
            WhenFull::Evict => all >= own - own / ABOUT || all > self.quota(),
            WhenFull::Deny => other != part && all >= own,
        };
        gives.then_some(all)
    }

    /// The first that is out of use, or else, of those that may go, one of the largest part, and there the one with the
    /// least use.
    fn evict_least(
        &mut self,
        rules: &Rules,
        now: Moment,
        (looked_at, looked_at_max): (u32, u32),
        may_go_unused: impl Fn(&Entry) -> bool,
        may_go: impl Fn(&Self, &Entry) -> Option<u32>,
    ) -> Option<()> {
        let mut best: Best = None;
        for looked in 0..looked_at_max {
            if looked >= looked_at && best.is_some() {
                break;
            }
            let at = self.next_place();
            let Some(entry) = self.get(at) else { break };
            if Self::is_free(entry) {
                continue;
            }
            // A policy that is gone needs nothing.
            let is_stale = rules.get(entry.policy).is_none_or(|(rule, _)| is_stale(rule, entry, now));
            if may_go_unused(entry) && is_stale {
                self.remove(at);
                return Some(());
            }
            let Some(all) = may_go(self, entry) else { continue };
            let usage = self.usage(entry);
            if best.is_none_or(|(_, most, least)| all > most || (all == most && usage < least)) {
                best = Some((at, all, usage));
            }
        }
        let (at, _, _) = best?;
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
