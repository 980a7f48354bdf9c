//! What runs came to: simulated time, decisions, faults by kind, and how close each row came to its bound.

use std::collections::BTreeMap;

use super::trouble::Fault;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Window,
    WindowDisturbed,
    AnyTime,
    Sliding,
    Level,
    LevelDisturbed,
    Split,
}

/// Counts of one run, or of many together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub seeds: u64,
    /// Simulated milliseconds.
    pub cluster_ms: u64,
    pub node_ms: u64,
    pub decisions: u64,
    pub admitted: u64,
    pub denied: u64,
    /// Denials that were checked.
    pub judged: u64,
    pub flooded: u64,
    pub messages: u64,
    pub evicted: u64,
    /// Policies that came with requests: how often one was looked up, and how often there was no room.
    pub given: u64,
    pub refused: u64,
    /// How often a policy was not what it had been.
    pub changed: u64,
    pub faults: BTreeMap<Fault, u64>,
    /// How often each row was checked, and the greatest part of its bound that was used.
    pub rows: BTreeMap<Row, (u64, f64)>,
    /// The most that `sliding` admitted within any window's length, in parts of what one window may come to.
    pub sliding_most: f64,
}

impl Tally {
    pub fn row(&mut self, row: Row, total: u64, bound: u64) {
        let part = total as f64 / bound.max(1) as f64;
        let (count, closest) = self.rows.entry(row).or_default();
        (*count, *closest) = (*count + 1, closest.max(part));
    }

    pub fn sliding(&mut self, most: u64, bound: u64) {
        self.sliding_most = self.sliding_most.max(most as f64 / bound.max(1) as f64);
    }

    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.cluster_ms += other.cluster_ms;
        self.node_ms += other.node_ms;
        self.decisions += other.decisions;
        self.admitted += other.admitted;
        self.denied += other.denied;
        self.judged += other.judged;
        self.flooded += other.flooded;
        self.messages += other.messages;
        self.evicted += other.evicted;
        self.given += other.given;
        self.refused += other.refused;
        self.changed += other.changed;
        self.sliding_most = self.sliding_most.max(other.sliding_most);
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (row, (count, closest)) in &other.rows {
            let held = self.rows.entry(*row).or_default();
            *held = (held.0 + count, held.1.max(*closest));
        }
    }

    /// A run that did nothing, or in which a wanted fault never happened, shows nothing.
    pub fn complaint(&self, wanted: &[Fault]) -> Option<String> {
        let silent: Vec<&Fault> = wanted.iter().filter(|fault| !self.faults.contains_key(fault)).collect();
        if self.admitted == 0 || self.denied == 0 || self.judged == 0 {
            Some(format!("too little was decided: {self:?}"))
        } else if !silent.is_empty() {
            Some(format!("these faults never happened: {silent:?}"))
        } else {
            None
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let hours = |ms: u64| ms as f64 / 3_600_000.0;
        let rows: Vec<String> =
            self.rows.iter().map(|(row, (count, closest))| format!("{row:?} {closest:.4} of {count}")).collect();
        let faults: Vec<String> = self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        format!(
            "  {:.2} cluster-hours, {:.2} node-hours; {} decisions, {} admitted, {} denied ({} of them judged), {} messages, \
             {} keys of floods, {} keys evicted, {} policies given and {} refused, {} changed\n  closest: {}; sliding within a window's length {:.3} of one window's bound\n  faults: {}",
            hours(self.cluster_ms),
            hours(self.node_ms),
            self.decisions,
            self.admitted,
            self.denied,
            self.judged,
            self.messages,
            self.flooded,
            self.evicted,
            self.given,
            self.refused,
            self.changed,
            rows.join(", "),
            self.sliding_most,
            faults.join(", ")
        )
    }
}
