//! What a node tells of its policies: to whoever operates it, not to its peers.

use crate::identity::WorkerId;

use super::fingerprint::Fingerprint;
use super::link::Parted;
use super::policy::Policy;
use super::rule::PolicyId;
use super::shard::Usage;
use super::sharing::Sharing;
use super::table::Table;
use super::workers::Workers;

/// One policy of a node, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// By which requests are decided.
    pub id: PolicyId,
    /// As it was declared; or by its numbers and the template, and under a name that is made of its numbers.
    pub policy: Policy,
    /// Whether it came with a request.
    pub is_given: bool,
    /// What peers must agree on.
    pub fingerprint: Fingerprint,
    /// With whom the node counts, or would from the next window on.
    pub side: Workers,
    /// Who decides by it and is not on the side, each with the reason.
    pub parted: Vec<(WorkerId, Parted)>,
    /// Peers that have not told this boot yet what they admitted in the window that it began in.
    pub without_table: Workers,
    /// What this node decided so far.
    pub usage: Usage,
    /// Units that a node may admit to a key before it tells the others: θ.
    pub untold_max: u64,
}

impl Listed {
    /// At most so many units more than the limit are admitted to a key in a window while nobody parts, if every node admits
    /// to it no faster than at this rate, and hears of others within this time: (N−1)·min(L, θ + rate·D). The rate at which
    /// the node admits units under the whole policy is above that of any key, so what comes out is on the safe side.
    pub fn overshoot_max(&self, units_per_s: u64, delay_ms: u64) -> u64 {
        let others = self.policy.weights.len().saturating_sub(1) as u64;
        if self.policy.mode != super::policy::Mode::Shared {
            return 0;
        }
        let on_its_way = units_per_s.saturating_mul(delay_ms).div_ceil(1_000);
        others.saturating_mul(self.policy.limit.min(self.untold_max.saturating_add(on_its_way)))
    }
}

impl Sharing {
    /// All policies, in the order of their places.
    pub(super) fn list(&mut self, table: &Table, mono_ms: u64) -> Vec<Listed> {
        self.settle_at(table, mono_ms);
        let listed = self.rules.iter().map(|(place, held)| {
            let (rule, others) = (&held.rule, held.rule.policy.weights.keys().filter(|w| **w != self.me.worker));
            let id = PolicyId { place, serial: held.serial };
            let parted = |worker: &WorkerId| Some((*worker, self.parted(place, rule, *worker, mono_ms)?));
            Listed {
                id,
                policy: rule.policy.clone(),
                is_given: rule.given.is_some(),
                fingerprint: rule.fingerprint,
                side: self.side(id),
                parted: others.clone().filter_map(parted).collect(),
                without_table: others.copied().filter(|worker| !self.has_table(*worker)).collect(),
                usage: table.usage(place),
                untold_max: rule.threshold,
            }
        });
        listed.collect()
    }
}
