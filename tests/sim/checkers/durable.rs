//! I1: what a node tells others of is on its own disk, synced, before it says so.

use std::collections::BTreeMap;

use snowtide::crdt::VersionVector;
use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::{Commit, Message, Recovered, Token};

/// How far each log is synced at each node.
#[derive(Default)]
pub struct Durable(BTreeMap<(usize, NamespaceId, ReplicaId), u64>);

/// The ends of the logs that a commit moves.
pub type Ends = Vec<(NamespaceId, ReplicaId, u64)>;

pub fn ends(commit: &Commit) -> Ends {
    let records = commit.records.iter().map(|record| (record.namespace, record.origin, record.upto));
    let adopted = commit
        .repaired
        .iter()
        .flat_map(|repaired| repaired.adopted.iter().map(|(origin, mark)| (repaired.namespace, *origin, mark.seq)));
    records.chain(adopted).collect()
}

impl Durable {
    pub fn started(&mut self, node: usize, recovered: &Recovered) {
        self.0.retain(|(at, ..), _| *at != node);
        for space in &recovered.spaces {
            self.0.extend(space.vector.iter().map(|(origin, mark)| ((node, space.namespace, origin), mark.seq)));
        }
    }

    pub fn committed(&mut self, node: usize, ends: Ends) {
        for (namespace, origin, seq) in ends {
            let end = self.0.entry((node, namespace, origin)).or_default();
            *end = seq.max(*end);
        }
    }

    pub fn check(&self, node: usize, message: &Message) -> Option<String> {
        match message {
            Message::Delta(record) => self.judge(node, record.namespace, record.origin, record.upto),
            Message::Digest(digest) => self.judge_vectors(node, &digest.vectors),
            Message::Ack(vectors) => self.judge_vectors(node, vectors),
            _ => None,
        }
    }

    /// What a client is told to be held is synced as well.
    pub fn check_token(&self, node: usize, token: &Token) -> Option<String> {
        token.iter().find_map(|(namespace, origin, seq)| self.judge(node, namespace, origin, seq))
    }

    fn judge_vectors(&self, node: usize, vectors: &[(NamespaceId, VersionVector)]) -> Option<String> {
        vectors.iter().find_map(|(namespace, vector)| {
            vector.iter().find_map(|(origin, mark)| self.judge(node, *namespace, origin, mark.seq))
        })
    }

    fn judge(&self, node: usize, namespace: NamespaceId, origin: ReplicaId, told: u64) -> Option<String> {
        let synced = self.0.get(&(node, namespace, origin)).copied().unwrap_or(0);
        (told > synced)
            .then(|| format!("I1: node {node} tells of commit {told} of {origin} in {namespace:?}; {synced} is synced"))
    }
}
