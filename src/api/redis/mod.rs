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
mod refusals;
mod reply;
mod request;
mod session;
mod spec;
mod table;
mod transaction;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bearer::Bearers;
use super::budget::Budget;
use super::gate::Gate;
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
pub async fn serve(listener: TcpListener, doors: Doors, tls: Option<Live>, shutdown: CancellationToken) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    attend(listener, Arc::new(Door::new(doors, port)), tls, shutdown).await;
}

async fn attend(listener: TcpListener, door: Arc<Door>, tls: Option<Live>, shutdown: CancellationToken) {
    telemetry::connections_bounded(telemetry::Door::Redis, door.limits.connections_max);
    let connections = TaskTracker::new();
    while let Some(stream) = listening::next(&listener, &shutdown).await {
        let Some(account) = door.budget.admit(telemetry::Door::Redis, door.limits.connections_max) else {
            listening::turn_away(stream, tls.is_none(), |_| FULL);
            continue;
        };
        let (door, from) = (Arc::clone(&door), from(&stream));
        // The certificate may have been replaced since the last connection.
        let acceptor = tls.as_ref().map(|live| TlsAcceptor::from(live.current()));
        connections.spawn(async move {
            telemetry::connection_opened(telemetry::Door::Redis);
            match acceptor {
                None => session::converse(door, stream, from, account).await,
                Some(acceptor) => {
                    if let Some(stream) = secure(stream, &acceptor, &door.limits).await {
                        session::converse(door, stream, from, account).await;
                    }
                }
            }
            telemetry::connection_closed(telemetry::Door::Redis);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The other end; no address in particular if the connection has broken already.
fn from(stream: &TcpStream) -> IpAddr {
    stream.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}

/// Says who we are; `None` if the client does not understand it, or not in time.
async fn secure(stream: TcpStream, acceptor: &TlsAcceptor, limits: &Limits) -> Option<TlsStream<TcpStream>> {
    match timeout(limits.request_timeout.min(limits.idle_timeout), acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection was not secured");
            None
        }
        Err(_elapsed) => None,
    }
}

/// What all connections share.
struct Door {
    gate: Gate<EngineHandle>,
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
