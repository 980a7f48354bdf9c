//! The keys that a link has named lately, each at a place. Both ends hold the same, because both do the same with it.

use snowtide_protocol::Key;

use crate::crdt::Slot;
use crate::identity::{NamespaceId, ReplicaId};

/// Keys that have a place at one time. One more takes the place of a key that was not referred to lately.
pub(super) const PLACES_MAX: usize = 1 << 16;
/// Bytes of all keys that have a place, likewise.
pub(super) const KEY_BYTES_MAX: usize = 4 << 20;
/// Logs that one link may speak of in this way.
pub(super) const LOGS_MAX: usize = 1 << 10;

/// The log of one replica in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) namespace: NamespaceId,
    pub(super) origin: ReplicaId,
    /// Where the last record of it ended that the link has carried.
    pub(super) upto: u64,
}

/// A counter, and what was last said of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The number of the log whose slot it is.
    pub(super) log: usize,
    pub(super) key: Key,
    pub(super) slot: Slot,
    /// It was referred to since the hand has passed it last.
    is_used: bool,
}

/// The table. Which key gives up its place is decided by a hand that goes round (the CLOCK of Corbató, "A paging experiment
/// with the Multics system", 1968): it takes what was not referred to since it passed last.
#[derive(Debug, Default)]
pub(super) struct Places {
    logs: Vec<Log>,
    places: Vec<Option<Place>>,
    hand: usize,
    key_bytes: usize,
}

impl Place {
    pub(super) fn new(log: usize, key: Key, slot: Slot) -> Self {
        Self { log, key, slot, is_used: false }
    }
}

impl Places {
    pub(super) fn log_mut(&mut self, number: usize) -> Option<&mut Log> {
        self.logs.get_mut(number)
    }

    /// The number of a log that is known.
    pub(super) fn find_log(&self, namespace: NamespaceId, origin: ReplicaId) -> Option<usize> {
        self.logs.iter().position(|log| log.namespace == namespace && log.origin == origin)
    }

    /// The number that the next new log has, if there is room for one.
    pub(super) fn next_log(&self) -> Option<usize> {
        Some(self.logs.len()).filter(|number| *number < LOGS_MAX)
    }

    pub(super) fn add_log(&mut self, namespace: NamespaceId, origin: ReplicaId) {
        self.logs.push(Log { namespace, origin, upto: 0 });
    }

    pub(super) fn get(&self, place: usize) -> Option<&Place> {
        self.places.get(place)?.as_ref()
    }

    /// What stands at a place, to which the link refers now.
    pub(super) fn refer(&mut self, place: usize) -> Option<&mut Place> {
        let place = self.places.get_mut(place)?.as_mut()?;
        place.is_used = true;
        Some(place)
    }

    /// Gives a key a place, and tells of each that has to go for it.
    pub(super) fn add(&mut self, new: Place, mut gone: impl FnMut(Place)) -> usize {
        if self.places.len() < PLACES_MAX && self.has_room(&new) {
            self.key_bytes += new.key.len();
            self.places.push(Some(new));
            return self.places.len() - 1;
        }
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.places.len().max(1);
            let Some(place) = self.places.get_mut(at) else { return at };
            if place.as_mut().is_some_and(|place| std::mem::take(&mut place.is_used)) {
                continue;
            }
            if let Some(old) = place.take() {
                self.key_bytes -= old.key.len();
                gone(old);
            }
            if self.has_room(&new) {
                self.key_bytes += new.key.len();
                self.places[at] = Some(new);
                return at;
            }
        }
    }

    fn has_room(&self, new: &Place) -> bool {
        self.key_bytes + new.key.len() <= KEY_BYTES_MAX
    }
}
