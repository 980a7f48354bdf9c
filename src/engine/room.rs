//! How much may wait for the engine.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for so many batches with so many operations; cheap to clone.
#[derive(Clone)]
pub(super) struct Room {
    batches: Arc<Semaphore>,
    operations: Arc<Semaphore>,
    operations_max: u32,
}

/// A batch's room, until it is dropped.
pub(super) struct Place {
    _batch: OwnedSemaphorePermit,
    _operations: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(batches_max: usize, operations_max: usize) -> Self {
        let operations_max = u32::try_from(operations_max).unwrap_or(u32::MAX);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { batches: semaphore(batches_max), operations: semaphore(operations_max as usize), operations_max }
    }

    /// The largest batch that there is room for now.
    pub(super) fn left(&self) -> usize {
        if self.batches.available_permits() == 0 {
            return 0;
        }
        let left = self.operations.available_permits();
        if left == self.operations_max as usize { usize::MAX } else { left }
    }

    /// Room for a batch, if there is so much; one that is larger than all of it needs it all.
    pub(super) fn take(&self, operations: usize) -> Option<Place> {
        let operations = u32::try_from(operations).unwrap_or(u32::MAX).min(self.operations_max);
        Some(Place {
            _batch: Arc::clone(&self.batches).try_acquire_owned().ok()?,
            _operations: Arc::clone(&self.operations).try_acquire_many_owned(operations).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let room = Room::new(3, 1_000);
        let first = room.take(600);
        assert!(first.is_some() && room.take(401).is_none());
        let second = room.take(399);
        let third = room.take(1);
        assert!(second.is_some() && third.is_some() && room.take(0).is_none(), "no place for a fourth batch");
        assert_eq!(room.left(), 0);
        drop((first, second, third));
        assert!(room.take(1_000).is_some());
    }

    #[test]
    fn the_largest_batches_go_one_at_a_time() {
        let room = Room::new(10, 1_000);
        assert_eq!(room.left(), usize::MAX);
        let large = room.take(usize::MAX);
        assert!(large.is_some() && room.take(1).is_none());
        assert_eq!(room.left(), 0);
        drop(large);
        let small = room.take(1);
        assert!(small.is_some() && room.take(5_000).is_none());
        assert_eq!(room.left(), 999);
    }
}
