//! How many operations may wait for the engine.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for so many operations; cheap to clone.
#[derive(Clone)]
pub(super) struct Room {
    left: Arc<Semaphore>,
    most: u32,
}

impl Room {
    pub(super) fn new(operations_max: usize) -> Self {
        let most = u32::try_from(operations_max).unwrap_or(u32::MAX);
        Self { left: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// The largest batch that there is room for now.
    pub(super) fn left(&self) -> usize {
        let left = self.left.available_permits();
        if left == self.most as usize { usize::MAX } else { left }
    }

    /// Room for a batch until it is dropped, if there is so much; a batch that is larger than all of it needs it all.
    pub(super) fn take(&self, operations: usize) -> Option<OwnedSemaphorePermit> {
        let operations = u32::try_from(operations).unwrap_or(u32::MAX).min(self.most);
        Arc::clone(&self.left).try_acquire_many_owned(operations).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let room = Room::new(1_000);
        let first = room.take(600);
        assert!(first.is_some() && room.take(401).is_none());
        let second = room.take(400);
        assert!(second.is_some() && room.take(1).is_none());
        drop((first, second));
        assert!(room.take(1_000).is_some());
    }

    #[test]
    fn the_largest_batches_go_one_at_a_time() {
        let room = Room::new(1_000);
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
