//! Checkpoints: changed rows are written in parts, committed values only, and then the position that they reach (I11).
//!
//! They are written in the order in which they stand on disk. So rows of one leaf go together, with one sum for all of
//! them, and the store puts each row next to the one before.

use std::collections::VecDeque;

use crate::identity::NamespaceId;
use crate::merkle::Place;

use super::effect::Position;
use super::rows::RowId;

/// Rows in one part: small enough that making it does not hold up the engine.
pub(super) const CHUNK_ROWS: usize = 1_024;

/// A row that is to be written. Ordered as rows are on disk.
type Dirty = (NamespaceId, Place, RowId);

/// Which rows are to be written, and how far a running checkpoint is.
#[derive(Debug)]
pub(super) struct Checkpointing {
    /// Rows that changed since the last checkpoint began, each once.
    dirty: Vec<Dirty>,
    running: Option<Running>,
    /// When the next one begins.
    pub(super) due_at: u64,
}

#[derive(Debug)]
struct Running {
    left: VecDeque<Dirty>,
    /// The part that is being written; `None` between parts.
    writing: Option<Vec<(NamespaceId, RowId)>>,
    /// What the rows on disk will cover: the committed vectors when the checkpoint began. Rows that change later are
    /// written with later values, which is harmless (I5), and are dirty again.
    position: Position,
}

/// The next part to write; `position` comes with the last.
pub(super) struct Part {
    pub(super) rows: Vec<(NamespaceId, RowId)>,
    pub(super) position: Option<Position>,
}

impl Checkpointing {
    pub(super) fn new(due_at: u64) -> Self {
        Self { dirty: Vec::new(), running: None, due_at }
    }

    /// Rows not yet written.
    pub(super) fn dirty_rows(&self) -> usize {
        self.dirty.len() + self.running.as_ref().map_or(0, |running| running.left.len())
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// A clean row has changed.
    pub(super) fn add(&mut self, namespace: NamespaceId, place: Place, row: RowId) {
        self.dirty.push((namespace, place, row));
    }

    pub(super) fn begin(&mut self, position: Position) {
        let mut left = std::mem::take(&mut self.dirty);
        left.sort_unstable();
        self.running = Some(Running { left: left.into(), writing: None, position });
    }

    /// The next part, unless one is being written or nothing runs.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        let running = self.running.as_mut().filter(|running| running.writing.is_none())?;
        let part = running.left.drain(..running.left.len().min(CHUNK_ROWS));
        let rows: Vec<_> = part.map(|(namespace, _, row)| (namespace, row)).collect();
        running.writing = Some(rows.clone());
        let position = running.left.is_empty().then(|| running.position.clone());
        Some(Part { rows, position })
    }

    /// The part is written; returns its rows and, if it was the last, how far the rows on disk reach now.
    pub(super) fn written(&mut self) -> (Vec<(NamespaceId, RowId)>, Option<Position>) {
        let Some(running) = self.running.as_mut() else { return (Vec::new(), None) };
        let rows = running.writing.take().unwrap_or_default();
        let over = running.left.is_empty();
        let position = if over { self.running.take().map(|running| running.position) } else { None };
        (rows, position)
    }
}
