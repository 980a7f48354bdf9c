//! The rows of one namespace that are in memory: committed state, what is pending on top of it, and what waits.

use hashbrown::HashTable;
use slab::Slab;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::crdt::{Row, Slot};
use crate::identity::ReplicaId;

use super::operation::Key;

/// Names a cell while it is in memory.
pub(super) type RowId = usize;
/// Names a piece of work that waits for rows.
pub(super) type WorkId = usize;

/// One row in memory.
pub(super) struct Cell {
    /// The counter's key.
    pub(super) key: Key,
    /// Committed: durable in the journal at least (I1). Deltas, checkpoints and leaves are made from this.
    pub(super) row: Row,
    /// Applied but not committed: the latest value of each changed slot.
    pending: Vec<(ReplicaId, Slot)>,
    /// The last commit that holds a change of this row.
    pub(super) last_commit: u64,
    /// The last commit that holds a change of our own slot.
    pub(super) own_commit: u64,
    /// Whether the committed state is newer than the row on disk.
    pub(super) dirty: bool,
    /// Whether a checkpoint is writing the row.
    pub(super) checkpointing: bool,
    /// What waits until the row is loaded; `None` once it is.
    waiting: Option<Vec<WorkId>>,
    /// Waiting work that needs the row to stay.
    pins: u32,
    /// Touched since the eviction hand last passed.
    referenced: bool,
}

impl Cell {
    /// Whether the row is still being read from disk.
    pub(super) fn is_loading(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether a commit that is not finished changes this row.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The slot with everything applied so far.
    pub(super) fn working_slot(&self, replica: ReplicaId) -> Slot {
        let pending = self.pending.iter().find(|(held, _)| *held == replica);
        pending.map_or_else(|| self.row.slot(replica), |(_, slot)| *slot)
    }

    /// The counter's value with everything applied so far.
    pub(super) fn working_value(&self) -> i128 {
        let grown = self.pending.iter().map(|(replica, slot)| slot.value() - self.row.slot(*replica).value());
        self.row.value() + grown.sum::<i128>()
    }

    /// Applies an absolute slot on top, as part of commit `number`; false if nothing in it is new.
    pub(super) fn apply(&mut self, replica: ReplicaId, slot: Slot, number: u64) -> bool {
        let held = self.working_slot(replica);
        if held.covers(slot) {
            return false;
        }
        let slot = held.join(slot);
        match self.pending.iter_mut().find(|(held, _)| *held == replica) {
            Some((_, pending)) => *pending = slot,
            None => self.pending.push((replica, slot)),
        }
        self.last_commit = number;
        true
    }

    /// The commit that held `slot` is synced: it becomes part of the committed row.
    pub(super) fn settle(&mut self, replica: ReplicaId, slot: Slot) {
        self.row.join_slot(replica, slot);
        let row = &self.row;
        self.pending.retain(|(held, pending)| *held != replica || !row.slot(replica).covers(*pending));
    }

    fn is_evictable(&self) -> bool {
        !(self.dirty || self.checkpointing || self.is_pending() || self.is_loading()) && self.pins == 0
    }
}

/// A namespace's rows in memory, found by key.
pub(super) struct Rows {
    table: HashTable<RowId>,
    cells: Slab<Cell>,
    seed: u64,
    hand: usize,
}

impl Rows {
    /// `seed` keeps clients from choosing keys that collide.
    pub(super) fn new(seed: u64) -> Self {
        Self { table: HashTable::new(), cells: Slab::new(), seed, hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<RowId> {
        let hash = xxh3_64_with_seed(key.as_bytes(), self.seed);
        self.table.find(hash, |id| &*self.cells[*id].key == key).copied()
    }

    /// A row that is not in memory yet and has to be loaded.
    pub(super) fn insert_loading(&mut self, key: Key) -> RowId {
        self.insert(key, Row::default(), Some(Vec::new()))
    }

    /// A row that recovery read from disk and the journal.
    pub(super) fn insert_recovered(&mut self, key: Key, row: Row) -> RowId {
        let id = self.insert(key, row, None);
        self.cells[id].dirty = true;
        id
    }

    fn insert(&mut self, key: Key, row: Row, waiting: Option<Vec<WorkId>>) -> RowId {
        let hash = xxh3_64_with_seed(key.as_bytes(), self.seed);
        let id = self.cells.insert(Cell {
            key,
            row,
            pending: Vec::new(),
            last_commit: 0,
            own_commit: 0,
            dirty: false,
            checkpointing: false,
            waiting,
            pins: 0,
            referenced: true,
        });
        let (cells, seed) = (&self.cells, self.seed);
        self.table.insert_unique(hash, id, |id| xxh3_64_with_seed(cells[*id].key.as_bytes(), seed));
        id
    }

    pub(super) fn get(&self, id: RowId) -> &Cell {
        &self.cells[id]
    }

    pub(super) fn get_mut(&mut self, id: RowId) -> &mut Cell {
        let cell = &mut self.cells[id];
        cell.referenced = true;
        cell
    }

    /// Lets `work` wait for the row; the same work may wait for it only once.
    pub(super) fn wait(&mut self, id: RowId, work: WorkId) -> bool {
        match &mut self.cells[id].waiting {
            Some(waiting) if waiting.last() != Some(&work) => {
                waiting.push(work);
                true
            }
            _ => false,
        }
    }

    /// Keeps the row in memory until [`Self::unpin`]: work that needs many rows would otherwise lose some while it
    /// waits for others, and never see them all.
    pub(super) fn pin(&mut self, id: RowId) {
        self.cells[id].pins += 1;
    }

    pub(super) fn unpin(&mut self, id: RowId) {
        self.cells[id].pins -= 1;
    }

    /// The row has arrived; returns what waited for it. A row that nobody asked for is ignored.
    pub(super) fn loaded(&mut self, key: &str, row: Row) -> Vec<WorkId> {
        let Some(id) = self.find(key) else { return Vec::new() };
        let cell = &mut self.cells[id];
        let Some(waiting) = cell.waiting.take() else { return Vec::new() };
        cell.row = row;
        waiting
    }

    /// Drops clean rows that were not touched lately until `excess` are gone or the hand has gone round (CLOCK).
    ///
    /// I11: a row leaves memory only once its latest committed value is durable in `rows`.
    pub(super) fn evict(&mut self, excess: usize) {
        let (mut left, mut steps) = (excess, self.cells.capacity().min(excess.saturating_mul(4)));
        while left > 0 && steps > 0 {
            steps -= 1;
            self.hand = if self.hand + 1 < self.cells.capacity() { self.hand + 1 } else { 0 };
            let Some(cell) = self.cells.get_mut(self.hand) else { continue };
            if cell.referenced {
                cell.referenced = false;
            } else if cell.is_evictable() {
                self.remove(self.hand);
                left -= 1;
            }
        }
    }

    fn remove(&mut self, id: RowId) {
        let hash = xxh3_64_with_seed(self.cells[id].key.as_bytes(), self.seed);
        if let Ok(entry) = self.table.find_entry(hash, |held| *held == id) {
            entry.remove();
        }
        self.cells.remove(id);
    }
}
