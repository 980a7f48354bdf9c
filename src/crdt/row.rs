//! A row: all slots of one counter.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use smallvec::SmallVec;

use crate::identity::ReplicaId;

use super::{Kind, Slot};

/// All slots of one counter.
pub type Row = Slots<Slot>;

/// What each replica holds of one kind, sorted by replica id; nothing is kept where that is the bottom, so that equal
/// states are equal byte for byte.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Slots<K> {
    /// One without an allocation of its own: most counters are counted at one node.
    slots: SmallVec<[(ReplicaId, K); 1]>,
}

impl<K: Kind> Slots<K> {
    /// The slots, sorted by replica id.
    pub fn slots(&self) -> &[(ReplicaId, K)] {
        &self.slots
    }

    /// What `replica` holds; the bottom if it has never changed anything.
    pub fn slot(&self, replica: ReplicaId) -> K {
        self.find(replica).ok().and_then(|at| self.slots.get(at)).map_or(K::default(), |(_, slot)| *slot)
    }

    /// Joins one slot in; true if the row changed.
    pub fn join_slot(&mut self, replica: ReplicaId, slot: K) -> bool {
        match self.find(replica) {
            Ok(at) => self.slots.get_mut(at).is_some_and(|(_, held)| {
                let changed = !held.covers(slot);
                *held = held.join(slot);
                changed
            }),
            Err(_) if slot.is_bottom() => false,
            Err(at) => {
                self.slots.insert(at, (replica, slot));
                true
            }
        }
    }

    /// Joins a whole row in; true if this one changed.
    pub fn join(&mut self, other: &Self) -> bool {
        other.slots.iter().fold(false, |changed, (replica, slot)| self.join_slot(*replica, *slot) | changed)
    }

    /// What they take beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        if self.slots.spilled() { self.slots.capacity() * size_of::<(ReplicaId, K)>() } else { 0 }
    }

    /// No replica has ever changed this counter.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&replica, |(held, _)| *held)
    }
}

impl<K: Kind> Clone for Slots<K> {
    /// All slots at once: what is derived would copy one after the other.
    fn clone(&self) -> Self {
        Self { slots: SmallVec::from_slice(&self.slots) }
    }
}

impl Row {
    /// Σ added − Σ subtracted.
    pub fn value(&self) -> i128 {
        self.slots.iter().map(|(_, slot)| slot.value()).sum()
    }
}

impl<K: Kind> FromIterator<(ReplicaId, K)> for Slots<K> {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, K)>>(slots: I) -> Self {
        let mut row = Self { slots: SmallVec::new() };
        for (replica, slot) in slots {
            row.join_slot(replica, slot);
        }
        row
    }
}

impl<K: Kind> Encode for Slots<K> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.slots.as_slice().encode(encoder)
    }
}

impl<C, K: Kind + Decode<C>> Decode<C> for Slots<K> {
    /// Whatever a peer or a disk says comes in order first: so no order of slots takes long to join (I6).
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let mut slots = Vec::<(ReplicaId, K)>::decode(decoder)?;
        let ordered = slots.is_sorted_by(|(one, _), (next, _)| one < next);
        if ordered && !slots.iter().any(|(_, slot)| slot.is_bottom()) {
            // As we write them ourselves.
            return Ok(Self { slots: slots.into() });
        }
        slots.sort_unstable_by_key(|(replica, _)| *replica);
        Ok(slots.into_iter().collect())
    }
}

impl<'de, C, K: Kind + Decode<C>> BorrowDecode<'de, C> for Slots<K> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
