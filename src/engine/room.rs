//! How much may wait for the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Room for so many batches with so many operations; cheap to clone.
#[derive(Clone)]
pub(super) struct Room(Arc<Counts>);

struct Counts {
    /// Places for batches that are left.
    batches: AtomicUsize,
    /// The same for operations.
    operations: AtomicUsize,
    operations_max: usize,
}

/// A batch's room, until it is dropped.
pub(super) struct Place {
    room: Room,
    operations: usize,
}

impl Room {
    pub(super) fn new(batches_max: usize, operations_max: usize) -> Self {
        let (batches, operations) = (AtomicUsize::new(batches_max), AtomicUsize::new(operations_max));
        Self(Arc::new(Counts { batches, operations, operations_max }))
    }

    /// The largest batch that there is room for now.
    pub(super) fn left(&self) -> usize {
        if self.0.batches.load(Relaxed) == 0 {
            return 0;
        }
        let left = self.0.operations.load(Relaxed);
        if left == self.0.operations_max { usize::MAX } else { left }
    }

    /// Room for a batch, if there is so much; one that is larger than all of it needs it all.
    pub(super) fn take(&self, operations: usize) -> Option<Place> {
        let operations = operations.min(self.0.operations_max);
        take(&self.0.batches, 1)?;
        if take(&self.0.operations, operations).is_none() {
            self.0.batches.fetch_add(1, Relaxed);
            return None;
        }
        Some(Place { room: self.clone(), operations })
    }
}

/// Takes so much of a count, if it is left. The counts only bound: nothing else is ordered by them.
fn take(left: &AtomicUsize, count: usize) -> Option<usize> {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(count)).ok()
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.operations.fetch_add(self.operations, Relaxed);
        self.room.0.batches.fetch_add(1, Relaxed);
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
