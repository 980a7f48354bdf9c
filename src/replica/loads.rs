//! Pending loads: rows that have to come from disk before a batch, a delta or repaired rows can be applied.
//!
//! Whoever needs rows looks for them with [`Replica::find_rows`]; if one is not in memory, it waits with
//! [`Replica::load_rows`] until all are there. All rows that a load needs stay in memory meanwhile.

use std::collections::{BTreeMap, VecDeque};

use slab::Slab;
use smallvec::SmallVec;
use snowtide_protocol::Key;

use crate::crdt::Row;
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::{Hasher, Place};

use super::Replica;
use super::effect::{Effect, Job};
use super::leaf_reads::LeafReads;
use super::namespaces::Namespaces;
use super::rows::{LoadId, RowId};
use super::submit::Batch;

/// Who waits for rows.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A client's batch.
    Batch(Batch),
    /// The first waiting delta of this origin.
    Delta(NamespaceId, ReplicaId),
    /// The first rows that our repair session brought.
    Repair(NamespaceId),
}

/// Rows that were asked for.
#[derive(Debug)]
struct Wanted {
    rows_missing: usize,
    /// Every row that is needed, there or not, so that none leaves memory meanwhile.
    pinned: Vec<(NamespaceId, RowId)>,
}

/// One load.
#[derive(Debug)]
struct Load {
    wanted: Wanted,
    waiter: Waiter,
}

/// All of them, and the rows to ask for.
#[derive(Debug, Default)]
pub(super) struct Loads {
    pending: Slab<Load>,
    /// Rows to ask for when the events in hand are done.
    wanted: BTreeMap<NamespaceId, Vec<Key>>,
    /// Rows asked for or to be asked for.
    rows: usize,
    /// The rows that were looked for last, in that order; `None` where nobody serves the namespace. Kept for its memory.
    found: Vec<Option<RowId>>,
    /// Where those stand that are being looked for.
    places: Vec<Place>,
    /// Whole leaves that are being read.
    pub(super) leaves: LeafReads,
}

impl Loads {
    /// Loads that are pending.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether nobody waits for the disk, and nothing else is read from it.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.rows == 0 && self.leaves.is_idle()
    }

    /// Those for clients' batches.
    pub(super) fn batches(&self) -> usize {
        self.pending.iter().filter(|(_, load)| matches!(load.waiter, Waiter::Batch(_))).count()
    }

    /// Rows that were asked for and are not there yet.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows that were looked for last, all in memory.
    pub(super) fn found(&self) -> &[Option<RowId>] {
        &self.found
    }

    /// The same, to be given back.
    pub(super) fn take_found(&mut self) -> Vec<Option<RowId>> {
        std::mem::take(&mut self.found)
    }

    pub(super) fn give_back(&mut self, found: Vec<Option<RowId>>) {
        self.found = found;
    }

    /// Finds all of these rows; false if one of them is not in memory yet.
    ///
    /// Every step is done for all of them before the next: in short loops, the processor has several rows on their way from
    /// memory at a time. So they are hashed, then guessed at by the table, then read a little, and then looked up.
    fn find<'a>(
        &mut self,
        namespaces: &Namespaces,
        hasher: &Hasher,
        wanted: impl Iterator<Item = (NamespaceId, &'a str)> + Clone,
    ) -> bool {
        let Self { found, places, .. } = self;
        places.clear();
        places.extend(wanted.clone().map(|(_, key)| hasher.place(key)));
        let held = wanted.clone().map(|(namespace, _)| namespaces.get(namespace));
        found.clear();
        found.extend(held.clone().zip(&*places).map(|(held, place)| held?.likely(*place)));
        held.zip(&*found).filter_map(|(held, row)| held.zip(*row)).for_each(|(held, row)| held.warm_row(row));
        found.clear();
        for ((namespace, key), place) in wanted.zip(places) {
            let Some(held) = namespaces.get(namespace) else {
                found.push(None);
                continue;
            };
            match held.find(*place, key) {
                Some(row) => found.push(Some(row)),
                None => return false,
            }
        }
        true
    }

    /// Asks for those of these rows that are not there, on behalf of the load that [`Self::wait`] adds next, and keeps the
    /// others where they are.
    fn ask_for<'a>(
        &mut self,
        namespaces: &mut Namespaces,
        wanted: impl Iterator<Item = (NamespaceId, &'a Key)>,
    ) -> Wanted {
        let id = self.pending.vacant_key();
        let (mut rows_missing, mut pinned) = (0, Vec::with_capacity(wanted.size_hint().0));
        for (namespace, key) in wanted {
            let Some(held) = namespaces.get_mut(namespace) else { continue };
            let awaited = held.await_row(key, id);
            if awaited.wanted {
                self.wanted.entry(namespace).or_default().push(key.clone());
                self.rows += 1;
            }
            rows_missing += usize::from(awaited.missing);
            pinned.push((namespace, awaited.row));
        }
        Wanted { rows_missing, pinned }
    }

    /// Has `waiter` wait until they are there.
    fn wait(&mut self, wanted: Wanted, waiter: Waiter) {
        self.pending.insert(Load { wanted, waiter });
    }

    /// A row has come from disk; who has all rows now.
    fn row_came(&mut self, namespaces: &mut Namespaces, namespace: NamespaceId, key: &str, row: Row) -> Ready {
        let Some(held) = namespaces.get_mut(namespace) else { return Ready::new() };
        let waiting = held.load(key, row);
        self.rows = self.rows.saturating_sub(1);
        let mut ready = Ready::new();
        for load in waiting {
            let Some(Load { wanted: Wanted { pinned, .. }, waiter }) = self.arrived(load) else { continue };
            for (namespace, row) in pinned {
                if let Some(held) = namespaces.get_mut(namespace) {
                    held.unpin(row);
                }
            }
            ready.push(waiter);
        }
        ready
    }

    /// One row that a load waited for is there; returns the load if it was the last.
    fn arrived(&mut self, load: LoadId) -> Option<Load> {
        let waiting = self.pending.get_mut(load)?;
        waiting.wanted.rows_missing -= 1;
        (waiting.wanted.rows_missing == 0).then(|| self.pending.remove(load))
    }

    /// Asks the disk for what is wanted.
    pub(super) fn emit(&mut self, effects: &mut VecDeque<Effect>) {
        let wanted = std::mem::take(&mut self.wanted);
        effects.extend(wanted.into_iter().map(|(namespace, keys)| Effect::Disk(Job::Load { namespace, keys })));
    }
}

/// Few wait for one row.
type Ready = SmallVec<[Waiter; 1]>;

impl Replica {
    /// Finds all of these rows, see [`Loads::found`]; false if one of them is not in memory yet.
    pub(super) fn find_rows<'a>(&mut self, wanted: impl Iterator<Item = (NamespaceId, &'a str)> + Clone) -> bool {
        self.loads.find(&self.namespaces, &self.settings.hasher, wanted)
    }

    /// A delta or repaired rows wait until these rows are loaded, of which one at least is not there.
    pub(super) fn load_rows(&mut self, namespace: NamespaceId, keys: &[Key], waiter: Waiter) {
        let wanted = self.loads.ask_for(&mut self.namespaces, keys.iter().map(|key| (namespace, key)));
        self.loads.wait(wanted, waiter);
    }

    /// The same for a batch and the rows of its operations.
    pub(super) fn load_batch(&mut self, batch: Batch) {
        let keys = batch.operations.iter().map(|operation| (operation.namespace, &operation.key));
        let wanted = self.loads.ask_for(&mut self.namespaces, keys);
        self.loads.wait(wanted, Waiter::Batch(batch));
    }

    pub(super) fn loaded(&mut self, namespace: NamespaceId, rows: Vec<(Key, Row)>) {
        for (key, row) in rows {
            for waiter in self.loads.row_came(&mut self.namespaces, namespace, &key, row) {
                match waiter {
                    Waiter::Batch(batch) => self.waits.line_up(batch),
                    Waiter::Delta(namespace, origin) => self.release_origin(namespace, origin),
                    Waiter::Repair(namespace) => self.release_repaired(namespace),
                }
            }
        }
        self.resume_backlog();
    }
}
