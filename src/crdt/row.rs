//! A row: all slots of one counter.

use smallvec::SmallVec;

use crate::identity::ReplicaId;

use super::Slot;

/// All slots of one counter, sorted by replica id; a slot of two zeros is never kept, so that equal states are equal
/// byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// One without an allocation of its own: most counters are counted at one node.
    slots: SmallVec<[(ReplicaId, Slot); 1]>,
}

impl Row {
    /// The slots, sorted by replica id.
    pub fn slots(&self) -> &[(ReplicaId, Slot)] {
        &self.slots
    }

    /// What `replica` has added; zero if it never has.
    pub fn slot(&self, replica: ReplicaId) -> Slot {
        self.find(replica).ok().and_then(|at| self.slots.get(at)).map_or(Slot::default(), |(_, slot)| *slot)
    }

    /// Joins one slot in; true if the row changed.
    pub fn join_slot(&mut self, replica: ReplicaId, slot: Slot) -> bool {
        match self.find(replica) {
            Ok(at) => self.slots.get_mut(at).is_some_and(|(_, held)| {
                let changed = !held.covers(slot);
                *held = held.join(slot);
                changed
            }),
            Err(_) if slot == Slot::default() => false,
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

    /// Σ added − Σ subtracted.
    pub fn value(&self) -> i128 {
        self.slots.iter().map(|(_, slot)| slot.value()).sum()
    }

    /// No replica has ever changed this counter.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn find(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&replica, |(held, _)| *held)
    }
}

impl FromIterator<(ReplicaId, Slot)> for Row {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, Slot)>>(slots: I) -> Self {
        let mut row = Self::default();
        for (replica, slot) in slots {
            row.join_slot(replica, slot);
        }
        row
    }
}
