//! What a replica knows of each peer: whether it is linked, what it holds, and what is on its way to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::VersionVector;
use crate::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};

use super::bounds;
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
    /// Own records on their way, by namespace.
    pub(super) pushes: BTreeMap<NamespaceId, Push>,
    /// Records of other regions that it has from us, on their way, by namespace and origin.
    pub(super) handed: BTreeMap<(NamespaceId, ReplicaId), Push>,
    /// A proof that it asked for and that we owe.
    pub(super) owed: Option<OwedProof>,
    /// Journal reads on its behalf that are not answered yet.
    pub(super) reading: BTreeSet<(NamespaceId, ReplicaId)>,
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

/// Records of one log on their way to one peer.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// Sent up to here.
    pub(super) sent: u64,
    /// Sent and not acknowledged: last seq, bytes, when.
    inflight: VecDeque<(u64, usize, u64)>,
    /// Cleared by a new link or a refusal, set by a digest: only then is it known where to go on from.
    pub(super) ready: bool,
}

impl Push {
    pub(super) fn inflight_bytes(&self) -> usize {
        self.inflight.iter().map(|(_, bytes, _)| bytes).sum()
    }

    pub(super) fn sent(&mut self, upto: u64, bytes: usize, now: u64) {
        self.sent = upto;
        self.inflight.push_back((upto, bytes, now));
    }

    /// The peer holds everything up to `seq`.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        while self.inflight.front().is_some_and(|(upto, ..)| *upto <= seq) {
            self.inflight.pop_front();
        }
        self.sent = self.sent.max(seq);
    }

    /// A digest says that the peer holds `seq`. What was sent long before and is still missing was lost: go back.
    pub(super) fn resume_from(&mut self, seq: u64, lost_before: u64) {
        self.acknowledged(seq);
        if self.is_stuck(lost_before) || !self.ready {
            *self = Self { sent: seq, inflight: VecDeque::new(), ready: true };
        }
    }

    /// What was sent before then is not acknowledged yet.
    pub(super) fn is_stuck(&self, before: u64) -> bool {
        self.inflight.front().is_some_and(|(_, _, sent_at)| *sent_at < before)
    }

    /// Nothing is certain until the next digest.
    pub(super) fn pause(&mut self) {
        *self = Self::default();
    }
}

impl Neighbour {
    pub(super) fn new(worker: WorkerId, rank: u64, shared: BTreeSet<NamespaceId>) -> Self {
        let pushes = shared.iter().map(|namespace| (*namespace, Push::default())).collect();
        Self {
            worker,
            rank,
            shared,
            boot: None,
            up: false,
            known: BTreeMap::new(),
            heard_at: 0,
            pushes,
            handed: BTreeMap::new(),
            owed: None,
            reading: BTreeSet::new(),
            behind_since: None,
            heard: BTreeMap::new(),
            compared_at: BTreeMap::new(),
        }
    }

    /// Whether `from` is the boot that counts.
    pub(super) fn is(&self, from: Peer) -> bool {
        self.boot == Some(from.boot)
    }

    /// These namespaces are exchanged from now on.
    pub(super) fn share(&mut self, shared: BTreeSet<NamespaceId>) {
        self.pushes.retain(|namespace, _| shared.contains(namespace));
        self.known.retain(|namespace, _| shared.contains(namespace));
        shared.iter().for_each(|namespace| {
            self.pushes.entry(*namespace).or_default();
        });
        self.shared = shared;
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

    pub(super) fn inflight_bytes(&self) -> usize {
        self.pushes.values().chain(self.handed.values()).map(Push::inflight_bytes).sum()
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
        self.handed.retain(|(held, origin), push| {
            if *held == namespace {
                push.acknowledged(vector.mark(*origin).seq);
            }
            push.inflight_bytes() > 0
        });
    }
}
