//! What is told when: a bounded number of totals at a time, shared out by policy, so that a flood of one delays no other.

use super::message::Total;
use super::rule::PolicyId;
use super::table::Table;

/// Where each policy's telling stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Telling {
    policies: Vec<Turn>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// The shard to begin with.
    shard: u32,
    /// Since when something has waited without a pause.
    behind_since_ms: Option<u64>,
}

impl Telling {
    /// Takes what is to be told now.
    pub(super) fn take(&mut self, table: &Table, budget: usize, mono_ms: u64) -> Vec<(PolicyId, Vec<Total>)> {
        let queued = table.queued();
        self.policies.resize(queued.len(), Turn::default());
        let allotted = allot(budget, &queued);
        let mut told = Vec::new();
        for ((at, turn), (queued, most)) in self.policies.iter_mut().enumerate().zip(queued.into_iter().zip(allotted)) {
            let waits = queued > most;
            turn.behind_since_ms = waits.then(|| turn.behind_since_ms.unwrap_or(mono_ms));
            let Some(id) = u16::try_from(at).ok().map(PolicyId).filter(|_| most > 0) else { continue };
            let mut totals = Vec::new();
            turn.shard = table.tell(id, most, turn.shard, &mut totals);
            told.extend((!totals.is_empty()).then_some((id, totals)));
        }
        told
    }

    /// Whether this node has been unable to tell all of a policy for so long.
    pub(super) fn is_behind(&self, id: PolicyId, mono_ms: u64, most_ms: u64) -> bool {
        let turn = self.policies.get(usize::from(id.0));
        turn.and_then(|turn| turn.behind_since_ms).is_some_and(|since| mono_ms.saturating_sub(since) >= most_ms)
    }

    /// Other policies hold: what was known of the old ones is void.
    pub(super) fn forget(&mut self) {
        self.policies.clear();
    }
}

/// Shares a budget out: nobody gets more than he wants, and whoever does not get all gets as much as anybody (max-min).
fn allot(budget: usize, wanted: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|at| wanted.get(*at));
    let (mut left, mut many) = (budget, wanted.len());
    let mut allotted = vec![0; wanted.len()];
    for at in order {
        let (Some(gets), Some(wants)) = (allotted.get_mut(at), wanted.get(at)) else { continue };
        *gets = (*wants).min(left / many.max(1));
        left -= *gets;
        many -= 1;
    }
    allotted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_out_by_who_wants_little_first() {
        assert_eq!(allot(100, &[1_000, 10, 0, 1_000]), [45, 10, 0, 45]);
        assert_eq!(allot(100, &[3, 4]), [3, 4]);
        assert_eq!(allot(1, &[5, 5]), [0, 1]);
        assert_eq!(allot(0, &[5]), [0]);
    }
}
