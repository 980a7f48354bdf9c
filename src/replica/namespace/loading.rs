//! Rows that come from disk, and stay or leave again.

use smallvec::SmallVec;
use snowtide_protocol::Key;

use crate::crdt::Row;
use crate::merkle::{Leaf, Place};

use super::super::rows::{LoadId, RowId};
use super::Namespace;

/// What waiting for a row takes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Awaited {
    pub(in super::super) row: RowId,
    /// It is not there yet.
    pub(in super::super) missing: bool,
    /// Nobody has asked for it before.
    pub(in super::super) wanted: bool,
}

impl Namespace {
    /// The row of a key that stands at `place`, if it is in memory.
    pub(in super::super) fn find(&self, place: Place, key: &str) -> Option<RowId> {
        self.rows.find_at(place, key).filter(|row| !self.rows.get(*row).is_loading())
    }

    /// See [`super::super::rows::Rows::likely`].
    pub(in super::super) fn likely(&self, place: Place) -> Option<RowId> {
        self.rows.likely(place)
    }

    /// Keeps the row of a key in memory for a load, from when it is there.
    pub(in super::super) fn await_row(&mut self, key: &Key, load: LoadId) -> Awaited {
        let found = self.rows.find(key);
        let row = found.unwrap_or_else(|| self.rows.insert_loading(key.clone()));
        let missing = self.rows.wait(row, load);
        self.rows.pin(row);
        Awaited { row, missing, wanted: found.is_none() }
    }

    pub(in super::super) fn unpin(&mut self, row: RowId) {
        self.rows.unpin(row);
    }

    /// A row has come from disk; the loads that waited for it.
    pub(in super::super) fn load(&mut self, key: &str, row: Row) -> SmallVec<[LoadId; 2]> {
        self.rows.loaded(key, row)
    }

    /// Takes rows of leaves that were held since before they were read, where memory has none; how many these are.
    pub(in super::super) fn take_stored(&mut self, rows: Vec<(Key, Row)>) -> u64 {
        rows.into_iter().map(|(key, row)| u64::from(self.rows.insert_stored(key, row))).sum()
    }

    /// See [`Rows::evict`].
    pub(in super::super) fn evict(&mut self, bytes: usize) {
        self.rows.evict(bytes);
    }

    /// Leaves are read from disk until [`Self::release`]: none of their rows leaves memory meanwhile.
    pub(in super::super) fn hold(&mut self, leaves: &[Leaf]) {
        leaves.iter().for_each(|leaf| self.rows.hold(*leaf));
    }

    pub(in super::super) fn release(&mut self, leaves: &[Leaf]) {
        leaves.iter().for_each(|leaf| self.rows.release(*leaf));
    }

    /// The leaves that hold committed rows, from this one on.
    pub(in super::super) fn leaves_from(&self, first: Leaf) -> impl Iterator<Item = Leaf> + '_ {
        self.tree.leaves_from(first)
    }
}
