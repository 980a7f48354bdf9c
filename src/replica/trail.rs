//! How far a slot is settled: which of its totals every peer is known to hold.

use crate::crdt::Slot;
use crate::identity::ReplicaId;

/// The totals of one slot at a few places of its origin's log, oldest first: the last one is the newest.
///
/// One of them is settled once every peer is known to hold the log up to it. A place in the middle is kept until that
/// happens, so that the settled one advances even if the slot never rests.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    origin: ReplicaId,
    places: Vec<(u64, Slot)>,
}

/// Settled, on the way there, newest.
const PLACES_MAX: usize = 3;

impl Trail {
    /// `place` is where the slot is known to have stood, if that is known.
    pub(super) fn new(origin: ReplicaId, place: Option<(u64, Slot)>) -> Self {
        Self { origin, places: place.into_iter().collect() }
    }

    pub(super) fn origin(&self) -> ReplicaId {
        self.origin
    }

    /// The slot has moved on; every peer is known to hold the log up to `floor`.
    pub(super) fn push(&mut self, place: (u64, Slot), floor: u64) {
        self.places.pop_if(|(held, _)| *held >= place.0);
        let settled = self.places.iter().rposition(|(held, _)| *held <= floor).unwrap_or(0);
        self.places.drain(..settled);
        if self.places.len() == PLACES_MAX {
            self.places.pop();
        }
        self.places.push(place);
    }

    /// The newest totals that every peer holds.
    pub(super) fn settled(&self, floor: u64) -> Option<Slot> {
        self.places.iter().rev().find(|(seq, _)| *seq <= floor).map(|(_, slot)| *slot)
    }

    /// What it takes beside the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<(u64, Slot)>()
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.places.last().map_or(0, |(seq, _)| *seq)
    }
}
