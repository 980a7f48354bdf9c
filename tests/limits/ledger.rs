//! The books of somebody who sees all nodes: every admission, held to each row of the table.
//!
//! Nothing of the code under test is in here but the words that it answers with.

use std::collections::{BTreeMap, BTreeSet};

use snowtide::limits::{Algorithm, Mode};

use super::plan::{PRESENCE_MS, Plan, Version};
use super::report::{Row, Tally};

/// Use that is not told may reach this part of the limit.
const EPSILON: f64 = 0.05;

/// One admission.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    pub at_ms: u64,
    pub node: usize,
    pub boot: u64,
    pub window: u32,
    /// How much of the window was over, by the node's clock.
    pub passed_ms: u64,
    pub cost: u64,
    pub version: usize,
    /// The peers had told this boot their tables.
    pub is_told: bool,
}

#[derive(Debug)]
pub struct Ledger {
    /// When nodes may see each other differently.
    pub disturbed: Vec<(u64, u64)>,
    /// Demands of which somebody lied, and in which window.
    pub claims: Vec<(usize, u32)>,
    books: Vec<Book>,
    delay_ms: u64,
    /// Nothing but restarts goes wrong, so that what is remembered elsewhere always comes back.
    pub restarts_only: bool,
}

#[derive(Debug, Default)]
struct Book {
    admitted: Vec<Admitted>,
    totals: BTreeMap<u32, u64>,
}

/// What one window may come to.
#[derive(Clone, Copy, Debug)]
struct Bound {
    limit: u64,
    slack: u64,
}

impl Bound {
    fn whole(self) -> u64 {
        self.limit + self.slack
    }
}

impl Ledger {
    pub fn new(plan: &Plan) -> Self {
        let books = plan.demands.iter().map(|_| Book::default()).collect();
        Self { disturbed: Vec::new(), claims: Vec::new(), books, delay_ms: plan.delay_ms(), restarts_only: false }
    }

    pub fn admit(&mut self, demand: usize, admitted: Admitted, versions: &[Vec<Version>]) -> Result<(), String> {
        let book = &mut self.books[demand];
        *book.totals.entry(admitted.window).or_default() += admitted.cost;
        book.admitted.push(admitted);
        // Whatever happens, no node admits more than there is.
        let most = versions.iter().flatten().map(|version| version.limit.max(version.burst)).max().unwrap_or(0);
        if admitted.cost <= most { Ok(()) } else { Err(format!("a cost of {} was admitted", admitted.cost)) }
    }

    pub fn is_disturbed(&self, from_ms: u64, to_ms: u64) -> bool {
        self.disturbed.iter().any(|(from, to)| *from <= to_ms && from_ms <= *to)
    }

    /// What lies make of a key's use in a window, in which `left_ms` are left; `None` if they may deny everything there.
    /// Nobody is believed further ahead than a window, and no more than there is.
    pub fn claimed(&self, demand: usize, window: u32, version: &Version, left_ms: u64) -> Option<u64> {
        let (mut claimed, sliding) = (0, version.algorithm == Algorithm::Sliding);
        for (_, at) in self.claims.iter().filter(|(of, _)| *of == demand) {
            match window.checked_sub(*at) {
                Some(0..2) => return None,
                Some(2) if sliding => claimed += (version.limit * left_ms).div_ceil(version.window_ms),
                _ => {}
            }
        }
        Some(claimed)
    }

    /// What one boot admitted in a window.
    pub fn used_by(&self, demand: usize, window: u32, boot: (usize, u64)) -> u64 {
        let recent = self.books[demand].admitted.iter().rev().take_while(|a| a.window + 1 >= window);
        recent.filter(|a| a.window == window && (a.node, a.boot) == boot).map(|a| a.cost).sum()
    }

    /// What was used in a window, and in the one before as far as it counts still.
    pub fn weighed(&self, demand: usize, window: u32, passed_ms: u64, window_ms: u64) -> u64 {
        let total = |window: u32| self.books[demand].totals.get(&window).copied().unwrap_or(0);
        let left_ms = window_ms - passed_ms.min(window_ms);
        total(window) + (total(window - 1) * left_ms).div_ceil(window_ms)
    }

    /// Holds everything to every row; says how close it came.
    pub fn judge(&self, plan: &Plan, versions: &[Vec<Version>], tally: &mut Tally) -> Result<(), String> {
        for (demand, book) in plan.demands.iter().zip(&self.books) {
            let (first, all) = (&plan.policies[demand.policy], &versions[demand.policy]);
            let named = |text: String| format!("{} key {} ({:?}): {text}", first.name, demand.key, demand.pattern);
            if first.algorithm == Algorithm::Gcra && first.mode == Mode::Shared {
                self.judge_levels(book, plan, all, tally).map_err(named)?;
            } else if first.algorithm != Algorithm::Gcra {
                self.judge_windows(book, plan, all, tally).map_err(named)?;
            }
        }
        Ok(())
    }

    fn judge_windows(&self, book: &Book, plan: &Plan, versions: &[Version], tally: &mut Tally) -> Result<(), String> {
        let mut windows: BTreeMap<u32, Vec<Admitted>> = BTreeMap::new();
        book.admitted.iter().for_each(|admitted| windows.entry(admitted.window).or_default().push(*admitted));
        let mut bounds = BTreeMap::new();
        for (number, all) in &windows {
            let from_ms = all.iter().map(|a| a.at_ms.saturating_sub(a.passed_ms)).min().unwrap_or(0);
            let to_ms = all.iter().map(|a| a.at_ms).max().unwrap_or(0);
            let disturbed = self.is_disturbed(from_ms, to_ms);
            let bound = self.bound(all, versions, disturbed);
            let total = book.totals[number];
            let row = match (versions[0].mode, disturbed) {
                (Mode::Shared, false) => Row::Window,
                (Mode::Shared, true) => Row::WindowDisturbed,
                _ => Row::Split,
            };
            tally.row(row, total, bound.whole());
            if total > bound.whole() {
                let who: BTreeSet<_> = all.iter().map(|a| (a.node, a.boot, a.version)).collect();
                return Err(format!(
                    "{total} admitted in window {number}, {bound:?} at most; by {who:?}, {from_ms} to {to_ms} ms"
                ));
            }
            bounds.insert(*number, bound);
        }
        let (Some(latest), Some(earliest)) = (plan.offsets_ms.iter().max(), plan.offsets_ms.iter().min()) else {
            return Ok(());
        };
        let apart_ms = latest.abs_diff(*earliest);
        if plan.faults.keys().any(|fault| fault.is_of_clocks()) || apart_ms >= versions[0].window_ms {
            // Nodes whose clocks are set at will have no time in common: only numbers have bounds.
            return Ok(());
        }
        if versions[0].algorithm == Algorithm::Sliding {
            return judge_weighed(book, &bounds, (versions[0].window_ms, apart_ms), tally);
        }
        judge_spans(book, &bounds, versions[0].window_ms - apart_ms, tally)
    }

    /// What all nodes may admit in a window in which they admitted this.
    fn bound(&self, all: &[Admitted], versions: &[Version], disturbed: bool) -> Bound {
        let delay_ms = self.delay_ms + if disturbed { PRESENCE_MS } else { 0 };
        let nodes: BTreeSet<usize> = all.iter().map(|a| a.node).collect();
        let used: BTreeSet<usize> = all.iter().map(|a| a.version).collect();
        let share = |node: usize, versions_used: &BTreeSet<usize>| {
            versions_used.iter().map(|version| versions[*version].share(node).0).max().unwrap_or(0)
        };
        let of = |node: usize| all.iter().filter(move |a| a.node == node);
        let limit = if let [version] = used.iter().collect::<Vec<_>>()[..] {
            versions[*version].limit
        } else {
            let mine =
                |node: usize| if nodes.contains(&node) { of(node).map(|a| a.version).collect() } else { used.clone() };
            (0..versions[0].weights.len()).map(|node| share(node, &mine(node))).sum()
        };
        let most = used.iter().map(|version| versions[*version].limit).max().unwrap_or(0);
        let threshold = used.iter().map(|version| versions[*version].threshold()).max().unwrap_or(0);
        let is_shared = versions[0].mode == Mode::Shared;
        let (mut unknown, mut restarts) = (Vec::new(), 0);
        for node in &nodes {
            let burst = most_within(of(*node), delay_ms);
            unknown.push(most.min(threshold + burst));
            let starts: BTreeSet<(u64, usize)> = of(*node).map(|a| (a.boot, a.version)).collect();
            for (boot, _) in starts.iter().skip(1) {
                let before_tables: u64 = of(*node).filter(|a| a.boot == *boot && !a.is_told).map(|a| a.cost).sum();
                let alone = share(*node, &used);
                restarts +=
                    threshold + burst + if self.restarts_only && is_shared { alone.min(before_tables) } else { alone };
            }
        }
        let told = unknown.iter().sum::<u64>() - unknown.iter().min().unwrap_or(&0);
        let slack = if is_shared { told + restarts } else { restarts };
        Bound { limit, slack }
    }

    fn judge_levels(&self, book: &Book, plan: &Plan, versions: &[Version], tally: &mut Tally) -> Result<(), String> {
        let delay_ms = self.delay_ms + if plan.faults.is_empty() { 0 } else { PRESENCE_MS };
        let most = |of: fn(&Version) -> u64| versions.iter().map(of).max().unwrap_or(0);
        let (limit, burst, threshold) = (most(|v| v.limit), most(|v| v.burst), most(Version::threshold));
        let (window_ms, nodes) = (versions[0].window_ms, versions[0].weights.len());
        let in_delay = burst + (limit * delay_ms).div_ceil(window_ms);
        let (mut unknown, mut restarts) = (Vec::new(), 0);
        for node in 0..nodes {
            let of = || book.admitted.iter().filter(|a| a.node == node);
            let shares = versions.iter().map(|version| version.share(node).1).max().unwrap_or(0);
            let once = threshold + most_within(of(), delay_ms).min(in_delay);
            unknown.push(once);
            let starts: BTreeSet<(u64, usize)> = of().map(|a| (a.boot, a.version)).collect();
            restarts += (once + shares) * (starts.len().max(1) as u64 - 1);
        }
        let slack = unknown.iter().sum::<u64>() - unknown.iter().min().unwrap_or(&0);
        let changed: u64 = versions.iter().skip(1).map(|version| version.burst).sum();
        // What is on its way when a side ends is lost for good, and what was above the burst is forgiven: once for each end.
        let ends = if plan.faults.is_empty() { 0 } else { self.disturbed.len() as u64 };
        let bound = burst + slack * (1 + ends) + restarts + changed;
        let rate = (1.0 + EPSILON) * limit as f64 / window_ms as f64;
        let (mut level, mut highest, mut last_ms) = (0.0f64, 0.0f64, 0);
        for admitted in &book.admitted {
            level = (level - rate * (admitted.at_ms - last_ms) as f64).max(0.0) + admitted.cost as f64;
            (highest, last_ms) = (highest.max(level), admitted.at_ms);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let highest = highest as u64;
        tally.row(if plan.faults.is_empty() { Row::Level } else { Row::LevelDisturbed }, highest, bound);
        if highest <= bound {
            return Ok(());
        }
        Err(format!(
            "{highest} more than the rate admitted, {bound} at most: burst {burst}, {slack} unknown, {restarts} for restarts"
        ))
    }
}

/// Any time of a window's length, less what clocks differ by, meets two numbers.
fn judge_spans(book: &Book, bounds: &BTreeMap<u32, Bound>, span_ms: u64, tally: &mut Tally) -> Result<(), String> {
    let most = most_within(book.admitted.iter(), span_ms.saturating_sub(1));
    let bound = 2 * bounds.values().map(|bound| bound.whole()).max().unwrap_or(0);
    tally.row(Row::AnyTime, most, bound);
    if most > bound { Err(format!("{most} admitted within {span_ms} ms, {bound} at most")) } else { Ok(()) }
}

/// At each moment, this window and the last one weighted. Nodes whose clocks are apart weigh it differently.
fn judge_weighed(
    book: &Book,
    bounds: &BTreeMap<u32, Bound>,
    (window_ms, apart_ms): (u64, u64),
    tally: &mut Tally,
) -> Result<(), String> {
    let mut totals: BTreeMap<u32, u64> = BTreeMap::new();
    for admitted in &book.admitted {
        *totals.entry(admitted.window).or_default() += admitted.cost;
        let before = totals.get(&(admitted.window - 1)).copied().unwrap_or(0);
        let left_ms = window_ms - admitted.passed_ms.min(window_ms);
        let weighed = totals[&admitted.window] + before * left_ms / window_ms;
        let slack = bounds.get(&(admitted.window - 1)).map_or(0, |bound| bound.slack);
        let earlier = bounds.get(&(admitted.window - 1)).map_or(0, |bound| bound.limit);
        let bound = bounds[&admitted.window];
        let bound = bound.limit.max(earlier) + bound.slack + slack + (before * apart_ms).div_ceil(window_ms);
        tally.row(Row::Sliding, weighed, bound);
        if weighed > bound {
            let number = admitted.window;
            return Err(format!(
                "{weighed} admitted in window {number} and the last one weighted, {bound} at most, {admitted:?}"
            ));
        }
    }
    let most = most_within(book.admitted.iter(), window_ms - 1);
    tally.sliding(most, bounds.values().map(|bound| bound.whole()).max().unwrap_or(0));
    Ok(())
}

/// The most that was admitted within any so long a time.
fn most_within<'a>(admitted: impl Iterator<Item = &'a Admitted> + Clone, span_ms: u64) -> u64 {
    let (mut first, mut sum, mut most) = (admitted.clone(), 0, 0);
    let mut oldest = first.next();
    for last in admitted {
        sum += last.cost;
        while let Some(old) = oldest.filter(|old| old.at_ms + span_ms < last.at_ms) {
            sum -= old.cost;
            oldest = first.next();
        }
        most = most.max(sum);
    }
    most
}
