//! One row in memory: its committed state, and what is going on with it.

use smallvec::SmallVec;
use snowtide_protocol::Key;

use crate::crdt::{Kind, Row, Slot, VersionVector};
use crate::identity::ReplicaId;
use crate::merkle::{Hasher, Place, Sum};

use super::super::reach::Reach;
use super::super::trail::Trail;
use super::{LoadId, Tables};

/// A bucket of the table that finds cells: a name and a byte of its hash.
const BUCKET_BYTES: usize = size_of::<u32>() + 1;
/// What every row takes: its cell, and its share of the table when that has just doubled and is seven sixteenths full.
pub const ROW_BYTES: usize = size_of::<Cell>() + (16 * BUCKET_BYTES).div_ceil(7);

/// One row in memory. Most are at rest, so what only some have is kept apart: millions of these are what memory is for.
pub(in super::super) struct Cell {
    /// The counter's key.
    pub(in super::super) key: Key,
    /// Where it stands in the tree.
    pub(in super::super) place: Place,
    /// Committed: durable in the journal at least (I1). Deltas, checkpoints and leaves are made from this.
    pub(in super::super) row: Row,
    /// What is going on with it, if anything is.
    pub(super) busy: Option<Box<Busy>>,
    /// The neighbours in the chain of this leaf's cells.
    pub(super) before: u32,
    pub(super) after: u32,
    /// While it is dirty: the next one of its leaf that is.
    pub(super) next_dirty: u32,
    /// Whether the committed state is newer than the row on disk.
    pub(super) dirty: bool,
    /// The table into which a checkpoint wrote the row last; see [`Tables`].
    pub(super) table: u8,
    /// Whether there is a row on disk, older or not, or a checkpoint is to write one.
    pub(super) stored: bool,
    /// Touched since the eviction hand last passed.
    pub(super) referenced: bool,
}

/// What is going on with a row.
#[derive(Default)]
pub(super) struct Busy {
    /// Applied but not committed: the latest value of each changed slot.
    pending: SmallVec<[(ReplicaId, Slot); 1]>,
    /// The last commit that holds a change of this row.
    last_commit: u64,
    /// The last commit that holds a change of our own slot.
    own_commit: u64,
    /// What waits until the row is loaded; `None` once it is.
    pub(super) waiting: Option<SmallVec<[LoadId; 2]>>,
    /// Loads that need the row to stay.
    pub(super) pins: u32,
    /// How far its slots are settled, once somebody has asked.
    trails: Vec<Trail>,
}

impl Busy {
    /// Of a row that is being read from disk.
    pub(super) fn waiting(waiting: SmallVec<[LoadId; 2]>) -> Box<Self> {
        Box::new(Self { waiting: Some(waiting), ..Self::default() })
    }
}

impl Cell {
    /// What the row takes in memory, that apart which it needs only while it is being loaded or changed: the bounds of
    /// loads and commits are bounds of that.
    pub(super) fn bytes(&self) -> usize {
        ROW_BYTES + self.key.heap_bytes() + self.row.heap_bytes() + self.trails_bytes()
    }

    fn trails_bytes(&self) -> usize {
        let Some(busy) = self.busy.as_ref().filter(|busy| !busy.trails.is_empty()) else { return 0 };
        let within: usize = busy.trails.iter().map(Trail::heap_bytes).sum();
        size_of::<Busy>() + busy.trails.capacity() * size_of::<Trail>() + within
    }

    /// Whether the row is still being read from disk.
    pub(in super::super) fn is_loading(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.waiting.is_some())
    }

    /// Whether a commit that is not finished changes this row.
    pub(in super::super) fn is_pending(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Whether nobody has ever counted it, as far as is known here.
    pub(in super::super) fn is_new(&self) -> bool {
        self.row.is_empty() && self.pending().is_empty()
    }

    /// A checkpoint writes the row: whether for the first time.
    pub(in super::super) fn is_stored_first(&mut self) -> bool {
        !std::mem::replace(&mut self.stored, true)
    }

    /// The last commit that holds a change of this row, while it is pending.
    pub(in super::super) fn last_commit(&self) -> u64 {
        self.busy.as_ref().map_or(0, |busy| busy.last_commit)
    }

    /// A change of our own slot is part of this commit; true if it is the first.
    pub(in super::super) fn joins_own(&mut self, commit: u64) -> bool {
        std::mem::replace(&mut self.busy().own_commit, commit) != commit
    }

    /// How far its slots are settled; none unless somebody has asked.
    pub(in super::super) fn trails(&self) -> &[Trail] {
        self.busy.as_ref().map_or(&[], |busy| &busy.trails)
    }

    /// Follows the row's slots from now on, so that it can be told how far they are settled. Only rows that somebody
    /// looks at in this way are followed, and only as long as they are in memory: the others pay nothing.
    ///
    /// A slot stands at its origin's seq in the committed vector, unless repair may have brought it ahead of that; then it is
    /// known only from the next record that changes it.
    pub(super) fn follow(&mut self, committed: &VersionVector, reach: &Reach) {
        let trails = &mut self.busy.get_or_insert_default().trails;
        let at_vector = |origin| reach.of(origin) <= committed.mark(origin).seq;
        for (origin, slot) in self.row.slots().iter().filter(|(origin, _)| at_vector(*origin)) {
            if !trails.iter().any(|trail| trail.origin() == *origin) {
                trails.push(Trail::new(*origin, Some((committed.mark(*origin).seq, *slot))));
            }
        }
    }

    /// A slot of a row that is followed has moved to a place in its origin's log; the vector stands at `before`, if that tells
    /// where a slot is that has no trail. Every peer is known to hold the log up to `floor`.
    pub(super) fn follow_on(&mut self, origin: ReplicaId, before: Option<u64>, place: (u64, Slot), floor: u64) {
        let trails = &mut self.busy.get_or_insert_default().trails;
        match trails.iter_mut().find(|trail| trail.origin() == origin) {
            Some(trail) => trail.push(place, floor),
            // Whatever has no trail had no slot.
            None => {
                let mut trail = Trail::new(origin, before.map(|before| (before, Slot::default())));
                trail.push(place, floor);
                trails.push(trail);
            }
        }
    }

    /// Whose slots are in it, with everything applied so far.
    pub(in super::super) fn origins(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let committed = self.row.slots().iter().map(|(origin, _)| *origin);
        let first = self.pending().iter().map(|(origin, _)| *origin);
        committed.chain(first.filter(|origin| self.row.slot(*origin).is_bottom()))
    }

    /// The slot with everything applied so far.
    pub(in super::super) fn working_slot(&self, replica: ReplicaId) -> Slot {
        let pending = self.pending().iter().find(|(held, _)| *held == replica);
        pending.map_or_else(|| self.row.slot(replica), |(_, slot)| *slot)
    }

    /// The counter's value with everything applied so far.
    pub(in super::super) fn working_value(&self) -> i128 {
        let grown = self.pending().iter().map(|(replica, slot)| slot.value() - self.row.slot(*replica).value());
        self.row.value() + grown.sum::<i128>()
    }

    /// Applies an absolute slot on top, as part of commit `number`; false if nothing in it is new.
    pub(in super::super) fn apply(&mut self, replica: ReplicaId, slot: Slot, number: u64) -> bool {
        let held = self.working_slot(replica);
        if held.covers(slot) {
            return false;
        }
        let slot = held.join(slot);
        let busy = self.busy();
        match busy.pending.iter_mut().find(|(held, _)| *held == replica) {
            Some((_, pending)) => *pending = slot,
            None => busy.pending.push((replica, slot)),
        }
        busy.last_commit = number;
        true
    }

    /// The commit that held `slot` is synced: it becomes part of the committed row. Returns what that adds to the leaf.
    pub(super) fn settle(&mut self, hasher: &Hasher, replica: ReplicaId, slot: Slot) -> Sum {
        let old = self.row.slot(replica);
        let new = old.join(slot);
        if let Some(busy) = &mut self.busy {
            busy.pending.retain(|(held, pending)| *held != replica || !new.covers(*pending));
            self.rest();
        }
        if new == old {
            return Sum::default();
        }
        self.row.join_slot(replica, slot);
        hasher.slot(&self.key, replica, new).minus(hasher.slot(&self.key, replica, old))
    }

    fn pending(&self) -> &[(ReplicaId, Slot)] {
        self.busy.as_ref().map_or(&[], |busy| &busy.pending)
    }

    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Lets go of what is not needed any more.
    pub(super) fn rest(&mut self) {
        self.busy.take_if(|busy| {
            busy.pending.is_empty() && busy.waiting.is_none() && busy.pins == 0 && busy.trails.is_empty()
        });
    }

    /// Whether nobody needs it here, and the disk has it unless it is in the table under way.
    pub(super) fn is_evictable(&self, tables: Tables) -> bool {
        let needed =
            self.busy.as_ref().is_some_and(|busy| !busy.pending.is_empty() || busy.waiting.is_some() || busy.pins > 0);
        !(self.dirty || tables.is_under_way(self.table) || needed)
    }
}
