//! The rows of one namespace that are in memory: committed state, what is pending on top of it, and what waits.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;
use snowtide_protocol::Key;

use crate::crdt::{Kind, Row, Slot, VersionVector};
use crate::identity::ReplicaId;
use crate::merkle::{Hasher, LEAVES, Leaf, Place, Sum};

use super::reach::Reach;
use super::trail::Trail;

/// Names a cell while it is in memory.
pub(super) type RowId = usize;
/// Names a load that is pending.
pub(super) type LoadId = usize;
/// The end of a chain of cells.
const NONE: u32 = u32::MAX;

/// One row in memory. Most are at rest, so what only some have is kept apart: millions of these are what memory is for.
pub(super) struct Cell {
    /// The counter's key.
    pub(super) key: Key,
    /// Where it stands in the tree.
    pub(super) place: Place,
    /// Committed: durable in the journal at least (I1). Deltas, checkpoints and leaves are made from this.
    pub(super) row: Row,
    /// What is going on with it, if anything is.
    busy: Option<Box<Busy>>,
    /// The neighbours in the chain of this leaf's cells.
    before: u32,
    after: u32,
    /// Whether the committed state is newer than the row on disk.
    dirty: bool,
    /// Whether a checkpoint is writing the row.
    checkpointing: bool,
    /// Whether there is a row on disk, older or not, or a checkpoint is to write one.
    stored: bool,
    /// Touched since the eviction hand last passed.
    referenced: bool,
}

/// What is going on with a row.
#[derive(Default)]
struct Busy {
    /// Applied but not committed: the latest value of each changed slot.
    pending: SmallVec<[(ReplicaId, Slot); 1]>,
    /// The last commit that holds a change of this row.
    last_commit: u64,
    /// The last commit that holds a change of our own slot.
    own_commit: u64,
    /// What waits until the row is loaded; `None` once it is.
    waiting: Option<SmallVec<[LoadId; 2]>>,
    /// Loads that need the row to stay.
    pins: u32,
    /// How far its slots are settled, once somebody has asked.
    trails: Vec<Trail>,
}

impl Cell {
    /// Whether the row is still being read from disk.
    pub(super) fn is_loading(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.waiting.is_some())
    }

    /// Whether a commit that is not finished changes this row.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Whether nobody has ever counted it, as far as is known here.
    pub(super) fn is_new(&self) -> bool {
        self.row.is_empty() && self.pending().is_empty()
    }

    /// A checkpoint writes the row: whether for the first time.
    pub(super) fn is_stored_first(&mut self) -> bool {
        !std::mem::replace(&mut self.stored, true)
    }

    /// The last commit that holds a change of this row, while it is pending.
    pub(super) fn last_commit(&self) -> u64 {
        self.busy.as_ref().map_or(0, |busy| busy.last_commit)
    }

    /// A change of our own slot is part of this commit; true if it is the first.
    pub(super) fn joins_own(&mut self, commit: u64) -> bool {
        std::mem::replace(&mut self.busy().own_commit, commit) != commit
    }

    /// How far its slots are settled; none unless somebody has asked.
    pub(super) fn trails(&self) -> &[Trail] {
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
    pub(super) fn origins(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let committed = self.row.slots().iter().map(|(origin, _)| *origin);
        let first = self.pending().iter().map(|(origin, _)| *origin);
        committed.chain(first.filter(|origin| self.row.slot(*origin).is_bottom()))
    }

    /// The slot with everything applied so far.
    pub(super) fn working_slot(&self, replica: ReplicaId) -> Slot {
        let pending = self.pending().iter().find(|(held, _)| *held == replica);
        pending.map_or_else(|| self.row.slot(replica), |(_, slot)| *slot)
    }

    /// The counter's value with everything applied so far.
    pub(super) fn working_value(&self) -> i128 {
        let grown = self.pending().iter().map(|(replica, slot)| slot.value() - self.row.slot(*replica).value());
        self.row.value() + grown.sum::<i128>()
    }

    /// Applies an absolute slot on top, as part of commit `number`; false if nothing in it is new.
    pub(super) fn apply(&mut self, replica: ReplicaId, slot: Slot, number: u64) -> bool {
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

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Lets go of what is not needed any more.
    fn rest(&mut self) {
        self.busy.take_if(|busy| {
            busy.pending.is_empty() && busy.waiting.is_none() && busy.pins == 0 && busy.trails.is_empty()
        });
    }

    fn is_evictable(&self) -> bool {
        let needed =
            self.busy.as_ref().is_some_and(|busy| !busy.pending.is_empty() || busy.waiting.is_some() || busy.pins > 0);
        !(self.dirty || self.checkpointing || needed)
    }
}

/// A namespace's rows in memory, found by key.
pub(super) struct Rows {
    /// By name, as chains have them.
    table: HashTable<u32>,
    cells: Slab<Cell>,
    hasher: Hasher,
    hand: usize,
    /// The first cell of each leaf's chain.
    chains: Box<[u32]>,
    /// The dirty rows of each leaf, each once.
    dirty: Box<[Vec<u32>]>,
    /// Leaves that are being read from disk, and by how many: their cells stay, or what a cell held and the reading did
    /// not see would be missed.
    held: BTreeMap<Leaf, usize>,
}

impl Rows {
    /// The hasher's secret keeps clients from choosing keys that collide.
    pub(super) fn new(hasher: Hasher) -> Self {
        let (chains, dirty) = (vec![NONE; LEAVES].into(), vec![Vec::new(); LEAVES].into());
        Self { table: HashTable::new(), cells: Slab::new(), hasher, hand: 0, chains, dirty, held: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<RowId> {
        self.find_at(self.hasher.place(key), key)
    }

    pub(super) fn place(&self, key: &str) -> Place {
        self.hasher.place(key)
    }

    /// The row of a key that stands at `place`.
    pub(super) fn find_at(&self, place: Place, key: &str) -> Option<RowId> {
        let found = self.table.find(place.0, |name| {
            let cell = &self.cells[*name as usize];
            cell.place == place && &*cell.key == key
        });
        found.map(|name| *name as usize)
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
        self.insert(key, Row::default(), Some(SmallVec::new()))
    }

    /// A row that recovery read from disk, where it is `stored`, and from the journal; returns what that added.
    pub(super) fn insert_recovered(&mut self, key: Key, stored: &Row, row: Row) -> (RowId, Sum) {
        let grown = self.hasher.row(&key, &row).minus(self.hasher.row(&key, stored));
        let id = self.insert(key, row, None);
        self.cells[id].stored = !stored.is_empty();
        self.changed(id);
        (id, grown)
    }

    fn insert(&mut self, key: Key, row: Row, waiting: Option<SmallVec<[LoadId; 2]>>) -> RowId {
        let place = self.hasher.place(&key);
        let id = self.cells.insert(Cell {
            key,
            place,
            row,
            busy: waiting.map(|waiting| Box::new(Busy { waiting: Some(waiting), ..Busy::default() })),
            before: NONE,
            after: NONE,
            dirty: false,
            checkpointing: false,
            stored: false,
            referenced: true,
        });
        let cells = &self.cells;
        self.table.insert_unique(place.0, link(id), |name| cells[*name as usize].place.0);
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
            self.dirty[usize::from(cell.place.leaf().0)].push(link(id));
        }
        first
    }

    /// The leaves that have dirty rows, in the order of the disk.
    pub(super) fn dirty_leaves(&self) -> impl Iterator<Item = Leaf> {
        let leaves = (0..=u16::MAX).map(Leaf).zip(&self.dirty);
        leaves.filter(|(_, rows)| !rows.is_empty()).map(|(leaf, _)| leaf)
    }

    /// All dirty rows of a leaf go to disk, in this order.
    pub(super) fn write_leaf(&mut self, leaf: Leaf) -> Vec<RowId> {
        let mut rows: Vec<RowId> = self.dirty[usize::from(leaf.0)].drain(..).map(|name| name as usize).collect();
        rows.sort_unstable_by_key(|id| self.cells[*id].place);
        for id in &rows {
            let cell = &mut self.cells[*id];
            cell.dirty = false;
            cell.checkpointing = true;
        }
        rows
    }

    /// A checkpoint has written the row.
    pub(super) fn written(&mut self, id: RowId) {
        self.cells[id].checkpointing = false;
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
        let cell = &mut self.cells[id];
        let Some(waiting) = cell.busy.as_mut().and_then(|busy| busy.waiting.take()) else { return SmallVec::new() };
        cell.stored = !row.is_empty();
        cell.row = row;
        cell.rest();
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
        if let Ok(entry) = self.table.find_entry(self.cells[id].place.0, |held| *held == link(id)) {
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
