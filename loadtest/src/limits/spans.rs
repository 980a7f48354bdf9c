//! Sums of admissions over spans of time: what they certainly were, and what they may have been.

use super::books::Charge;

/// The most that may have been charged within any time of this length, whatever moments the charges had.
pub(super) fn most_possible(charges: &[Charge], span_us: u64) -> u64 {
    let sums = |mut ends: Vec<(u64, u64)>| {
        ends.sort_unstable();
        let mut sum = 0;
        ends.iter_mut().for_each(|(_, cost)| {
            sum += *cost;
            *cost = sum;
        });
        ends
    };
    let begun = sums(charges.iter().map(|charge| (charge.sent_us, charge.cost.into())).collect());
    let over = sums(charges.iter().map(|charge| (charge.done_us, charge.cost.into())).collect());
    let up_to = |sums: &[(u64, u64)], end: usize| end.checked_sub(1).map_or(0, |last| sums[last].1);
    let within = |charge: &Charge| {
        // Whatever has not ended before the first of them was sent, and was sent before the span was over.
        let latest = charge.done_us.saturating_add(span_us);
        let begun_by_then = up_to(&begun, begun.partition_point(|(sent_us, _)| *sent_us <= latest));
        begun_by_then - up_to(&over, over.partition_point(|(done_us, _)| *done_us < charge.sent_us))
    };
    charges.iter().map(within).max().unwrap_or(0)
}

/// The most that a level certainly rose to: what was charged within some time, less what drained in all of it.
///
/// Each charge is added to what was there, or begins anew, or is left out, whichever comes to more. What is left out may have been
/// there all the same, so this is never too much.
pub(super) fn level(known: &[Charge], drains_per_us: f64) -> f64 {
    let mut ordered: Vec<&Charge> = known.iter().collect();
    ordered.sort_unstable_by_key(|charge| charge.done_us);
    let drained = |from: u64, to: u64| to.saturating_sub(from) as f64 * drains_per_us;
    let (mut highest, mut level, mut since, mut at) = (0.0_f64, 0.0_f64, u64::MAX, 0);
    for charge in ordered {
        let cost = f64::from(charge.cost);
        let without = level - drained(at, charge.done_us);
        // What was sent before all the others makes the time longer in which it drained.
        let added = without - drained(charge.sent_us, since) + cost;
        let anew = cost - drained(charge.sent_us, charge.done_us);
        (level, since) = if since == u64::MAX || anew >= added.max(without) {
            (anew, charge.sent_us)
        } else if added >= without {
            (added, since.min(charge.sent_us))
        } else {
            (without, since)
        };
        at = charge.done_us;
        highest = highest.max(level);
    }
    highest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn charge(sent_us: u64, done_us: u64, cost: u32) -> Charge {
        Charge { key: 0, target: 0, is_known: true, cost, sent_us, done_us }
    }

    #[test]
    fn what_may_have_come_together_counts_together() {
        let charges = [charge(0, 10, 1), charge(12, 20, 2), charge(40, 50, 4), charge(70, 71, 8)];
        assert_eq!(most_possible(&charges, 0), 8);
        assert_eq!(most_possible(&charges, 2), 8, "20 is 20 before 40");
        assert_eq!(most_possible(&charges, 20), 12);
        assert_eq!(most_possible(&charges, 1_000), 15);
        assert_eq!(most_possible(&[], 5), 0);
    }

    #[test]
    fn a_level_counts_what_certainly_fell_into_one_time() {
        let burst: Vec<_> = (0..10).map(|number| charge(number, number + 1, 1)).collect();
        assert!((level(&burst, 0.0) - 10.0).abs() < 1e-9);
        assert!((level(&burst, 0.5) - 5.0).abs() < 1e-9, "ten in ten microseconds, of which five drain");
        // One slow answer does not hide the others.
        let with_slow: Vec<_> = burst.iter().copied().chain([charge(0, 1_000, 1)]).collect();
        assert!(level(&with_slow, 0.5) >= 5.0);
        assert!(level(&[charge(0, 1_000, 1)], 0.5).abs() < 1e-9);
    }

    proptest! {
        /// Whenever within their bounds the charges really were, no leaky bucket was ever below the certain level's peak.
        #[test]
        fn it_is_certain(
            charges in prop::collection::vec((0_u64..200, 0_u64..60, 1_u32..5, 0.0..1.0_f64), 1..40),
            rate in 0.0..1.0_f64,
            span in 0_u64..50,
        ) {
            let known: Vec<_> = charges.iter().map(|(sent, takes, cost, _)| charge(*sent, sent + takes, *cost)).collect();
            let mut real: Vec<(f64, f64)> = charges
                .iter()
                .map(|(sent, takes, cost, part)| (*sent as f64 + *takes as f64 * part, f64::from(*cost)))
                .collect();
            real.sort_by(|one, other| one.0.total_cmp(&other.0));
            let (mut filled, mut at, mut peak) = (0.0_f64, 0.0, 0.0_f64);
            for (moment, cost) in &real {
                filled = (filled - (moment - at) * rate).max(0.0) + cost;
                (at, peak) = (*moment, peak.max(filled));
            }
            prop_assert!(level(&known, rate) <= peak + 1e-6);
            let together = |(from, _): &(f64, f64)| {
                real.iter().filter(|(at, _)| at >= from && *at <= from + span as f64).map(|(_, cost)| cost).sum::<f64>()
            };
            let most = real.iter().map(together).fold(0.0, f64::max);
            prop_assert!(most_possible(&known, span) as f64 >= most - 1e-6);
        }
    }
}
