//! The front door of the Redis protocol, RESP2 and RESP3, for the commands that a replicated counter can carry out.
//!
//! One task a connection: it takes every whole command that has arrived, hands all their operations to the engine as one
//! batch, in order, awaits its answer, and writes all replies at once. Until then nothing more is read from the
//! connection, so that TCP holds the client back. A reply to a write follows the sync of its commit, as everywhere (I1).
//!
//! What the protocol leaves open:
//! - `namespace:key` names a counter of that namespace if one of that name is configured; any other name is a key of the
//!   namespace `default`. A namespace that is configured later therefore takes over the names with its prefix.
//! - A counter that was never changed reads as `"0"`, never as nothing; `EXISTS` counts those that are not 0.
//! - The password of `AUTH` is a bearer token; the user does not matter.
//! - `MULTI` gathers what `EXEC` hands to the engine as one batch; it isolates nothing, and nothing can be watched
//!   (`transaction.rs`).
//! - What a replicated counter cannot do is refused with the reason (`refusals.rs`).
//!
//! Bounds (I6): `redis.connections_max`; commands of `redis.arguments_max` words and `api.request_bytes_max` bytes, held
//! before they are buffered; 10 000 operations a batch, what is over goes into the next one; one unanswered batch a
//! connection; transactions of one batch and 2 MiB each, `redis.queued_bytes_max` together; `redis.idle_timeout` from one
//! command to the next; `api.request_timeout` for a command to end that has begun, for the engine to answer, and once more
//! for the client to take the answers. What a connection has in memory is charged to the budget of all doors; one that says
//! nothing has no buffers. Input never panics (I8): what is malformed is answered, and the
//! connection closed.

mod answer;
mod caller;
mod command;
mod dialogue;
pub(in crate::api) mod fuzzed;
mod info;
mod key;
mod limits;
mod refusals;
mod reply;
mod request;
mod session;
mod spec;
mod table;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::bearer::Bearers;
use super::budget::Budget;
use super::gate::{Decider, Gate};
use super::threads::Threads;
use super::{Doors, Namespaces, Stage, listening};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::engine::EngineHandle;
use crate::telemetry;
use crate::tls::Live;

use info::Facts;
use request::Bounds;

/// Sent to a connection that finds no place.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// Serves until `shutdown`, then until all connections have ended: each does once the stage is [`Stage::Drained`] and its
/// last answers are written.
///
/// With `tls`, nothing else is spoken.
pub async fn serve(
    listener: TcpListener,
    doors: Doors,
    threads: Threads,
    tls: Option<Live>,
    shutdown: CancellationToken,
) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    attend(listener, Arc::new(Door::new(doors, port)), threads, tls, shutdown).await;
}

async fn attend(
    listener: TcpListener,
    door: Arc<Door>,
    threads: Threads,
    tls: Option<Live>,
    shutdown: CancellationToken,
) {
    let Limits { connections_max, request_timeout, idle_timeout, .. } = door.limits;
    let (plain, budget) = (tls.is_none(), Arc::clone(&door.budget));
    let attend = move |stream, account| {
        let (door, tls) = (Arc::clone(&door), tls.clone());
        async move {
            let from = listening::address(&stream);
            let Some(live) = tls else { return session::converse(door, stream, from, account).await };
            if let Some(stream) = listening::secure(stream, &live, request_timeout.min(idle_timeout)).await {
                session::converse(door, stream, from, account).await;
            }
        }
    };
    let turn_away = move |stream| {
        listening::turn_away(stream, plain, |_| FULL);
        None::<std::future::Ready<()>>
    };
    let place = (telemetry::Door::Redis, connections_max);
    listening::attend_all(listener, &shutdown, (&budget, &threads), place, attend, turn_away).await;
}

/// What all connections share.
struct Door {
    gate: Gate<EngineHandle>,
    decider: Decider,
    namespaces: Arc<Namespaces>,
    bearers: Bearers,
    limits: Limits,
    region: Arc<str>,
    node: u8,
    port: u16,
    up: Stopwatch,
    budget: Arc<Budget>,
    /// Bytes that all transactions may hold together.
    queued: Arc<Semaphore>,
    ids: AtomicI64,
}

/// The bounds of one connection.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections_max: usize,
    queued_bytes_max: usize,
    bounds: Bounds,
    idle_timeout: Duration,
    request_timeout: Duration,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let bytes_max = usize::try_from(config.api.request_bytes_max.as_u64()).unwrap_or(usize::MAX);
        let queued_bytes_max = usize::try_from(config.redis.queued_bytes_max.as_u64()).unwrap_or(usize::MAX);
        Self {
            connections_max: config.redis.connections_max,
            queued_bytes_max: queued_bytes_max.min(Semaphore::MAX_PERMITS),
            bounds: Bounds { bytes_max, words_max: config.redis.arguments_max },
            idle_timeout: config.redis.idle_timeout,
            request_timeout: config.api.request_timeout,
        }
    }
}

impl Door {
    fn new(doors: Doors, port: u16) -> Self {
        let limits = Limits::from(&*doors.config);
        Self {
            decider: Decider::of(&doors),
            gate: Gate::before(doors.engine, telemetry::Door::Redis, doors.stage, limits.request_timeout),
            namespaces: doors.namespaces,
            bearers: doors.bearers,
            limits,
            region: doors.region,
            node: doors.worker.node(),
            port,
            up: Stopwatch::start(),
            budget: doors.budget,
            queued: Arc::new(Semaphore::new(limits.queued_bytes_max)),
            ids: AtomicI64::new(1),
        }
    }

    /// The number of a new connection.
    fn next_id(&self) -> i64 {
        self.ids.fetch_add(1, Relaxed)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            port: self.port,
            uptime_s: self.up.elapsed_ms() / 1_000,
            clients: self.budget.connections(telemetry::Door::Redis),
            clients_max: self.limits.connections_max,
            loading: *self.gate.stage.borrow() == Stage::Starting,
            region: &self.region,
            node: self.node,
        }
    }
}

#[cfg(test)]
mod tests;
