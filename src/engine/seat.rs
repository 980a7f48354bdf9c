//! Whoever brings work drives the engine, one at a time: leader-based group commit, as databases do it.
//!
//! A thread that hands in a round while nobody drives takes the seat: it has the replica carry out everything that waits,
//! leaves the seat, and syncs the commit that came of it. What others bring meanwhile, they gather themselves. So a client
//! that is alone waits for no other thread, and under load a commit holds what came during the sync before.
//!
//! The engine's own thread drives where nobody else does: for peers, for timers, for the store's answers, for large rounds,
//! and for what is left after the one commit that a thread of clients syncs. Where syncs take long it is the only one that
//! syncs, so that what else lives on such a thread does not wait for the disk; and always for the thread of the QUIC endpoint,
//! on which peers' links live.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

use super::disk::Writer;
use super::{Engine, Tripwire};
use crate::clock;
use crate::replica::{Event, Job};

/// A sync that takes no longer than so many microseconds is not worth another thread.
const SWIFT_US: u128 = 1_000;

/// More operations at once are worth another thread: meanwhile the thread that brings them serves its connections.
const OPERATIONS_MAX: usize = 512;

/// What all who drive share.
pub(super) struct Seat {
    /// `None` before it is started and once it has ended.
    engine: Mutex<Option<Engine>>,
    /// Held by whoever syncs. `None` as above.
    writer: Mutex<Option<Writer>>,
    /// The engine's own thread.
    own: OnceLock<Thread>,
    /// When that one looks again, in milliseconds of the engine's time.
    looks_at: AtomicU64,
    /// The last sync was so quick that a thread of clients may wait for the next.
    is_swift: AtomicBool,
}

impl Seat {
    pub(super) fn new() -> Self {
        Self {
            engine: Mutex::new(None),
            writer: Mutex::new(None),
            own: OnceLock::new(),
            looks_at: AtomicU64::new(0),
            is_swift: AtomicBool::new(true),
        }
    }

    /// Has the engine's own thread look at what has come.
    pub(super) fn call(&self) {
        if let Some(own) = self.own.get() {
            own.unpark();
        }
    }

    /// Drives the engine on a thread of clients that has brought so many operations; if somebody else drives, that one sees
    /// to them.
    pub(super) fn drive(&self, operations: usize, may_sync: bool) {
        if operations > OPERATIONS_MAX {
            return self.call();
        }
        // What was brought is seen by whoever is found in the seat: see `leave`.
        fence(SeqCst);
        let Ok(mut seat) = self.engine.try_lock() else { return };
        let Some(engine) = seat.as_mut() else { return };
        let news = engine.news();
        let _tripwire = Tripwire(&news);
        engine.turn();
        let sync = if may_sync && self.is_swift.load(Relaxed) { engine.next_write() } else { None };
        self.leave(seat);
        let Some(job) = sync else { return };
        let written = self.write(job);
        let Ok(mut seat) = self.engine.lock() else { return };
        let Some(engine) = seat.as_mut() else { return };
        engine.written(written);
        engine.turn();
        self.leave(seat);
    }

    /// The own thread sees to what is left, and to what came while the seat was taken: whoever brought that went away.
    fn leave(&self, seat: MutexGuard<'_, Option<Engine>>) {
        let Some(engine) = seat.as_ref() else { return };
        let early = engine.has_writes() || engine.deadline() < self.looks_at.load(Relaxed);
        let (arrivals, open) = (engine.arrivals(), engine.is_open());
        drop(seat);
        // Either we see what came, or who brought it finds the seat free.
        fence(SeqCst);
        if early || arrivals.have_come(open) {
            self.call();
        }
    }

    /// Drives on this thread, which is the engine's own, until it is to stop.
    pub(super) fn serve(&self, engine: Engine, writer: Writer) {
        let arrivals = engine.arrivals();
        let watch = engine.watch;
        *whole(&self.writer) = Some(writer);
        *whole(&self.engine) = Some(engine);
        let _end = End(self);
        let _ = self.own.set(thread::current());
        let mut written = None;
        loop {
            // One that has panicked is driven no more.
            let Ok(mut seat) = self.engine.lock() else { break };
            let Some(engine) = seat.as_mut() else { break };
            if let Some(written) = written.take() {
                engine.written(written);
            }
            engine.tick();
            engine.turn();
            if engine.is_stopped() {
                break;
            }
            let (sync, deadline, open) = (engine.next_write(), engine.deadline(), engine.is_open());
            self.looks_at.store(deadline, Relaxed);
            drop(seat);
            // As in `leave`.
            fence(SeqCst);
            if let Some(job) = sync {
                written = Some(self.write(job));
            } else if !arrivals.have_come(open) {
                thread::park_timeout(watch.at(deadline).saturating_duration_since(clock::monotonic()));
            }
        }
    }

    /// Writes and syncs; what came of it.
    fn write(&self, job: Job) -> Option<Event> {
        let mut writer = self.writer.lock().ok()?;
        let began = clock::monotonic();
        let written = writer.as_mut()?.write(job);
        self.is_swift.store(began.elapsed().as_micros() <= SWIFT_US, Relaxed);
        written
    }
}

/// The engine ends with its own thread, however that ends: who waits for an answer hears of it, and nobody holds the store any
/// more.
struct End<'a>(&'a Seat);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let engine = whole(&self.0.engine).take();
        // Waits for a sync on another thread.
        drop(whole(&self.0.writer).take());
        drop(engine);
    }
}

/// What is behind a lock, though somebody panicked who held it: only to be put there, or to be taken away.
fn whole<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
