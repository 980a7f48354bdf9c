//! The generator under its lock: everything that several threads do to it at once.
//!
//! Whatever reads the clock does so under the lock, so that readings come in the order in which they are used. The
//! kind of lock is a parameter, so that `interleavings` runs this very code under every order of threads.

use std::ops::DerefMut;
use std::sync::{Mutex, PoisonError};

use super::Order;
use crate::snowflake::{Generator, Reading, Verdict};

/// A lock around the generator.
pub(super) trait Lock {
    /// Waits until it is free, and takes it.
    fn lock(&self) -> impl DerefMut<Target = Generator>;
}

impl Lock for Mutex<Generator> {
    /// A panic under the lock would leave the generator in an unknown state: it issues nothing more.
    fn lock(&self) -> impl DerefMut<Target = Generator> {
        Self::lock(self).unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut generator = poisoned.into_inner();
            generator.fence();
            generator
        })
    }
}

/// What several threads share of the generator.
pub(super) struct Guarded<L = Mutex<Generator>>(L);

impl<L: Lock> Guarded<L> {
    pub(super) fn new(lock: L) -> Self {
        Self(lock)
    }

    pub(super) fn lock(&self) -> impl DerefMut<Target = Generator> {
        self.0.lock()
    }

    /// Adds what can be had at once to the order. Also says whether a higher ceiling is due.
    pub(super) fn attempt(&self, read: impl FnOnce() -> Reading, order: &mut Order) -> (Verdict, bool) {
        let before = order.runs.len();
        let mut generator = self.lock();
        let now = read();
        let since_unix_ms = *order.since_unix_ms.get_or_insert(now.wall_ms);
        let verdict = generator.allocate(now, since_unix_ms, order.left, &mut order.runs);
        let due = generator.ceiling_due(now).is_some();
        drop(generator);
        let issued: u32 = order.runs.iter().skip(before).map(|run| run.count).sum();
        order.left = order.left.saturating_sub(issued);
        (verdict, due)
    }

    /// The ceiling to make durable now, if any: if it is due, or the highest possible.
    pub(super) fn next_ceiling(&self, read: impl FnOnce() -> Reading, eager: bool) -> Option<u64> {
        let generator = self.lock();
        let now = read();
        if eager { generator.ceiling_possible(now) } else { generator.ceiling_due(now) }
    }

    /// This ceiling is durable.
    pub(super) fn raise_ceiling(&self, ceiling: u64) {
        self.lock().raise_ceiling(ceiling);
    }

    /// No more IDs. `tell` is called under the lock, so that whoever is refused for the fence finds its reason.
    pub(super) fn fence(&self, tell: impl FnOnce()) {
        let mut generator = self.lock();
        generator.fence();
        tell();
    }

    /// No more IDs: the node shuts down.
    pub(super) fn drain(&self) {
        self.lock().drain();
    }
}
