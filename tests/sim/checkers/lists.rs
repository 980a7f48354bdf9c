//! Listing: a counter that is there throughout a walk comes once, and nothing comes twice, or without being asked for.
//!
//! A walk may go on at another node. A counter that some node lacked when it was asked for a page need not come.

use std::collections::{BTreeMap, BTreeSet};

use snowtide::identity::NamespaceId;
use snowtide::replica::Page;
use snowtide_protocol::Key;

use super::ledger::Counter;

/// The counters that each node has shown to clients: it holds them durably from then on.
#[derive(Default)]
pub struct Lists(BTreeMap<usize, BTreeSet<Counter>>);

/// A walk over the counters of a namespace whose names begin alike.
pub struct Walk {
    pub namespace: NamespaceId,
    pub prefix: String,
    /// Where the last page ended.
    pub after: Option<Key>,
    /// Names that were there from the beginning, at every node that was asked.
    lasting: BTreeSet<String>,
    listed: BTreeSet<String>,
    cursors: BTreeSet<String>,
}

impl Lists {
    /// A node has told a client of this counter.
    pub fn shown(&mut self, node: usize, counter: Counter) {
        self.0.entry(node).or_default().insert(counter);
    }

    pub fn forget(&mut self, node: usize) {
        self.0.remove(&node);
    }

    fn has_shown(&self, node: usize, namespace: NamespaceId, name: &str) -> bool {
        self.0.get(&node).is_some_and(|shown| shown.contains(&(namespace, name.to_owned())))
    }

    pub fn begin(&self, node: usize, namespace: NamespaceId, prefix: &str) -> Walk {
        let shown = self.0.get(&node).into_iter().flatten().filter(|counter| counter.0 == namespace);
        let lasting = shown.map(|(_, name)| name.clone()).filter(|name| name.starts_with(prefix)).collect();
        Walk {
            namespace,
            prefix: prefix.to_owned(),
            after: None,
            lasting,
            listed: BTreeSet::new(),
            cursors: BTreeSet::new(),
        }
    }

    /// The next page is asked for at this node.
    pub fn ask(&self, walk: &mut Walk, node: usize) {
        let namespace = walk.namespace;
        walk.lasting.retain(|name| self.has_shown(node, namespace, name));
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
            if !self.listed.insert(key.to_string()) {
                return Some(format!("list: node {node} listed {key:?} of {:?} twice in one walk", self.namespace));
            }
        }
        self.after.clone_from(&page.next);
        match &self.after {
            Some(next) if !self.cursors.insert(next.to_string()) => {
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
