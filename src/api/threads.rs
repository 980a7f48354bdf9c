//! The threads that clients' connections live on. Each has an event loop of its own, and a connection stays where it is put:
//! nothing of it is shared, and what all connections of a thread ask in one turn goes to the engine as one round.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine::rounds;
use crate::telemetry::Door;

/// How long the end waits for what a thread still does.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// Threads to put connections on; they end with the last clone.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of the QUIC endpoint with all its connections.
    quic: Handle,
    /// For connections over TCP, in turn.
    tcp: Box<[Handle]>,
    next: AtomicUsize,
    _stop: Option<DropGuard>,
}

impl Threads {
    /// Starts one for TCP for each processor, and one for QUIC. That one never waits for the disk: peers' links live on it.
    pub fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let count = thread::available_parallelism().map_or(1, usize::from);
        let quic = start("quic".to_owned(), false, &stop)?;
        let tcp = (0..count).map(|number| start(format!("tcp-{number}"), true, &stop)).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner { quic, tcp, next: AtomicUsize::new(0), _stop: Some(stop.drop_guard()) })))
    }

    /// None of its own: connections live on the runtime of the caller.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        let (quic, tcp) = (Handle::current(), [Handle::current()].into());
        Self(Arc::new(Inner { quic, tcp, next: AtomicUsize::new(0), _stop: None }))
    }

    /// The one of the QUIC endpoint.
    pub fn quic(&self) -> &Handle {
        &self.0.quic
    }

    /// The one that the next connection over TCP at this door is put on.
    ///
    /// The Redis protocol costs so little beside the disk that half of them serve it sooner: fewer, larger rounds. Reading and
    /// writing HTTP takes all of them.
    pub fn next(&self, door: Door) -> &Handle {
        let Inner { quic, tcp, next, .. } = &*self.0;
        let count = if door == Door::Redis { tcp.len().div_ceil(2) } else { tcp.len() };
        let turn = next.fetch_add(1, Relaxed).checked_rem(count).unwrap_or(0);
        tcp.get(turn).unwrap_or(quic)
    }
}

fn start(name: String, may_sync: bool, stop: &CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (handle, stop) = (runtime.handle().clone(), stop.clone());
    thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(async {
            tokio::spawn(rounds::gather(may_sync));
            stop.cancelled().await;
        });
        runtime.shutdown_timeout(CLOSING_TIMEOUT);
    })?;
    Ok(handle)
}
