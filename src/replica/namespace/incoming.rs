//! Deltas that wait: for rows, or for room in the gathering commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::identity::{Peer, ReplicaId};

use super::super::record::Record;

/// Deltas of one origin that may wait; one more is dropped and fetched again.
const INCOMING_MAX: usize = 64;

/// Deltas that are not applied yet, by origin, in order.
#[derive(Default)]
pub(super) struct Incoming {
    queues: BTreeMap<ReplicaId, VecDeque<(Peer, Record)>>,
    /// Origins whose first delta waits for rows, and holds back the later ones (I4).
    loading: BTreeSet<ReplicaId>,
}

impl Incoming {
    /// Puts a delta in line if there is room; whether it is the first of its origin.
    pub(super) fn push(&mut self, from: Peer, record: Record) -> bool {
        let queue = self.queues.entry(record.origin).or_default();
        let first = queue.is_empty();
        if queue.len() < INCOMING_MAX {
            queue.push_back((from, record));
        }
        first
    }

    pub(super) fn next(&mut self, origin: ReplicaId) -> Option<(Peer, Record)> {
        if self.loading.contains(&origin) {
            return None;
        }
        let next = self.queues.get_mut(&origin).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.queues.remove(&origin);
        }
        next
    }

    pub(super) fn await_rows(&mut self, from: Peer, record: Record) {
        self.loading.insert(record.origin);
        self.queues.entry(record.origin).or_default().push_front((from, record));
    }

    pub(super) fn rows_came(&mut self, origin: ReplicaId) {
        self.loading.remove(&origin);
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.queues.keys().copied().filter(|origin| !self.loading.contains(origin))
    }

    /// What earlier boots of a peer sent goes.
    pub(super) fn forget_earlier(&mut self, peer: Peer) {
        for queue in self.queues.values_mut() {
            queue.retain(|(from, _)| from.worker != peer.worker || from.boot == peer.boot);
        }
    }
}
