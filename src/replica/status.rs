//! A replica's own view of itself and its peers, for people and metrics.

use crate::identity::{NamespaceId, ReplicaId, WorkerId};

use super::census::Census;
use super::disk::Disk;
use super::idempotency::Fill;

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The current incarnation; `None` until the first is minted.
    pub replica: Option<ReplicaId>,
    /// The start is proven and nothing stopped us.
    pub serving: bool,
    /// All that clients have asked for here is committed.
    pub idle: bool,
    /// A region other than ours that holds all that this worker has ever committed.
    pub held_by: Option<u8>,
    /// Own commits so far, all namespaces.
    pub commits: u64,
    /// What it keeps in memory.
    pub memory: MemoryStatus,
    /// How the disk stands.
    pub disk: Disk,
    /// What each namespace holds.
    pub namespaces: Vec<NamespaceStatus>,
    /// Repair sessions that are under way.
    pub repairs: Vec<RepairStatus>,
    /// Logs that are known to have forked, by namespace: increments of theirs may be hidden.
    pub forked: Vec<(NamespaceId, ReplicaId)>,
    /// Every peer ever linked in this boot.
    pub peers: Vec<PeerStatus>,
}

/// What a replica keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// Rows.
    pub rows_cached: usize,
    /// What they take.
    pub rows_bytes: usize,
    /// What they may take.
    pub rows_bytes_max: usize,
    /// Rows changed since the last checkpoint.
    pub rows_dirty: usize,
    /// Batches that wait: for rows, for their turn, for a token or for other regions.
    pub batches_waiting: usize,
    /// The table of requests that may be repeated.
    pub names: Fill,
}

/// What a namespace holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceStatus {
    /// Which.
    pub namespace: NamespaceId,
    /// Its counters.
    pub census: Census,
    /// New counters that were refused since the start, because it holds as many as it may.
    pub refused: u64,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub worker: WorkerId,
    /// Our link to it is up.
    pub up: bool,
    /// Namespaces that both are to hold by our configuration and that are not exchanged: the peer defines them differently.
    pub not_exchanged: Vec<NamespaceId>,
    /// Own commits that it has not acknowledged, those of such namespaces included.
    pub lag_commits: u64,
    /// For how long it has been behind without a break; 0 if it is not.
    pub lag_ms: u64,
    /// Bytes of deltas sent and not acknowledged.
    pub inflight_bytes: usize,
    /// How long ago all rows were last compared with its, in the namespace where that is longest ago; `None` if not
    /// since the start.
    pub compared_ms: Option<u64>,
}

/// How far a repair session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairStatus {
    /// Where.
    pub namespace: NamespaceId,
    /// With whom.
    pub peer: WorkerId,
    /// Leaves found to differ so far.
    pub leaves_found: u64,
    /// Those of them that are not compared yet.
    pub leaves_left: u64,
    /// Rows that came.
    pub rows: u64,
}
