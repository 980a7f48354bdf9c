//! A node: a disk and a clock, and while it runs, a process with the real replica over the real store.
//!
//! The disk works in lanes, as the store's threads do: each carries out one job after another, and what a job answers
//! becomes an event of the replica. A job that fails stops the process (I9).

use std::collections::{BTreeMap, VecDeque};

use snowtide::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use snowtide::replica::{Event, Operation, Replica, Ticket};
use snowtide::store::{self, Store, StoreError};

use super::checkers::durable::Moved;
use super::clock::Clock;
use super::disk::{Disk, Entries, Image};
use super::ids::Minting;
use super::world::Happening;

/// A piece of work for the disk; what it answers goes to the replica.
pub type Errand = Box<dyn FnOnce(&Store) -> Result<Event, StoreError> + Send>;

/// The threads of the store, and the keeper of the ID ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Commits,
    Reads,
    Checkpoints,
    Ceilings,
}

impl From<store::Lane> for Lane {
    fn from(lane: store::Lane) -> Self {
        match lane {
            store::Lane::Commits => Self::Commits,
            store::Lane::Reads => Self::Reads,
            store::Lane::Checkpoints => Self::Checkpoints,
        }
    }
}

pub const LANES: [Lane; 4] = [Lane::Commits, Lane::Reads, Lane::Checkpoints, Lane::Ceilings];

/// One place for a process, with its disk.
pub struct Node {
    pub worker: WorkerId,
    /// Those of its region.
    pub namespaces: Vec<NamespaceId>,
    /// The node that its map of the cluster lacks at present.
    pub unmapped: Option<WorkerId>,
    /// The one of them that its configuration does not name at present.
    pub away: Option<NamespaceId>,
    /// What its disk held of that one at its last start.
    pub kept: Option<(NamespaceId, Entries)>,
    pub disk: Disk,
    /// The disk as it was some time ago.
    pub snapshot: Option<Image>,
    pub clock: Clock,
    pub process: Option<Process>,
    /// Starts so far; happenings of an earlier one mean nothing to a later one.
    pub starts: u32,
    /// Whose copy this is.
    pub copy_of: Option<usize>,
    /// A copy that was taken away again.
    pub retired: bool,
}

/// A running process.
pub struct Process {
    pub replica: Replica,
    pub store: Store,
    pub boot: Boot,
    /// Virtual time of its start, where its monotonic clock begins.
    pub born: u64,
    pub lanes: [VecDeque<Errand>; LANES.len()],
    /// When each lane is done with what it has.
    pub busy_until: [u64; LANES.len()],
    /// When the replica hears of the last thing that was read.
    pub read_at: u64,
    /// The ends of the logs that each commit under way moves, by its number.
    pub committing: VecDeque<(u64, Moved)>,
    /// Asked and not answered.
    pub asked: BTreeMap<Ticket, Vec<Operation>>,
    pub minting: Minting,
    /// When the next tick is on its way.
    pub tick_at: u64,
    /// The incarnation under which it serves.
    pub serving: Option<ReplicaId>,
    pub fenced: Option<String>,
    /// Incarnations that it has begun.
    pub incarnations: u64,
    /// An operator has it refuse new work; a start forgets that.
    pub drained: bool,
    /// It is being shut down, and says so when it may end.
    pub leaving: bool,
    /// While it stands still: what has come meanwhile.
    pub stash: Option<Vec<Happening>>,
}

impl Node {
    /// The namespaces that its configuration names.
    pub fn served(&self) -> Vec<NamespaceId> {
        self.namespaces.iter().copied().filter(|namespace| self.away != Some(*namespace)).collect()
    }

    /// Whether its map has that node.
    pub fn maps(&self, worker: WorkerId) -> bool {
        self.unmapped != Some(worker)
    }

    /// Nobody touches what the configuration does not name. Called before each start.
    pub fn judge_kept(&mut self) -> Option<String> {
        let touched = self.kept.take().filter(|(namespace, kept)| self.disk.entries(*namespace) != *kept);
        self.kept = self.away.map(|namespace| (namespace, self.disk.entries(namespace)));
        touched.map(|(namespace, _)| {
            let worker = self.worker;
            format!("{worker} has touched what its disk holds of {namespace:?}, which was not configured")
        })
    }

    pub fn peer(&self) -> Option<Peer> {
        self.process.as_ref().map(|process| Peer { worker: self.worker, boot: process.boot })
    }

    pub fn is_paused(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stash.is_some())
    }

    pub fn runs(&self, start: u32) -> bool {
        self.process.is_some() && self.starts == start
    }

    /// The process's monotonic clock.
    pub fn mono(&self, now: u64) -> u64 {
        self.process.as_ref().map_or(0, |process| self.clock.mono(process.born, now))
    }
}
