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
pub mod disk;
#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod durability_tests;
pub mod effect;
pub mod event;
mod fork;
#[cfg(test)]
mod fork_tests;
pub(crate) mod fuzzed;
mod gossip;
mod hints;
pub mod list;
#[cfg(test)]
mod list_tests;
pub mod message;
pub mod once;
#[cfg(test)]
mod once_tests;
mod onward;
#[cfg(test)]
mod onward_tests;
pub mod operation;
mod peers;
mod proof;
#[cfg(test)]
mod proof_tests;
mod reach;
pub mod record;
mod remote;
mod repair;
mod rows;
#[cfg(test)]
mod rows_tests;
mod scrub;
mod settings;
mod shares;
mod space;
pub mod status;
mod submit;
pub mod terms;
#[cfg(test)]
mod terms_tests;
pub mod token;
pub mod tuning;
pub mod view;
mod waits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::VersionVector;
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use crate::section::{Bytes, Milliseconds};

use boots::Boots;
use checkpoint::Checkpointing;
use commit::Commits;
use fork::OwnForks;
use once::Onces;
use peers::Neighbour;
use proof::{Claim, Standing};
use repair::Repairs;
use scrub::Scrub;
use space::Space;
use submit::Works;
use waits::Waits;

pub use census::{Census, Quota};
pub use claims::{RefusedClaim, Sieve};
pub use disk::{Disk, Headroom};
pub use effect::{CheckpointChunk, Commit, Effect, Job, LoadLeaves, Notice, Position, Repaired};
pub use event::{DirtyRow, Event, JournalRead, LeavesLoaded, Recovered, RecoveredSpace, Ticket};
pub use list::{List, Page};
pub use message::{Digest, Heartbeat, Message, Proof, Refused, RepairStep, RepairedRow, Seal, Sighting};
pub use once::{Caller, Done, Fill, Once, Turn};
pub use operation::{Operation, Outcome, Refusal};
pub use record::{Change, Payload, Record, coalesce};
pub use settings::Settings;
pub use status::{NamespaceStatus, PeerStatus, RepairStatus, Status};
pub use terms::{Receipt, Terms};
pub use token::{Missing, Token};
pub use view::{Share, View};

/// All replicated state of one node, and its single writer.
pub struct Replica {
    settings: Settings,
    boot: Boot,
    /// The time of the event being handled, in milliseconds on any clock that never goes back.
    now: u64,
    /// Our incarnation; only the slots that bear its name are ever increased here (I2).
    replica: Option<ReplicaId>,
    standing: Standing,
    claim: Claim,
    spaces: BTreeMap<NamespaceId, Space>,
    commits: Commits,
    works: Works,
    waits: Waits,
    onces: Onces,
    /// Origins whose first waiting delta waits for rows.
    held: BTreeSet<(NamespaceId, ReplicaId)>,
    peers: BTreeMap<WorkerId, Neighbour>,
    boots: Boots,
    checkpointing: Checkpointing,
    repairs: Repairs,
    scrub: Scrub,
    draining: Option<Drain>,
    /// An operator has it refuse new work.
    held_back: bool,
    disk: Disk,
    /// An incarnation is wanted for which the disk has no room.
    mint_waits: bool,
    fenced: Option<String>,
    own_forks: OwnForks,
    /// The disk has more namespaces than the configuration.
    keeps_unconfigured: bool,
    /// An incarnation that is persisted and takes over once nothing of the former one is in hand.
    minted: Option<ReplicaId>,
    /// When commits that are not pushed yet go out.
    push_at: Option<u64>,
    digest_at: u64,
    effects: VecDeque<Effect>,
}

/// A shutdown in progress.
#[derive(Debug)]
struct Drain {
    /// When nobody waits any longer for other regions.
    deadline: u64,
    /// When nothing was left to commit: peers have been told, and a last checkpoint is due.
    told: Option<u64>,
    over: bool,
}

impl Replica {
    /// Takes up what recovery found. Nothing is served until `Effect::Serving` (I3).
    pub fn new(settings: Settings, recovered: Recovered, now: u64) -> Self {
        let neighbour = |(worker, shared): (&WorkerId, &BTreeSet<NamespaceId>)| {
            let rank = onward::rank(&settings.hasher, settings.worker, *worker);
            (*worker, Neighbour::new(*worker, rank, shared.clone()))
        };
        let peers = settings.peers.iter().map(neighbour);
        let mut replica = Self {
            boot: recovered.boot,
            now,
            replica: recovered.replica,
            standing: Standing::new(&settings, recovered.replica, now),
            claim: Claim::new(&settings, recovered.ceiling, &recovered.peer_ceilings, now),
            spaces: BTreeMap::new(),
            commits: Commits::new(),
            works: Works::default(),
            waits: Waits::default(),
            onces: Onces::new(recovered.onces, now),
            held: BTreeSet::new(),
            peers: peers.collect(),
            boots: Boots::new(Peer { worker: settings.worker, boot: recovered.boot }, settings.boot_silent_after.ms()),
            checkpointing: Checkpointing::new(now + settings.tuning.checkpoint.interval.ms()),
            repairs: Repairs::new(&settings, recovered.repaired, now),
            scrub: Scrub::new(&settings, now),
            draining: None,
            held_back: false,
            disk: Disk::default(),
            mint_waits: false,
            fenced: None,
            own_forks: OwnForks::default(),
            keeps_unconfigured: !recovered.unconfigured.is_empty(),
            minted: None,
            push_at: None,
            digest_at: now,
            effects: VecDeque::new(),
            settings,
        };
        for space in recovered.spaces {
            replica.recover(space);
        }
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
        (reading.standing, reading.disk) = (Standing::Reading, disk);
        reading
    }

    fn recover(&mut self, recovered: RecoveredSpace) {
        let tail_bytes_max = self.settings.tuning.gossip.inflight_bytes_max.bytes().saturating_mul(2);
        let namespace = recovered.namespace;
        self.checkpointing.dirty_rows += recovered.dirty.len();
        let space = Space::recover(recovered, &self.settings.hasher, tail_bytes_max, self.now);
        self.spaces.insert(namespace, space);
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
                self.held_back = held_back;
                self.refuse_waiting();
            }
            Event::Disk(disk) => self.disk_changed(disk),
            Event::Ceiling(ceiling) => {
                // Soon, because whoever loses its disk has it from its peers alone how far its IDs had come.
                if self.claim.remember(ceiling) {
                    self.digest_at = self.digest_at.min(self.now + self.settings.tuning.gossip.interval.ms());
                }
            }
            Event::ForgetCeilings(own) => self.claim.forget(own),
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
        self.commits.inflight.is_none() && !self.commits.gathering.is_empty()
    }

    /// When to handle `Event::Tick` if nothing else happens before.
    pub fn deadline(&self) -> u64 {
        if self.standing.is_reading() {
            return self.waits.deadline().unwrap_or(u64::MAX);
        }
        let drain = self.draining.as_ref().filter(|drain| !drain.over).map(|drain| self.drain_deadline(drain));
        let lingering = self.commits.linger_until.filter(|_| self.commits.inflight.is_none());
        let waits = self.waits.deadline();
        let timers = [self.push_at, drain, lingering, waits, self.standing.deadline(), self.claim.deadline()];
        let first = timers.into_iter().flatten().min().unwrap_or(u64::MAX);
        let first = first.min(self.digest_at).min(self.checkpointing.due_at);
        first.min(self.repair_deadline()).min(self.scrub.due_at)
    }

    /// Whether another batch may be submitted now; otherwise it waits in the queue before the engine.
    pub fn has_room(&self) -> bool {
        !self.is_full()
            && self.works.backlog.is_empty()
            && self.works.len() < self.settings.tuning.cache.loading_rows_max
    }

    /// This node.
    pub fn worker(&self) -> WorkerId {
        self.settings.worker
    }

    /// Our incarnation, once there is one.
    pub fn id(&self) -> Option<ReplicaId> {
        self.replica
    }

    /// Does what the handled events made necessary, once for all of them.
    fn settle(&mut self) {
        self.advance_onces();
        self.advance_waits();
        self.resume_backlog();
        if self.standing.is_reading() {
            self.works.emit_loads(&mut self.effects);
            return self.evict();
        }
        self.resume_incoming();
        self.advance_repair();
        self.close_commit();
        self.works.emit_loads(&mut self.effects);
        self.advance_start();
        self.advance_gossip();
        self.advance_checkpoint();
        self.advance_scrub();
        self.advance_drain();
        self.evict();
    }

    /// The committed vectors of all namespaces.
    fn vectors(&self) -> Vec<(NamespaceId, VersionVector)> {
        self.spaces.values().map(|space| (space.id, space.vector.clone())).collect()
    }

    fn evict(&mut self) {
        let cached: usize = self.spaces.values().map(|space| space.rows.len()).sum();
        let excess = cached.saturating_sub(self.settings.tuning.cache.rows_max);
        if excess > 0 {
            // A bounded step each time; under pressure settling comes often.
            let step = excess.min(4_096);
            self.spaces.values_mut().for_each(|space| space.rows.evict(step));
        }
    }

    fn disk_changed(&mut self, disk: Disk) {
        self.disk = disk;
        if !disk.is_out() && std::mem::take(&mut self.mint_waits) {
            self.effects.push_back(Effect::Mint);
        }
    }

    /// Has an incarnation made, as soon as it can be written.
    fn mint(&mut self) {
        if self.disk.is_out() {
            self.mint_waits = true;
        } else {
            self.effects.push_back(Effect::Mint);
        }
    }

    fn fence(&mut self, reason: String) {
        if self.fenced.is_none() {
            self.fenced = Some(reason.clone());
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

    fn drain(&mut self) {
        if self.draining.is_none() {
            let deadline = self.now + self.settings.tuning.drain.timeout.ms();
            self.draining = Some(Drain { deadline, told: None, over: false });
            self.push_at = Some(self.now);
            self.refuse_waiting();
        }
    }

    /// Refused new work, committed what was in hand; now some other region has to hold it, and the changed rows go to disk,
    /// so that the next start has nothing to replay.
    fn advance_drain(&mut self) {
        let expired = self.draining.as_ref().is_some_and(|drain| self.now >= self.drain_deadline(drain));
        let safe = self.commits.is_idle() && self.works.is_empty();
        let (holder, told) = if safe { (self.holder(), self.holder_of_all()) } else { (None, None) };
        let Some(drain) = self.draining.as_mut().filter(|drain| !drain.over) else { return };
        if safe && drain.told.is_none() {
            drain.told = Some(self.now);
            self.push_at = Some(self.now);
            self.checkpointing.due_at = self.now;
            let linked = self.peers.values().filter(|peer| peer.up);
            self.effects.extend(linked.map(|peer| Effect::Send { to: peer.worker, message: Message::Leaving }));
        }
        // Without room for a checkpoint, the next start replays the journal.
        let written = drain.told.is_some_and(|told| self.disk.is_out() || self.checkpointing.is_over(told));
        let held = holder.is_some() || self.settings.peers.is_empty() || self.now >= drain.deadline;
        if expired || (written && held) {
            drain.over = true;
            self.release_acks();
            self.effects.push_back(Effect::Drained(told));
        }
    }

    /// When a drain is over in any case. The last checkpoint has more time than the other regions, once it has begun.
    fn drain_deadline(&self, drain: &Drain) -> u64 {
        match drain.told {
            Some(told) if !self.checkpointing.is_over(told) => {
                drain.deadline + self.settings.tuning.drain.checkpoint.ms()
            }
            _ => drain.deadline,
        }
    }

    /// All that clients have asked for here is committed. What others have counted may be on its way to the disk.
    pub(super) fn owes_nothing(&self) -> bool {
        let own = |record: &Record| record.origin.worker() == self.settings.worker;
        let syncing = self.commits.inflight.iter().flat_map(|commit| &commit.records).any(own);
        !syncing && self.commits.gathering.own.is_empty() && self.works.batches() == 0
    }

    /// A region other than ours of which a node holds all that this worker has ever committed. What the disk has of
    /// namespaces that are not configured is not exchanged, so nobody knows who holds that.
    fn holder_of_all(&self) -> Option<u8> {
        self.holder().filter(|_| !self.keeps_unconfigured)
    }

    /// The same of the namespaces that are configured: for more there is no use in waiting.
    fn holder(&self) -> Option<u8> {
        let others = self.peers.values().filter(|peer| self.is_abroad(peer.worker));
        others.filter(|peer| self.is_held_by(peer)).map(|peer| peer.worker.region()).min()
    }

    fn is_abroad(&self, worker: WorkerId) -> bool {
        worker.region() != self.settings.worker.region()
    }

    /// Earlier incarnations count as well: nobody may have heard of the last one yet. What no other region is to have at
    /// all cannot be held there.
    fn is_held_by(&self, peer: &Neighbour) -> bool {
        let abroad = |space: &&Space| {
            let mut sharing = self.settings.peers.iter().filter(|(_, shared)| shared.contains(&space.id));
            sharing.any(|(worker, _)| self.is_abroad(*worker))
        };
        self.spaces.values().filter(abroad).all(|space| {
            let mut own = space.vector.iter().filter(|(origin, _)| origin.worker() == self.settings.worker);
            own.all(|(origin, mark)| peer.holds(space.id, origin) >= mark.seq)
        })
    }

    /// Own commits that a peer is not known to hold, over all namespaces that both are to hold.
    fn lag(&self, peer: &Neighbour) -> u64 {
        let Some(replica) = self.replica else { return 0 };
        let meant = self.settings.peers.get(&peer.worker).into_iter().flatten();
        let spaces = meant.filter_map(|namespace| self.spaces.get(namespace));
        spaces.map(|space| space.vector.mark(replica).seq.saturating_sub(peer.holds(space.id, replica))).sum()
    }

    /// What both are to hold by our configuration, and is not exchanged.
    fn not_exchanged(&self, peer: &Neighbour) -> Vec<NamespaceId> {
        self.settings
            .peers
            .get(&peer.worker)
            .map_or_else(Vec::new, |meant| meant.difference(&peer.shared).copied().collect())
    }

    fn forked_logs(&self) -> Vec<(NamespaceId, ReplicaId)> {
        let marks =
            self.spaces.values().flat_map(|space| space.vector.iter().map(|(origin, mark)| (space.id, origin, mark)));
        marks.filter(|(.., mark)| mark.is_forked()).map(|(namespace, origin, _)| (namespace, origin)).collect()
    }

    fn status(&self) -> Status {
        let peers = self.peers.values().map(|peer| PeerStatus {
            worker: peer.worker,
            up: peer.up,
            not_exchanged: self.not_exchanged(peer),
            lag_commits: self.lag(peer),
            lag_ms: peer.behind_since.map_or(0, |since| self.now.saturating_sub(since)),
            inflight_bytes: peer.inflight_bytes(),
            compared_ms: self.repairs.whole_ms(peer.worker, self.now),
        });
        Status {
            replica: self.replica,
            serving: self.refusal(false).is_none(),
            draining: self.draining.is_some(),
            fenced: self.fenced.clone(),
            idle: self.owes_nothing(),
            held_by: self.holder_of_all(),
            commits: self.spaces.values().map(|space| space.own_mark(self.replica).seq).sum(),
            rows_cached: self.spaces.values().map(|space| space.rows.len()).sum(),
            rows_dirty: self.checkpointing.dirty_rows,
            names: self.onces.fill(self.settings.tuning.idempotency.bytes_max.bytes()),
            disk: self.disk,
            repairs: self.repair_status(),
            namespaces: self.spaces.values().map(Space::status).collect(),
            batches_waiting: self.works.len() + self.waits.len(),
            forked: self.forked_logs(),
            peers: peers.collect(),
        }
    }
}
