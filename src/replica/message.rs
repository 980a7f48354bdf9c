//! What replicas say to each other. Links carry these in order, in one direction each; they may lose all of them.

use bincode::{Decode, Encode};

use crate::crdt::{Mark, Row, VersionVector};
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use crate::merkle::{Leaf, Place, Sum};

use super::record::Record;

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Records of the sender's own log, or of anyone's on request.
    Delta(Record),
    /// The sender's committed vectors, and the highest ID ceilings it has seen.
    Digest(Digest),
    /// The sender's committed vectors of the namespaces in which it has just committed records of the receiver's.
    Ack(Vec<(NamespaceId, VersionVector)>),
    /// Please send `origin`'s records from `after` on.
    Request {
        /// Where.
        namespace: NamespaceId,
        /// Whose.
        origin: ReplicaId,
        /// The sender knows everything up to here.
        after: u64,
    },
    /// A delta or a request could not be served.
    Refused(Refused),
    /// The sender has just started and asks what the receiver holds of its log (I3).
    ProofRequest {
        /// The sender's incarnation, persisted before this boot.
        replica: ReplicaId,
        /// This start of it.
        boot: Boot,
    },
    /// The answer, given once everything that earlier boots sent is committed or dropped.
    Proof(Proof),
    /// Finding and exchanging rows that differ.
    Repair {
        /// Where.
        namespace: NamespaceId,
        /// Chosen by who began the session, told apart by it alone.
        session: u64,
        /// What is asked or answered.
        step: RepairStep,
    },
    /// The sender drains: it will close its links once its log is safe elsewhere.
    Leaving,
}

/// A version vector per namespace, what is known of ID ceilings, and who lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Digest {
    /// The sender's incarnation, whose log it pushes by itself; `None` while it has none.
    pub replica: Option<ReplicaId>,
    /// The committed vectors of all namespaces that both ends serve.
    pub vectors: Vec<(NamespaceId, VersionVector)>,
    /// The highest durable ceiling seen for each worker id, in milliseconds of the ID epoch.
    pub ceilings: Vec<(WorkerId, u64)>,
    /// The boots that the sender has heard of lately, itself among them unless it is fenced.
    pub live: Vec<Heartbeat>,
    /// Where two processes claim one worker id: what either says of the other.
    pub sightings: Vec<Sighting>,
}

/// A sign of life, passed on from digest to digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Heartbeat {
    /// Who lives.
    pub peer: Peer,
    /// Counted by it alone: 1, 2, 3, … with each round of its digests.
    pub beat: u64,
}

/// A boot says that it has heard of another boot of its own worker id.
///
/// A heartbeat is hearsay, and any peer can make one up. A sighting is signed by the boot that speaks. Since a boot's nonce
/// comes into the world with it, whoever names it was alive after its start: two processes have lived side by side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sighting {
    /// Who says so.
    pub by: Peer,
    /// The other boot.
    pub of: Boot,
    /// The proof that `by` said so.
    pub seal: Seal,
}

/// The proof that a node said something: made and checked by links, no more than bytes to a replica. What a replica says
/// itself leaves it with an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Seal(pub Vec<u8>);

/// Why nothing was applied or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Refused {
    /// The delta begins after what the refuser knows (I4).
    Gap {
        /// Where.
        namespace: NamespaceId,
        /// Whose.
        origin: ReplicaId,
        /// Known up to here.
        known: u64,
    },
    /// The refuser's journal does not reach back to the `after` that was asked for.
    NotWhole {
        /// Where.
        namespace: NamespaceId,
        /// Whose.
        origin: ReplicaId,
        /// Its records chain from here.
        from: u64,
    },
}

/// What a peer holds of a restarted node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proof {
    /// The incarnation that asked.
    pub replica: ReplicaId,
    /// The boot that asked: an answer to an earlier one means nothing.
    pub boot: Boot,
    /// The peer's mark of it in each namespace that is exchanged between both. One that the asker expects here and that is
    /// not exchanged, because the two define it differently, is missing, and proves nothing.
    pub marks: Vec<(NamespaceId, Mark)>,
    /// How far slots of it go that repair brought, where that is beyond the mark.
    pub reach: Vec<(NamespaceId, u64)>,
    /// The highest ID ceiling seen for the asker's worker id.
    pub ceiling: u64,
    /// The nodes that hold a namespace which the asker holds, too, by the peer's configuration: each may hold some of the
    /// asker's log, and has to be asked.
    pub nodes: Vec<WorkerId>,
}

/// One step of a repair session. Who begins a session asks and gets rows; the other answers from its committed state
/// and keeps nothing but a promise not to truncate its journal too far. So any step may be lost and asked again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RepairStep {
    /// Is this the sum of your tree, too?
    Compare {
        /// The asker's sum.
        root: Sum,
    },
    /// The answer.
    Compared {
        /// The answerer's committed vector when it compared: what a finished session brings the asker to (I4).
        vector: VersionVector,
        /// The halves of the sums below the root; none if the roots are equal.
        children: Option<Vec<u64>>,
    },
    /// Which sums stand below these nodes of one level?
    Nodes {
        /// Comes back with the answer.
        ask: u64,
        /// Their level.
        level: u8,
        /// Their numbers in it.
        indexes: Vec<u16>,
    },
    /// The answer.
    Children {
        /// Of the question.
        ask: u64,
        /// The halves of the sums of all children, node by node.
        sums: Vec<u64>,
    },
    /// This is what the asker holds in some leaves: which rows does the other hold differently?
    Rows {
        /// Comes back with the answer.
        ask: u64,
        /// Ascending.
        leaves: Vec<Leaf>,
        /// From this place on.
        from: Place,
        /// Up to this place.
        upto: Place,
        /// By place, half of the sum of what stands there.
        held: Vec<(Place, u64)>,
    },
    /// The answer.
    Differing {
        /// Of the question.
        ask: u64,
        /// Whole rows.
        rows: Vec<RepairedRow>,
        /// How far the logs go that hold their slots.
        reach: Vec<(ReplicaId, u64)>,
        /// Every place up to here was compared.
        covered: Place,
    },
    /// The asker is done or gives up.
    End,
}

/// A counter and all its slots.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RepairedRow {
    /// The counter's key.
    pub key: String,
    /// Absolute slots.
    pub row: Row,
}
