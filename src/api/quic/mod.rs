//! The QUIC front door: `snowtide-client/1`, whose frames the client crate owns.
//!
//! One task a stream: it reads what has arrived, turns all of it into at most a few submissions (see [`intake`]), and
//! writes whatever answers are ready, in any order. No task, queue entry or write is spent on a single operation.
//!
//! Bounds (I6): `quic.streams_max` streams a connection; `quic.requests_max` unanswered requests a connection, one more
//! is answered `throttled`; frames up to `api.request_bytes_max`, a longer one closes the connection before it is
//! buffered, and one that does not end within `api.request_timeout` as well; and once the unanswered requests of a stream
//! weigh four such frames, the stream is not read until some are answered, so that QUIC's flow control holds the client
//! back. Buffers, requests and answers are charged to the budget of all doors. Input never panics (I8).

mod answer;
mod batch;
pub(in crate::api) mod fuzzed;
mod greeting;
mod intake;
mod limits;
mod session;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, VarInt};
use snowtide_protocol::id::IdScheme;
use snowtide_protocol::wire::{self, FRAME_BYTES_MAX, WireError, close};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::bearer::Bearers;
use super::budget::{Account, NoRoom};
use super::gate::{Decider, Gate, Mints};
use super::terms::TermsCodec;
use super::{Doors, Namespaces, Refused, Stage};
use crate::config::Config;
use crate::identity::ReplicaId;
use crate::ids::scheme_of;
use crate::quic::{Close, DRAINING};
use crate::telemetry;

/// The application protocol, for the endpoint that tells clients from peers.
pub const ALPN: &[u8] = wire::ALPN;

/// What a connection takes without its streams.
const CONNECTION_BYTES: usize = 24 << 10;

/// Serves one client until its connection ends. The endpoint has completed the handshake and found [`ALPN`]. When the node
/// shuts down it first lets the engine answer, then closes the endpoint.
pub async fn serve(connection: Connection, doors: Doors) {
    let (connections_max, mut stage) = (doors.config.quic.connections_max, doors.stage.clone());
    let Some(account) = doors.budget.admit(telemetry::Door::Quic, connections_max) else {
        return Close::Busy.close(&connection, "too many connections: see quic.connections_max");
    };
    if account.begin(CONNECTION_BYTES).await.is_err() {
        return Close::Busy.close(&connection, "too many bytes of clients: see api.client_bytes_max");
    }
    let window = doors.budget.window();
    connection.set_receive_window(VarInt::from_u32(u32::try_from(window.bytes()).unwrap_or(u32::MAX)));
    let id_scheme = scheme_of(&doors.config.cluster.id, doors.ids.layout());
    let door = Door {
        gate: Arc::new(Gate::new(&doors, telemetry::Door::Quic)),
        decider: Decider::of(&doors),
        limits: Limits::from(&*doors.config),
        bearers: doors.bearers,
        namespaces: doors.namespaces,
        terms_codec: doors.terms_codec,
        region: doors.region,
        node: doors.worker.node(),
        id_scheme,
        incarnation: doors.incarnation.subscribe(),
        from: connection.remote_address().ip().to_canonical(),
    };
    telemetry::connection_opened(telemetry::Door::Quic);
    attend(connection, Arc::new(door), Arc::clone(&account)).await;
    telemetry::connection_closed(telemetry::Door::Quic);
    tokio::select! {
        () = tokio::time::sleep(DRAINING) => {}
        () = account.is_cut() => {}
        _ = stage.wait_for(|stage| *stage == Stage::Drained) => {}
    }
}

/// What the streams of a connection share.
struct Door<B> {
    gate: Arc<Gate<B>>,
    decider: Decider,
    limits: Limits,
    bearers: Bearers,
    namespaces: Arc<Namespaces>,
    terms_codec: Arc<TermsCodec>,
    region: Arc<str>,
    node: u8,
    id_scheme: IdScheme,
    incarnation: watch::Receiver<Option<ReplicaId>>,
    /// Where the client is, as of the first moment.
    from: IpAddr,
}

/// As it is called in metrics and in the audit log.
const DOOR: &str = telemetry::Door::Quic.as_str();

/// The bounds of one connection.
#[derive(Clone, Copy, Debug)]
struct Limits {
    frame_bytes_max: usize,
    requests_max: u32,
    streams_max: u32,
    /// For the greeting, and for each request.
    request_timeout: Duration,
    /// A client that does not read its answers for this long is given up.
    write_timeout: Duration,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let request_bytes_max = usize::try_from(config.api.request_bytes_max.as_u64()).unwrap_or(usize::MAX);
        Self {
            frame_bytes_max: request_bytes_max.min(FRAME_BYTES_MAX),
            requests_max: config.quic.requests_max,
            streams_max: config.quic.streams_max,
            request_timeout: config.api.request_timeout,
            write_timeout: config.quic.idle_timeout,
        }
    }
}

/// Why the whole connection is closed: a code of [`close`] and a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct Ending {
    code: u32,
    reason: String,
}

impl Ending {
    fn new(code: u32, reason: impl std::fmt::Display) -> Self {
        Self { code, reason: reason.to_string() }
    }

    fn overloaded() -> Self {
        Self::new(close::OVERLOADED, NoRoom)
    }

    fn malformed(reason: impl std::fmt::Display) -> Self {
        Self::new(close::PROTOCOL, reason)
    }
}

/// Accepts the connection's streams until it ends.
async fn attend<B: Mints>(connection: Connection, door: Arc<Door<B>>, account: Arc<Account>) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(door.limits.streams_max));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
    let streams_max = usize::try_from(door.limits.streams_max).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(usize::try_from(door.limits.requests_max).unwrap_or(usize::MAX)));
    let mut streams = JoinSet::new();
    let hang_up = |ending: &Ending| {
        tracing::debug!(client = %connection.remote_address(), %ending, "closing a client's connection");
        connection.close(VarInt::from_u32(ending.code), ending.reason.as_bytes());
    };
    let stalls = account.stalls_for(door.limits.write_timeout);
    tokio::pin!(stalls);
    loop {
        tokio::select! {
            stream = connection.accept_bi(), if streams.len() < streams_max => match stream {
                Ok((send, recv)) => {
                    let (places, account) = (Arc::clone(&places), Arc::clone(&account));
                    streams.spawn(session::converse(Arc::clone(&door), places, account, send, recv));
                }
                // Streams that are still open notice by themselves; what they submitted is carried out.
                Err(_) => return,
            },
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                if let Ok(Err(ending)) = ended {
                    hang_up(&ending);
                }
            }
            () = account.is_cut() => return hang_up(&Ending::overloaded()),
            () = &mut stalls => return hang_up(&Ending::new(close::STALLED, "the answers were not taken in time")),
        }
    }
}

/// A refusal on the wire.
fn written(refused: &Refused) -> WireError {
    WireError {
        code: refused.code,
        detail: refused.detail.clone().into_owned(),
        retry_after_ms: refused.code.retry_after_ms(),
    }
}

#[cfg(test)]
mod tests;
