//! What a connection may send before anybody reads it, where its protocol promises it that (flow control of QUIC: RFC 9000,
//! section 4). Each new connection gets a part of what is left and gives it back at its end, so that all together are
//! bounded, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Budget;

/// Beside the budget, windows take one part in so many of it.
const BUDGET_PART: usize = 3;
/// A new connection gets one part in so many of what is left.
const LEFT_PART: usize = 16;
/// Every connection has so much, whatever is left.
const BYTES_MIN: usize = 32 << 10;
const BYTES_MAX: usize = 512 << 10;

/// What is left for windows.
pub(super) struct Left(AtomicUsize);

/// The window of one connection, until this is dropped.
pub struct Window {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Left {
    pub(super) fn of(budget_bytes: usize) -> Self {
        Self(AtomicUsize::new(budget_bytes / BUDGET_PART))
    }
}

impl Budget {
    /// A window for a new connection.
    pub fn window(self: &Arc<Self>) -> Window {
        let part = |left: usize| (left / LEFT_PART).min(BYTES_MAX);
        let taken = self.windows.0.fetch_update(Relaxed, Relaxed, |left| Some(left - part(left)));
        Window { budget: Arc::clone(self), bytes: taken.map_or(0, part) }
    }
}

impl Window {
    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes.max(BYTES_MIN)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.budget.windows.0.fetch_add(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_have_long_windows_and_many_are_bounded_together() {
        let budget = Budget::new(24 << 20);
        let first = budget.window();
        assert_eq!(first.bytes(), BYTES_MAX);
        let many: Vec<_> = (0..1_000).map(|_| budget.window()).collect();
        assert!(many.windows(2).all(|pair| pair[0].bytes() >= pair[1].bytes()));
        let beyond_least: usize = many.iter().map(|window| window.bytes() - BYTES_MIN).sum();
        assert!(beyond_least <= 8 << 20, "{beyond_least}");
        assert_eq!(many.last().map(Window::bytes), Some(BYTES_MIN));
        drop((first, many));
        assert_eq!(budget.window().bytes(), BYTES_MAX, "all was given back");
    }
}
