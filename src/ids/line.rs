//! The line of requests that wait for IDs: first come, first served, and only as long as is worth waiting in.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// Requests that wait. The first holds the turn; the mutex keeps the others in order.
pub(super) struct Line {
    turn: Mutex<()>,
    /// IDs that are being waited for.
    wanted: AtomicU64,
    /// More than this the clock cannot yield before those at the end would be refused anyway.
    wanted_max: u64,
}

/// A place in the line, left when dropped.
pub(super) struct Place<'a> {
    line: &'a Line,
    count: u64,
}

impl Line {
    pub(super) fn new(wanted_max: u64) -> Self {
        Self { turn: Mutex::new(()), wanted: AtomicU64::new(0), wanted_max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) == 0
    }

    /// IDs that are being waited for.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A place for a request of so many IDs; `None` if the line is too long. An empty line takes any request.
    pub(super) fn join(&self, count: u32) -> Option<Place<'_>> {
        let count = u64::from(count);
        let before = self.wanted.fetch_add(count, Ordering::Relaxed);
        let place = Place { line: self, count };
        let admitted = before == 0 || before.saturating_add(count) <= self.wanted_max;
        admitted.then_some(place)
    }

    /// Waits until all who came earlier are served.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.wanted.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_what_the_clock_can_yield_and_any_single_request() {
        let line = Line::new(10);
        let big = line.join(1_000).unwrap();
        assert!(line.join(1).is_none());
        drop(big);
        assert!(line.is_empty());
        let _first = line.join(6).unwrap();
        let second = line.join(4).unwrap();
        assert!(line.join(1).is_none());
        drop(second);
        assert!(line.join(4).is_some());
    }
}
