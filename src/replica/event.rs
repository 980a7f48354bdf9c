//! What happens to a replica.

use std::collections::BTreeSet;

use snowtide_protocol::Key;

use crate::crdt::{LogHash, Row, VersionVector};
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use crate::merkle::{Leaf, Place, Sum};

use super::census::Census;
use super::disk::Disk;
use super::idempotency::Answered;
use super::message::Message;
use super::operation::{List, Operation};
use super::record::Record;
use super::terms::Terms;

/// Names one submitted batch or question until it is answered.
pub type Ticket = u64;

/// Everything that can happen. Time comes beside it, see `Replica::handle`.
#[derive(Debug)]
pub enum Event {
    /// A client's batch; answered by one `Effect::Reply`.
    Submit {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Applied in order.
        operations: Vec<Operation>,
        /// What else is asked; most batches have none.
        terms: Option<Box<Terms>>,
    },
    /// Whoever submitted this batch waits no longer: it is answered as if the time that its terms allow were over. Only for
    /// a batch that is not answered yet.
    Hurry(Ticket),
    /// A client's question for a page of counters; answered by one `Effect::Listed`.
    List {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What is asked.
        list: List,
    },
    /// The commit of this number is synced. Commits finish in the order in which they were given out.
    Committed(u64),
    /// Rows asked for by `Effect::Load`, each as it is in the store; an absent row comes as an empty one.
    Loaded {
        /// Where.
        namespace: NamespaceId,
        /// Every key that was asked for.
        rows: Vec<(Key, Row)>,
    },
    /// Answer to `Effect::ReadJournal`.
    Journal(JournalRead),
    /// Answer to `Effect::FindHash`: the running hash of our own log at `seq`; `None` if no record ends there.
    Hash {
        /// Where.
        namespace: NamespaceId,
        /// The seq asked about.
        seq: u64,
        /// The hash.
        hash: Option<LogHash>,
    },
    /// The checkpoint chunk of `Effect::Checkpoint` is written.
    Checkpointed,
    /// Answer to `Effect::LoadLeaves`.
    LeavesLoaded(LeavesLoaded),
    /// Answer to `Effect::Scrub`: what the rows of the leaf add up to on disk.
    Scrubbed {
        /// Where.
        namespace: NamespaceId,
        /// The sum.
        sum: Sum,
    },
    /// Answer to `Effect::Mint`: this incarnation is persisted and synced.
    Minted(ReplicaId),
    /// This boot of a peer has linked to us, and every earlier one is gone: only its messages count from now on (I3).
    PeerBoot(Peer),
    /// Our link to a peer is up: messages can be sent.
    PeerUp {
        /// Who.
        peer: Peer,
        /// The namespaces that both serve.
        namespaces: BTreeSet<NamespaceId>,
    },
    /// Our link to this boot of a peer is lost.
    PeerDown(Peer),
    /// A message from a peer.
    Received {
        /// Who sent it.
        from: Peer,
        /// What it says.
        message: Message,
    },
    /// Time has passed; see `Replica::deadline`.
    Tick,
    /// The node shuts down: refuse new work, commit what is in hand, get it acknowledged elsewhere.
    Drain,
    /// Whether new work is refused until further notice, although the node goes on.
    Hold(bool),
    /// How the disk stands.
    Disk(Disk),
    /// Our own durable ID ceiling, to be told to peers.
    Ceiling(u64),
    /// An operator takes back what peers told of ID ceilings; this one of ours stands.
    ForgetCeilings(u64),
    /// Stop for good, with a reason: a poisoned store.
    Fence(String),
    /// The same, because another live process claims this worker id.
    Rival(String),
    /// A question about the replica's state; answered by one `Effect::Status`.
    Inspect(Ticket),
}

/// Records that a peer asked for, or that we push from disk.
#[derive(Debug)]
pub struct JournalRead {
    /// Whom to send them to.
    pub to: WorkerId,
    /// Where.
    pub namespace: NamespaceId,
    /// Whose.
    pub origin: ReplicaId,
    /// The `after` that was asked for.
    pub after: u64,
    /// The records that chain from `after`, oldest first, as many as the bytes asked for allow (at least one).
    pub records: Vec<Record>,
    /// The earliest `after` that the journal can serve, where `records` is empty because it does not reach back.
    pub whole_from: Option<u64>,
}

/// Rows of leaves, as they are on disk.
#[derive(Debug)]
pub struct LeavesLoaded {
    /// Of the effect.
    pub ticket: Ticket,
    /// By place; those of one place together.
    pub rows: Vec<(Key, Row)>,
    /// Every row up to this place is there; what was asked for, if nothing was left out.
    pub covered: Place,
}

/// What the store found on disk at the start.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The persisted incarnation; `None` in a new data directory.
    pub replica: Option<ReplicaId>,
    /// This start.
    pub boot: Boot,
    /// The durable ID ceiling, in milliseconds of the ID epoch.
    pub ceiling: u64,
    /// Where our own IDs had come before a quarantine, if one has begun that no ID has passed yet: its end is the ceiling.
    pub before_quarantine: Option<u64>,
    /// The highest ceilings of other worker ids that were written down here.
    pub peer_ceilings: Vec<(WorkerId, u64)>,
    /// Why the node fenced itself, if no operator has cleared that since.
    pub fence: Option<String>,
    /// The state of each configured namespace.
    pub spaces: Vec<RecoveredSpace>,
    /// Other namespaces that are on the disk.
    pub unconfigured: Vec<NamespaceId>,
    /// The number of the last record of the local kind.
    pub repaired: u64,
    /// Requests that may be repeated.
    pub answered: Vec<Answered>,
}

impl Recovered {
    /// What is found in a data directory that is opened for the first time.
    pub fn of_new_directory(boot: Boot, namespaces: impl IntoIterator<Item = NamespaceId>) -> Self {
        Self {
            replica: None,
            boot,
            ceiling: 0,
            before_quarantine: None,
            fence: None,
            peer_ceilings: Vec::new(),
            spaces: namespaces.into_iter().map(RecoveredSpace::empty).collect(),
            unconfigured: Vec::new(),
            repaired: 0,
            answered: Vec::new(),
        }
    }
}

/// One namespace as recovered.
#[derive(Clone, Debug)]
pub struct RecoveredSpace {
    /// Which.
    pub namespace: NamespaceId,
    /// Everything up to here is in `rows` on disk or in `dirty`.
    pub vector: VersionVector,
    /// The vector that `rows` on disk covers.
    pub position: VersionVector,
    /// The seqs that cover what repair brought, where they are beyond the vector.
    pub reach: Vec<(ReplicaId, u64)>,
    /// The counters in `rows` on disk.
    pub census: Census,
    /// Leaves as of the last checkpoint; absent ones are zero.
    pub leaves: Vec<(Leaf, Sum)>,
    /// Rows that the journal changed after the last checkpoint.
    pub dirty: Vec<DirtyRow>,
    /// Bytes that the journal takes, about.
    pub journal_bytes: u64,
}

impl RecoveredSpace {
    /// A namespace in which nothing was counted yet.
    pub fn empty(namespace: NamespaceId) -> Self {
        Self {
            namespace,
            vector: VersionVector::default(),
            position: VersionVector::default(),
            reach: Vec::new(),
            census: Census::default(),
            leaves: Vec::new(),
            dirty: Vec::new(),
            journal_bytes: 0,
        }
    }
}

/// A row that is newer in the journal than in `rows`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyRow {
    /// The counter.
    pub key: Key,
    /// As `rows` holds it.
    pub stored: Row,
    /// As it is committed.
    pub row: Row,
}
