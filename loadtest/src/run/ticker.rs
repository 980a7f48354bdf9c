//! Wakes tasks at a time, more exactly than the runtime's timers, which count in whole milliseconds.
//!
//! A thread of its own sleeps until the next time that was ordered; Linux wakes it about 50 µs late. It wakes nobody sooner
//! than [`APART`] after the last time: at a high rate, what has come due meanwhile is sent together, and sending it takes
//! less from whatever else the machine does. How late that makes a request is part of its latency, which counts from the
//! intended time. Orders are bounded by those who give them: each lane waits for one time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

/// Closer than this is now: waking would take longer.
const NOW_MICROS: u128 = 20;

/// Between two times at which tasks are woken, at least.
const APART: Duration = Duration::from_micros(500);

/// Orders wake-ups; the thread ends with the last clone.
#[derive(Clone)]
pub(super) struct Ticker(Arc<End>);

#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    /// The thread is to sleep until another time.
    changed: Condvar,
    /// It has slept until that time.
    woke: Notify,
}

#[derive(Default)]
struct Orders {
    waiting: BTreeMap<Instant, Vec<oneshot::Sender<()>>>,
    /// Until when the thread sleeps, if there is anything to wake up for.
    wakes_at: Option<Instant>,
    /// Before this, nobody is woken.
    rests_until: Option<Instant>,
    has_ended: bool,
}

/// Ends the thread and its task when it is dropped.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.orders().has_ended = true;
        self.0.changed.notify_one();
        self.0.woke.notify_one();
    }
}

impl Ticker {
    /// Starts the thread, and the task that hands its wake-ups out: so it wakes the runtime once for all of them.
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let sleeping = Arc::clone(&shared);
        std::thread::Builder::new().name("ticker".into()).spawn(move || sleeping.sleep())?;
        tokio::spawn(hand_out(Arc::clone(&shared)));
        Ok(Self(Arc::new(End(shared))))
    }

    /// Returns at `at`, at once if that has passed.
    pub(super) async fn until(&self, at: Instant) {
        if at.saturating_duration_since(Instant::now()).as_micros() < NOW_MICROS {
            return;
        }
        // The sender is dropped only with the runtime.
        let _ = self.0.0.order(at).await;
    }
}

impl Shared {
    /// Sleeps from one planned time to the next.
    fn sleep(&self) {
        let mut orders = self.orders();
        while !orders.has_ended {
            let left = orders.wakes_at.map(|at| at.saturating_duration_since(Instant::now()));
            orders = match left {
                None => self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    orders.wakes_at = None;
                    self.woke.notify_one();
                    orders
                }
                Some(left) => self.changed.wait_timeout(orders, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn order(&self, at: Instant) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut orders = self.orders();
        orders.waiting.entry(at).or_default().push(wake);
        self.plan(orders);
        woken
    }

    /// Has the thread wake up in time for the first order.
    fn plan(&self, mut orders: MutexGuard<'_, Orders>) {
        let Some((first, _)) = orders.waiting.first_key_value() else { return };
        let at = (*first).max(orders.rests_until.unwrap_or(*first));
        if orders.wakes_at.is_none_or(|planned| at < planned) {
            orders.wakes_at = Some(at);
            drop(orders);
            self.changed.notify_one();
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // No code that holds the lock panics halfway through a change.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes all whose time has come, each time that the thread wakes up.
async fn hand_out(shared: Arc<Shared>) {
    loop {
        shared.woke.notified().await;
        let mut orders = shared.orders();
        if orders.has_ended {
            return;
        }
        let now = Instant::now();
        while let Some(due) = orders.waiting.first_entry().filter(|first| *first.key() <= now) {
            for wake in due.remove() {
                // Whoever ordered it may have given up waiting.
                let _ = wake.send(());
            }
        }
        orders.rests_until = now.checked_add(APART);
        shared.plan(orders);
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn after_a_wake_up_all_rest_a_while() {
        let (shared, start) = (Shared::default(), Instant::now());
        let planned = |at: Duration| {
            let _woken = shared.order(start + at);
            shared.orders().wakes_at.map(|at| at - start)
        };
        assert_eq!(planned(APART * 2), Some(APART * 2));
        assert_eq!(planned(APART / 2), Some(APART / 2), "whoever comes first is waited for");
        let rested = start + APART;
        *shared.orders() = Orders { rests_until: Some(rested), ..Orders::default() };
        assert_eq!(planned(APART / 2), Some(APART));
        assert_eq!(planned(APART / 4), Some(APART));
        assert_eq!(planned(APART * 2), Some(APART));
    }

    #[tokio::test]
    async fn the_thread_ends_with_the_last_clone() {
        let ticker = Ticker::start().unwrap();
        let shared = Arc::clone(&ticker.0.0);
        drop(ticker.clone());
        assert!(!shared.orders().has_ended);
        drop(ticker);
        assert!(shared.orders().has_ended);
        while Arc::strong_count(&shared) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
