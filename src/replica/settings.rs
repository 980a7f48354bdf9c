//! What a replica is told once: who it is, whom it shares with, and its bounds. Times are milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::{NamespaceId, WorkerId};
use crate::merkle::Hasher;

use super::census::Quota;

/// See `config/default.toml` for what each bound means.
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
    /// `commit.bytes_max`
    pub commit_bytes_max: usize,
    /// `commit.interval`
    pub commit_interval_ms: u64,
    /// `gossip.interval`
    pub gossip_interval_ms: u64,
    /// `gossip.digest_interval`
    pub digest_interval_ms: u64,
    /// `gossip.inflight_bytes_max`
    pub inflight_bytes_max: usize,
    /// `gossip.fetch_timeout`
    pub fetch_timeout_ms: u64,
    /// A boot whose heartbeat has not moved for so long is told of no more: longer than news takes along a chain of links.
    pub boot_silent_after_ms: u64,
    /// `incarnation.proof_timeout`
    pub proof_timeout_ms: u64,
    /// `ids.claim_wait`
    pub claim_wait_ms: u64,
    /// `ids.quarantine`
    pub quarantine_ms: u64,
    /// `cache.rows_max`
    pub rows_max: usize,
    /// `cache.loading_rows_max`
    pub loading_rows_max: usize,
    /// `checkpoint.interval`
    pub checkpoint_interval_ms: u64,
    /// `checkpoint.dirty_rows_max`
    pub dirty_rows_max: usize,
    /// `repair.interval`
    pub repair_interval_ms: u64,
    /// `repair.session_max`
    pub repair_session_ms: u64,
    /// `repair.scrub_interval`
    pub scrub_interval_ms: u64,
    /// `hints.max_age`
    pub hints_age_ms: u64,
    /// `hints.max_bytes`
    pub hints_bytes_max: u64,
    /// `api.waiting_max`
    pub waiting_max: usize,
    /// `idempotency.retention`
    pub once_retention_ms: u64,
    /// `idempotency.session_idle`
    pub session_idle_ms: u64,
    /// `idempotency.bytes_max`
    pub once_bytes_max: usize,
    /// `drain.checkpoint`
    pub drain_checkpoint_ms: u64,
    /// `drain.timeout`
    pub drain_timeout_ms: u64,
}
