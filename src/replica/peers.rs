//! What a replica knows of each peer: whether it is linked, what it holds, and what is on its way to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::VersionVector;
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};

use super::bounds;
use super::sending::Sending;
use super::view::Heard;

/// One peer.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) worker: WorkerId,
    /// See [`super::onward`].
    pub(super) rank: u64,
    /// The namespaces that both serve.
    pub(super) shared: BTreeSet<NamespaceId>,
    /// The boot that counts: messages of any other are dropped (I3).
    pub(super) boot: Option<Boot>,
    /// Our link to it is up.
    pub(super) up: bool,
    /// What it is known to hold durably.
    pub(super) known: BTreeMap<NamespaceId, VersionVector>,
    /// When it last told so.
    pub(super) heard_at: u64,
    /// What is on its way to it.
    pub(super) sending: Sending,
    /// A proof that it asked for and that we owe.
    pub(super) owed: Option<OwedProof>,
    /// Since when it lacks commits of ours.
    pub(super) behind_since: Option<u64>,
    /// How fresh our copy of its own logs is.
    pub(super) heard: BTreeMap<NamespaceId, Heard>,
    /// When a session with it last covered the whole tree, by namespace.
    pub(super) compared_at: BTreeMap<NamespaceId, u64>,
}

/// A proof can be given once commit `barrier` is synced and our link to the asker is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwedProof {
    pub(super) replica: ReplicaId,
    pub(super) boot: Boot,
    pub(super) barrier: u64,
}

impl Neighbour {
    pub(super) fn new(worker: WorkerId, rank: u64, shared: BTreeSet<NamespaceId>) -> Self {
        Self {
            worker,
            rank,
            sending: Sending::new(&shared),
            shared,
            boot: None,
            up: false,
            known: BTreeMap::new(),
            heard_at: 0,
            owed: None,
            behind_since: None,
            heard: BTreeMap::new(),
            compared_at: BTreeMap::new(),
        }
    }

    /// Whether `from` is the boot that counts.
    pub(super) fn is(&self, from: Peer) -> bool {
        self.boot == Some(from.boot)
    }

    /// Our link to it is up, over which these namespaces are exchanged.
    pub(super) fn linked(&mut self, shared: BTreeSet<NamespaceId>) {
        self.up = true;
        self.known.retain(|namespace, _| shared.contains(namespace));
        self.sending.restart(&shared);
        self.shared = shared;
    }

    /// Our link to it is lost.
    pub(super) fn unlinked(&mut self) {
        self.up = false;
        self.sending.restart(&self.shared);
    }

    /// Another boot has taken over; nothing that was known of the old one holds.
    pub(super) fn rebooted(&mut self, boot: Boot) {
        let shared = std::mem::take(&mut self.shared);
        let up = self.up && self.boot == Some(boot);
        let (behind_since, mut heard) = (self.behind_since, std::mem::take(&mut self.heard));
        heard.values_mut().for_each(Heard::rebooted);
        let compared_at = std::mem::take(&mut self.compared_at);
        let new = Self::new(self.worker, self.rank, shared);
        *self = Self { boot: Some(boot), up, behind_since, heard, compared_at, ..new };
    }

    /// How long ago a session with it last covered every tree, in the namespace where that is longest ago.
    pub(super) fn compared_ms(&self, now: u64) -> Option<u64> {
        Some(now.saturating_sub(*self.compared_at.values().min()?))
    }

    /// How far it holds `origin`'s log durably.
    pub(super) fn holds(&self, namespace: NamespaceId, origin: ReplicaId) -> u64 {
        self.known.get(&namespace).map_or(0, |vector| vector.mark(origin).seq)
    }

    pub(super) fn learn(&mut self, now: u64, namespace: NamespaceId, vector: &VersionVector) {
        self.heard_at = now;
        let known = self.known.entry(namespace).or_default();
        known.join(vector);
        // What it tells has a bound, but it may tell of others each time.
        if known.iter().count() > bounds::ORIGINS_MAX {
            known.clone_from(vector);
        }
        self.sending.acknowledged(namespace, vector);
    }
}
