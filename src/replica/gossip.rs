//! Gossip: own records are pushed after commits, digests find what is missing, requests fetch it from whoever has it.
//!
//! Digests are scuttlebutt's: van Renesse et al., "Efficient Reconciliation and Flow Control for Anti-Entropy
//! Protocols" (2008). Everything sent here is committed (I1).

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::VersionVector;
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use crate::section::Milliseconds;

use super::Replica;
use super::boots::Boots;
use super::bounds;
use super::effect::Effect;
use super::message::{Digest, Message, Refused};
use super::namespace::{Namespace, SessionId, Times};
use super::onward;
use super::peers::Neighbour;
use super::push::DELTA_BYTES;
use super::record::Record;
use super::repair::Comparisons;
use super::settings::Settings;

/// A delta that was sent this many digest intervals ago and is missing from a digest was lost.
const LOST_AFTER_DIGESTS: u64 = 2;

/// The peers, and when they are next told what.
#[derive(Debug)]
pub(super) struct Gossip {
    peers: BTreeMap<WorkerId, Neighbour>,
    pub(super) boots: Boots,
    pub(super) comparisons: Comparisons,
    /// When commits that are not pushed yet go out.
    push_at: Option<u64>,
    digest_at: u64,
}

impl Gossip {
    pub(super) fn new(settings: &Settings, boot: Boot, now: u64) -> Self {
        let neighbour = |(worker, shared): (&WorkerId, &BTreeSet<NamespaceId>)| {
            let rank = onward::rank(&settings.hasher, settings.worker, *worker);
            (*worker, Neighbour::new(*worker, rank, shared.clone()))
        };
        Self {
            peers: settings.peers.iter().map(neighbour).collect(),
            boots: Boots::new(Peer { worker: settings.worker, boot }, settings.boot_silent_after.ms()),
            comparisons: Comparisons::new(settings, now),
            push_at: None,
            digest_at: now,
        }
    }

    pub(super) fn peer(&self, worker: WorkerId) -> Option<&Neighbour> {
        self.peers.get(&worker)
    }

    pub(super) fn peer_mut(&mut self, worker: WorkerId) -> Option<&mut Neighbour> {
        self.peers.get_mut(&worker)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &Neighbour> {
        self.peers.values()
    }

    pub(super) fn peers_mut(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        self.peers.values_mut()
    }

    /// Those to which our link is up.
    pub(super) fn linked(&self) -> impl Iterator<Item = &Neighbour> {
        self.peers().filter(|peer| peer.up)
    }

    pub(super) fn linked_workers(&self) -> Vec<WorkerId> {
        self.linked().map(|peer| peer.worker).collect()
    }

    /// Commits go out at this time, unless they are about to go sooner.
    pub(super) fn push_later(&mut self, at: u64) {
        self.push_at.get_or_insert(at);
    }

    /// They go out at this time, whatever else was planned.
    pub(super) fn push_by(&mut self, at: u64) {
        self.push_at = Some(at);
    }

    /// Whether commits are still gathered, to go all together.
    pub(super) fn is_gathering(&self) -> bool {
        self.push_at.is_some()
    }

    /// The next digest goes out at this time at the latest.
    pub(super) fn digest_by(&mut self, at: u64) {
        self.digest_at = self.digest_at.min(at);
    }

    /// When the next of both is due.
    pub(super) fn due_at(&self) -> u64 {
        self.push_at.map_or(self.digest_at, |at| at.min(self.digest_at))
    }

    /// Whether digests are due; then the next ones are planned, and we have lived on.
    fn take_digests(&mut self, now: u64, interval_ms: u64) -> bool {
        let due = now >= self.digest_at;
        if due {
            self.digest_at = now + interval_ms;
            self.boots.beat();
        }
        due
    }

    fn take_pushes(&mut self, now: u64) -> bool {
        self.push_at.take_if(|at| now >= *at).is_some()
    }
}

impl Replica {
    pub(super) fn peer_booted(&mut self, peer: Peer) {
        let Some(neighbour) = self.gossip.peer_mut(peer.worker).filter(|neighbour| !neighbour.is(peer)) else { return };
        neighbour.rebooted(peer.boot);
        self.namespaces.iter_mut().for_each(|held| held.peer_rebooted(peer));
        self.drop_sessions(peer.worker);
    }

    /// Our sessions with `worker` die with its boot and with our link to it.
    fn drop_sessions(&mut self, worker: WorkerId) {
        let with = |held: &&Namespace| held.session().is_some_and(|session| session.with().worker == worker);
        let lost: Vec<NamespaceId> = self.namespaces.iter().filter(with).map(Namespace::id).collect();
        lost.into_iter().for_each(|namespace| self.give_up(namespace));
    }

    pub(super) fn peer_up(&mut self, peer: Peer, namespaces: &BTreeSet<NamespaceId>) {
        self.peer_booted(peer);
        let Some(neighbour) = self.gossip.peer_mut(peer.worker) else { return };
        // Afresh with each link: what differed before may have been mended.
        neighbour.linked(self.settings.peers.get(&peer.worker).map(|held| held & namespaces).unwrap_or_default());
        // What this boot has told already is enough to push on from; otherwise its first digest will say.
        let told: Vec<(NamespaceId, VersionVector)> = neighbour.known.clone().into_iter().collect();
        told.iter().for_each(|(namespace, vector)| self.push_from(peer.worker, *namespace, vector));
        self.ask_proof(peer.worker);
        self.send_digest(peer.worker);
        self.advance_pushes();
    }

    pub(super) fn peer_down(&mut self, peer: Peer) {
        if let Some(neighbour) = self.gossip.peer_mut(peer.worker).filter(|neighbour| neighbour.is(peer)) {
            neighbour.unlinked();
            // Who took our commits there may be another one now.
            self.advance_pushes();
        }
        self.namespaces.iter_mut().for_each(|held| held.peer_down(peer));
        self.drop_sessions(peer.worker);
    }

    pub(super) fn received(&mut self, from: Peer, message: Message) {
        // I3: an earlier boot's messages were cut off when a later one appeared.
        if !self.gossip.peer(from.worker).is_some_and(|neighbour| neighbour.is(from)) {
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
                let held = self.namespaces.get(namespace).is_some_and(|held| held.committed().mark(origin).seq > 0);
                if !held {
                    return;
                }
                self.read_journal(from.worker, namespace, origin, after, DELTA_BYTES);
            }
            Message::Refused(refused) => self.refused(from, refused),
            Message::ProofRequest { replica, boot } => self.owe_proof(from, replica, boot),
            Message::Proof(proof) => self.proof(from, &proof),
            Message::Repair { namespace, session, step } if self.shares(from.worker, namespace) => {
                self.repair_step(SessionId { with: from, namespace, number: session }, step);
            }
            Message::Leaving => {}
            Message::Delta(_) | Message::Request { .. } | Message::Repair { .. } => {
                self.bad_message(from.worker, "it speaks of a namespace that is not shared with it");
            }
        }
    }

    fn shares(&self, worker: WorkerId, namespace: NamespaceId) -> bool {
        self.gossip.peer(worker).is_some_and(|neighbour| neighbour.shared.contains(&namespace))
    }

    /// Sends what is due.
    pub(super) fn advance_gossip(&mut self) {
        if self.gossip.take_digests(self.now, self.settings.tuning.gossip.digest_interval.ms()) {
            self.gossip.linked_workers().into_iter().for_each(|worker| self.send_digest(worker));
        }
        if self.gossip.take_pushes(self.now) {
            self.advance_pushes();
        }
    }

    /// Our committed vectors of the namespaces that `to` shares.
    pub(super) fn send_digest(&mut self, to: WorkerId) {
        let Some(neighbour) = self.gossip.peer(to).filter(|neighbour| neighbour.up) else { return };
        let shared = neighbour.shared.iter().filter_map(|namespace| self.namespaces.get(*namespace));
        let digest = Digest {
            replica: self.incarnation.id(),
            vectors: shared.map(|held| (held.id(), held.committed().clone())).collect(),
            ceilings: self.incarnation.claim.ceilings(),
            live: self.live_boots(),
            sightings: self.sightings(),
        };
        self.effects.push_back(Effect::Send { to, message: Message::Digest(digest) });
    }

    fn digest(&mut self, from: Peer, digest: &Digest) {
        self.hear_boots(from.worker, digest);
        for (worker, ceiling) in &digest.ceilings {
            // Of nodes that the map no longer knows, too: their numbers may be given to others.
            if *worker != self.settings.worker && self.incarnation.claim.raise(*worker, *ceiling) {
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
            self.push_from(from.worker, *namespace, vector);
            self.fetch_missing(from, digest.replica.zip(Some(before)), *namespace, vector);
        }
        self.advance_pushes();
    }

    /// What a peer holds durably, from its digest or acknowledgement.
    fn learn(&mut self, from: Peer, namespace: NamespaceId, vector: &VersionVector) {
        let Some(neighbour) = self.gossip.peer_mut(from.worker) else { return };
        neighbour.learn(self.now, namespace, vector);
        if let Some(held) = self.namespaces.get(namespace) {
            neighbour.heard.entry(namespace).or_default().hear(self.now, from.worker, vector, held.committed());
        }
        self.waits.stirred = true;
        let Some(replica) = self.incarnation.id() else { return };
        let mark = vector.mark(replica);
        if let Some(push) = neighbour.sending.own_mut(namespace) {
            push.acknowledged(mark.seq);
        }
        self.judge_own(from.worker, namespace, mark);
        self.note_lag(from.worker);
    }

    pub(super) fn note_lag(&mut self, worker: WorkerId) {
        let behind = self.gossip.peer(worker).is_some_and(|neighbour| self.lag(neighbour) > 0);
        let now = self.now;
        if let Some(neighbour) = self.gossip.peer_mut(worker) {
            neighbour.behind_since = behind.then(|| neighbour.behind_since.unwrap_or(now));
        }
    }

    /// A digest tells from where to push on.
    fn push_from(&mut self, worker: WorkerId, namespace: NamespaceId, vector: &VersionVector) {
        let Some(replica) = self.incarnation.id() else { return };
        let lost_before =
            self.now.saturating_sub(LOST_AFTER_DIGESTS * self.settings.tuning.gossip.digest_interval.ms());
        let push = self.gossip.peer_mut(worker).and_then(|neighbour| neighbour.sending.own_mut(namespace));
        if let Some(push) = push {
            push.resume_from(vector.mark(replica).seq, lost_before);
        }
    }

    /// How far a peer is known to hold a log durably.
    pub(super) fn held_by(&self, worker: WorkerId, namespace: NamespaceId, origin: ReplicaId) -> u64 {
        self.gossip.peer(worker).map_or(0, |peer| peer.holds(namespace, origin))
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
        let times = Times {
            quiet_since: self.now.saturating_sub(self.settings.tuning.gossip.digest_interval.ms()),
            overdue: self.now.saturating_sub(self.settings.tuning.gossip.fetch_timeout.ms()),
        };
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        for (origin, mark) in theirs.iter().filter(|(origin, _)| Some(*origin) != self.incarnation.id()) {
            let Some(after) = held.lacks(origin, mark, times) else { continue };
            if held.admits_origin(from.worker, origin).is_err() {
                continue;
            }
            if mark.is_forked() || held.applied().mark(origin).is_forked() {
                // No journal has all of it.
                held.note_gap(from.worker);
                continue;
            }
            if held.fetches().is_refused(origin, from.worker) {
                let mut others = self.gossip.linked().filter(|peer| peer.holds(namespace, origin) > after);
                if others.all(|peer| held.fetches().is_refused(origin, peer.worker)) {
                    held.note_gap(from.worker);
                }
                continue;
            }
            if own.is_some_and(|(replica, before)| origin == replica && (direct || before <= after)) {
                continue;
            }
            held.fetches().begin(origin, from, self.now);
            let request = Message::Request { namespace, origin, after };
            self.effects.push_back(Effect::Send { to: from.worker, message: request });
        }
    }

    /// A record has been applied: if it was asked for and its sender has more, ask on at once.
    pub(super) fn fetched(&mut self, record: &Record) {
        let (namespace, origin) = (record.namespace, record.origin);
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let Some(from) = held.fetches().end(origin) else { return };
        let more = self.gossip.peer(from.worker).is_some_and(|peer| peer.holds(namespace, origin) > record.upto);
        if more {
            held.fetches().begin(origin, from, self.now);
            let request = Message::Request { namespace, origin, after: record.upto };
            self.effects.push_back(Effect::Send { to: from.worker, message: request });
        }
    }

    fn refused(&mut self, from: Peer, refused: Refused) {
        match refused {
            Refused::Gap { namespace, origin, .. } if Some(origin) == self.incarnation.id() => {
                // A digest follows and tells where to go on.
                let neighbour = self.gossip.peer_mut(from.worker);
                if let Some(push) = neighbour.and_then(|neighbour| neighbour.sending.own_mut(namespace)) {
                    push.pause();
                }
            }
            // What was handed on does not chain there: the digest tells what is to be had here.
            Refused::Gap { .. } => self.send_digest(from.worker),
            Refused::NotWhole { namespace, origin, .. } => {
                if let Some(held) = self.namespaces.get_mut(namespace) {
                    held.fetches().refused(origin, from);
                }
            }
        }
    }
}
