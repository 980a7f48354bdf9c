//! What peers' clocks say, as links measure it: for people and metrics, and as evidence whether ours is right.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::offset::Offset;
use crate::identity::WorkerId;

/// A linked peer's clock against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// How far it is ahead, and how certain that is.
    pub offset: Offset,
    /// Its own node believes it.
    pub believed: bool,
}

/// The clocks of all linked peers: at most one for each node of the map.
#[derive(Default)]
pub(super) struct PeerClocks(Mutex<BTreeMap<WorkerId, PeerClock>>);

impl PeerClocks {
    pub(super) fn put(&self, peer: WorkerId, clock: PeerClock) {
        self.lock().insert(peer, clock);
    }

    pub(super) fn remove(&self, peer: WorkerId) {
        self.lock().remove(&peer);
    }

    pub(super) fn all(&self) -> BTreeMap<WorkerId, PeerClock> {
        self.lock().clone()
    }

    /// Held for a few instructions that do not panic, so a poisoned lock is sound.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, PeerClock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
