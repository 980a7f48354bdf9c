//! Checkpoints: changed rows are written, committed values only, and then the position that they reach (I11).
//!
//! They go leaf by leaf, in the order in which they stand on disk, into a few tables; a table is written part by part, and
//! all of it is on the disk at once when it ends. A leaf is always written whole: then its sum there is the one here, and no
//! row has to remember what it owes.

use std::collections::{BTreeSet, VecDeque};

use crate::crdt::{Mark, VersionVector};
use crate::identity::NamespaceId;
use crate::merkle::Leaf;
use crate::section::Milliseconds;

use super::Replica;
use super::effect::{CheckpointChunk, Effect, Job, Position};
use super::namespace::Namespace;
use super::pieces::Pieces;

/// Parts that are made and not written.
const PARTS_MAX: usize = 2;
/// How often a checkpoint that has no room looks again.
const CHECKPOINT_RETRY_MS: u64 = 100;

/// How far a running checkpoint is.
#[derive(Debug)]
pub(super) struct Checkpointing {
    /// Rows that have changed since they were last written; one that changes while it is written counts twice.
    pub(super) dirty_rows: usize,
    running: Option<Running>,
    /// When the next one begins.
    pub(super) due_at: u64,
}

#[derive(Debug)]
struct Running {
    /// Leaves that had dirty rows when it began. Rows that change later are written with them, or are left for the next.
    left: VecDeque<(NamespaceId, Leaf)>,
    /// Rows in the table under way, those of the part that is being written among them.
    staged: usize,
    /// The parts that are being written, the oldest first.
    writing: VecDeque<Part>,
    /// What the rows on disk will cover: the committed vectors when the checkpoint began. Rows that change later are
    /// written with later values, which is harmless (I5).
    position: Position,
}

/// What is being written.
#[derive(Clone, Copy, Debug)]
struct Part {
    ends_table: bool,
}

impl Running {
    /// Whether another part may be made, so that neither the engine nor the disk waits for the other. The next table begins when
    /// the one before has ended: until then, all rows that were handed to the disk count as rows of one table.
    fn has_room(&self) -> bool {
        self.writing.len() < PARTS_MAX && self.writing.back().is_none_or(|last| !last.ends_table)
    }
}

impl Checkpointing {
    pub(super) fn new(due_at: u64) -> Self {
        Self { dirty_rows: 0, running: None, due_at }
    }

    /// Whether one that was due at `since` has been written.
    pub(super) fn is_over(&self, since: u64) -> bool {
        self.due_at > since && self.running.is_none()
    }

    /// Whether leaves on the disk are as they were last written: no part of a table is waiting for the rest.
    pub(super) fn is_between_tables(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.staged == 0 && running.writing.is_empty())
    }
}

impl Replica {
    /// Without room, nothing is begun, and what runs pauses between two parts: it is as far as the disk says (I11).
    pub(super) fn advance_checkpoint(&mut self) {
        if self.readiness.disk().is_out() {
            self.checkpointing.due_at = self.checkpointing.due_at.max(self.now + CHECKPOINT_RETRY_MS);
            return;
        }
        let dirty = self.checkpointing.dirty_rows;
        let pressing = dirty > self.settings.tuning.checkpoint.dirty_rows_max / 2 || (self.is_crowded && dirty > 0);
        let due = self.now >= self.checkpointing.due_at || pressing;
        if due && self.checkpointing.running.is_none() {
            self.checkpointing.due_at = self.now + self.settings.tuning.checkpoint.interval.ms();
            if dirty > 0 {
                self.begin_checkpoint();
            }
            self.truncate();
        }
        while self.checkpointing.running.as_ref().is_some_and(Running::has_room) {
            self.write_part();
        }
    }

    fn begin_checkpoint(&mut self) {
        let reach = self.namespaces.iter_mut().map(|held| (held.id(), held.settle_reach())).collect();
        let (vectors, repaired) = (self.namespaces.vectors(), self.commits.repaired_synced());
        let position = Position { vectors, reach, repaired };
        let leaves = |held: &'_ Namespace| {
            let id = held.id();
            held.rows().dirty_leaves().map(|leaf| (id, leaf)).collect::<Vec<_>>()
        };
        let left = self.namespaces.iter().flat_map(leaves).collect();
        self.checkpointing.running = Some(Running { left, staged: 0, writing: VecDeque::new(), position });
    }

    /// Has the next part written, if one may be.
    fn write_part(&mut self) {
        let Some(running) = self.checkpointing.running.as_mut().filter(|running| running.has_room()) else { return };
        let Pieces { part_rows, table_rows } = self.settings.pieces;
        let mut rows = Vec::with_capacity(self.checkpointing.dirty_rows.min(part_rows));
        let (mut leaves, mut touched) = (Vec::new(), BTreeSet::new());
        while rows.len() < part_rows
            && let Some((namespace, leaf)) = running.left.pop_front()
        {
            let Some(held) = self.namespaces.get_mut(namespace) else { continue };
            let sum = held.write_leaf(leaf, |key, value| rows.push((namespace, key, value)));
            leaves.push((namespace, leaf, sum));
            touched.insert(namespace);
        }
        running.staged += rows.len();
        let is_last = running.left.is_empty();
        let ends_table = is_last || running.staged >= table_rows;
        let position = is_last.then(|| running.position.clone());
        running.writing.push_back(Part { ends_table });
        let census = |id: NamespaceId| Some((id, self.namespaces.get(id)?.stored_census()));
        let census = touched.into_iter().filter_map(census).collect();
        let part = CheckpointChunk { rows, leaves, census, ends_table, position };
        self.effects.push_back(Effect::Disk(Job::Checkpoint(part)));
    }

    /// The part is written; with the last of a table, the table is on the disk; with the last of all, the rows there reach
    /// the position.
    pub(super) fn checkpointed(&mut self) {
        let Some(running) = &mut self.checkpointing.running else { return };
        let Some(Part { ends_table: true }) = running.writing.pop_front() else { return };
        self.checkpointing.dirty_rows -= std::mem::take(&mut running.staged);
        self.namespaces.iter_mut().for_each(Namespace::table_ended);
        if let Some(done) = self.checkpointing.running.take_if(|running| running.left.is_empty()) {
            for (namespace, vector) in done.position.vectors {
                if let Some(held) = self.namespaces.get_mut(namespace) {
                    held.checkpointed(vector);
                }
            }
            self.truncate();
        }
    }

    /// Cuts every journal as far as it may be. Called when a checkpoint has moved on or was due.
    fn truncate(&mut self) {
        if self.readiness.disk().is_out() {
            return;
        }
        for namespace in self.namespaces.ids() {
            let Some(needless) = self.held_by_all(namespace) else { continue };
            let Some(held) = self.namespaces.get_mut(namespace) else { continue };
            let logs = held.cut_journal(needless, &self.settings, self.now);
            if !logs.is_empty() {
                self.effects.push_back(Effect::Disk(Job::Truncate { namespace, logs }));
            }
        }
    }

    /// What every peer of the namespace holds, of the logs that may be cut.
    fn held_by_all(&self, namespace: NamespaceId) -> Option<VersionVector> {
        let held = self.namespaces.get(namespace)?;
        let peers: Vec<_> = self.settings.sharing(namespace).filter_map(|worker| self.gossip.peer(worker)).collect();
        let marks = held.cuttable().map(|(origin, mark)| {
            let least = peers.iter().map(|peer| peer.holds(namespace, origin)).min();
            (origin, Mark { seq: least.map_or(mark.seq, |least| least.min(mark.seq)), ..mark })
        });
        Some(marks.collect())
    }
}
