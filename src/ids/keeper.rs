//! The keeper of the ceiling: the task that makes ceilings durable ahead of the IDs.
//!
//! It sleeps until it is woken: by a request that finds less than half of the lead left, by one that cannot go on, by
//! a claim or a refresh. So a busy node syncs a few times a second and its requests never wait for that; an idle one
//! syncs nothing, and its next request waits for one sync. A write that fails is final and never retried (I9).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use super::Shared;

/// How often a ceiling that waits for room on the disk looks again.
const ROOM_PERIOD: Duration = Duration::from_millis(100);

/// Where ceilings become durable.
pub trait CeilingStore: Send + Sync {
    /// Writes `ceiling`, in milliseconds since the epoch of the IDs, and syncs it: when this returns `Ok`, it survives
    /// a power cut. It blocks, and is called from threads that may be blocked, by one at a time.
    fn persist(&self, ceiling: u64) -> Result<(), String>;

    /// Whether a write has any prospect. Where it has none, the ceiling waits, and requests that need it are refused.
    fn has_room(&self) -> bool {
        true
    }

    /// [`Self::persist`], where the ceiling is the end of a quarantine, and our own IDs had come to `before`. Both are on the disk
    /// or neither is, so that the quarantine can be taken back after any restart.
    fn persist_quarantine(&self, ceiling: u64, before: u64) -> Result<(), String> {
        let _ = before;
        self.persist(ceiling)
    }
}

/// What requests and the keeper tell each other.
#[derive(Default)]
pub(super) struct Signals {
    /// Wakes the keeper.
    kick: Notify,
    /// The keeper is to extend the ceiling even if half of its lead is left.
    eager: AtomicBool,
    /// Tells those that wait for a ceiling to look again.
    moved: Notify,
    /// The next ceiling waits for room on the disk.
    disk_full: AtomicBool,
    /// Who waits for the keeper to take a quarantine back.
    forget: Mutex<Option<oneshot::Sender<bool>>>,
}

impl Signals {
    /// Has the keeper look whether a ceiling is due.
    pub(super) fn wake(&self) {
        self.kick.notify_one();
    }

    /// Has it extend the ceiling in any case.
    pub(super) fn extend(&self) {
        self.eager.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether the ceiling is to be extended in any case; asked once.
    pub(super) fn take_eager(&self) -> bool {
        self.eager.swap(false, Ordering::Relaxed)
    }

    /// Has the keeper take a quarantine back, and say whether there was one.
    pub(super) fn forget(&self) -> oneshot::Receiver<bool> {
        let (reply, forgotten) = oneshot::channel();
        *self.lock_forget() = Some(reply);
        self.wake();
        forgotten
    }

    /// Those that wait for a ceiling look again.
    pub(super) fn tell_moved(&self) {
        self.moved.notify_waiters();
    }

    /// Resolves when the ceiling has moved, or something else that a request waits for.
    pub(super) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Whether the next ceiling can be written.
    pub(super) fn tell_room(&self, room: bool) {
        if self.disk_full.swap(!room, Ordering::Relaxed) == room {
            self.tell_moved();
        }
    }

    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// Held for an instruction that does not panic, so a poisoned lock is sound.
    fn lock_forget(&self) -> MutexGuard<'_, Option<oneshot::Sender<bool>>> {
        self.forget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the ID source is dropped or a write fails.
pub(super) async fn keep(shared: Arc<Shared>, store: Arc<dyn CeilingStore>, observer: impl Fn(u64)) {
    loop {
        shared.signals.kick.notified().await;
        let forgotten = shared.signals.lock_forget().take();
        if let Some(reply) = forgotten {
            // Nothing above it is issued before the next one is durable, and nobody but this task makes one so.
            let lowered = shared.lock().forget_quarantine();
            if let Some(ceiling) = lowered
                && !is_durable(&shared, &store, ceiling).await
            {
                return;
            }
            let _ = reply.send(lowered.is_some());
            shared.signals.eager.store(true, Ordering::Relaxed);
        }
        let Some(ceiling) = shared.next_ceiling() else { continue };
        if !is_durable(&shared, &store, ceiling).await {
            return;
        }
        shared.raise_ceiling(ceiling);
        observer(ceiling);
    }
}

/// Makes a ceiling durable, or ends the IDs of this node.
async fn is_durable(shared: &Shared, store: &Arc<dyn CeilingStore>, ceiling: u64) -> bool {
    while !store.has_room() {
        shared.signals.tell_room(false);
        tokio::time::sleep(ROOM_PERIOD).await;
    }
    shared.signals.tell_room(true);
    let before = shared.lock().before_quarantine(ceiling);
    let Err(reason) = persist(store.clone(), ceiling, before).await else { return true };
    tracing::error!(%reason, ceiling, "the ID ceiling could not be made durable; no more IDs from this node");
    shared.fence(&format!("the ID ceiling could not be made durable: {reason}"));
    false
}

async fn persist(store: Arc<dyn CeilingStore>, ceiling: u64, before: Option<u64>) -> Result<(), String> {
    let write = move || match before {
        Some(before) => store.persist_quarantine(ceiling, before),
        None => store.persist(ceiling),
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(ended.to_string()),
    }
}
