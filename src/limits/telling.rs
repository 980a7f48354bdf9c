//! What is told when: a bounded number of totals at a time, shared out by policy, so that a flood of one delays no other.

use super::message::Total;
use super::rule::Place;
use super::rules::Rules;
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
    pub(super) fn take(
        &mut self,
        table: &Table,
        rules: &Rules,
        budget: usize,
        mono_ms: u64,
    ) -> Vec<(Place, Vec<Total>)> {
        let queued = table.queued();
        self.policies.resize(rules.places().max(self.policies.len()), Turn::default());
        let mut told = Vec::new();
        for (place, queued, most) in allotted(budget, &queued, rules) {
            let Some(turn) = self.policies.get_mut(usize::from(place.0)) else { continue };
            let waits = queued > most;
            turn.behind_since_ms = waits.then(|| turn.behind_since_ms.unwrap_or(mono_ms));
            if most == 0 {
                continue;
            }
            let mut totals = Vec::new();
            turn.shard = table.tell(place, most, turn.shard, &mut totals);
            told.extend((!totals.is_empty()).then_some((place, totals)));
        }
        told
    }

    /// Whether this node has been unable to tell all of a policy for so long.
    pub(super) fn is_behind(&self, place: Place, mono_ms: u64, most_ms: u64) -> bool {
        let turn = self.policies.get(usize::from(place.0));
        turn.and_then(|turn| turn.behind_since_ms).is_some_and(|since| mono_ms.saturating_sub(since) >= most_ms)
    }

    /// Another policy has this place: what was known of the old one is void.
    pub(super) fn forget(&mut self, place: Place) {
        if let Some(turn) = self.policies.get_mut(usize::from(place.0)) {
            *turn = Turn::default();
        }
    }
}

/// For each policy: how many of its keys wait, and how many may be told now. All policies that came with requests have as
/// much together as one that was declared.
fn allotted(budget: usize, queued: &[usize], rules: &Rules) -> Vec<(Place, usize, usize)> {
    let waiting =
        rules.iter().map(|(place, held)| (place, queued.get(usize::from(place.0)).copied().unwrap_or(0), held));
    let (given, declared): (Vec<_>, Vec<_>) = waiting.partition(|(_, _, held)| held.rule.given.is_some());
    let wanted = |of: &[(Place, usize, _)]| of.iter().map(|(_, queued, _)| *queued).collect::<Vec<_>>();
    let mut parts = wanted(&declared);
    parts.push(wanted(&given).into_iter().sum());
    let mut of_declared = allot(budget, &parts);
    let of_given = allot(of_declared.pop().unwrap_or(0), &wanted(&given));
    let each = declared.into_iter().chain(given).zip(of_declared.into_iter().chain(of_given));
    each.map(|((place, queued, _), most)| (place, queued, most)).collect()
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
