//! The rows of one namespace that are in memory: committed state, what is pending on top of it, and what waits.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use slab::Slab;

use crate::crdt::{Row, Slot};
use crate::identity::ReplicaId;
use crate::merkle::{Hasher, LEAVES, Leaf, Place, Sum};

use super::operation::Key;
use super::view::Trail;

/// Names a cell while it is in memory.
pub(super) type RowId = usize;
/// Names a piece of work that waits for rows.
pub(super) type WorkId = usize;
/// The end of a chain of cells.
const NONE: u32 = u32::MAX;

/// One row in memory.
pub(super) struct Cell {
    /// The counter's key.
    pub(super) key: Key,
    /// Where it stands in the tree.
    pub(super) place: Place,
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
    /// By how much the committed state outweighs the row on disk: what the next checkpoint adds to the leaf there.
    pub(super) unwritten: Sum,
    /// What waits until the row is loaded; `None` once it is.
    waiting: Option<Vec<WorkId>>,
    /// Waiting work that needs the row to stay.
    pins: u32,
    /// Touched since the eviction hand last passed.
    referenced: bool,
    /// The neighbours in the chain of this leaf's cells.
    before: u32,
    after: u32,
    /// How far its slots are settled, once somebody has asked.
    pub(super) trails: Vec<Trail>,
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

    /// Whose slots are in it, with everything applied so far.
    pub(super) fn origins(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let committed = self.row.slots().iter().map(|(origin, _)| *origin);
        let first = self.pending.iter().map(|(origin, _)| *origin);
        committed.chain(first.filter(|origin| self.row.slot(*origin) == Slot::default()))
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

    /// The commit that held `slot` is synced: it becomes part of the committed row. Returns what that adds to the leaf.
    pub(super) fn settle(&mut self, hasher: &Hasher, replica: ReplicaId, slot: Slot) -> Sum {
        let old = self.row.slot(replica);
        let new = old.join(slot);
        self.pending.retain(|(held, pending)| *held != replica || !new.covers(*pending));
        if new == old {
            return Sum::default();
        }
        self.row.join_slot(replica, slot);
        let grown = hasher.slot(&self.key, replica, new).minus(hasher.slot(&self.key, replica, old));
        self.unwritten = self.unwritten.plus(grown);
        grown
    }

    fn is_evictable(&self) -> bool {
        !(self.dirty || self.checkpointing || self.is_pending() || self.is_loading()) && self.pins == 0
    }
}

/// A namespace's rows in memory, found by key.
pub(super) struct Rows {
    table: HashTable<RowId>,
    cells: Slab<Cell>,
    hasher: Hasher,
    hand: usize,
    /// The first cell of each leaf's chain.
    chains: Box<[u32]>,
    /// Leaves that are being read from disk, and by how many: their cells stay, or what a cell held and the reading did
    /// not see would be missed.
    held: BTreeMap<Leaf, usize>,
}

impl Rows {
    /// The hasher's secret keeps clients from choosing keys that collide.
    pub(super) fn new(hasher: Hasher) -> Self {
        let chains = vec![NONE; LEAVES].into();
        Self { table: HashTable::new(), cells: Slab::new(), hasher, hand: 0, chains, held: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<RowId> {
        self.table.find(self.place(key).0, |id| &*self.cells[*id].key == key).copied()
    }

    pub(super) fn place(&self, key: &str) -> Place {
        self.hasher.place(key)
    }

    /// A row that is not in memory yet and has to be loaded.
    pub(super) fn insert_loading(&mut self, key: Key) -> RowId {
        self.insert(key, Row::default(), Some(Vec::new()))
    }

    /// A row that recovery read from disk, where it is `stored`, and from the journal; returns what that added.
    pub(super) fn insert_recovered(&mut self, key: Key, stored: &Row, row: Row) -> (RowId, Sum) {
        let grown = self.hasher.row(&key, &row).minus(self.hasher.row(&key, stored));
        let id = self.insert(key, row, None);
        let cell = &mut self.cells[id];
        cell.dirty = true;
        cell.unwritten = grown;
        (id, grown)
    }

    fn insert(&mut self, key: Key, row: Row, waiting: Option<Vec<WorkId>>) -> RowId {
        let place = self.hasher.place(&key);
        let id = self.cells.insert(Cell {
            key,
            place,
            row,
            pending: Vec::new(),
            last_commit: 0,
            own_commit: 0,
            dirty: false,
            checkpointing: false,
            unwritten: Sum::default(),
            waiting,
            pins: 0,
            referenced: true,
            before: NONE,
            after: NONE,
            trails: Vec::new(),
        });
        let cells = &self.cells;
        self.table.insert_unique(place.0, id, |id| cells[*id].place.0);
        self.chain(id, place.leaf());
        id
    }

    fn chain(&mut self, id: RowId, leaf: Leaf) {
        let name = link(id);
        let first = std::mem::replace(&mut self.chains[usize::from(leaf.0)], name);
        self.cells[id].after = first;
        if let Some(first) = self.cells.get_mut(first as usize) {
            first.before = name;
        }
    }

    fn unchain(&mut self, cell: &Cell) {
        match self.cells.get_mut(cell.before as usize) {
            Some(before) => before.after = cell.after,
            None => self.chains[usize::from(cell.place.leaf().0)] = cell.after,
        }
        if let Some(after) = self.cells.get_mut(cell.after as usize) {
            after.before = cell.before;
        }
    }

    /// The rows of a leaf that are in memory.
    pub(super) fn of_leaf(&self, leaf: Leaf) -> impl Iterator<Item = &Cell> {
        let cell = |id: u32| self.cells.get(id as usize);
        let first = cell(self.chains[usize::from(leaf.0)]);
        std::iter::successors(first, move |held| cell(held.after)).filter(|held| !held.is_loading())
    }

    /// A leaf is read from disk until [`Self::release`]: none of its rows leaves memory meanwhile.
    pub(super) fn hold(&mut self, leaf: Leaf) {
        *self.held.entry(leaf).or_default() += 1;
    }

    pub(super) fn release(&mut self, leaf: Leaf) {
        if let Some(readings) = self.held.get_mut(&leaf) {
            *readings -= 1;
            if *readings == 0 {
                self.held.remove(&leaf);
            }
        }
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
            } else if cell.is_evictable() && !self.held.contains_key(&cell.place.leaf()) {
                self.remove(self.hand);
                left -= 1;
            }
        }
    }

    fn remove(&mut self, id: RowId) {
        if let Ok(entry) = self.table.find_entry(self.cells[id].place.0, |held| *held == id) {
            entry.remove();
        }
        let cell = self.cells.remove(id);
        self.unchain(&cell);
    }
}

/// A cell's name in a chain. More rows than that do not fit into memory by far.
fn link(id: RowId) -> u32 {
    u32::try_from(id).unwrap_or(NONE)
}
