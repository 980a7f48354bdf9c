//! Wakes tasks at a time, more exactly than the runtime's timers, which count in whole milliseconds.
//!
//! A thread of its own sleeps until the next time that was ordered; Linux wakes it about 50 µs late. It is bounded by
//! its callers: each lane waits for one time.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use tokio::sync::oneshot;

/// Closer than this is now: waking would take longer.
const NOW_MICROS: u128 = 20;

/// Orders wake-ups; the thread ends with the last clone.
#[derive(Clone)]
pub(super) struct Ticker {
    orders: Sender<(Instant, oneshot::Sender<()>)>,
}

impl Ticker {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (orders, incoming) = channel();
        std::thread::Builder::new().name("ticker".into()).spawn(move || tick(&incoming))?;
        Ok(Self { orders })
    }

    /// Returns at `at`, at once if that has passed.
    pub(super) async fn until(&self, at: Instant) {
        if at.saturating_duration_since(Instant::now()).as_micros() < NOW_MICROS {
            return;
        }
        let (wake, woken) = oneshot::channel();
        if self.orders.send((at, wake)).is_err() || woken.await.is_err() {
            // The thread is gone, which cannot be; the runtime's timer does nearly as well.
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

fn tick(incoming: &Receiver<(Instant, oneshot::Sender<()>)>) {
    let mut waiting: BTreeMap<Instant, Vec<oneshot::Sender<()>>> = BTreeMap::new();
    loop {
        let next = match waiting.first_key_value() {
            None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((at, _)) => incoming.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok((at, wake)) => waiting.entry(at).or_default().push(wake),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while let Some(due) = waiting.first_entry().filter(|first| *first.key() <= now) {
            for wake in due.remove() {
                // Whoever ordered it may have given up waiting.
                let _ = wake.send(());
            }
        }
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
