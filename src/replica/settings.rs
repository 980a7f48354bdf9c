//! What a replica is told once: who it is, whom it shares with, and what an operator turned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::identity::{NamespaceId, WorkerId};
use crate::merkle::Hasher;

use super::census::Quota;
use super::pieces::Pieces;
use super::tuning::Tuning;

/// One process of one node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub worker: WorkerId,
    /// Every other node that shares a namespace with us, and which.
    pub peers: BTreeMap<WorkerId, BTreeSet<NamespaceId>>,
    /// Places and sums under the cluster's secret, the same on every node.
    pub hasher: Hasher,
    /// Namespaces whose acknowledgements and local reads do not wait for the sync.
    pub unsynced: BTreeSet<NamespaceId>,
    /// How many counters clients may have, where a namespace has a bound.
    pub quotas: BTreeMap<NamespaceId, Quota>,
    /// What rows may take in memory, of `memory.bytes_max`.
    pub rows_bytes_max: usize,
    /// The sections of the configuration that are the replica's own.
    pub tuning: Tuning,
    /// How checkpoints are written.
    pub pieces: Pieces,
    /// `ids.claim_wait`
    pub claim_wait: Duration,
    /// `ids.quarantine`
    pub quarantine: Duration,
    /// A boot whose heartbeat has not moved for so long is told of no more: longer than news takes along a chain of links.
    pub boot_silent_after: Duration,
    /// `api.waiting_max`
    pub waiting_max: usize,
}

impl Settings {
    /// The other nodes that are to hold a namespace.
    pub(super) fn sharing(&self, namespace: NamespaceId) -> impl Iterator<Item = WorkerId> + '_ {
        self.peers.iter().filter(move |(_, shared)| shared.contains(&namespace)).map(|(worker, _)| *worker)
    }
}

#[cfg(test)]
impl Settings {
    /// Of a node that is alone, durable and small.
    pub(crate) fn small(worker: WorkerId) -> Self {
        use bytesize::ByteSize;

        let ms = Duration::from_millis;
        let mut tuning: Tuning = toml::from_str(&crate::config::default_file()).unwrap();
        tuning.commit.bytes_max = ByteSize(1 << 20);
        tuning.gossip.inflight_bytes_max = ByteSize(1 << 20);
        tuning.memory.loading_rows_max = 1_000;
        tuning.checkpoint.dirty_rows_max = 1_000;
        tuning.repair.session_max = ms(60_000);
        tuning.hints.max_age = ms(60_000);
        tuning.hints.max_bytes = ByteSize(1 << 30);
        tuning.idempotency.retention = ms(60_000);
        tuning.idempotency.session_idle = ms(60_000);
        tuning.idempotency.bytes_max = ByteSize(4_000);
        tuning.drain.checkpoint = ms(1_000);
        Self {
            worker,
            peers: BTreeMap::new(),
            hasher: Hasher::new([7; 192]),
            unsynced: BTreeSet::new(),
            quotas: BTreeMap::new(),
            rows_bytes_max: 1_000 * super::rows::ROW_BYTES,
            tuning,
            pieces: Pieces::default(),
            claim_wait: ms(3_000),
            quarantine: ms(4_000),
            boot_silent_after: ms(8_000),
            waiting_max: 10,
        }
    }
}
