//! Starts and incarnations: nothing is committed under an existing replica id until its history is proven (I3).
//!
//! A disk can be restored, rolled back or cloned without knowing it. If a node then went on counting under its old
//! replica id, other nodes would take its new commits for ones they have and swallow them. So after every start the
//! peers are asked what they hold of our log; if that is more than we have, or differs, or if someone does not answer
//! in time, a new incarnation takes over and the old slots come back from the peers as somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::{LogHash, Mark};
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use crate::section::Milliseconds;
use crate::snowflake::Floor;

use super::Replica;
use super::effect::{Effect, Job, Notice};
use super::message::{Message, Proof};
use super::peers::OwedProof;
use super::settings::Settings;

/// How far the start has come.
#[derive(Debug)]
pub(super) enum Standing {
    /// Peers are being asked about the incarnation found on disk.
    Proving(Proving),
    /// A new incarnation is to be made, but not before this time.
    Pausing(u64),
    /// A new incarnation is being persisted.
    Minting,
    /// Counters are served.
    Serving,
    /// Counters are read, as recovery has found them; nothing is asked of peers and nothing is ever written.
    Reading,
}

#[derive(Debug)]
pub(super) struct Proving {
    deadline: u64,
    /// Who has not confirmed yet.
    awaiting: BTreeSet<WorkerId>,
    /// Hashes that peers told for places in our log, to be compared with the journal.
    unchecked: BTreeMap<(NamespaceId, u64), Vec<(WorkerId, LogHash)>>,
}

impl Standing {
    pub(super) fn new(settings: &Settings, replica: Option<ReplicaId>, now: u64) -> Self {
        match replica {
            None => Self::Minting,
            Some(_) => Self::Proving(Proving {
                deadline: now + settings.tuning.incarnation.proof_timeout.ms(),
                awaiting: settings.peers.keys().copied().collect(),
                unchecked: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self, Self::Serving)
    }

    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Self::Reading)
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match self {
            Self::Proving(proving) => Some(proving.deadline),
            Self::Pausing(until) => Some(*until),
            Self::Minting | Self::Serving | Self::Reading => None,
        }
    }
}

/// The nodes that hold a namespace which `asker` holds, too, by our configuration.
fn sharing(settings: &Settings, asker: WorkerId) -> Vec<WorkerId> {
    let Some(held) = settings.peers.get(&asker) else { return Vec::new() };
    settings.peers.iter().filter(|(_, shared)| !shared.is_disjoint(held)).map(|(worker, _)| *worker).collect()
}

impl Replica {
    /// The first effects of a start.
    pub(super) fn begin(&mut self) {
        if matches!(self.incarnation.standing, Standing::Minting) {
            self.mint();
        }
        if self.namespaces.iter().any(|held| held.own_mark(self.incarnation.id()).is_forked()) {
            self.unproven("its log has forked".to_owned());
        }
    }

    /// Asks a peer that has just been linked.
    pub(super) fn ask_proof(&mut self, to: WorkerId) {
        let Some(replica) = self.incarnation.id() else { return };
        let proving =
            matches!(&self.incarnation.standing, Standing::Proving(proving) if proving.awaiting.contains(&to));
        if proving || self.incarnation.claim.awaits(to) {
            let message = Message::ProofRequest { replica, boot: self.incarnation.boot() };
            self.effects.push_back(Effect::Send { to, message });
        }
    }

    /// A peer has started and asks what we hold of it.
    pub(super) fn owe_proof(&mut self, from: Peer, replica: ReplicaId, boot: Boot) {
        let barrier = self.commits.barrier();
        if replica.worker() != from.worker || boot != from.boot {
            self.bad_message(from.worker, "it asks for the proof of somebody else");
        } else if let Some(neighbour) = self.gossip.peer_mut(from.worker) {
            neighbour.owed = Some(OwedProof { replica, boot, barrier });
        }
    }

    /// Gives the proofs that are due: everything that earlier boots sent is committed, and our link is up.
    pub(super) fn give_proofs(&mut self) {
        let synced = self.commits.synced();
        for peer in self.gossip.peers_mut().filter(|peer| peer.up) {
            let Some(OwedProof { replica, boot, .. }) = peer.owed.take_if(|owed| owed.barrier <= synced) else {
                continue;
            };
            let shared = || peer.shared.iter().filter_map(|namespace| self.namespaces.get(*namespace));
            let ahead = shared().filter(|held| held.is_ahead(replica));
            let proof = Proof {
                replica,
                boot,
                marks: shared().map(|held| (held.id(), held.committed().mark(replica))).collect(),
                reach: ahead.map(|held| (held.id(), held.reach().of(replica))).collect(),
                ceiling: self.incarnation.claim.ceiling(peer.worker),
                nodes: sharing(&self.settings, peer.worker),
            };
            self.effects.push_back(Effect::Send { to: peer.worker, message: Message::Proof(proof) });
        }
    }

    /// A peer answers what it holds of us.
    pub(super) fn proof(&mut self, from: Peer, proof: &Proof) {
        if proof.boot != self.incarnation.boot() {
            return;
        }
        self.incarnation.claim.answered(from.worker, proof.ceiling);
        if Some(proof.replica) != self.incarnation.id() {
            return;
        }
        for (namespace, mark) in &proof.marks {
            self.judge_own(from.worker, *namespace, *mark);
            self.check_hash(from.worker, *namespace, *mark);
        }
        for (namespace, seq) in &proof.reach {
            self.judge_rows(from.worker, *namespace, *seq);
        }
        if let Some(lack) = self.lack(from.worker, proof) {
            self.unproven(lack);
        }
        if let Standing::Proving(proving) = &mut self.incarnation.standing {
            proving.awaiting.remove(&from.worker);
        }
    }

    /// What an answer leaves open (I3): a peer that defines a namespace differently says nothing of our log there, and one
    /// whose map has nodes that ours lacks names others who may know more.
    fn lack(&self, peer: WorkerId, proof: &Proof) -> Option<String> {
        let told = |namespace: &NamespaceId| proof.marks.iter().any(|(held, _)| held == namespace);
        let expected = self.settings.peers.get(&peer).into_iter().flatten();
        let untold = expected.copied().find(|namespace| !told(namespace)).map(|namespace| {
            format!(
                "peer {peer} tells nothing of namespace {namespace:?}, which both are to hold by this node's \
                 configuration: the two define it differently"
            )
        });
        let is_asked = |node: &WorkerId| *node == self.settings.worker || self.settings.peers.contains_key(node);
        let unasked = proof.nodes.iter().find(|node| !is_asked(node));
        untold.or_else(|| {
            unasked.map(|node| format!("the map of peer {peer} has node {node}, which this node does not know or ask"))
        })
    }

    /// A peer that holds less than we do must agree on the hash at the place where it stands.
    fn check_hash(&mut self, peer: WorkerId, namespace: NamespaceId, mark: Mark) {
        let (Some(origin), Some(held)) = (self.incarnation.id(), self.namespaces.get(namespace)) else { return };
        let Standing::Proving(proving) = &mut self.incarnation.standing else { return };
        // One answer of each peer is looked into.
        if !proving.awaiting.contains(&peer) || mark.seq == 0 || mark.seq >= held.committed().mark(origin).seq {
            return;
        }
        proving.unchecked.entry((namespace, mark.seq)).or_default().push((peer, mark.hash));
        self.effects.push_back(Effect::Disk(Job::FindHash { namespace, origin, seq: mark.seq }));
    }

    pub(super) fn hash_found(&mut self, namespace: NamespaceId, seq: u64, hash: Option<LogHash>) {
        let Standing::Proving(proving) = &mut self.incarnation.standing else { return };
        let told = proving.unchecked.remove(&(namespace, seq)).unwrap_or_default();
        if let Some((peer, _)) = told.iter().find(|(_, told)| Some(*told) != hash) {
            self.unproven(format!("peer {peer} holds another commit {seq} of this replica than the journal does"));
        }
    }

    /// Nothing is served until a new incarnation has taken over, which is not made before `due`.
    pub(super) fn pause_until(&mut self, due: u64) {
        self.incarnation.standing = Standing::Pausing(due);
        self.refuse_waiting();
    }

    /// Gives up the incarnation found on disk.
    pub(super) fn unproven(&mut self, reason: String) {
        if let (Standing::Proving(_), Some(replica)) = (&self.incarnation.standing, self.incarnation.id()) {
            self.incarnation.standing = Standing::Minting;
            self.effects.push_back(Effect::Notice(Notice::Unproven { replica, reason }));
            self.mint();
        }
    }

    pub(super) fn minted(&mut self, replica: ReplicaId) {
        if !matches!(self.incarnation.standing, Standing::Minting) {
            return;
        }
        if !self.owes_nothing() {
            // What was accepted under the former one is committed under it.
            self.incarnation.keep_minted(replica);
            return;
        }
        let former = self.incarnation.replace(replica);
        self.retire_own(former);
        self.namespaces.iter_mut().for_each(super::namespace::Namespace::forget_own_log);
        self.gossip.peers_mut().for_each(|peer| peer.sending.pause());
        self.serve(replica);
        let linked: Vec<WorkerId> = self.gossip.linked_workers();
        for worker in linked {
            self.ask_proof(worker);
            self.send_digest(worker);
        }
    }

    fn serve(&mut self, replica: ReplicaId) {
        self.incarnation.standing = Standing::Serving;
        self.effects.push_back(Effect::Serving(replica));
    }

    /// Moves the start on.
    pub(super) fn advance_start(&mut self) {
        self.give_proofs();
        if matches!(self.incarnation.standing, Standing::Pausing(until) if self.now >= until) {
            self.incarnation.forks.renewing(self.now);
            self.incarnation.standing = Standing::Minting;
            self.mint();
        }
        if self.owes_nothing()
            && let Some(replica) = self.incarnation.take_minted()
        {
            self.minted(replica);
        }
        if let (Standing::Proving(proving), Some(replica)) = (&self.incarnation.standing, self.incarnation.id()) {
            if proving.awaiting.is_empty() && proving.unchecked.is_empty() {
                self.serve(replica);
            } else if self.now >= proving.deadline {
                let silent: Vec<String> = proving.awaiting.iter().map(ToString::to_string).collect();
                self.unproven(format!("no answer in time from {}", silent.join(", ")));
            }
        }
        if let Some(Floor { ceiling, quarantined }) = self.incarnation.claim.take(self.now) {
            self.effects.push_back(Effect::ClaimIds { ceiling, quarantined });
        }
    }
}
