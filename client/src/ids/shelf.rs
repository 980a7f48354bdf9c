//! The blocks at hand, and the meeting of those who take with the one who fetches.
//!
//! Taking costs a look at the clock and two atomic operations; the lock is for those who find nothing. At most two
//! blocks are here: the present one, and one in reserve.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::block::Block;
use crate::error::Error;

pub(super) struct Shelf {
    present: ArcSwapOption<Block>,
    state: Mutex<State>,
    /// Another block is wanted, being fetched, or in reserve: nobody else needs to ask for it.
    requested: AtomicBool,
    /// Wakes the keeper.
    wanted: Notify,
    /// Tells those who wait that a block has come, or none.
    settled: Notify,
    #[cfg(test)]
    pub(super) elapsed_ms: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct State {
    reserve: Option<Arc<Block>>,
    failure: Option<Failure>,
    /// How often none has come.
    failures: u64,
}

/// Why no block came, and until when that is the answer.
struct Failure {
    error: Error,
    /// `None`: for good.
    until: Option<Instant>,
}

impl Shelf {
    /// Empty, and the first block is asked for.
    pub(super) fn new() -> Self {
        let shelf = Self {
            present: ArcSwapOption::empty(),
            state: Mutex::default(),
            requested: AtomicBool::new(false),
            wanted: Notify::new(),
            settled: Notify::new(),
            #[cfg(test)]
            elapsed_ms: std::sync::atomic::AtomicU64::new(0),
        };
        shelf.ask();
        shelf
    }

    /// An ID of the present block, if it has one.
    pub(super) fn take(&self) -> Option<u64> {
        let taken = self.present.load().as_ref()?.take(self.now())?;
        if taken.low {
            self.ask();
        }
        Some(taken.id)
    }

    /// An ID as soon as there is one, or why none came.
    pub(super) async fn wait(&self) -> Result<u64, Error> {
        let failures = self.state().failures;
        loop {
            // Made before the look, so that a block that comes in between is not missed.
            let settled = self.settled.notified();
            if let Some(outcome) = self.look(failures) {
                return outcome;
            }
            settled.await;
        }
    }

    /// Waits until a block is wanted.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A block has come.
    pub(super) fn put(&self, block: Block) {
        let mut state = self.state();
        (state.reserve, state.failure) = (Some(Arc::new(block)), None);
        drop(state);
        self.settled.notify_waiters();
    }

    /// None came, and none will be asked for before `until`; without it, never again.
    pub(super) fn fail(&self, error: Error, until: Option<Instant>) {
        let mut state = self.state();
        state.failure = Some(Failure { error, until });
        state.failures += 1;
        drop(state);
        self.requested.store(false, Ordering::Relaxed);
        self.settled.notify_waiters();
    }

    pub(super) fn now(&self) -> Instant {
        #[cfg(test)]
        let since = std::time::Duration::from_millis(self.elapsed_ms.load(Ordering::Relaxed));
        #[cfg(not(test))]
        let since = std::time::Duration::ZERO;
        Instant::now() + since
    }

    /// Under the lock: from the present block, which another may have replaced, then from the reserve. Who has waited
    /// since there were so many `failures` hears of a later one, however late it looks.
    fn look(&self, failures: u64) -> Option<Result<u64, Error>> {
        let mut state = self.state();
        if let Some(id) = self.take() {
            return Some(Ok(id));
        }
        if let Some(reserve) = state.reserve.take() {
            self.requested.store(false, Ordering::Relaxed);
            self.present.store(Some(reserve));
            if let Some(id) = self.take() {
                return Some(Ok(id));
            }
        }
        match &state.failure {
            Some(failure) if failure.stands(self.now()) || state.failures > failures => {
                return Some(Err(failure.left(self.now())));
            }
            _ => state.failure = None,
        }
        self.ask();
        None
    }

    /// Asks for a block, unless that is done. The flag is read first, since most find it set.
    fn ask(&self) {
        if !self.requested.load(Ordering::Relaxed) && !self.requested.swap(true, Ordering::Relaxed) {
            self.wanted.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn has_reserve(&self) -> bool {
        self.state().reserve.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn stands(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The error, with the time that is left.
    fn left(&self, now: Instant) -> Error {
        match (self.error.clone(), self.until) {
            (Error::Refused { code, detail, retry_after: Some(_) }, Some(until)) => {
                Error::Refused { code, detail, retry_after: Some(until.saturating_duration_since(now)) }
            }
            (error, _) => error,
        }
    }
}
