//! The rows of one namespace that are in memory: found by key, chained by leaf, and which of them are dirty or may leave.

mod cell;
mod cells;
mod index;
mod tables;

use std::collections::BTreeMap;

use smallvec::SmallVec;
use snowtide_protocol::Key;

use crate::crdt::{Row, Slot, VersionVector};
use crate::identity::ReplicaId;
use crate::merkle::{Hasher, LEAVES, Leaf, LeafSet, Place, Sum};

use super::reach::Reach;

use cell::Busy;
pub(super) use cell::Cell;
pub use cell::ROW_BYTES;
use cells::Cells;
use index::Index;
use tables::Tables;

/// Names a cell while it is in memory.
pub(super) type RowId = usize;
/// Names a load that is pending.
pub(super) type LoadId = usize;
/// The end of a chain of cells.
const NONE: u32 = u32::MAX;

/// A namespace's rows in memory, found by key.
pub(super) struct Rows {
    index: Index,
    cells: Cells,
    /// What they take, kept up wherever one comes, goes, or changes its size; see [`Cell::bytes`].
    bytes: usize,
    hasher: Hasher,
    hand: usize,
    /// The first cell of each leaf's chain.
    chains: Box<[u32]>,
    /// The first of each leaf's dirty cells, which are chained as well.
    dirty: Box<[u32]>,
    /// The leaves that have dirty cells.
    dirty_leaves: LeafSet,
    /// Leaves that are being read from disk, and by how many: their cells stay, or what a cell held and the reading did
    /// not see would be missed.
    held: BTreeMap<Leaf, usize>,
    tables: Tables,
}

impl Rows {
    /// The hasher's secret keeps clients from choosing keys that collide.
    pub(super) fn new(hasher: Hasher) -> Self {
        Self {
            index: Index::new(),
            cells: Cells::default(),
            bytes: 0,
            hasher,
            hand: 0,
            chains: vec![NONE; LEAVES].into(),
            dirty: vec![NONE; LEAVES].into(),
            dirty_leaves: LeafSet::new(),
            held: BTreeMap::new(),
            tables: Tables::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn find(&self, key: &str) -> Option<RowId> {
        self.find_at(self.hasher.place(key), key)
    }

    pub(super) fn place(&self, key: &str) -> Place {
        self.hasher.place(key)
    }

    /// The row of a key that stands at `place`.
    pub(super) fn find_at(&self, place: Place, key: &str) -> Option<RowId> {
        let found = self.index.find(place, |name| {
            let cell = &self.cells[name as usize];
            cell.place == place && &*cell.key == key
        });
        found.map(|name| name as usize)
    }

    /// The row that most likely stands at `place`, by a look at the index alone: one of ten is another one.
    pub(super) fn likely(&self, place: Place) -> Option<RowId> {
        self.index.find(place, |_| true).map(|name| name as usize)
    }

    /// Reads a little of each of these rows, before more is done with one after the other: so they are on their way
    /// from memory together.
    pub(super) fn warm(&self, rows: impl IntoIterator<Item = RowId>) {
        let read = rows
            .into_iter()
            .filter_map(|id| self.cells.get(id))
            .fold(0, |read, cell| read ^ cell.place.0 ^ u64::from(cell.dirty) ^ cell.row.slots().len() as u64);
        std::hint::black_box(read);
    }

    /// A row that is not in memory yet and has to be loaded.
    pub(super) fn insert_loading(&mut self, key: Key) -> RowId {
        self.insert(self.hasher.place(&key), key, Row::default(), Some(SmallVec::new()))
    }

    /// A row as it is on disk, that nobody has used; false if its key has a cell, which is newer or waits for it.
    pub(super) fn insert_stored(&mut self, key: Key, row: Row) -> bool {
        let place = self.hasher.place(&key);
        if row.is_empty() || self.find_at(place, &key).is_some() {
            return false;
        }
        let id = self.insert(place, key, row, None);
        let cell = &mut self.cells[id];
        (cell.stored, cell.referenced) = (true, false);
        true
    }

    /// A row that recovery read from disk, where it is `stored`, and from the journal; returns what that added.
    pub(super) fn insert_recovered(&mut self, key: Key, stored: &Row, row: Row) -> (RowId, Sum) {
        let grown = self.hasher.row(&key, &row).minus(self.hasher.row(&key, stored));
        let id = self.insert(self.hasher.place(&key), key, row, None);
        self.cells[id].stored = !stored.is_empty();
        self.changed(id);
        (id, grown)
    }

    fn insert(&mut self, place: Place, key: Key, row: Row, waiting: Option<SmallVec<[LoadId; 2]>>) -> RowId {
        let id = self.cells.insert(Cell {
            key,
            place,
            row,
            busy: waiting.map(Busy::waiting),
            before: NONE,
            after: NONE,
            next_dirty: NONE,
            dirty: false,
            table: Tables::NONE,
            stored: false,
            referenced: true,
        });
        self.bytes += self.cells[id].bytes();
        let cells = &self.cells;
        self.index.insert(place, link(id), |name| cells[name as usize].place);
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

    /// The committed row is newer than the one on disk; true if it was not before.
    pub(super) fn changed(&mut self, id: RowId) -> bool {
        let cell = &mut self.cells[id];
        let first = !std::mem::replace(&mut cell.dirty, true);
        if first {
            let leaf = cell.place.leaf();
            cell.next_dirty = std::mem::replace(&mut self.dirty[usize::from(leaf.0)], link(id));
            self.dirty_leaves.insert(leaf);
        }
        first
    }

    /// The leaves that have dirty rows, in the order of the disk.
    pub(super) fn dirty_leaves(&self) -> impl Iterator<Item = Leaf> + '_ {
        self.dirty_leaves.iter()
    }

    /// All dirty rows of a leaf go into the table under way, in this order.
    pub(super) fn write_leaf(&mut self, leaf: Leaf) -> Vec<RowId> {
        let first = std::mem::replace(&mut self.dirty[usize::from(leaf.0)], NONE);
        self.dirty_leaves.remove(leaf);
        let mut rows = self.dirty_from(first);
        rows.sort_unstable_by_key(|id| self.cells[*id].place);
        for id in &rows {
            let cell = &mut self.cells[*id];
            cell.dirty = false;
            cell.table = self.tables.under_way();
        }
        rows
    }

    /// A chain of dirty cells.
    fn dirty_from(&self, first: u32) -> Vec<RowId> {
        let known = |name: u32| Some(name as usize).filter(|id| self.cells.get(*id).is_some());
        let chain = std::iter::successors(known(first), |id| known(self.cells[*id].next_dirty));
        // However broken, it has no more of them than there are.
        chain.take(self.cells.len()).collect()
    }

    /// The table under way is on the disk, with all rows that went into it.
    pub(super) fn table_ended(&mut self) {
        self.tables.next();
    }

    /// Lets `load` wait for the row; the same load may wait for it only once.
    pub(super) fn wait(&mut self, id: RowId, load: LoadId) -> bool {
        match self.cells[id].busy.as_mut().and_then(|busy| busy.waiting.as_mut()) {
            Some(waiting) if waiting.last() != Some(&load) => {
                waiting.push(load);
                true
            }
            _ => false,
        }
    }

    /// Keeps the row in memory until [`Self::unpin`]: a load that needs many rows would otherwise lose some while it
    /// waits for others, and never see them all.
    pub(super) fn pin(&mut self, id: RowId) {
        self.cells[id].busy().pins += 1;
    }

    pub(super) fn unpin(&mut self, id: RowId) {
        let cell = &mut self.cells[id];
        cell.busy().pins -= 1;
        cell.rest();
    }

    /// The row has arrived; returns what waited for it. A row that nobody asked for is ignored.
    pub(super) fn loaded(&mut self, key: &str, row: Row) -> SmallVec<[LoadId; 2]> {
        let Some(id) = self.find(key) else { return SmallVec::new() };
        self.resize(id, |cell| {
            let Some(waiting) = cell.busy.as_mut().and_then(|busy| busy.waiting.take()) else { return SmallVec::new() };
            cell.stored = !row.is_empty();
            cell.row = row;
            cell.rest();
            waiting
        })
    }

    /// The commit that held `slot` is synced, see [`Cell::settle`].
    pub(super) fn settle(&mut self, id: RowId, replica: ReplicaId, slot: Slot) -> Sum {
        let cell = &mut self.cells[id];
        cell.referenced = true;
        let before = cell.row.heap_bytes();
        let grown = cell.settle(&self.hasher, replica, slot);
        // Slots only come.
        self.bytes += cell.row.heap_bytes().saturating_sub(before);
        grown
    }

    /// See [`Cell::follow`].
    pub(super) fn follow(&mut self, id: RowId, committed: &VersionVector, reach: &Reach) {
        self.resize(id, |cell| cell.follow(committed, reach));
    }

    /// See [`Cell::follow_on`].
    pub(super) fn follow_on(
        &mut self,
        id: RowId,
        origin: ReplicaId,
        before: Option<u64>,
        place: (u64, Slot),
        floor: u64,
    ) {
        self.resize(id, |cell| cell.follow_on(origin, before, place, floor));
    }

    /// A change that may change what a row takes.
    fn resize<T>(&mut self, id: RowId, change: impl FnOnce(&mut Cell) -> T) -> T {
        let cell = &mut self.cells[id];
        let before = cell.bytes();
        let done = change(cell);
        self.bytes = self.bytes + cell.bytes() - before;
        done
    }

    /// Drops clean rows that were not touched lately until they took `excess` bytes or the hand has gone round (CLOCK).
    ///
    /// I11: a row leaves memory only once its latest committed value is durable in `rows`.
    pub(super) fn evict(&mut self, excess: usize) {
        let rows = excess.div_ceil(ROW_BYTES);
        let (mut left, mut steps) = (excess, self.cells.bound().min(rows.saturating_mul(4)));
        while left > 0 && steps > 0 {
            steps -= 1;
            self.hand = if self.hand + 1 < self.cells.bound() { self.hand + 1 } else { 0 };
            let Some(cell) = self.cells.get_mut(self.hand) else { continue };
            if cell.referenced {
                cell.referenced = false;
            } else if cell.is_evictable(self.tables) && !self.held.contains_key(&cell.place.leaf()) {
                left = left.saturating_sub(self.remove(self.hand));
            }
        }
    }

    /// What the row took.
    fn remove(&mut self, id: RowId) -> usize {
        let cell = self.cells.remove(id);
        self.index.remove(cell.place, link(id));
        self.unchain(&cell);
        let bytes = cell.bytes();
        self.bytes -= bytes;
        bytes
    }
}

#[cfg(test)]
impl Rows {
    /// What they take, counted one by one.
    pub(super) fn recounted(&self) -> usize {
        self.cells.iter().map(Cell::bytes).sum()
    }
}

/// A cell's name in a chain. More rows than that do not fit into memory by far.
fn link(id: RowId) -> u32 {
    u32::try_from(id).unwrap_or(NONE)
}
