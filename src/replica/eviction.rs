//! Eviction: rows leave memory once they take more than `memory.bytes_max` leaves them.
//!
//! What is dirty, pinned or being read cannot leave (I11). Its number has bounds of its own, but long keys and many slots can make
//! it large: so beyond what those bounds come to for small rows, writes are refused until a checkpoint has made room (G7).

use super::Replica;
use super::rows::ROW_BYTES;

/// Rows that leave in one step, about; under pressure steps come often.
const STEP_ROWS: usize = 4_096;

impl Replica {
    /// Takes a bounded step, of each namespace by what it holds.
    pub(super) fn evict(&mut self) {
        let bytes = self.namespaces.bytes();
        let excess = bytes.saturating_sub(self.settings.rows_bytes_max);
        self.is_crowded = excess > self.unmovable_bytes_max();
        if excess == 0 {
            return;
        }
        let step = excess.min(STEP_ROWS * ROW_BYTES);
        for held in self.namespaces.iter_mut() {
            held.evict(step.saturating_mul(held.rows().bytes()).div_ceil(bytes));
        }
    }

    /// Rows that are changed have to stay, and no more of them can.
    pub(super) fn lacks_room_for_changes(&self) -> bool {
        self.is_crowded || self.checkpointing.dirty_rows >= self.settings.tuning.checkpoint.dirty_rows_max
    }

    /// What small rows that cannot leave memory come to at most.
    fn unmovable_bytes_max(&self) -> usize {
        let tuning = &self.settings.tuning;
        let rows = tuning.checkpoint.dirty_rows_max.saturating_add(tuning.memory.loading_rows_max);
        rows.saturating_mul(ROW_BYTES)
    }
}
