//! Holds the books to the bounds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use snowtide_client::Algorithm;

use super::books::{Charge, Entries};
use super::bounds::{Bound, Bounds, Mode};
use super::spans::{level, most_possible};

/// A time, in microseconds of Unix time, in which nodes may see each other differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// From here.
    pub from_us: u64,
    /// Until here.
    pub to_us: u64,
    /// A node was started anew.
    pub is_restart: bool,
}

/// What the books are held to.
#[derive(Clone, Debug)]
pub struct Law {
    /// What may be admitted.
    pub bounds: Bounds,
    /// By how much clocks may differ from that of the books.
    pub clock_error_us: u64,
    /// The node behind each target, by position.
    pub nodes: Vec<usize>,
    /// What was done to the cluster.
    pub disturbances: Vec<Disturbance>,
    /// When keys were asked for all the time.
    pub asked_us: (u64, u64),
}

/// More than may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// The number of the key.
    pub key: u32,
    /// In which window; none for a level.
    pub window: Option<u64>,
    /// What was certainly admitted: in the window, with what counts of the one before, or above what drained.
    pub admitted: u64,
    /// What may be.
    pub bound: Bound,
}

/// The admissions that came closest to their bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Closest {
    /// Windows of keys that were held to a bound; with `gcra`, spans of time of keys.
    pub judged: u64,
    /// What was certainly admitted where that came closest.
    pub admitted: u64,
    /// What might have been there.
    pub bound: u64,
}

/// Windows in which a key was asked for at least twice as much as its limit and nothing was done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fair {
    /// How many there were.
    pub windows: u64,
    /// The least that was admitted in one.
    pub least: u64,
    /// What was admitted in all of them.
    pub admitted: u64,
    /// The units of a window.
    pub limit: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// What was above its bound.
    pub over: Vec<Over>,
    /// While nothing was done to the cluster.
    pub undisturbed: Closest,
    /// While it was.
    pub disturbed: Closest,
    /// Whether limits were used up where they were asked for; none if there was no such window.
    pub fair: Option<Fair>,
}

/// The charges that may fall into a window, and what certainly did.
#[derive(Default)]
struct Window<'a> {
    certain: Vec<&'a Charge>,
    /// Those of the time before it, too, in which nodes may not have known of each other.
    possible: Vec<Charge>,
}

/// Holds all keys to the law.
pub fn judge(law: &Law, entries: &Entries) -> Judged {
    let mut keys: BTreeMap<u32, Vec<Charge>> = BTreeMap::new();
    entries.charges.iter().for_each(|charge| keys.entry(charge.key).or_default().push(*charge));
    let mut judged = Judged::default();
    for (key, charges) in &keys {
        match law.bounds.numbers.algorithm {
            Algorithm::Gcra => law.levels(*key, charges, &mut judged),
            Algorithm::Fixed | Algorithm::Sliding => law.windows(*key, charges, &mut judged),
        }
    }
    judged.fair = law.fair(&keys, &entries.denied);
    judged
}

impl Judged {
    fn hold(&mut self, over: Over, is_disturbed: bool) {
        let closest = if is_disturbed { &mut self.disturbed } else { &mut self.undisturbed };
        closest.judged += 1;
        let (admitted, bound) = (over.admitted, over.bound.most());
        let is_closer = u128::from(admitted) * u128::from(closest.bound.max(1))
            >= u128::from(closest.admitted) * u128::from(bound.max(1));
        if closest.bound == 0 || is_closer {
            (closest.admitted, closest.bound) = (admitted, bound);
        }
        if admitted > bound {
            self.over.push(over);
        }
    }
}

impl Law {
    fn window_us(&self) -> u64 {
        self.bounds.numbers.window_ms.max(1).saturating_mul(1_000)
    }

    /// Windows that a decision looks back at.
    fn memory(&self) -> u64 {
        u64::from(self.bounds.numbers.algorithm == Algorithm::Sliding)
    }

    fn windows(&self, key: u32, charges: &[Charge], judged: &mut Judged) {
        let windows = self.by_window(charges);
        let mut slack_before = BTreeMap::new();
        for (number, window) in windows.iter().filter(|(_, window)| !window.certain.is_empty()) {
            let disturbances = self.disturbing(*number);
            let bound = self.bound(window, &disturbances);
            let before = number.checked_sub(1);
            let (earlier, forgiven) = match before.filter(|_| self.memory() > 0) {
                Some(before) => (
                    windows.get(&before).map_or(0, |window| sum(&window.certain)),
                    slack_before.get(&before).copied().unwrap_or(0),
                ),
                None => (0, 0),
            };
            slack_before.insert(*number, bound.slack);
            let bound = Bound { slack: bound.slack.saturating_add(forgiven), ..bound };
            let admitted = self.weighed(*number, &window.certain, earlier);
            judged.hold(Over { key, window: Some(*number), admitted, bound }, !disturbances.is_empty());
        }
    }

    fn by_window<'a>(&self, charges: &'a [Charge]) -> BTreeMap<u64, Window<'a>> {
        let (length, error) = (self.window_us(), self.clock_error_us);
        let unaware = micros(self.bounds.unaware(!self.disturbances.is_empty()));
        let mut windows: BTreeMap<u64, Window<'a>> = BTreeMap::new();
        for charge in charges {
            let (first, last) = (charge.sent_us.saturating_sub(error) / length, (charge.done_us + error) / length);
            if first == last && charge.is_known {
                windows.entry(first).or_default().certain.push(charge);
            }
            let last = charge.done_us.saturating_add(error).saturating_add(unaware) / length;
            for number in first..=last {
                windows.entry(number).or_default().possible.push(*charge);
            }
        }
        windows
    }

    fn bound(&self, window: &Window<'_>, disturbances: &[&Disturbance]) -> Bound {
        let unaware = micros(self.bounds.unaware(!disturbances.is_empty()));
        let restarts = disturbances.iter().filter(|disturbance| disturbance.is_restart).count() as u64;
        self.bounds.window(&self.bursts(&window.possible, unaware), restarts)
    }

    /// The most that each node may have admitted within this time; those that admitted nothing are left out.
    fn bursts(&self, charges: &[Charge], within_us: u64) -> Vec<u64> {
        let mut of_nodes: BTreeMap<usize, Vec<Charge>> = BTreeMap::new();
        for charge in charges {
            let node = self.nodes.get(usize::from(charge.target)).copied().unwrap_or_default();
            of_nodes.entry(node).or_default().push(*charge);
        }
        of_nodes.values().map(|charges| most_possible(charges, within_us)).collect()
    }

    /// The most that this window and the earlier one, weighted, certainly came to.
    fn weighed(&self, number: u64, certain: &[&Charge], earlier: u64) -> u64 {
        let (length, begins) = (self.window_us(), number.saturating_mul(self.window_us()));
        let mut ordered: Vec<&&Charge> = certain.iter().collect();
        ordered.sort_unstable_by_key(|charge| charge.done_us);
        let (mut most, mut sum) = (0, 0);
        for charge in ordered {
            sum += u64::from(charge.cost);
            // As late as it may have been, so little counts of the earlier one.
            let latest = charge.done_us.saturating_add(self.clock_error_us.saturating_mul(2));
            let left = length.saturating_sub(latest.saturating_sub(begins));
            let weighted = u128::from(earlier) * u128::from(left) / u128::from(length);
            most = most.max(sum + u64::try_from(weighted).unwrap_or(u64::MAX));
        }
        most
    }

    /// What was done to the cluster in a window, or in what it looks back at.
    fn disturbing(&self, number: u64) -> Vec<&Disturbance> {
        let begins = number.saturating_sub(self.memory()).saturating_mul(self.window_us());
        let ends = number.saturating_add(1).saturating_mul(self.window_us());
        // Sides count from the next window on; until then each has its share, which is no more.
        let reaches = |disturbance: &&Disturbance| {
            let calm = disturbance.to_us / self.window_us() + 1 + self.memory();
            disturbance.from_us < ends && calm.saturating_mul(self.window_us()) > begins
        };
        self.disturbances.iter().filter(reaches).collect()
    }

    /// Levels: the whole run by what may be while it is disturbed, and each time without a disturbance by itself.
    fn levels(&self, key: u32, charges: &[Charge], judged: &mut Judged) {
        if !self.disturbances.is_empty() {
            let restarts = self.disturbances.iter().filter(|disturbance| disturbance.is_restart).count() as u64;
            let ends = 2 * self.disturbances.len() as u64;
            self.level(key, charges, (ends, restarts), judged);
        }
        for (from_us, to_us) in self.calm() {
            let within = charges.iter().filter(|charge| charge.sent_us >= from_us && charge.done_us <= to_us);
            self.level(key, &within.copied().collect::<Vec<_>>(), (0, 0), judged);
        }
    }

    fn level(&self, key: u32, charges: &[Charge], (ends, restarts): (u64, u64), judged: &mut Judged) {
        let known: Vec<Charge> = charges.iter().filter(|charge| charge.is_known).copied().collect();
        if known.is_empty() {
            return;
        }
        let bursts = self.bursts(charges, micros(self.bounds.unaware(ends > 0)));
        let bound = self.bounds.level(&bursts, ends, restarts);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and far below 2^53")]
        let admitted = level(&known, self.bounds.drains_per_us()) as u64;
        judged.hold(Over { key, window: None, admitted, bound }, ends > 0);
    }

    /// The times between disturbances. What was not told before one is known a window later.
    fn calm(&self) -> Vec<(u64, u64)> {
        let mut busy: Vec<(u64, u64)> = self.disturbances.iter().map(|each| (each.from_us, each.to_us)).collect();
        busy.sort_unstable();
        let (mut calm, mut from) = (Vec::new(), 0);
        for (busy_from, busy_to) in busy {
            calm.extend((busy_from > from).then_some((from, busy_from)));
            from = from.max(busy_to.saturating_add(self.window_us().saturating_mul(2)));
        }
        calm.push((from, u64::MAX));
        calm
    }

    /// Whole windows of the run in which nothing was done to the cluster and more than the limit was denied.
    fn fair(&self, keys: &BTreeMap<u32, Vec<Charge>>, denied: &BTreeMap<u32, BTreeMap<u64, u64>>) -> Option<Fair> {
        let (limit, length) = (self.bounds.numbers.limit, self.window_us());
        if self.bounds.mode == Mode::Local {
            return None;
        }
        let (first, end) = (self.asked_us.0.div_ceil(length) + self.memory(), self.asked_us.1 / length);
        let mut fair: Option<Fair> = None;
        for (key, windows) in denied {
            let wanted =
                windows.range(first..end.max(first)).filter(|(_, cost)| **cost >= limit).map(|(number, _)| *number);
            let wanted: BTreeSet<u64> = wanted.filter(|number| self.disturbing(*number).is_empty()).collect();
            let mut sums: BTreeMap<u64, u64> = wanted.into_iter().map(|number| (number, 0)).collect();
            for charge in keys.get(key).into_iter().flatten().filter(|charge| charge.is_known) {
                let window = charge.sent_us.midpoint(charge.done_us) / length;
                sums.entry(window).and_modify(|sum| *sum += u64::from(charge.cost));
            }
            for sum in sums.into_values() {
                let fair = fair.get_or_insert(Fair { windows: 0, least: u64::MAX, admitted: 0, limit });
                fair.windows += 1;
                fair.least = fair.least.min(sum);
                fair.admitted += sum;
            }
        }
        fair
    }
}

fn sum(charges: &[&Charge]) -> u64 {
    charges.iter().map(|charge| u64::from(charge.cost)).sum()
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::books::{Books, Fate};
    use super::super::bounds::Written;
    use super::*;

    const SECOND: u64 = 1_000_000;
    const MS: u64 = 1_000;

    fn law(written: &str, mode: Mode) -> Law {
        let Written(numbers) = written.parse().unwrap();
        let (delay, presence) = (Duration::from_millis(100), Duration::from_secs(1));
        Law {
            bounds: Bounds { numbers, mode, nodes: 2, delay, presence },
            clock_error_us: 10 * MS,
            nodes: vec![0, 1],
            disturbances: Vec::new(),
            asked_us: (0, 100 * SECOND),
        }
    }

    /// Each at its target and time, with an answer after 2 ms.
    fn entries(all: impl IntoIterator<Item = (u16, u64, u32, Fate)>) -> Entries {
        let books = Books::new(1_000, 1_000_000);
        books.take(all.into_iter().map(|(target, sent_us, cost, fate)| {
            let charge = Charge { key: 7, target, is_known: false, cost, sent_us, done_us: sent_us + 2 * MS };
            (charge, fate)
        }));
        books.into_entries()
    }

    fn admitted(target: u16, sent_us: u64, cost: u32) -> (u16, u64, u32, Fate) {
        (target, sent_us, cost, Fate::Admitted)
    }

    #[test]
    fn a_window_above_its_bound_is_found_and_one_below_is_not() {
        let law = law("fixed:100/1s", Mode::Shared);
        // One every 8 ms at each of two nodes: 13 within 100 ms, and 5 more that need not be told.
        let steady = |ms_apart: u64| {
            entries((0..100).flat_map(move |n| {
                let at = 10 * SECOND + 20 * MS + n * ms_apart * MS;
                [admitted(0, at, 1), admitted(1, at, 1)]
            }))
        };
        let judged = judge(&law, &steady(9));
        assert_eq!(judged.over.len(), 1, "{judged:?}");
        let Over { key: 7, window: Some(10), admitted: 200, bound } = judged.over[0] else { panic!("{judged:?}") };
        assert!(bound.limit == 100 && (15..25).contains(&bound.slack), "{bound:?}");
        // Over two windows there is nothing to find.
        let judged = judge(&law, &steady(18));
        assert!(judged.over.is_empty() && judged.undisturbed.judged == 2, "{judged:?}");
        assert_eq!(judged.disturbed, Closest::default());
    }

    #[test]
    fn what_is_not_certain_counts_for_nothing_but_the_slack() {
        let law = law("fixed:100/1s", Mode::Split);
        let edge = 11 * SECOND - 5 * MS;
        let many = (0..150).map(|n| admitted(0, 10 * SECOND + 100 * MS + n, 1));
        let judged = judge(&law, &entries(many.clone().take(100).chain([admitted(0, edge, 50)])));
        assert!(judged.over.is_empty(), "it may have been the next window: {judged:?}");
        let unknown = (1, 10 * SECOND + 500 * MS, 50, Fate::Unknown);
        assert!(judge(&law, &entries(many.clone().take(100).chain([unknown]))).over.is_empty());
        assert_eq!(judge(&law, &entries(many)).over[0].admitted, 150);
    }

    #[test]
    fn a_sliding_window_weighs_the_one_before() {
        let law = law("sliding:100/1s", Mode::Split);
        let full = |at| (0..100).map(move |n| admitted(0, at + n, 1));
        // Of 100, little more than 7 count by then.
        let late = full(11 * SECOND + 900 * MS).take(92);
        let late = judge(&law, &entries(full(10 * SECOND + 500 * MS).chain(late)));
        assert!(late.over.is_empty() && late.undisturbed.admitted == 100, "{late:?}");
        let early = judge(&law, &entries(full(10 * SECOND + 500 * MS).chain(full(11 * SECOND + 100 * MS))));
        // A tenth of the window is over, and a little is not certain.
        assert!((180..190).contains(&early.over[0].admitted), "{early:?}");
        let fixed =
            Law { bounds: Bounds { numbers: "fixed:100/1s".parse::<Written>().unwrap().0, ..law.bounds }, ..law };
        let both = entries(full(10 * SECOND + 500 * MS).chain(full(11 * SECOND + 100 * MS)));
        assert!(judge(&fixed, &both).over.is_empty());
    }

    #[test]
    fn a_disturbance_and_a_restart_allow_more_for_as_long_as_they_last() {
        let mut law = law("fixed:100/1s", Mode::Shared);
        // 160 in one window, 80 of them within 160 ms at each node.
        let all = |window: u64| {
            let begins = window * SECOND + 100 * MS;
            entries(
                (0..80).flat_map(move |n| [admitted(0, begins + n * 2 * MS, 1), admitted(1, begins + n * 2 * MS, 1)]),
            )
        };
        assert_eq!(judge(&law, &all(10)).over.len(), 1);
        law.disturbances.push(Disturbance { from_us: 9 * SECOND, to_us: 10 * SECOND, is_restart: false });
        let judged = judge(&law, &all(10));
        assert!(judged.over.is_empty() && judged.disturbed.judged == 1, "{judged:?}");
        assert_eq!(judge(&law, &all(12)).over.len(), 1, "that is long over");
        let bound = judged.disturbed.bound;
        law.disturbances[0].is_restart = true;
        assert_eq!(judge(&law, &all(10)).disturbed.bound, bound + 85 + 50);
    }

    #[test]
    fn a_level_is_held_to_its_burst_and_rate() {
        let law = law("gcra:100/1s:20", Mode::Split);
        let every = |ms: u64, many: u64| (0..many).map(move |n| admitted(0, 10 * SECOND + n * ms * MS, 1));
        let kept = judge(&law, &entries(every(10, 500)));
        assert!(kept.over.is_empty() && kept.undisturbed.judged == 1, "{kept:?}");
        let over = judge(&law, &entries(every(9, 500)));
        assert!(over.over[0].window.is_none() && over.over[0].admitted > 40, "{over:?}");
    }

    #[test]
    fn a_fair_window_is_one_of_enough_demand_in_calm() {
        let law = law("fixed:10/1s", Mode::Shared);
        let asked = |window: u64, admits: u32, denies: u32| {
            let at = window * SECOND + 300 * MS;
            [admitted(0, at, admits), (1, at + MS, denies, Fate::Denied)]
        };
        let all = [asked(10, 10, 30), asked(11, 9, 30), asked(12, 3, 5)].concat();
        assert_eq!(
            judge(&law, &entries(all.clone())).fair,
            Some(Fair { windows: 2, least: 9, admitted: 19, limit: 10 })
        );
        let disturbed = Disturbance { from_us: 11 * SECOND, to_us: 11 * SECOND, is_restart: false };
        let law = Law { disturbances: vec![disturbed], ..law };
        assert_eq!(judge(&law, &entries(all)).fair, Some(Fair { windows: 1, least: 10, admitted: 10, limit: 10 }));
        assert_eq!(judge(&law, &entries([admitted(0, 0, 1)])).fair, None);
    }
}
