//! What operators see of limits: by policy, never by key.

use std::collections::BTreeMap;

use crate::limiter::Limiter;
use crate::limits::Listed;
use crate::telemetry::{self, KeysHeld, PolicyUse};

/// Stands for all policies that requests bring along.
const GIVEN: &str = "given";
/// How late a message about limits is, beyond `limits.interval`, for the estimate of what slips through.
const ONE_WAY_MS: u64 = 250;

/// Looks every second.
pub(super) struct Seen {
    limiter: Limiter,
    keys_max: u32,
    /// `limits.interval`
    interval_ms: u64,
    /// Units that each policy had admitted at the last look.
    before: BTreeMap<String, u64>,
}

impl Seen {
    pub(super) fn new(limiter: Limiter, keys_max: u32, interval_ms: u64) -> Self {
        Self { limiter, keys_max, interval_ms, before: BTreeMap::new() }
    }

    /// So long after the last look.
    pub(super) fn look(&mut self, passed_ms: u64) {
        let mut policies: BTreeMap<String, PolicyUse> = BTreeMap::new();
        for listed in self.limiter.list() {
            let name = if listed.is_given { GIVEN } else { &listed.policy.name };
            let seen = policies.entry(name.to_owned()).or_default();
            self.add(&listed, passed_ms, seen);
        }
        self.before = policies.iter().map(|(name, seen)| (name.clone(), seen.units)).collect();
        let policies: Vec<_> = policies.into_iter().map(|(policy, seen)| PolicyUse { policy, ..seen }).collect();
        let fill = self.limiter.fill();
        let keys = KeysHeld {
            keys: fill.keys,
            heard: fill.heard,
            keys_max: self.keys_max.into(),
            evicted: fill.evicted,
            unheard: fill.unheard,
        };
        telemetry::observe_limits(&policies, &keys);
    }

    fn add(&self, listed: &Listed, passed_ms: u64, seen: &mut PolicyUse) {
        let usage = &listed.usage;
        seen.admitted += usage.decisions.saturating_sub(usage.denied);
        seen.denied += usage.denied;
        seen.units = seen.units.saturating_add(usage.admitted);
        seen.parted = seen.parted.max(listed.parted.len());
        let before = self.before.get(&listed.policy.name).copied().unwrap_or(0);
        let units_per_s = usage.admitted.saturating_sub(before).saturating_mul(1_000) / passed_ms.max(1);
        let overshoot = listed.overshoot_max(units_per_s, self.interval_ms.saturating_add(ONE_WAY_MS));
        seen.overshoot_max = seen.overshoot_max.max(overshoot);
    }
}
