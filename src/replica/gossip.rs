//! Gossip: own records are pushed after commits, digests find what is missing, requests fetch it from whoever has it.
//!
//! Digests are scuttlebutt's: van Renesse et al., "Efficient Reconciliation and Flow Control for Anti-Entropy
//! Protocols" (2008). Everything sent here is committed (I1).

use std::collections::BTreeSet;

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, Peer, ReplicaId, WorkerId};
use crate::section::{Bytes, Milliseconds};

use super::Replica;
use super::bounds;
use super::effect::{Effect, Job};
use super::event::JournalRead;
use super::message::{Digest, Message, Refused};
use super::peers::Push;
use super::record::{Record, coalesce};
use super::space::{Fetch, Space};

/// One delta carries about this much, so that a slow link is not held up by one message.
const DELTA_BYTES: usize = 1 << 20;
/// A delta that was sent this many digest intervals ago and is missing from a digest was lost.
const LOST_AFTER_DIGESTS: u64 = 2;

impl Replica {
    pub(super) fn peer_booted(&mut self, peer: Peer) {
        let Some(neighbour) = self.peers.get_mut(&peer.worker).filter(|neighbour| !neighbour.is(peer)) else { return };
        neighbour.rebooted(peer.boot);
        // What an earlier boot sent and we have not applied was never acknowledged: it goes (I3), also where its rows are
        // being loaded. Applied later, it would be more than a proof tells that is given meanwhile.
        for space in self.spaces.values_mut() {
            for queue in space.incoming.values_mut() {
                queue.retain(|(from, _)| from.worker != peer.worker || from.boot == peer.boot);
            }
            space.fetching.retain(|_, fetch| fetch.from.worker != peer.worker);
            space.not_whole.retain(|(_, worker)| *worker != peer.worker);
            space.skipped.remove(&peer.worker);
        }
        self.repairs.rebooted(peer.worker);
        self.drop_sessions(peer.worker);
    }

    /// Our sessions with `worker` die with its boot and with our link to it.
    fn drop_sessions(&mut self, worker: WorkerId) {
        let with = |space: &&Space| space.session.as_ref().is_some_and(|session| session.is_with(worker));
        let lost: Vec<NamespaceId> = self.spaces.values().filter(with).map(|space| space.id).collect();
        lost.into_iter().for_each(|namespace| self.give_up(namespace));
    }

    pub(super) fn peer_up(&mut self, peer: Peer, namespaces: &BTreeSet<NamespaceId>) {
        self.peer_booted(peer);
        let Some(neighbour) = self.peers.get_mut(&peer.worker) else { return };
        neighbour.up = true;
        // Afresh with each link: what differed before may have been mended.
        neighbour.share(self.settings.peers.get(&peer.worker).map(|held| held & namespaces).unwrap_or_default());
        neighbour.pushes.values_mut().for_each(Push::pause);
        neighbour.reading.clear();
        // What this boot has told already is enough to push on from; otherwise its first digest will say.
        let told: Vec<(NamespaceId, VersionVector)> = neighbour.known.clone().into_iter().collect();
        told.iter().for_each(|(namespace, vector)| self.told(peer.worker, *namespace, vector));
        self.ask_proof(peer.worker);
        self.send_digest(peer.worker);
        self.advance_pushes();
    }

    pub(super) fn peer_down(&mut self, peer: Peer) {
        if let Some(neighbour) = self.peers.get_mut(&peer.worker).filter(|neighbour| neighbour.is(peer)) {
            neighbour.up = false;
            neighbour.pushes.values_mut().for_each(Push::pause);
            neighbour.handed.clear();
            // Who took our commits there may be another one now.
            self.advance_pushes();
        }
        for space in self.spaces.values_mut() {
            space.fetching.retain(|_, fetch| fetch.from != peer);
        }
        self.drop_sessions(peer.worker);
    }

    pub(super) fn received(&mut self, from: Peer, message: Message) {
        // I3: an earlier boot's messages were cut off when a later one appeared.
        if !self.peers.get(&from.worker).is_some_and(|neighbour| neighbour.is(from)) {
            return;
        }
        if let Err(excess) = bounds::check(&message) {
            return self.bad_message(from.worker, &excess.to_string());
        }
        match message {
            Message::Delta(record) if self.shares(from.worker, record.namespace) => self.delta(from, record),
            Message::Digest(digest) => self.digest(from, &digest),
            Message::Ack(vectors) => {
                for (namespace, vector) in vectors {
                    if self.shares(from.worker, namespace) {
                        self.learn(from, namespace, &vector);
                    }
                }
                self.advance_pushes();
            }
            Message::Request { namespace, origin, after } if self.shares(from.worker, namespace) => {
                let held = self.spaces.get(&namespace).is_some_and(|space| space.vector.mark(origin).seq > 0);
                if !held {
                    return;
                }
                self.read_journal(from.worker, namespace, origin, after, DELTA_BYTES);
            }
            Message::Refused(refused) => self.refused(from, refused),
            Message::ProofRequest { replica, boot } => self.owe_proof(from, replica, boot),
            Message::Proof(proof) => self.proof(from, &proof),
            Message::Repair { namespace, session, step } if self.shares(from.worker, namespace) => {
                self.repair_step(from, namespace, session, step);
            }
            Message::Leaving => {}
            Message::Delta(_) | Message::Request { .. } | Message::Repair { .. } => {
                self.bad_message(from.worker, "it speaks of a namespace that is not shared with it");
            }
        }
    }

    fn shares(&self, worker: WorkerId, namespace: NamespaceId) -> bool {
        self.peers.get(&worker).is_some_and(|neighbour| neighbour.shared.contains(&namespace))
    }

    /// Sends what is due.
    pub(super) fn advance_gossip(&mut self) {
        if self.now >= self.digest_at {
            self.digest_at = self.now + self.settings.tuning.gossip.digest_interval.ms();
            self.boots.beat();
            let linked: Vec<WorkerId> = self.peers.values().filter(|peer| peer.up).map(|peer| peer.worker).collect();
            linked.into_iter().for_each(|worker| self.send_digest(worker));
        }
        if self.push_at.is_some_and(|at| self.now >= at) {
            self.push_at = None;
            self.advance_pushes();
        }
    }

    /// Our committed vectors of the namespaces that `to` shares.
    pub(super) fn send_digest(&mut self, to: WorkerId) {
        let Some(neighbour) = self.peers.get(&to).filter(|neighbour| neighbour.up) else { return };
        let shared = neighbour.shared.iter().filter_map(|namespace| self.spaces.get(namespace));
        let digest = Digest {
            replica: self.replica,
            vectors: shared.map(|space| (space.id, space.vector.clone())).collect(),
            ceilings: self.claim.ceilings(),
            live: self.live_boots(),
            sightings: self.sightings(),
        };
        self.effects.push_back(Effect::Send { to, message: Message::Digest(digest) });
    }

    fn digest(&mut self, from: Peer, digest: &Digest) {
        self.hear_boots(from.worker, digest);
        for (worker, ceiling) in &digest.ceilings {
            // Of nodes that the map no longer knows, too: their numbers may be given to others.
            if *worker != self.settings.worker && self.claim.raise(*worker, *ceiling) {
                self.effects.push_back(Effect::Witness { worker: *worker, ceiling: *ceiling });
            }
        }
        for (namespace, vector) in &digest.vectors {
            if !self.shares(from.worker, *namespace) {
                continue;
            }
            self.find_forks(from.worker, *namespace, vector);
            let before = digest.replica.map_or(0, |origin| self.held_by(from.worker, *namespace, origin));
            self.learn(from, *namespace, vector);
            self.told(from.worker, *namespace, vector);
            self.fetch_missing(from, digest.replica.zip(Some(before)), *namespace, vector);
        }
        self.advance_pushes();
    }

    /// What a peer holds durably, from its digest or acknowledgement.
    fn learn(&mut self, from: Peer, namespace: NamespaceId, vector: &VersionVector) {
        let Some(neighbour) = self.peers.get_mut(&from.worker) else { return };
        neighbour.learn(self.now, namespace, vector);
        if let Some(space) = self.spaces.get(&namespace) {
            neighbour.heard.entry(namespace).or_default().hear(self.now, from.worker, vector, &space.vector);
        }
        self.waits.stirred = true;
        let Some(replica) = self.replica else { return };
        let mark = vector.mark(replica);
        if let Some(push) = neighbour.pushes.get_mut(&namespace) {
            push.acknowledged(mark.seq);
        }
        self.judge_own(from.worker, namespace, mark);
        self.note_lag(from.worker);
    }

    fn note_lag(&mut self, worker: WorkerId) {
        let behind = self.peers.get(&worker).is_some_and(|neighbour| self.lag(neighbour) > 0);
        let now = self.now;
        if let Some(neighbour) = self.peers.get_mut(&worker) {
            neighbour.behind_since = behind.then(|| neighbour.behind_since.unwrap_or(now));
        }
    }

    /// A digest tells from where to push on.
    fn told(&mut self, worker: WorkerId, namespace: NamespaceId, vector: &VersionVector) {
        let Some(replica) = self.replica else { return };
        let lost_before =
            self.now.saturating_sub(LOST_AFTER_DIGESTS * self.settings.tuning.gossip.digest_interval.ms());
        let push = self.peers.get_mut(&worker).and_then(|neighbour| neighbour.pushes.get_mut(&namespace));
        if let Some(push) = push {
            push.told(vector.mark(replica).seq, lost_before);
        }
    }

    fn held_by(&self, worker: WorkerId, namespace: NamespaceId, origin: ReplicaId) -> u64 {
        self.peers.get(&worker).map_or(0, |peer| peer.holds(namespace, origin))
    }

    /// Asks `from` for what it has and we lack. A log that moves by itself is left alone, because its origin is pushing it.
    /// `own` is the log of `from` itself, and how far it told before that this goes. It pushes that by itself, in another
    /// region perhaps to a node that should hand it on to us: only if we lack what was told before, nobody does. What
    /// nobody can serve any more from where we stand is repaired.
    fn fetch_missing(
        &mut self,
        from: Peer,
        own: Option<(ReplicaId, u64)>,
        namespace: NamespaceId,
        theirs: &VersionVector,
    ) {
        let direct = from.worker.region() == self.settings.worker.region();
        let quiet_since = self.now.saturating_sub(self.settings.tuning.gossip.digest_interval.ms());
        let overdue = self.now.saturating_sub(self.settings.tuning.gossip.fetch_timeout.ms());
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        for (origin, mark) in theirs.iter() {
            let after = space.applied.mark(origin).seq;
            let moving = space.moved_at.get(&origin).is_some_and(|moved| *moved > quiet_since);
            let asked = space.fetching.get(&origin).is_some_and(|fetch| fetch.asked_at > overdue);
            if mark.seq <= after || moving || asked || Some(origin) == self.replica {
                continue;
            }
            if bounds::admits(&space.applied, &space.reach, from.worker, origin).is_err() {
                continue;
            }
            if mark.is_forked() || space.applied.mark(origin).is_forked() {
                // No journal has all of it.
                space.gap.get_or_insert(from.worker);
                continue;
            }
            let refused = |worker: WorkerId| space.not_whole.contains(&(origin, worker));
            if refused(from.worker) {
                let others = self.peers.values().filter(|peer| peer.up && peer.holds(namespace, origin) > after);
                if others.into_iter().all(|peer| refused(peer.worker)) {
                    space.gap.get_or_insert(from.worker);
                }
                continue;
            }
            if own.is_some_and(|(replica, before)| origin == replica && (direct || before <= after)) {
                continue;
            }
            space.fetching.insert(origin, Fetch { from, asked_at: self.now });
            let request = Message::Request { namespace, origin, after };
            self.effects.push_back(Effect::Send { to: from.worker, message: request });
        }
    }

    /// A record has been applied: if it was asked for and its sender has more, ask on at once.
    pub(super) fn fetched(&mut self, record: &Record) {
        let (namespace, origin) = (record.namespace, record.origin);
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        let Some(fetch) = space.fetching.remove(&origin) else { return };
        let more = self.peers.get(&fetch.from.worker).is_some_and(|peer| peer.holds(namespace, origin) > record.upto);
        if more {
            space.fetching.insert(origin, Fetch { asked_at: self.now, ..fetch });
            let request = Message::Request { namespace, origin, after: record.upto };
            self.effects.push_back(Effect::Send { to: fetch.from.worker, message: request });
        }
    }

    fn refused(&mut self, from: Peer, refused: Refused) {
        match refused {
            Refused::Gap { namespace, origin, .. } if Some(origin) == self.replica => {
                // A digest follows and tells where to go on.
                let neighbour = self.peers.get_mut(&from.worker);
                if let Some(push) = neighbour.and_then(|neighbour| neighbour.pushes.get_mut(&namespace)) {
                    push.pause();
                }
            }
            // What was handed on does not chain there: the digest tells what is to be had here.
            Refused::Gap { .. } => self.send_digest(from.worker),
            Refused::NotWhole { namespace, origin, .. } => {
                // Only to what it was asked for: a peer cannot have us remember what it likes.
                let space = self.spaces.get_mut(&namespace);
                if let Some(space) = space.filter(|space| space.fetching.get(&origin).is_some_and(|at| at.from == from))
                {
                    space.fetching.remove(&origin);
                    space.not_whole.insert((origin, from.worker));
                }
            }
        }
    }

    /// Pushes own commits to every linked peer that has them from us, as far as its window allows.
    pub(super) fn advance_pushes(&mut self) {
        if self.push_at.is_some() {
            // Commits are still being gathered; they all go together.
            return;
        }
        let Some(replica) = self.replica else { return };
        let linked: Vec<WorkerId> = self.peers.values().filter(|peer| peer.up).map(|peer| peer.worker).collect();
        for worker in linked {
            let shared = self.peers.get(&worker).into_iter().flat_map(|peer| peer.shared.iter().copied());
            let ours: Vec<NamespaceId> = shared.filter(|namespace| self.pushes_to(worker, *namespace)).collect();
            for namespace in ours {
                while self.push_one(worker, namespace, replica) {}
            }
            self.note_lag(worker);
        }
    }

    /// Sends the next own delta; false if there is none, or no room, or it has to come from disk first.
    fn push_one(&mut self, worker: WorkerId, namespace: NamespaceId, replica: ReplicaId) -> bool {
        let (Some(peer), Some(space)) = (self.peers.get_mut(&worker), self.spaces.get_mut(&namespace)) else {
            return false;
        };
        let room = self.settings.tuning.gossip.inflight_bytes_max.bytes().saturating_sub(peer.inflight_bytes());
        let reading = peer.reading.contains(&(namespace, replica));
        let Some(push) = peer.pushes.get_mut(&namespace).filter(|push| push.ready) else { return false };
        let after = push.sent;
        if room == 0 || reading || after >= space.vector.mark(replica).seq {
            return false;
        }
        let bytes_max = room.min(DELTA_BYTES);
        let Some(record) = space.tail_after(after, bytes_max) else {
            self.read_journal(worker, namespace, replica, after, bytes_max);
            return false;
        };
        push.sent(record.upto, record.weight(), self.now);
        self.effects.push_back(Effect::Send { to: worker, message: Message::Delta(record) });
        true
    }

    /// Reads records for a peer from disk, one read at a time for each log.
    fn read_journal(&mut self, to: WorkerId, namespace: NamespaceId, origin: ReplicaId, after: u64, bytes_max: usize) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if peer.reading.len() < bounds::READINGS_MAX && peer.reading.insert((namespace, origin)) {
            self.effects.push_back(Effect::Disk(Job::ReadJournal { to, namespace, origin, after, bytes_max }));
        }
    }

    pub(super) fn journal_read(&mut self, read: JournalRead) {
        let JournalRead { to, namespace, origin, after, records, whole_from } = read;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if !peer.reading.remove(&(namespace, origin)) || !peer.up {
            return;
        }
        if let Some(record) = coalesce(after, &records) {
            let own = Some(origin) == self.replica;
            if let Some(push) = peer.pushes.get_mut(&namespace).filter(|push| own && push.ready) {
                push.sent(record.upto, record.weight(), self.now);
            }
            self.effects.push_back(Effect::Send { to, message: Message::Delta(record) });
            self.advance_pushes();
        } else if let Some(from) = whole_from {
            // What is missing in between is not to be had here: the next digest tells whether that has changed.
            if let Some(push) = peer.pushes.get_mut(&namespace).filter(|_| Some(origin) == self.replica) {
                push.pause();
            }
            let refused = Message::Refused(Refused::NotWhole { namespace, origin, from });
            self.effects.push_back(Effect::Send { to, message: refused });
        }
    }
}
