//! The replica: all replicated state of one node, as a pure state machine.
//!
//! Events go in through [`Replica::handle`], effects come out of [`Replica::poll`]; time and seeds are arguments, and
//! there is no I/O (I7). The shipped engine and the simulator run this same code.
//!
//! Handle any number of events, then poll until `None`: what the events have in common is then done once, so that a
//! commit gathers whatever came while the last one was synced.

mod boots;
pub mod bounds;
pub mod census;
mod checkpoint;
mod claims;
mod commit;
mod covering;
pub mod disk;
#[cfg(test)]
mod disk_tests;
mod drain;
#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod durability_tests;
pub mod effect;
pub mod event;
mod eviction;
mod fork;
#[cfg(test)]
mod fork_tests;
pub(crate) mod fuzzed;
mod gossip;
pub mod idempotency;
#[cfg(test)]
mod idempotency_tests;
mod incarnation;
mod leaf_reads;
mod list;
#[cfg(test)]
mod list_tests;
mod loads;
pub mod message;
mod namespace;
mod namespaces;
mod onward;
#[cfg(test)]
mod onward_tests;
pub mod operation;
mod peers;
mod pieces;
mod proof;
#[cfg(test)]
mod proof_tests;
mod push;
mod reach;
mod readiness;
pub mod record;
mod remote;
mod repair;
mod replay;
pub mod request;
mod rows;
#[cfg(test)]
mod rows_tests;
mod scrub;
mod sending;
mod settings;
mod shares;
pub mod status;
mod submit;
pub mod terms;
#[cfg(test)]
mod terms_tests;
pub mod token;
mod trail;
pub mod tuning;
pub mod view;
mod waits;
mod warm_up;
#[cfg(test)]
mod warm_up_tests;

use std::collections::VecDeque;

use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::section::{Bytes, Milliseconds};

use checkpoint::Checkpointing;
use commit::Commits;
use gossip::Gossip;
use idempotency::Idempotency;
use incarnation::Incarnation;
use loads::Loads;
use namespace::Namespace;
use namespaces::Namespaces;
use peers::Neighbour;
use proof::Standing;
use readiness::Readiness;
use scrub::Scrub;
use waits::Waits;
use warm_up::WarmUp;

pub use census::{Census, Quota};
pub use claims::{RefusedClaim, Sieve};
pub use disk::{Disk, Headroom};
pub use effect::{CheckpointChunk, Commit, Effect, Job, LoadLeaves, Notice, Position, Repaired};
pub use event::{DirtyRow, Event, JournalRead, LeavesLoaded, Recovered, RecoveredSpace, Ticket};
pub use idempotency::{Answered, Fill};
pub use message::{Digest, Heartbeat, Message, Proof, Refused, RepairStep, RepairedRow, Seal, Sighting};
pub use operation::{List, Operation, Outcome, Page, Refusal};
pub use pieces::Pieces;
pub use record::{Change, Payload, Record, coalesce};
pub use request::{Caller, RequestId, Turn};
pub use rows::ROW_BYTES;
pub use settings::Settings;
pub use status::{MemoryStatus, NamespaceStatus, PeerStatus, RepairStatus, Status};
pub use terms::{Receipt, Terms};
pub use token::{Missing, Token};
pub use view::{Share, View};

/// All replicated state of one node, and its single writer.
pub struct Replica {
    settings: Settings,
    /// The time of the event being handled, in milliseconds on any clock that never goes back.
    now: u64,
    /// Who we are.
    incarnation: Incarnation,
    /// Whether we serve.
    readiness: Readiness,
    namespaces: Namespaces,
    commits: Commits,
    checkpointing: Checkpointing,
    loads: Loads,
    waits: Waits,
    warm_up: WarmUp,
    idempotency: Idempotency,
    gossip: Gossip,
    /// Rows that cannot leave memory take more than rows may.
    is_crowded: bool,
    effects: VecDeque<Effect>,
}

impl Replica {
    /// Takes up what recovery found. Nothing is served until `Effect::Serving` (I3).
    pub fn new(settings: Settings, recovered: Recovered, now: u64) -> Self {
        let mut replica = Self {
            now,
            incarnation: Incarnation::new(&settings, &recovered, now),
            readiness: Readiness::default(),
            namespaces: Namespaces::new(!recovered.unconfigured.is_empty(), Scrub::new(&settings, now)),
            commits: Commits::new(recovered.repaired),
            checkpointing: Checkpointing::new(now + settings.tuning.checkpoint.interval.ms()),
            loads: Loads::default(),
            waits: Waits::default(),
            warm_up: WarmUp::default(),
            idempotency: Idempotency::new(recovered.answered, now),
            gossip: Gossip::new(&settings, recovered.boot, now),
            is_crowded: false,
            effects: VecDeque::new(),
            settings,
        };
        for space in recovered.spaces {
            replica.recover(space);
        }
        replica.begin_warm_up();
        // Before anything else: whatever follows is done by a node that serves nobody.
        recovered.fence.into_iter().for_each(|reason| replica.fence(reason));
        replica.begin();
        replica
    }

    /// A replica that answers reads of what recovery found, and does nothing else: its disk takes no write. To be replaced
    /// by a [`Self::new`] one, after a recovery of its own, once there is room.
    pub fn reading(settings: Settings, recovered: Recovered, disk: Disk, now: u64) -> Self {
        // Its own id matters only for writes.
        let replica = recovered.replica.unwrap_or_else(|| ReplicaId::new(settings.worker, 0));
        let mut reading = Self::new(settings, Recovered { replica: Some(replica), ..recovered }, now);
        reading.incarnation.standing = Standing::Reading;
        reading.readiness.set_disk(disk);
        reading
    }

    fn recover(&mut self, recovered: RecoveredSpace) {
        let tail_bytes_max = self.settings.tuning.gossip.inflight_bytes_max.bytes().saturating_mul(2);
        self.checkpointing.dirty_rows += recovered.dirty.len();
        self.namespaces.insert(Namespace::recover(recovered, &self.settings.hasher, tail_bytes_max, self.now));
    }

    /// Something happened at `now`.
    pub fn handle(&mut self, now: u64, event: Event) {
        self.now = self.now.max(now);
        match event {
            Event::Submit { ticket, operations, terms } => self.submit(ticket, operations, terms),
            Event::Hurry(ticket) => self.hurry(ticket),
            Event::List { ticket, list } => self.list(ticket, list),
            Event::Committed(number) => self.committed(number),
            Event::Loaded { namespace, rows } => self.loaded(namespace, rows),
            Event::Journal(read) => self.journal_read(read),
            Event::Hash { namespace, seq, hash } => self.hash_found(namespace, seq, hash),
            Event::Checkpointed => self.checkpointed(),
            Event::LeavesLoaded(loaded) => self.leaves_loaded(loaded),
            Event::Scrubbed { namespace, sum } => self.scrubbed(namespace, sum),
            Event::Minted(replica) => self.minted(replica),
            Event::PeerBoot(peer) => self.peer_booted(peer),
            Event::PeerUp { peer, namespaces } => self.peer_up(peer, &namespaces),
            Event::PeerDown(peer) => self.peer_down(peer),
            Event::Received { from, message } => self.received(from, message),
            Event::Tick => {}
            Event::Drain => self.drain(),
            Event::Hold(held_back) => {
                self.readiness.hold_back(held_back);
                self.refuse_waiting();
            }
            Event::Disk(disk) => self.disk_changed(disk),
            Event::Ceiling(ceiling) => {
                // Soon, because whoever loses its disk has it from its peers alone how far its IDs had come.
                if self.incarnation.claim.remember(ceiling) {
                    self.gossip.digest_by(self.now + self.settings.tuning.gossip.interval.ms());
                }
            }
            Event::ForgetCeilings(own) => self.incarnation.claim.forget(own),
            Event::Fence(reason) => self.fence(reason),
            Event::Rival(reason) => self.rival(reason),
            Event::Inspect(ticket) => {
                let status = Box::new(self.status());
                self.effects.push_back(Effect::Status { ticket, status });
            }
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            // First, because rows that are at hand may still be part of the commit that closes.
            self.loads.emit(&mut self.effects);
        }
        if self.effects.is_empty() {
            self.settle();
        }
        self.effects.pop_front()
    }

    /// Whether something is to be done that the events so far made necessary by themselves.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Whether a commit closes as soon as the events so far are settled.
    pub fn would_commit(&self) -> bool {
        self.commits.may_close()
    }

    /// When to handle `Event::Tick` if nothing else happens before.
    pub fn deadline(&self) -> u64 {
        if self.incarnation.is_reading() {
            return self.waits.deadline().unwrap_or(u64::MAX);
        }
        let timers = [
            self.drain_deadline(),
            self.commits.linger_deadline(),
            self.waits.deadline(),
            self.incarnation.deadline(),
            self.warm_up_deadline(),
        ];
        let first = timers.into_iter().flatten().min().unwrap_or(u64::MAX);
        let first = first.min(self.gossip.due_at()).min(self.checkpointing.due_at);
        first.min(self.repair_deadline()).min(self.namespaces.scrub.due_at)
    }

    /// Whether another batch may be submitted now; otherwise it waits in the queue before the engine.
    pub fn has_room(&self) -> bool {
        !self.is_full() && self.waits.lined_up() == 0 && self.loads.len() < self.settings.tuning.memory.loading_rows_max
    }

    /// This node.
    pub fn worker(&self) -> WorkerId {
        self.settings.worker
    }

    /// Our incarnation, once there is one.
    pub fn id(&self) -> Option<ReplicaId> {
        self.incarnation.id()
    }

    /// Does what the handled events made necessary, once for all of them.
    fn settle(&mut self) {
        self.advance_idempotency();
        self.advance_waits();
        self.resume_backlog();
        if self.incarnation.is_reading() {
            self.loads.emit(&mut self.effects);
            return self.evict();
        }
        self.resume_incoming();
        self.advance_repair();
        self.close_commit();
        self.loads.emit(&mut self.effects);
        self.advance_start();
        self.advance_gossip();
        // Before the next table begins, if one has just ended.
        self.advance_scrub();
        self.advance_checkpoint();
        self.advance_drain();
        self.advance_warm_up();
        self.evict();
    }

    fn disk_changed(&mut self, disk: Disk) {
        self.readiness.set_disk(disk);
        if !disk.is_out() && self.incarnation.take_waiting() {
            self.effects.push_back(Effect::Mint);
        }
    }

    /// Has an incarnation made, as soon as it can be written.
    fn mint(&mut self) {
        if self.readiness.disk().is_out() {
            self.incarnation.await_room();
        } else {
            self.effects.push_back(Effect::Mint);
        }
    }

    fn fence(&mut self, reason: String) {
        if self.readiness.fence(&reason) {
            self.refuse_waiting();
            self.release_acks();
            self.effects.push_back(Effect::Fence(reason));
        }
    }

    /// Another live process claims our worker id, and may count under our replica id.
    fn rival(&mut self, reason: String) {
        self.doubt_own();
        self.fence(reason);
    }

    /// Own commits that a peer is not known to hold, over all namespaces that both are to hold.
    fn lag(&self, peer: &Neighbour) -> u64 {
        let Some(replica) = self.incarnation.id() else { return 0 };
        let meant = self.settings.peers.get(&peer.worker).into_iter().flatten();
        let meant = meant.filter_map(|namespace| self.namespaces.get(*namespace));
        meant.map(|held| held.committed().mark(replica).seq.saturating_sub(peer.holds(held.id(), replica))).sum()
    }

    /// What both are to hold by our configuration, and is not exchanged.
    fn not_exchanged(&self, peer: &Neighbour) -> Vec<NamespaceId> {
        self.settings
            .peers
            .get(&peer.worker)
            .map_or_else(Vec::new, |meant| meant.difference(&peer.shared).copied().collect())
    }

    fn forked_logs(&self) -> Vec<(NamespaceId, ReplicaId)> {
        let marks = |held: &'_ Namespace| {
            let id = held.id();
            held.committed().iter().map(move |(origin, mark)| (id, origin, mark)).collect::<Vec<_>>()
        };
        let marks = self.namespaces.iter().flat_map(marks);
        marks.filter(|(.., mark)| mark.is_forked()).map(|(namespace, origin, _)| (namespace, origin)).collect()
    }

    fn status(&self) -> Status {
        let peers = self.gossip.peers().map(|peer| PeerStatus {
            worker: peer.worker,
            up: peer.up,
            not_exchanged: self.not_exchanged(peer),
            lag_commits: self.lag(peer),
            lag_ms: peer.behind_since.map_or(0, |since| self.now.saturating_sub(since)),
            inflight_bytes: peer.sending.inflight_bytes(),
            compared_ms: peer.compared_ms(self.now),
        });
        Status {
            replica: self.incarnation.id(),
            serving: self.refusal(false).is_none(),
            idle: self.owes_nothing(),
            held_by: self.holder_of_all(),
            commits: self.namespaces.iter().map(|held| held.own_mark(self.incarnation.id()).seq).sum(),
            memory: MemoryStatus {
                rows_cached: self.namespaces.cached(),
                rows_bytes: self.namespaces.bytes(),
                rows_bytes_max: self.settings.rows_bytes_max,
                rows_dirty: self.checkpointing.dirty_rows,
                batches_waiting: self.loads.len() + self.waits.lined_up() + self.waits.len(),
                names: self.idempotency.fill(self.settings.tuning.idempotency.bytes_max.bytes()),
            },
            disk: self.readiness.disk(),
            repairs: self.repair_status(),
            namespaces: self.namespaces.iter().map(Namespace::status).collect(),
            forked: self.forked_logs(),
            peers: peers.collect(),
        }
    }
}
