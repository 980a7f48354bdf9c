//! What those who add and the one who sends share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::NotCounted;
use super::heap::{Heap, Load};
use super::losses::Losses;
use super::settings::Coalescing;
use super::ticket::{Outcomes, Ticket, outcome};
use crate::error::Error;

pub(super) struct Shared {
    limits: Coalescing,
    state: Mutex<State>,
    /// Wakes the sender.
    work: Notify,
    /// Tells those who wait for room or for an outcome that a heap was taken or settled.
    moved: Notify,
}

#[derive(Default)]
struct State {
    heap: Heap,
    /// When the first increment came into the heap.
    since: Option<Instant>,
    /// The heap is not to wait for more.
    hurry: bool,
    /// What is under way.
    flying: Option<Arc<Load>>,
    /// Heaps that were taken, and of those the settled ones.
    taken: u64,
    settled: u64,
    /// Nobody adds any more.
    ending: bool,
    /// Nobody sends any more.
    ended: bool,
    losses: Losses,
}

impl Shared {
    pub(super) fn new(limits: Coalescing) -> Self {
        Self { limits, state: Mutex::default(), work: Notify::new(), moved: Notify::new() }
    }

    /// Merges an increment as soon as there is room.
    pub(super) async fn add(&self, namespace: &str, key: &str, by: i64) -> Result<Ticket, Error> {
        loop {
            // Made before the look, so that nothing that comes in between is missed.
            let moved = self.moved.notified();
            if let Some(outcome) = self.try_add(namespace, key, by) {
                return outcome;
            }
            moved.await;
        }
    }

    fn try_add(&self, namespace: &str, key: &str, by: i64) -> Option<Result<Ticket, Error>> {
        let mut state = self.state();
        if state.ended {
            return Some(Err(nobody_sends()));
        }
        let was_empty = state.heap.is_empty();
        let place = state.heap.add(namespace, key, by, &self.limits);
        if was_empty {
            state.since = Some(Instant::now());
        }
        // No room for a sum that grew too large is as good as a full heap.
        state.hurry |= place.is_none() || state.heap.is_full(&self.limits);
        if was_empty || state.hurry {
            self.work.notify_one();
        }
        place.map(|place| Ok(Ticket::new(Arc::clone(&state.heap.cohort), place)))
    }

    /// Waits until everything that was added before is settled.
    pub(super) async fn flush(&self) -> Result<(), NotCounted> {
        let (upto, since) = {
            let mut state = self.state();
            state.hurry |= !state.heap.is_empty();
            self.work.notify_one();
            (state.taken.saturating_add(u64::from(!state.heap.is_empty())), state.losses.since())
        };
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.state();
                if state.settled >= upto || state.ended {
                    return state.losses.report(&since);
                }
            }
            moved.await;
        }
    }

    /// The next heap, once it has waited long enough; `None` at the end.
    pub(super) async fn next(&self) -> Option<Arc<Load>> {
        loop {
            let due = {
                let mut state = self.state();
                match state.since {
                    None if state.ending => return None,
                    None => None,
                    Some(since) if state.hurry || state.ending || Instant::now() >= since + self.limits.delay => {
                        return Some(self.take(&mut state));
                    }
                    Some(since) => Some(since + self.limits.delay),
                }
            };
            match due {
                // Either way, the next look tells.
                Some(due) => drop(timeout_at(due, self.work.notified()).await),
                None => self.work.notified().await,
            }
        }
    }

    fn take(&self, state: &mut State) -> Arc<Load> {
        let load = Arc::new(std::mem::take(&mut state.heap).load());
        (state.since, state.hurry) = (None, false);
        state.taken = state.taken.saturating_add(1);
        state.flying = Some(Arc::clone(&load));
        self.moved.notify_waiters();
        load
    }

    /// Tells everybody what became of the heap that is under way.
    pub(super) fn settle(&self, outcomes: Outcomes) {
        let load = {
            let mut state = self.state();
            let Some(load) = state.flying.take() else { return };
            state.settled = state.settled.saturating_add(1);
            for (place, increments) in load.increments.iter().enumerate() {
                if let Err(error) = outcome(&outcomes, place) {
                    state.losses.add(&error, *increments);
                }
            }
            load
        };
        // Nobody else sets it while a heap is under way.
        let _ = load.cohort.set(outcomes);
        self.moved.notify_waiters();
    }

    /// Nobody adds any more.
    pub(super) fn end(&self) {
        self.state().ending = true;
        self.work.notify_one();
    }

    /// Nobody sends any more: what is left hears what is known of it.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.ended = true;
        if let Some(load) = state.flying.take() {
            let error = Error::Ambiguous { reason: "the task that sends increments has ended".into() };
            state.losses.add(&error, load.increments.iter().sum());
            let _ = load.cohort.set(Err(error));
        }
        if !state.heap.is_empty() {
            let increments = state.heap.increments();
            state.losses.add(&nobody_sends(), increments);
        }
        let _ = state.heap.cohort.set(Err(nobody_sends()));
        self.moved.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nobody_sends() -> Error {
    Error::Disconnected { reason: "the task that sends increments has ended".into() }
}
