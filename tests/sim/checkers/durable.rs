//! I1: what a node tells others of is on its own disk, synced, before it says so.

use std::collections::BTreeMap;

use snowtide::crdt::VersionVector;
use snowtide::identity::{NamespaceId, ReplicaId, WorkerId};
use snowtide::replica::{Commit, Message, Recovered, RepairStep, Token};

/// How far each log is synced at each node.
#[derive(Default)]
pub struct Durable {
    synced: BTreeMap<(usize, NamespaceId), Ends>,
    /// How far each log was ever synced anywhere.
    ever: BTreeMap<(NamespaceId, ReplicaId), u64>,
    /// How far each node was ever told that the rows go which repair brings it.
    reach: BTreeMap<(WorkerId, NamespaceId, ReplicaId), u64>,
}

/// How far each log of a namespace goes.
type Ends = BTreeMap<ReplicaId, u64>;
/// The ends of the logs that a commit moves.
pub type Moved = Vec<(NamespaceId, ReplicaId, u64)>;

pub fn moved(commit: &Commit) -> Moved {
    let records = commit.records.iter().map(|record| (record.namespace, record.origin, record.upto));
    let adopted = commit
        .repaired
        .iter()
        .flat_map(|repaired| repaired.adopted.iter().map(|(origin, mark)| (repaired.namespace, *origin, mark.seq)));
    records.chain(adopted).collect()
}

impl Durable {
    /// What a start finds is synced, also where nobody was left to be told so.
    pub fn started(&mut self, node: usize, recovered: &Recovered) {
        self.synced.retain(|(at, _), _| *at != node);
        for space in &recovered.spaces {
            let ends = space.vector.iter().map(|(origin, mark)| (space.namespace, origin, mark.seq));
            self.committed(node, ends.collect());
        }
    }

    pub fn committed(&mut self, node: usize, moved: Moved) {
        for (namespace, origin, seq) in moved {
            let synced = self.synced.entry((node, namespace)).or_default().entry(origin).or_default();
            let ever = self.ever.entry((namespace, origin)).or_default();
            (*synced, *ever) = (seq.max(*synced), seq.max(*ever));
        }
    }

    pub fn check(&mut self, node: usize, to: WorkerId, message: &Message) -> Option<String> {
        match message {
            Message::Delta(record) => self.judge(node, record.namespace, record.origin, record.upto),
            Message::Digest(digest) => self.judge_vectors(node, &digest.vectors),
            Message::Ack(vectors) => self.judge_vectors(node, vectors),
            Message::Repair { namespace, step: RepairStep::Differing { reach, .. }, .. } => {
                self.judge_reach(node, to, *namespace, reach)
            }
            _ => None,
        }
    }

    /// What a client is told to be held is synced as well: here, or where repair has it from.
    pub fn check_token(&self, node: usize, worker: WorkerId, token: &Token) -> Option<String> {
        token.iter().find_map(|(namespace, origin, seq)| {
            let reach = self.reach.get(&(worker, namespace, origin)).copied().unwrap_or(0);
            if seq <= reach { None } else { self.judge(node, namespace, origin, seq) }
        })
    }

    /// A liar has said to that node how far rows go: it may repeat that.
    pub fn lied(&mut self, to: WorkerId, namespace: NamespaceId, reach: &[(ReplicaId, u64)]) {
        for (origin, seq) in reach {
            let (ever, told) = (
                self.ever.entry((namespace, *origin)).or_default(),
                self.reach.entry((to, namespace, *origin)).or_default(),
            );
            (*ever, *told) = ((*seq).max(*ever), (*seq).max(*told));
        }
    }

    fn judge_reach(
        &mut self,
        node: usize,
        to: WorkerId,
        namespace: NamespaceId,
        reach: &[(ReplicaId, u64)],
    ) -> Option<String> {
        reach.iter().find_map(|(origin, seq)| {
            let told = self.reach.entry((to, namespace, *origin)).or_default();
            *told = (*seq).max(*told);
            let ever = self.ever.get(&(namespace, *origin)).copied().unwrap_or(0);
            (*seq > ever).then(|| {
                format!(
                    "I1: node {node} says that rows go up to {seq} of {origin} in {namespace:?}; {ever} was ever synced"
                )
            })
        })
    }

    fn judge_vectors(&self, node: usize, vectors: &[(NamespaceId, VersionVector)]) -> Option<String> {
        vectors.iter().find_map(|(namespace, vector)| {
            let ends = self.synced.get(&(node, *namespace));
            vector.iter().find_map(|(origin, mark)| judge(ends, node, *namespace, origin, mark.seq))
        })
    }

    fn judge(&self, node: usize, namespace: NamespaceId, origin: ReplicaId, told: u64) -> Option<String> {
        judge(self.synced.get(&(node, namespace)), node, namespace, origin, told)
    }
}

fn judge(ends: Option<&Ends>, node: usize, namespace: NamespaceId, origin: ReplicaId, told: u64) -> Option<String> {
    let synced = ends.and_then(|ends| ends.get(&origin)).copied().unwrap_or(0);
    (told > synced)
        .then(|| format!("I1: node {node} tells of commit {told} of {origin} in {namespace:?}; {synced} is synced"))
}
