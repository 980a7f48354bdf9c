//! The thread that keeps limits: it reads the clocks and sends what is due, every `limits.interval`.
//!
//! It is a thread of its own, since D, by which the bound is widened, is how late it comes: the threads of doors may be
//! busy for longer.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::Limiter;

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins. `wall_ms` tells Unix time, as far as it is believed.
    pub fn start(
        limiter: Limiter,
        interval: Duration,
        wall_ms: impl Fn() -> Option<u64> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let keep = move || keep(&limiter, interval, &wall_ms, &stopped);
        let thread = Builder::new().name("limits".to_owned()).spawn(keep)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It ends within an interval, or has panicked and said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn keep(limiter: &Limiter, interval: Duration, wall_ms: &dyn Fn() -> Option<u64>, stopped: &Receiver<()>) {
    while matches!(stopped.recv_timeout(interval), Err(RecvTimeoutError::Timeout)) {
        limiter.tick(wall_ms());
    }
}
