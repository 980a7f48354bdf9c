//! Checkpoints: changed rows are written in parts, committed values only, and then the position that they reach (I11).
//!
//! They go leaf by leaf, in the order in which they stand on disk, so that the store puts each row next to the one before.
//! A leaf is always written whole: then its sum there is the one here, and no row has to remember what it owes.

use std::collections::{BTreeSet, VecDeque};

use crate::identity::NamespaceId;
use crate::merkle::Leaf;
use crate::section::Milliseconds;

use super::Replica;
use super::effect::{CheckpointChunk, Effect, Job, Position};
use super::rows::RowId;

/// Rows in one part, more or less: few enough that making it does not hold up the engine.
pub(super) const CHUNK_ROWS: usize = 1_024;

/// How often a checkpoint that has no room looks again.
const CHECKPOINT_RETRY_MS: u64 = 100;

/// How far a running checkpoint is.
#[derive(Debug)]
pub(super) struct Checkpointing {
    /// Rows that have changed since they were last written, or given to be written.
    pub(super) dirty_rows: usize,
    running: Option<Running>,
    /// When the next one begins.
    pub(super) due_at: u64,
}

#[derive(Debug)]
struct Running {
    /// Leaves that had dirty rows when it began. Rows that change later are written with them, or are left for the next.
    left: VecDeque<(NamespaceId, Leaf)>,
    /// The part that is being written; `None` between parts.
    writing: Option<Vec<(NamespaceId, RowId)>>,
    /// What the rows on disk will cover: the committed vectors when the checkpoint began. Rows that change later are
    /// written with later values, which is harmless (I5).
    position: Position,
}

impl Checkpointing {
    pub(super) fn new(due_at: u64) -> Self {
        Self { dirty_rows: 0, running: None, due_at }
    }

    /// Whether one that was due at `since` has been written.
    pub(super) fn is_over(&self, since: u64) -> bool {
        self.due_at > since && self.running.is_none()
    }
}

impl Replica {
    /// Without room, nothing is begun, and what runs pauses between two parts: it is as far as the disk says (I11).
    pub(super) fn advance_checkpoint(&mut self) {
        if self.disk.is_out() {
            self.checkpointing.due_at = self.checkpointing.due_at.max(self.now + CHECKPOINT_RETRY_MS);
            return;
        }
        let dirty = self.checkpointing.dirty_rows;
        let due = self.now >= self.checkpointing.due_at || dirty > self.settings.tuning.checkpoint.dirty_rows_max / 2;
        if due && self.checkpointing.running.is_none() {
            self.checkpointing.due_at = self.now + self.settings.tuning.checkpoint.interval.ms();
            if dirty > 0 {
                self.begin_checkpoint();
            }
            self.truncate();
        }
        self.write_part();
    }

    fn begin_checkpoint(&mut self) {
        let spaces = self.spaces.values_mut();
        let reach = spaces.map(|space| (space.id, space.reach.settle(&space.vector))).collect();
        let position = Position { vectors: self.vectors(), reach, repaired: self.repairs.synced };
        let leaves =
            |space: &'_ super::Space| space.rows.dirty_leaves().map(|leaf| (space.id, leaf)).collect::<Vec<_>>();
        let left = self.spaces.values().flat_map(leaves).collect();
        self.checkpointing.running = Some(Running { left, writing: None, position });
    }

    /// Has the next part written, unless one is being written or nothing runs.
    fn write_part(&mut self) {
        let Some(running) = self.checkpointing.running.as_mut().filter(|running| running.writing.is_none()) else {
            return;
        };
        let (mut rows, mut leaves, mut writing) = (Vec::with_capacity(CHUNK_ROWS), Vec::new(), Vec::new());
        while rows.len() < CHUNK_ROWS
            && let Some((namespace, leaf)) = running.left.pop_front()
        {
            let Some(space) = self.spaces.get_mut(&namespace) else { continue };
            let (dirty, sum) = space.write_leaf(leaf);
            leaves.push((namespace, leaf, sum));
            for row in dirty {
                let cell = space.rows.get_mut(row);
                let (first, key_bytes) = (cell.is_stored_first(), cell.key.len());
                rows.push((namespace, cell.key.clone(), cell.row.clone()));
                if first {
                    space.store_first(key_bytes);
                }
                writing.push((namespace, row));
            }
        }
        self.checkpointing.dirty_rows -= writing.len();
        let touched: BTreeSet<NamespaceId> = writing.iter().map(|(namespace, _)| *namespace).collect();
        let census = touched.into_iter().filter_map(|id| Some((id, self.spaces.get(&id)?.stored_census()))).collect();
        let position = running.left.is_empty().then(|| running.position.clone());
        running.writing = Some(writing);
        self.effects.push_back(Effect::Disk(Job::Checkpoint(CheckpointChunk { rows, leaves, census, position })));
    }

    /// The part is written; with the last, the rows on disk reach the position.
    pub(super) fn checkpointed(&mut self) {
        let Some(running) = &mut self.checkpointing.running else { return };
        for (namespace, row) in running.writing.take().unwrap_or_default() {
            if let Some(space) = self.spaces.get_mut(&namespace) {
                space.rows.written(row);
            }
        }
        if let Some(done) = self.checkpointing.running.take_if(|running| running.left.is_empty()) {
            for (namespace, vector) in done.position.vectors {
                if let Some(space) = self.spaces.get_mut(&namespace) {
                    space.position = vector;
                }
            }
            self.truncate();
        }
    }
}
