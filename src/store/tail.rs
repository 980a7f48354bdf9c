//! The order of a table of rows: the parts of a checkpoint bring rows and what they add up to together, and each sum goes into
//! the table behind all rows of its namespace.

use std::collections::BTreeMap;

use crate::merkle::Hasher;
use crate::replica::CheckpointChunk;

use super::format::{census_key, leaf_key, row_key, seal};
use super::medium::Entry;

/// Sums and counts of the table under way, whose turn has not come.
#[derive(Default)]
pub(super) struct Tail(BTreeMap<Vec<u8>, Vec<u8>>);

impl Tail {
    /// What goes into the table with this part, ascending: its rows, which stand behind those of all parts before it; and of
    /// sums and counts those which a row of it leaves behind, or all where the table ends.
    ///
    /// Rows replace what is on disk: checkpoints hand over whole committed rows, and a committed row covers every earlier one.
    pub(super) fn entries(&mut self, hasher: &Hasher, part: &CheckpointChunk) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(part.rows.len());
        for (namespace, key, row) in &part.rows {
            entries.push((row_key(*namespace, hasher.place(key), key), seal(row)));
        }
        let leaves = part.leaves.iter().map(|(namespace, leaf, sum)| (leaf_key(*namespace, *leaf), seal(sum)));
        self.0.extend(leaves);
        self.0.extend(part.census.iter().map(|(namespace, census)| (census_key(*namespace).to_vec(), seal(census))));
        entries.extend(self.take_due(part, entries.iter().map(|(key, _)| key).max().cloned()));
        entries.sort_unstable();
        entries
    }
    /// Those whose turn has come when the rows of this part have, the last of which is `last`.
    fn take_due(&mut self, part: &CheckpointChunk, last: Option<Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
        if part.ends_table {
            return std::mem::take(&mut self.0);
        }
        let Some(last) = last else { return BTreeMap::new() };
        let later = self.0.split_off(&last);
        std::mem::replace(&mut self.0, later)
    }
}
