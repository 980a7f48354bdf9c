//! What runs came to: faults by kind, operations, simulated time.

use std::collections::BTreeMap;

use super::faults::{Fault, Faults};

/// Counts of one run, or of many together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub seeds: u64,
    /// Simulated milliseconds times nodes.
    pub node_ms: u64,
    pub faults: BTreeMap<Fault, u64>,
    /// Events of note that are no faults.
    pub notes: BTreeMap<&'static str, u64>,
    pub acknowledged: u64,
    pub refused: u64,
    pub reads: u64,
    pub ids: u64,
    /// Of listings, and how many walks were over.
    pub pages: u64,
    pub walks: u64,
    /// Times that a drained node said that another region holds all it had acknowledged.
    pub handovers: u64,
    pub messages: u64,
    /// Done by disks.
    pub jobs: u64,
    /// Digest intervals that the slowest convergence took.
    pub rounds_max: u64,
    pub convergences: u64,
    /// The hashes of all traces, added up: the same as long as every seed means the same.
    pub traces: u64,
}

impl Tally {
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Whether a disk was ever copied.
    pub fn copies(&self) -> bool {
        [Fault::Clone, Fault::Twin].iter().any(|fault| self.faults.contains_key(fault))
    }

    pub fn note(&mut self, what: &'static str) {
        *self.notes.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (what, count) in &other.notes {
            *self.notes.entry(*what).or_default() += count;
        }
        self.seeds += other.seeds;
        self.node_ms += other.node_ms;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.reads += other.reads;
        self.ids += other.ids;
        self.pages += other.pages;
        self.walks += other.walks;
        self.handovers += other.handovers;
        self.messages += other.messages;
        self.jobs += other.jobs;
        self.rounds_max = self.rounds_max.max(other.rounds_max);
        self.convergences += other.convergences;
        self.traces = self.traces.wrapping_add(other.traces);
    }

    /// Faults other than those of single messages.
    pub fn events(&self) -> u64 {
        let single = [Fault::Loss, Fault::Duplication, Fault::Reordering, Fault::Delay];
        self.faults.iter().filter(|(fault, _)| !single.contains(fault)).map(|(_, count)| count).sum()
    }

    /// A run that did nothing, or in which a wanted fault never happened, shows nothing.
    pub fn complaint(&self, faults: &Faults) -> Option<String> {
        let silent: Vec<Fault> =
            faults.wanted().filter(|fault| self.faults.get(fault).copied().unwrap_or(0) == 0).collect();
        let untold = faults.chance(Fault::Drain) > 0.0 && self.handovers == 0;
        if self.acknowledged == 0 || self.reads == 0 || self.ids == 0 || self.walks == 0 || untold {
            Some(format!("too little was served: {self:?}"))
        } else if !silent.is_empty() {
            Some(format!("these faults never happened: {silent:?}"))
        } else {
            None
        }
    }

    /// For people; `seconds` is how long it took.
    pub fn describe(&self, seconds: f64) -> String {
        let hours = self.cluster_hours();
        #[allow(clippy::cast_precision_loss)] // for people
        let often = self.events() as f64 / (hours * 60.0);
        let counts = |counts: Vec<String>| counts.join(", ");
        format!(
            "  {hours:.2} five-node cluster-hours simulated, {:.1} a minute; {often:.1} faults a simulated minute\n  {} \
             writes acknowledged, {} refused, {} reads, {} ids, {} pages of {} walks, {} drains handed over, {} messages, \
             {} disk jobs; {} convergences, {} rounds at most; traces {:016x}\n  faults: {}\n  also: {}",
            hours / seconds * 60.0,
            self.acknowledged,
            self.refused,
            self.reads,
            self.ids,
            self.pages,
            self.walks,
            self.handovers,
            self.messages,
            self.jobs,
            self.convergences,
            self.rounds_max,
            self.traces,
            counts(self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect()),
            counts(self.notes.iter().map(|(what, count)| format!("{what} {count}")).collect()),
        )
    }

    /// As if every cluster had five nodes.
    #[allow(clippy::cast_precision_loss)] // for people
    pub fn cluster_hours(&self) -> f64 {
        self.node_ms as f64 / 5.0 / 3_600_000.0
    }
}
