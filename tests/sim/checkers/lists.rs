//! Listing: a counter that is there throughout a walk comes once, and nothing comes twice, or without being asked for.
//!
//! A walk may go on at another node. A counter that some node lacked when it was asked for a page need not come.

use std::collections::{BTreeMap, BTreeSet};

use snowtide::identity::NamespaceId;
use snowtide::replica::Page;
use snowtide_protocol::Key;

use super::ledger::Counter;

/// What each node has shown to clients.
#[derive(Default)]
pub struct Lists(BTreeMap<usize, Shown>);

/// The counters that a node has shown to clients: it holds them durably from then on, while it has its disk.
#[derive(Default)]
struct Shown {
    counters: BTreeSet<Counter>,
    /// Disks that it has lost.
    disks_lost: u64,
}

/// A walk over the counters of a namespace whose names begin alike.
pub struct Walk {
    pub namespace: NamespaceId,
    pub prefix: String,
    /// Where the last page ended.
    pub after: Option<Key>,
    /// Names that were there from the beginning, at every node that was asked.
    lasting: BTreeSet<Key>,
    /// The nodes that it was held against, with the disks that they had: whatever is in it, they had shown by then.
    asked: BTreeSet<(usize, u64)>,
    listed: BTreeSet<Key>,
    cursors: BTreeSet<Key>,
}

impl Lists {
    /// A node has told a client of this counter.
    pub fn shown(&mut self, node: usize, counter: Counter) {
        self.0.entry(node).or_default().counters.insert(counter);
    }

    pub fn forget(&mut self, node: usize) {
        let shown = self.0.entry(node).or_default();
        *shown = Shown { disks_lost: shown.disks_lost + 1, ..Shown::default() };
    }

    pub fn begin(&self, node: usize, namespace: NamespaceId, prefix: &str) -> Walk {
        let shown = self.0.get(&node).into_iter().flat_map(|shown| &shown.counters);
        let shown = shown.filter(|counter| counter.0 == namespace);
        let lasting = shown.map(|(_, key)| key.clone()).filter(|key| key.starts_with(prefix)).collect();
        Walk {
            namespace,
            prefix: prefix.to_owned(),
            after: None,
            lasting,
            asked: BTreeSet::new(),
            listed: BTreeSet::new(),
            cursors: BTreeSet::new(),
        }
    }

    /// The next page is asked for at this node.
    pub fn ask(&mut self, walk: &mut Walk, node: usize) {
        let shown = self.0.entry(node).or_default();
        if walk.asked.insert((node, shown.disks_lost)) {
            walk.lasting.retain(|key| shown.counters.contains(&(walk.namespace, key.clone())));
        }
    }
}

impl Walk {
    /// The next page has come; the walk is over if it names no other.
    pub fn take(&mut self, node: usize, limit: usize, page: &Page) -> Option<String> {
        if page.counters.len() > limit {
            return Some(format!("list: node {node} put {} counters on a page of {limit}", page.counters.len()));
        }
        for (key, _) in &page.counters {
            if !key.starts_with(&self.prefix) {
                return Some(format!("list: node {node} listed {key:?} and was asked for {:?}", self.prefix));
            }
            if !self.listed.insert(key.clone()) {
                return Some(format!("list: node {node} listed {key:?} of {:?} twice in one walk", self.namespace));
            }
        }
        self.after.clone_from(&page.next);
        match &self.after {
            Some(next) if !self.cursors.insert(next.clone()) => {
                Some(format!("list: node {node} ended two pages of one walk at {next:?}"))
            }
            Some(_) => None,
            None => {
                let missed = self.lasting.difference(&self.listed).next()?;
                let (namespace, prefix) = (self.namespace, &self.prefix);
                Some(format!("list: a walk over {prefix:?} in {namespace:?}, ended at node {node}, missed {missed:?}"))
            }
        }
    }
}
