//! Wakes tasks at a time, more exactly than the runtime's timers, which count in whole milliseconds.
//!
//! A thread of its own sleeps until the next time that was ordered; Linux wakes it about 50 µs late. It is bounded by
//! its callers: each lane waits for one time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use tokio::sync::oneshot;

/// Closer than this is now: waking would take longer.
const NOW_MICROS: u128 = 20;

/// Orders wake-ups; the thread ends with the last clone.
#[derive(Clone)]
pub struct Ticker {
    orders: Sender<Order>,
}

struct Order {
    at: Reverse<Instant>,
    wake: oneshot::Sender<()>,
}

impl Ticker {
    /// Starts the thread.
    pub fn start() -> std::io::Result<Self> {
        let (orders, incoming) = channel();
        std::thread::Builder::new().name("ticker".into()).spawn(move || tick(&incoming))?;
        Ok(Self { orders })
    }

    /// Returns at `at`, at once if that has passed.
    pub async fn until(&self, at: Instant) {
        if at.saturating_duration_since(Instant::now()).as_micros() < NOW_MICROS {
            return;
        }
        let (wake, woken) = oneshot::channel();
        if self.orders.send(Order { at: Reverse(at), wake }).is_err() || woken.await.is_err() {
            // The thread is gone, which cannot be; the runtime's timer does nearly as well.
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

fn tick(incoming: &Receiver<Order>) {
    let mut orders: BinaryHeap<Order> = BinaryHeap::new();
    loop {
        let next = match orders.peek() {
            None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(order) => incoming.recv_timeout(order.at.0.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(order) => orders.push(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while orders.peek().is_some_and(|order| order.at.0 <= now) {
            if let Some(order) = orders.pop() {
                // Whoever ordered it may have given up waiting.
                let _ = order.wake.send(());
            }
        }
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn never_wakes_early_and_in_any_order() {
        let ticker = Ticker::start().unwrap();
        let start = Instant::now();
        let wait = |ms: u64| {
            let ticker = ticker.clone();
            tokio::spawn(async move {
                ticker.until(start + Duration::from_millis(ms)).await;
                start.elapsed() + Duration::from_micros(20) >= Duration::from_millis(ms)
            })
        };
        for waited in [wait(30), wait(0), wait(10), wait(20)] {
            assert!(waited.await.unwrap());
        }
    }
}
