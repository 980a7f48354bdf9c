//! Checkpoints: changed rows are written in parts, committed values only, and then the position that they reach (I11).

use std::collections::VecDeque;

use crate::crdt::VersionVector;
use crate::identity::NamespaceId;

use super::rows::RowId;

/// Rows in one part: small enough that making it does not hold up the engine.
pub(super) const CHUNK_ROWS: usize = 2_048;

/// Which rows are to be written, and how far a running checkpoint is.
#[derive(Debug)]
pub(super) struct Checkpointing {
    /// Rows that changed since the last checkpoint began, each once.
    dirty: Vec<(NamespaceId, RowId)>,
    running: Option<Running>,
    /// When the next one begins.
    pub(super) due_at: u64,
}

#[derive(Debug)]
struct Running {
    left: VecDeque<(NamespaceId, RowId)>,
    /// The part that is being written; `None` between parts.
    writing: Option<Vec<(NamespaceId, RowId)>>,
    /// What the rows on disk will cover: the committed vectors when the checkpoint began. Rows that change later are
    /// written with later values, which is harmless (I5), and are dirty again.
    position: Vec<(NamespaceId, VersionVector)>,
}

/// The next part to write; `position` comes with the last.
pub(super) struct Part {
    pub(super) rows: Vec<(NamespaceId, RowId)>,
    pub(super) position: Option<Vec<(NamespaceId, VersionVector)>>,
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
    pub(super) fn add(&mut self, namespace: NamespaceId, row: RowId) {
        self.dirty.push((namespace, row));
    }

    pub(super) fn begin(&mut self, position: Vec<(NamespaceId, VersionVector)>) {
        let left = std::mem::take(&mut self.dirty).into();
        self.running = Some(Running { left, writing: None, position });
    }

    /// The next part, unless one is being written or nothing runs.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        let running = self.running.as_mut().filter(|running| running.writing.is_none())?;
        let rows: Vec<_> = running.left.drain(..running.left.len().min(CHUNK_ROWS)).collect();
        running.writing = Some(rows.clone());
        let position = running.left.is_empty().then(|| std::mem::take(&mut running.position));
        Some(Part { rows, position })
    }

    /// The part is written; returns its rows.
    pub(super) fn written(&mut self) -> Vec<(NamespaceId, RowId)> {
        let Some(running) = self.running.as_mut() else { return Vec::new() };
        let rows = running.writing.take().unwrap_or_default();
        if running.left.is_empty() {
            self.running = None;
        }
        rows
    }
}
