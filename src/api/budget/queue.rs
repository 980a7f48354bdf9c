//! Waiting for room: in the order of coming, woken by whoever gives some back, and for a moment at most.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::NoRoom;
use crate::clock;

/// How long a request waits for room: until somebody can have been cut for it.
const WAIT: Duration = Duration::from_millis(800);
/// Whoever waits looks so often for somebody to be cut.
const WAIT_STEP: Duration = Duration::from_millis(100);

/// Those that wait for room, the longest first.
#[derive(Default)]
pub(super) struct Queue {
    freed: Notify,
    pub(super) waiting: AtomicUsize,
}

impl Queue {
    /// There may be room: wakes whoever has waited the longest for it. False if nobody waits.
    pub(super) fn tell(&self) -> bool {
        let any = self.waiting.load(SeqCst) > 0;
        if any {
            self.freed.notify_one();
        }
        any
    }

    /// What `take` gives, as soon as it gives something, which it may whenever somebody has given room back; then `pass_on`
    /// tells those that wait still. Each time it does not, `clear` looks for more.
    pub(super) async fn wait<T>(
        &self,
        take: impl Fn() -> Option<T>,
        pass_on: impl Fn(),
        clear: impl Fn(),
    ) -> Result<T, NoRoom> {
        let waiting = Waiting::new(&self.waiting);
        // Whoever comes later does not go before those that wait.
        let mut may_take = waiting.others == 0;
        let until = Instant::from_std(clock::monotonic()) + WAIT;
        loop {
            let mut freed = pin!(self.freed.notified());
            // From now on it misses nothing, and keeps its place.
            freed.as_mut().enable();
            loop {
                if let Some(taken) = may_take.then(&take).flatten() {
                    // There may be more than this one needs.
                    pass_on();
                    return Ok(taken);
                }
                may_take = true;
                let now = Instant::from_std(clock::monotonic());
                if now >= until {
                    return Err(NoRoom);
                }
                clear();
                if timeout_at(until.min(now + WAIT_STEP), freed.as_mut()).await.is_ok() {
                    break;
                }
            }
        }
    }
}

/// Counted among those that wait for room, until this is dropped.
pub(super) struct Waiting<'a> {
    count: &'a AtomicUsize,
    /// How many did before.
    pub(super) others: usize,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        Self { count, others: count.fetch_add(1, SeqCst) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, SeqCst);
    }
}
