//! What a replica is told once: who it is, whom it shares with, and its bounds. Times are milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::{NamespaceId, WorkerId};

/// See `config/default.toml` for what each bound means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub worker: WorkerId,
    /// Every other node that shares a namespace with us, and which.
    pub peers: BTreeMap<WorkerId, BTreeSet<NamespaceId>>,
    /// Against keys that are chosen to collide.
    pub hash_seed: u64,
    /// `commit.bytes_max`
    pub commit_bytes_max: usize,
    /// `gossip.interval`
    pub gossip_interval_ms: u64,
    /// `gossip.digest_interval`
    pub digest_interval_ms: u64,
    /// `gossip.inflight_bytes_max`
    pub inflight_bytes_max: usize,
    /// `gossip.fetch_timeout`
    pub fetch_timeout_ms: u64,
    /// `incarnation.proof_timeout`
    pub proof_timeout_ms: u64,
    /// `ids.claim_wait`
    pub claim_wait_ms: u64,
    /// `cache.rows_max`
    pub rows_max: usize,
    /// `cache.loading_rows_max`
    pub loading_rows_max: usize,
    /// `checkpoint.interval`
    pub checkpoint_interval_ms: u64,
    /// `checkpoint.dirty_rows_max`
    pub dirty_rows_max: usize,
    /// `drain.timeout`
    pub drain_timeout_ms: u64,
}
