//! What the rows on disk come to: the sums of their leaves, how many they are, and the vector that they cover.

use snowtide_protocol::Key;

use crate::crdt::{Row, VersionVector};
use crate::merkle::{LEAVES, Leaf, Sum};

use super::super::census::Census;
use super::Namespace;

/// The rows on disk, as the parts of checkpoints left them that were given out.
pub(super) struct Stored {
    leaves: Box<[Sum]>,
    census: Census,
    /// The vector that the last whole checkpoint covers.
    position: VersionVector,
    /// The leaf whose rows are being added up, and what they should come to: the disk takes scrubs and checkpoints in order.
    scrubbed: Option<(Leaf, Sum)>,
}

impl Stored {
    pub(super) fn new(found: Vec<(Leaf, Sum)>, census: Census, position: VersionVector) -> Self {
        let mut leaves = vec![Sum::default(); LEAVES].into_boxed_slice();
        found.into_iter().for_each(|(leaf, sum)| leaves[usize::from(leaf.0)] = sum);
        Self { leaves, census, position, scrubbed: None }
    }

    pub(super) fn position(&self) -> &VersionVector {
        &self.position
    }

    /// By how much the rows of the leaf outweigh what was kept for them, if they do; that is corrected.
    fn scrubbed(&mut self, sum: Sum) -> Option<(Leaf, Sum)> {
        let (leaf, expected) = self.scrubbed.take().filter(|(_, expected)| *expected != sum)?;
        let by = sum.minus(expected);
        let stored = &mut self.leaves[usize::from(leaf.0)];
        *stored = stored.plus(by);
        Some((leaf, by))
    }
}

impl Namespace {
    /// The rows of a leaf that the disk lacks, with their keys and committed values, and what the leaf there adds up to with
    /// all of them: the same as here.
    pub(in super::super) fn write_leaf(&mut self, leaf: Leaf, mut write: impl FnMut(Key, Row)) -> Sum {
        let sum = self.tree.leaf(leaf);
        self.stored.leaves[usize::from(leaf.0)] = sum;
        for row in self.rows.write_leaf(leaf) {
            let cell = self.rows.get_mut(row);
            if cell.is_stored_first() {
                self.stored.census.add(cell.key.len());
            }
            write(cell.key.clone(), cell.row.clone());
        }
        sum
    }

    /// The table under way is on the disk.
    pub(in super::super) fn table_ended(&mut self) {
        self.rows.table_ended();
    }

    /// The counters that are on disk once all parts of checkpoints that were given out are written.
    pub(in super::super) fn stored_census(&self) -> Census {
        self.stored.census
    }

    /// The rows on disk cover this vector from now on.
    pub(in super::super) fn checkpointed(&mut self, position: VersionVector) {
        self.stored.position = position;
    }

    /// The rows of a leaf on disk are being added up.
    pub(in super::super) fn begin_scrub(&mut self, leaf: Leaf) {
        self.stored.scrubbed = Some((leaf, self.stored.leaves[usize::from(leaf.0)]));
    }

    pub(in super::super) fn is_scrubbed(&self) -> bool {
        self.stored.scrubbed.is_some()
    }

    /// What the rows of the leaf on disk really add up to. If that is not what was kept for them, the tree is corrected, and
    /// so differs from the trees of others, which repair then finds. The leaf, if so.
    pub(in super::super) fn scrubbed(&mut self, sum: Sum) -> Option<Leaf> {
        let (leaf, by) = self.stored.scrubbed(sum)?;
        self.tree.add(leaf, by);
        Some(leaf)
    }
}
