//! G1 where a replica id has forked: a process that has seen a second one write under its replica id acknowledges nothing more
//! that it wrote under it, for the other one's history may hide that.

use std::collections::BTreeMap;

use snowtide::identity::ReplicaId;
use snowtide::replica::Operation;

/// The incarnation that each node's process gave up last.
#[derive(Default)]
pub struct Vouching(BTreeMap<usize, ReplicaId>);

impl Vouching {
    /// The process of a node tells that somebody else may write under its replica id.
    pub fn given_up(&mut self, node: usize, replica: ReplicaId) {
        self.0.insert(node, replica);
    }

    /// A new process may prove that it was nobody else.
    pub fn started(&mut self, node: usize) {
        self.0.remove(&node);
    }

    /// A client is told that an increment counts, which was written under this one.
    pub fn check(&self, node: usize, replica: ReplicaId, operation: &Operation) -> Option<String> {
        let vouches = self.0.get(&node) == Some(&replica);
        vouches.then(|| format!("G1: node {node} acknowledges {operation:?} under {replica}, which it has given up"))
    }
}
