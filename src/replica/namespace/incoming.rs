//! Deltas that wait: for rows, or for room in the gathering commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::identity::{Peer, ReplicaId};

use super::super::record::Record;
use super::Namespace;

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
    /// What earlier boots of a peer sent goes.
    pub(super) fn forget_earlier(&mut self, peer: Peer) {
        for queue in self.queues.values_mut() {
            queue.retain(|(from, _)| from.worker != peer.worker || from.boot == peer.boot);
        }
    }
}

impl Namespace {
    /// Lets a delta wait its turn, if there is room; whether its origin is to be gone on with, which is so if it is the first
    /// that waits.
    pub(in super::super) fn enqueue(&mut self, from: Peer, record: Record) -> bool {
        let queue = self.incoming.queues.entry(record.origin).or_default();
        let first = queue.is_empty();
        if queue.len() < INCOMING_MAX {
            queue.push_back((from, record));
        }
        first
    }

    /// The next delta of an origin that does not wait for rows.
    pub(in super::super) fn next_delta(&mut self, origin: ReplicaId) -> Option<(Peer, Record)> {
        let Incoming { queues, loading } = &mut self.incoming;
        if loading.contains(&origin) {
            return None;
        }
        let next = queues.get_mut(&origin).and_then(VecDeque::pop_front);
        if next.is_none() {
            queues.remove(&origin);
        }
        next
    }

    /// A delta waits for rows, and with it those behind it.
    pub(in super::super) fn await_rows(&mut self, from: Peer, record: Record) {
        self.incoming.loading.insert(record.origin);
        self.incoming.queues.entry(record.origin).or_default().push_front((from, record));
    }

    /// The rows that the first delta of `origin` waited for are there.
    pub(in super::super) fn rows_came(&mut self, origin: ReplicaId) {
        self.incoming.loading.remove(&origin);
    }

    /// The origins of which deltas wait, but not for rows.
    pub(in super::super) fn waiting_origins(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let Incoming { queues, loading } = &self.incoming;
        queues.keys().copied().filter(|origin| !loading.contains(origin))
    }
}
