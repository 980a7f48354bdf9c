//! Forks: where two processes have written under one replica id, somebody tells of it. Counted, and no promise: where one
//! history has taken the other's place before any two that hold both have met, nobody can tell.

use std::collections::{BTreeMap, BTreeSet};

use snowtide::crdt::LogHash;
use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::Commit;

use super::ledger::Ledger;
use super::state::Held;

#[derive(Default)]
pub struct Forks {
    written: BTreeMap<(NamespaceId, ReplicaId, u64), LogHash>,
    forked: BTreeSet<(NamespaceId, ReplicaId)>,
}

impl Forks {
    /// A process writes to its log.
    pub fn written(&mut self, serving: Option<ReplicaId>, commit: &Commit) {
        for record in commit.records.iter().filter(|record| Some(record.origin) == serving) {
            let (namespace, origin) = (record.namespace, record.origin);
            let before = self.written.insert((namespace, origin, record.upto), record.hash);
            if before.is_some_and(|before| before != record.hash) {
                self.forked.insert((namespace, origin));
            }
        }
    }

    /// Logs of two live processes that no node knows to have forked.
    pub fn untold(&mut self, ledger: &Ledger, states: &[BTreeMap<NamespaceId, Held>]) -> usize {
        let forked = std::mem::take(&mut self.forked);
        let marks = |namespace, origin| {
            let held = states.iter().filter_map(move |state| state.get(&namespace));
            held.flat_map(|held| &held.vector).filter(move |(of, _)| *of == origin).map(|(_, mark)| *mark)
        };
        let beside = forked.into_iter().filter(|(_, origin)| ledger.is_forked(*origin));
        beside.filter(|(namespace, origin)| marks(*namespace, *origin).all(|mark| !mark.is_forked())).count()
    }
}
