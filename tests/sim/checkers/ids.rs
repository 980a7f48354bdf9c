//! G5: no ID is issued twice in the cluster, IDs of one node increase, and none lies above the durable ceiling (I10).

use std::collections::{BTreeMap, BTreeSet};

use snowtide::identity::WorkerId;
use snowtide::snowflake::{Layout, Run};

use crate::ids::layout;

/// IDs from the key up to here, and which node issued them.
#[derive(Clone, Copy, Debug)]
struct Issued {
    last: u64,
    node: usize,
}

#[derive(Default)]
pub struct Ids {
    /// By the first of each run.
    issued: BTreeMap<u64, Issued>,
    /// The last ID of each node.
    last: BTreeMap<usize, u64>,
    /// The highest ceiling that each node's disk was seen to hold.
    durable: BTreeMap<usize, u64>,
    workers: BTreeMap<usize, WorkerId>,
    /// Nodes whose disk was lost since they last claimed.
    lost: BTreeSet<usize>,
    /// Nodes that have claimed since their start.
    claimed: BTreeSet<usize>,
    /// The highest ceiling that peers have told each node since its start.
    heard: BTreeMap<usize, u64>,
}

impl Ids {
    pub fn issued(&mut self, node: usize, run: Run, layout: Layout) -> Option<String> {
        let last = run.first + u64::from(run.count) - 1;
        let Ok(parts) = layout.decode(last) else { return Some(format!("G5: {last} is no id")) };
        if !self.claimed.contains(&node) {
            return Some(format!("G5: node {node} issued {} before its peers were asked", run.first));
        }
        let ceiling = self.durable.get(&node).copied().unwrap_or(0);
        let timestamp = parts.timestamp_ms;
        if timestamp > ceiling {
            return Some(format!("I10: node {node} issued an id of {timestamp}, the durable ceiling is {ceiling}"));
        }
        if let Some(before) = self.last.insert(node, last)
            && run.first <= before
        {
            return Some(format!("G5: node {node} issued {} after {before}", run.first));
        }
        if let Some((first, other)) = self.issued.range(..=last).next_back()
            && other.last >= run.first
        {
            return Some(format!(
                "G5: node {node} issued {run:?} after node {} had issued {first} to {}",
                other.node, other.last
            ));
        }
        self.issued.insert(run.first, Issued { last, node });
        None
    }

    /// A start found this ceiling on disk.
    pub fn started(&mut self, node: usize, worker: WorkerId, ceiling: u64) -> Option<String> {
        self.workers.insert(node, worker);
        self.claimed.remove(&node);
        self.heard.remove(&node);
        let before = self.durable.insert(node, ceiling).unwrap_or(0);
        (ceiling < before).then(|| format!("I10: node {node} starts with ceiling {ceiling} after {before} was durable"))
    }

    pub fn durable(&mut self, node: usize, ceiling: u64) {
        let durable = self.durable.entry(node).or_default();
        *durable = ceiling.max(*durable);
    }

    /// A peer tells a node how far its IDs had come.
    pub fn heard(&mut self, node: usize, ceiling: u64) {
        let heard = self.heard.entry(node).or_default();
        *heard = ceiling.max(*heard);
    }

    /// Whoever claims has listened.
    pub fn check_claim(&mut self, node: usize, ceiling: u64) -> Option<String> {
        self.claimed.insert(node);
        let heard = self.heard.get(&node).copied().unwrap_or(0);
        (ceiling < heard).then(|| format!("I10: node {node} claims ids above {ceiling}; a peer told it {heard}"))
    }

    /// IDs begin above this one. After a lost disk, peers may not have heard of the highest: then nothing but the clock
    /// keeps IDs apart, and what was issued before is excused.
    /// True if something was excused.
    pub fn claimed(&mut self, node: usize, ceiling: u64) -> bool {
        let Some(worker) = self.workers.get(&node).copied().filter(|_| self.lost.remove(&node)) else { return false };
        let excused = |issued: &Issued| self.workers.get(&issued.node) == Some(&worker);
        let highest = self.issued.values().filter(|issued| excused(issued)).map(|issued| issued.last).max();
        let highest = highest.and_then(|id| layout().decode(id).ok());
        let unheard = highest.is_some_and(|parts| parts.timestamp_ms > ceiling);
        if unheard {
            let workers = &self.workers;
            self.issued.retain(|_, issued| workers.get(&issued.node) != Some(&worker));
            self.last.remove(&node);
        }
        unheard
    }

    pub fn disk_lost(&mut self, node: usize) {
        self.durable.remove(&node);
        self.lost.insert(node);
    }
}
