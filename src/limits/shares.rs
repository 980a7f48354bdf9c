//! Shares in whole units, by the largest remainder (Hamilton's method), so that they add up to the whole exactly.

use std::collections::BTreeMap;

use crate::identity::WorkerId;

/// Each node's share of `total`, as its weight is to all weights. Of two equal remainders the lower worker id has the unit.
pub(super) fn split(total: u64, weights: &BTreeMap<WorkerId, u32>) -> BTreeMap<WorkerId, u64> {
    let sum: u128 = weights.values().map(|weight| u128::from(*weight)).sum();
    let exact = |weight: u32| (u128::from(total) * u128::from(weight)).checked_div(sum).unwrap_or(0);
    let rest = |weight: u32| (u128::from(total) * u128::from(weight)).checked_rem(sum).unwrap_or(0);
    let floor = |weight: u32| u64::try_from(exact(weight)).unwrap_or(total);
    let mut shares: BTreeMap<WorkerId, u64> = weights.iter().map(|(worker, w)| (*worker, floor(*w))).collect();
    let left = total - shares.values().sum::<u64>();
    let mut order: Vec<(&WorkerId, u128)> = weights.iter().map(|(worker, w)| (worker, rest(*w))).collect();
    order.sort_by_key(|(worker, rest)| (std::cmp::Reverse(*rest), **worker));
    for (worker, _) in order.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        shares.entry(*worker).and_modify(|share| *share += 1);
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(of: &[u32]) -> BTreeMap<WorkerId, u32> {
        of.iter().enumerate().map(|(at, w)| (WorkerId::new(u8::try_from(at).unwrap(), 0).unwrap(), *w)).collect()
    }

    #[test]
    fn units_that_are_left_go_to_the_largest_remainders() {
        let shares = |total, of: &[u32]| split(total, &weights(of)).into_values().collect::<Vec<_>>();
        assert_eq!(shares(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(shares(1, &[1, 3, 2]), [0, 1, 0]);
        assert_eq!(shares(7, &[50, 30, 20]), [4, 2, 1]);
        assert_eq!(shares(5, &[0, 1]), [0, 5]);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_are_within_a_unit_of_what_is_due(
            total in 0u64..=1 << 40,
            of in proptest::collection::vec(0u32..=u32::MAX, 1..8),
        ) {
            prop_assume!(of.iter().any(|w| *w > 0));
            let sum: u128 = of.iter().map(|w| u128::from(*w)).sum();
            let shares = split(total, &weights(&of));
            prop_assert_eq!(shares.values().sum::<u64>(), total);
            for (share, w) in shares.values().zip(&of) {
                let due = u128::from(total) * u128::from(*w) / sum;
                prop_assert!((due..=due + 1).contains(&u128::from(*share)));
            }
        }
    }
}
