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
        let rows =
            part.rows.iter().map(|(namespace, key, row)| (row_key(*namespace, hasher.place(key), key), seal(row)));
        let mut entries: Vec<Entry> = rows.collect();
        let leaves = part.leaves.iter().map(|(namespace, leaf, sum)| (leaf_key(*namespace, *leaf), seal(sum)));
        self.0.extend(leaves);
        self.0.extend(part.census.iter().map(|(namespace, census)| (census_key(*namespace).to_vec(), seal(census))));
        let last = entries.iter().map(|(key, _)| key).max();
        let later =
            if part.ends_table { BTreeMap::new() } else { last.map(|last| self.0.split_off(last)).unwrap_or_default() };
        entries.extend(std::mem::replace(&mut self.0, later));
        entries.sort_unstable();
        entries
    }
}
