//! What a replica wants done. Effects leave as data; the engine carries them out.

use crate::crdt::{Row, VersionVector};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};

use super::event::Ticket;
use super::message::Message;
use super::operation::{Key, Outcome, Refusal};
use super::record::Record;
use super::status::Status;

/// Everything a replica can ask of the world.
#[derive(Debug)]
pub enum Effect {
    /// Write these records as one synced batch, then report `Event::Committed` (I1).
    Commit(Commit),
    /// Read these rows, then report `Event::Loaded`.
    Load {
        /// Where.
        namespace: NamespaceId,
        /// Each once.
        keys: Vec<Key>,
    },
    /// Read records that chain from `after`, then report `Event::Journal`.
    ReadJournal {
        /// Whom they are for.
        to: WorkerId,
        /// Where.
        namespace: NamespaceId,
        /// Whose.
        origin: ReplicaId,
        /// From here.
        after: u64,
        /// Stop after the first record with which this is reached.
        bytes_max: usize,
    },
    /// Look up the running hash of our own log at `seq`, then report `Event::Hash`.
    FindHash {
        /// Where.
        namespace: NamespaceId,
        /// Our incarnation.
        origin: ReplicaId,
        /// At this seq.
        seq: u64,
    },
    /// Write a part of a checkpoint, then report `Event::Checkpointed`.
    Checkpoint(CheckpointChunk),
    /// Make a new incarnation from the system's randomness, persist and sync it, then report `Event::Minted`.
    Mint,
    /// Answer a client's batch.
    Reply {
        /// Which.
        ticket: Ticket,
        /// One outcome per operation, in order, or why none was applied.
        answer: Result<Vec<Outcome>, Refusal>,
    },
    /// Answer `Event::Inspect`.
    Status {
        /// Which.
        ticket: Ticket,
        /// The state.
        status: Box<Status>,
    },
    /// Send to a peer, or drop if its queue is full: digests fetch whatever was missed (I6).
    Send {
        /// To whom.
        to: WorkerId,
        /// What.
        message: Message,
    },
    /// The start is proven, or a new incarnation is minted: counters are served from now on.
    Serving(ReplicaId),
    /// No peer knows of a higher ID ceiling than this, or `ids.claim_wait` has passed: IDs may begin above it.
    ClaimIds {
        /// In milliseconds of the ID epoch.
        ceiling: u64,
    },
    /// A peer's ID ceiling has moved: evidence of where its clock stands.
    Witness {
        /// Whose.
        worker: WorkerId,
        /// In milliseconds of the ID epoch.
        ceiling: u64,
    },
    /// Something an operator must hear of.
    Notice(Notice),
    /// The node has fenced itself: stop acknowledging and minting.
    Fence(String),
    /// The drain is over; the region number that holds our whole log, if any.
    Drained(Option<u8>),
}

/// One synced write batch.
#[derive(Clone, Debug)]
pub struct Commit {
    /// 1, 2, 3, … within this boot.
    pub number: u64,
    /// At most one own record per namespace, and any number of remote ones.
    pub records: Vec<Record>,
}

/// A part of a checkpoint: each is durable before the next (I11).
#[derive(Clone, Debug)]
pub struct CheckpointChunk {
    /// Committed values of whole rows.
    pub rows: Vec<(NamespaceId, Key, Row)>,
    /// With the last part: the vectors that `rows` on disk covers from now on. Written after the rows are durable.
    pub position: Option<Vec<(NamespaceId, VersionVector)>>,
}

/// A noteworthy event, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Two histories under one (origin, seq): never merged.
    Fork {
        /// Where.
        namespace: NamespaceId,
        /// Whose log forked.
        origin: ReplicaId,
        /// At which seq.
        seq: u64,
        /// Who showed the other history.
        peer: WorkerId,
    },
    /// The start could not be proven; a new incarnation takes over.
    Unproven {
        /// The incarnation that was given up.
        replica: ReplicaId,
        /// Why.
        reason: String,
    },
    /// A peer sent something malformed or out of place; it was ignored.
    BadMessage {
        /// Who.
        peer: WorkerId,
        /// What was wrong.
        reason: String,
    },
}
