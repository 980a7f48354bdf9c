//! A disk in memory: it forgets at a power cut what was not synced, and fails when it is told to.
//!
//! Batches are visible at once. Those that were not synced can be undone, the last one first, so a power cut keeps a
//! prefix of them. A tail that is torn in the middle of a batch counts as if that batch were not there, because the
//! write-ahead log's checksums say so.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use snowtide::identity::NamespaceId;
use snowtide::store::{Batch, Cursor, Entry, Family, Item, Look, Medium, StoreError, Write};

/// What a cursor reads at a time, at most.
const READ_MAX: usize = 64;
const FAMILIES: usize = Family::ALL.len();
type Tree = BTreeMap<Bytes, Bytes>;
/// By family: keys and values.
pub type Entries = Vec<(&'static str, Bytes, Bytes)>;

/// What stood at each key before a batch, in the order of its writes.
type Undo = Vec<(Family, Bytes, Option<Bytes>)>;

/// What stands on a disk; a copy of it is another disk.
#[derive(Clone, Default)]
pub struct Image {
    families: [Tree; FAMILIES],
    /// How to undo each batch that is not synced, the oldest first.
    unsynced: Vec<Undo>,
    /// Once a start has succeeded, nothing on it may be missing any more.
    pub established: bool,
}

/// How the next write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The batch is written, and its sync reports an error: it may be on the disk or not.
    Sync,
    /// Nothing of the batch is written.
    Full,
}

#[derive(Default)]
struct State {
    image: Image,
    failing: Option<Failure>,
    /// Of the table that is under way.
    table: Batch,
    poison: Option<Arc<str>>,
}

/// A handle on one disk; clones share it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn holding(image: Image) -> Self {
        Self(Arc::new(Mutex::new(State { image, ..State::default() })))
    }

    /// What stands on it now, synced or not.
    pub fn image(&self) -> Image {
        self.lock().image.clone()
    }

    /// Everything of a namespace, in the families that have it in their keys.
    pub fn entries(&self, namespace: NamespaceId) -> Entries {
        let prefix = namespace.0.to_be_bytes();
        let state = self.lock();
        let of_family = |family: Family| {
            let from = state.image.families[family as usize].range(Bytes::copy_from_slice(&prefix)..);
            let held = from.take_while(move |(key, _)| key.starts_with(&prefix));
            held.map(move |(key, value)| (family.name(), key.clone(), value.clone()))
        };
        [Family::Journal, Family::Rows, Family::Repair].into_iter().flat_map(of_family).collect()
    }

    pub fn is_established(&self) -> bool {
        self.lock().image.established
    }

    pub fn establish(&self) {
        self.lock().image.established = true;
    }

    /// Puts an older state of it, or another one's, in place.
    pub fn replace(&self, image: Image) {
        *self.lock() = State { image, ..State::default() };
    }

    /// The next write fails, and everything after it.
    pub fn fail_next(&self, failure: Failure) {
        self.lock().failing = Some(failure);
    }

    /// A failure that is still to come does not come.
    pub fn tidy(&self) {
        self.lock().failing = None;
    }

    /// Why it has stopped for good, if it has.
    pub fn poison(&self) -> Option<Arc<str>> {
        self.lock().poison.clone()
    }

    /// How many batches a power cut could take now.
    pub fn unsynced(&self) -> usize {
        self.lock().image.unsynced.len()
    }

    /// The power goes: only the oldest `kept` of the batches that were not synced are still there.
    pub fn cut_power(&self, kept: usize) {
        let image = &mut self.lock().image;
        while image.unsynced.len() > kept {
            let undo = image.unsynced.pop().unwrap_or_default();
            for (family, key, before) in undo.into_iter().rev() {
                match before {
                    Some(value) => image.families[family as usize].insert(key, value),
                    None => image.families[family as usize].remove(&key),
                };
            }
        }
    }

    /// A new process opens it: what stands there counts as synced, and a full disk has been tidied up.
    pub fn reopen(&self) {
        let mut state = self.lock();
        state.image.unsynced.clear();
        (state.failing, state.poison, state.table) = (None, None, Batch::default());
    }

    /// What no store does: a write that the next power cut may take.
    pub fn write_unsynced(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(batch, false)
    }

    fn write(&self, batch: Batch, sync: bool) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.alive()?;
        match state.failing.take() {
            None => {}
            Some(Failure::Full) => return Err(state.poisoned("no space left on the simulated device")),
            Some(Failure::Sync) => {
                state.image.apply(batch);
                return Err(state.poisoned("the simulated sync failed"));
            }
        }
        if sync {
            // Nothing of what was written so far is ever undone.
            state.image.unsynced.clear();
            state.image.carry_out(batch);
        } else {
            state.image.apply(batch);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn alive(&self) -> Result<(), StoreError> {
        self.poison.clone().map_or(Ok(()), |cause| Err(StoreError::Poisoned { cause }))
    }

    fn poisoned(&mut self, cause: &str) -> StoreError {
        StoreError::Poisoned { cause: self.poison.get_or_insert_with(|| cause.into()).clone() }
    }
}

impl Image {
    /// Writes a batch so that it can be undone.
    fn apply(&mut self, batch: Batch) {
        self.unsynced.push(self.before(&batch));
        self.carry_out(batch);
    }

    /// What stands now at each key that a batch writes.
    fn before(&self, batch: &Batch) -> Undo {
        let mut undo = Undo::new();
        for write in &batch.0 {
            match write {
                Write::Put(family, key, _) | Write::Delete(family, key) => {
                    let before = self.families[*family as usize].get(key.as_slice()).cloned();
                    undo.push((*family, Bytes::copy_from_slice(key), before));
                }
                Write::DeleteRange(family, from, to) => {
                    let gone = between(&self.families[*family as usize], from, to);
                    undo.extend(gone.map(|(key, before)| (*family, key.clone(), Some(before.clone()))));
                }
            }
        }
        undo
    }

    fn carry_out(&mut self, batch: Batch) {
        for write in batch.0 {
            match write {
                Write::Put(family, key, value) => {
                    self.families[family as usize].insert(key.into(), value.into());
                }
                Write::Delete(family, key) => {
                    self.families[family as usize].remove(key.as_slice());
                }
                Write::DeleteRange(family, from, to) => {
                    let tree = &mut self.families[family as usize];
                    let gone: Vec<Bytes> = between(tree, &from, &to).map(|(key, _)| key.clone()).collect();
                    gone.iter().for_each(|key| {
                        tree.remove(key);
                    });
                }
            }
        }
    }
}

/// What stands from the one key up to, but without, the other.
fn between<'a>(tree: &'a Tree, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
    tree.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
}

impl Medium for Disk {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.health()?;
        Untouched(self.clone()).get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().map(|key| self.get(family, key)).collect()
    }

    fn cursor(&self, family: Family) -> Result<Box<dyn Cursor + '_>, StoreError> {
        self.health()?;
        Ok(Box::new(Walk::new(self, family)))
    }

    fn write_synced(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(batch, true)
    }

    fn add_to_table(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.alive()?;
        for (key, value) in entries {
            let last = state.table.0.last();
            let ascends = last.is_none_or(|last| matches!(last, Write::Put(_, last, _) if *last < key));
            assert!(ascends, "a table's keys ascend, and {} does not", key.escape_ascii());
            state.table.put(Family::Rows, key, value);
        }
        Ok(())
    }

    fn end_table(&self) -> Result<(), StoreError> {
        let table = std::mem::take(&mut self.lock().table);
        self.write(table, true)
    }

    fn health(&self) -> Result<(), StoreError> {
        self.lock().alive()
    }

    fn size_bytes(&self, family: Family) -> u64 {
        let state = self.lock();
        let entries = state.image.families[family as usize].iter();
        entries.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn look(&self) -> Look {
        Look::of_free(u64::MAX)
    }
}

/// It reads a little ahead, the further the longer it goes on.
struct Walk {
    disk: Disk,
    family: Family,
    ahead: VecDeque<(Bytes, Bytes)>,
    /// How much it reads the next time.
    reads: usize,
}

impl Walk {
    fn new(disk: &Disk, family: Family) -> Self {
        Self { disk: disk.clone(), family, ahead: VecDeque::new(), reads: 1 }
    }

    fn read(&mut self, from: Bound<&[u8]>) {
        let state = self.disk.lock();
        let entries = state.image.families[self.family as usize].range::<[u8], _>((from, Bound::Unbounded));
        self.ahead.extend(entries.take(self.reads).map(|(key, value)| (key.clone(), value.clone())));
        drop(state);
        self.reads = (2 * self.reads).min(READ_MAX);
    }
}

impl Cursor for Walk {
    fn seek(&mut self, key: &[u8]) {
        self.ahead.clear();
        self.reads = 1;
        self.read(Bound::Included(key));
    }

    fn advance(&mut self) {
        if let Some((key, _)) = self.ahead.pop_front()
            && self.ahead.is_empty()
        {
            self.read(Bound::Excluded(&key));
        }
    }

    fn item(&self) -> Result<Option<Item<'_>>, StoreError> {
        Ok(self.ahead.front().map(|(key, value)| (key.as_ref(), value.as_ref())))
    }
}

/// A disk that can be looked at as if a node started on it, without changing it, and even if it has failed.
pub struct Untouched(pub Disk);

impl Medium for Untouched {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().image.families[family as usize].get(key).map(|value| value.to_vec()))
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().map(|key| self.get(family, key)).collect()
    }

    fn cursor(&self, family: Family) -> Result<Box<dyn Cursor + '_>, StoreError> {
        Ok(Box::new(Walk::new(&self.0, family)))
    }

    fn write_synced(&self, _: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn add_to_table(&self, _: Vec<Entry>) -> Result<(), StoreError> {
        Ok(())
    }

    fn end_table(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn size_bytes(&self, family: Family) -> u64 {
        self.0.size_bytes(family)
    }

    fn look(&self) -> Look {
        self.0.look()
    }
}
