//! What a replica wants done. Effects leave as data; the engine carries them out.

use std::ops::Range;

use snowtide_protocol::Key;

use crate::crdt::{Mark, Row, VersionVector};
use crate::identity::{Boot, NamespaceId, ReplicaId, WorkerId};
use crate::merkle::{Leaf, Place, Sum};

use super::census::Census;
use super::event::Ticket;
use super::idempotency::{Answered, Fill};
use super::message::{Message, RepairedRow};
use super::operation::{Outcome, Page, Refusal};
use super::record::Record;
use super::status::Status;
use super::terms::Receipt;

/// Everything a replica can ask of the world.
#[derive(Debug)]
pub enum Effect {
    /// Carry out a job for the disk, and report what comes of it.
    Disk(Job),
    /// Make a new incarnation from the system's randomness, and give the disk [`Job::Mint`].
    Mint,
    /// Answer a client's batch.
    Reply {
        /// Which.
        ticket: Ticket,
        /// One outcome per operation, in order, or why none was applied.
        answer: Result<Vec<Outcome>, Refusal>,
        /// What the batch's terms asked for; `None` without terms, or if nothing was applied.
        receipt: Option<Box<Receipt>>,
    },
    /// Answer `Event::List`.
    Listed {
        /// Which.
        ticket: Ticket,
        /// The page, or why there is none.
        answer: Result<Page, Refusal>,
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
    /// No peer knows of a higher ID ceiling than this, or `ids.claim_wait` has passed: IDs may begin above it. Comes
    /// again if a peer that answers later knows of a higher one.
    ClaimIds {
        /// In milliseconds of the ID epoch.
        ceiling: u64,
        /// Somebody had IDs of this worker that this disk does not know of: the ceiling is `ids.quarantine` above theirs.
        quarantined: bool,
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

/// What a replica asks of its disk.
#[derive(Debug)]
pub enum Job {
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
    /// Write a part of a checkpoint, in ascending order of namespaces and places, then report `Event::Checkpointed`.
    Checkpoint(CheckpointChunk),
    /// Read whole leaves, then report `Event::LeavesLoaded`.
    LoadLeaves(LoadLeaves),
    /// Add up the rows of a leaf on disk, in order with the checkpoints, then report `Event::Scrubbed`.
    Scrub {
        /// Where.
        namespace: NamespaceId,
        /// Which.
        leaf: Leaf,
    },
    /// Forget journal records that nobody needs any more, in order with the checkpoints, then report `Event::Tick`.
    Truncate {
        /// Where.
        namespace: NamespaceId,
        /// Per origin, the records that end in this range; what was before it is forgotten already.
        logs: Vec<(ReplicaId, Range<u64>)>,
    },
    /// Persist and sync an incarnation, then report `Event::Minted`.
    Mint(ReplicaId),
}

/// One synced write batch.
#[derive(Clone, Debug)]
pub struct Commit {
    /// 1, 2, 3, … within this boot.
    pub number: u64,
    /// At most one own record per namespace, and any number of remote ones.
    pub records: Vec<Record>,
    /// What repair brought.
    pub repaired: Vec<Repaired>,
    /// Requests that may be repeated, with their answers.
    pub answered: Vec<Answered>,
    /// Names of requests that may not be repeated any more.
    pub forgotten: Vec<u128>,
}

/// A record of the local kind: rows that came by repair, and the vector that a finished session moved. It belongs to no
/// origin's log, is never sent, and goes once a checkpoint covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Where.
    pub namespace: NamespaceId,
    /// 1, 2, 3, … over all boots.
    pub number: u64,
    /// Absolute slots.
    pub rows: Vec<RepairedRow>,
    /// The seqs that cover them, where these may be beyond the vector.
    pub reach: Vec<(ReplicaId, u64)>,
    /// Marks up to which everything is held once this record and all before it are applied (I4).
    pub adopted: Vec<(ReplicaId, Mark)>,
}

/// Leaves to read from disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadLeaves {
    /// Comes back with the rows.
    pub ticket: Ticket,
    /// Where.
    pub namespace: NamespaceId,
    /// Ascending.
    pub leaves: Vec<Leaf>,
    /// Only what stands here or after it.
    pub from: Place,
    /// Only what stands here or before it.
    pub upto: Place,
    /// Stop after the place with which this many rows are reached.
    pub rows_max: usize,
}

/// A part of a checkpoint. Parts make up tables, of which each is on the disk, whole, before anything of the next (I11).
#[derive(Clone, Debug)]
pub struct CheckpointChunk {
    /// Committed values of whole rows.
    pub rows: Vec<(NamespaceId, Key, Row)>,
    /// The leaves that these rows change, as they stand once the rows are written: both or neither.
    pub leaves: Vec<(NamespaceId, Leaf, Sum)>,
    /// The counters of these namespaces that are on disk once the rows are written: both or neither.
    pub census: Vec<(NamespaceId, Census)>,
    /// The table ends with this part: it and all parts before it are on the disk when it is reported, or none of the table.
    pub ends_table: bool,
    /// With the last part, which ends a table.
    pub position: Option<Position>,
}

/// How far the rows on disk reach. Written after they are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The vectors that they cover from now on.
    pub vectors: Vec<(NamespaceId, VersionVector)>,
    /// The seqs beyond the vectors that cover what repair brought.
    pub reach: Vec<(NamespaceId, Vec<(ReplicaId, u64)>)>,
    /// Records of the local kind that they cover: all up to this number may go.
    pub repaired: u64,
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
    /// A leaf on disk was not the sum of its rows: repair will find what is wrong with them.
    Scrub {
        /// Where.
        namespace: NamespaceId,
        /// Which.
        leaf: Leaf,
    },
    /// A repair session has ended.
    Repaired {
        /// Where.
        namespace: NamespaceId,
        /// With whom.
        peer: WorkerId,
        /// Rows that came.
        rows: u64,
        /// The whole tree was compared; otherwise the session was given up.
        whole: bool,
    },
    /// Two live processes claim one worker id.
    Duplicate {
        /// Which.
        worker: WorkerId,
        /// The earlier boot: it stays.
        stays: Boot,
        /// The later one: it fences itself once it hears.
        loses: Boot,
    },
    /// The start could not be proven; a new incarnation takes over.
    Unproven {
        /// The incarnation that was given up.
        replica: ReplicaId,
        /// Why.
        reason: String,
    },
    /// As much of what is on disk is in memory as there is room for, or all of it.
    Warm {
        /// Rows that were read for that.
        rows: u64,
        /// Since the start.
        ms: u64,
    },
    /// The table of requests that may be repeated fills up.
    NamesFillUp(Fill),
    /// A peer sent something malformed or out of place; it was ignored.
    BadMessage {
        /// Who.
        peer: WorkerId,
        /// What was wrong.
        reason: String,
    },
}
