//! The front door of gRPC: Envoy's rate limit service (`envoy.service.ratelimit.v3`) and the standard health service.
//!
//! What requests meet is [`crate::envoy`]'s business, and whether they pass, the law's ([`crate::limits`]). Here they are
//! read, judged and answered, all in one go: nothing of a decision waits for a disk or a network. A request that cannot be
//! decided is an error, never a guess; whether a proxy then lets its own client pass is for the proxy's configuration to say.
//!
//! Connections are the HTTP door's (`http::connection`), with its bounds, over HTTP/2 alone: `grpc.connections_max`, of which
//! the stillest make place for one more; `grpc.calls_max` calls at once on each; heads of `http.head_bytes_max`; messages
//! of 64 KiB with 128 descriptors; `http.header_timeout` for a head, `api.request_timeout` for a message,
//! `grpc.idle_timeout` between two. What a connection has in memory is charged to the budget of all doors. Input never
//! panics (I8).

mod answer;
mod body;
mod claim;
mod decides;
mod health;
mod live;
mod messages;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod verdict;

use std::sync::Arc;

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::gate::Decider;
use super::http::connection::{self, Serving};
use super::http::manners::Manners;
use super::http::pulse::Limits;
use super::threads::Threads;
use super::{Doors, listening};
use crate::config::Config;
use crate::telemetry;
use crate::tls::Live;

use service::Door;

pub use live::LiveDescriptors;

/// A connection for which there is no place is closed: before its first request nothing can be said in HTTP/2 that a client
/// would pass on.
const MANNERS: Manners = Manners { door: telemetry::Door::Grpc, no_place: |_| b"", no_room: || no_room().into_http() };

/// Serves until `shutdown`, then finishes the calls in progress, which takes `api.request_timeout` at most.
///
/// With `tls`, nothing else is spoken.
pub async fn serve(
    listener: TcpListener,
    doors: Doors,
    threads: Threads,
    tls: Option<Live>,
    shutdown: CancellationToken,
) {
    let decides = Decider::of(&doors);
    let Doors { config, budget, bearers, descriptors, stage, .. } = doors;
    let door = Arc::new(Door { decides, descriptors, bearers, timeout: config.api.request_timeout });
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(body::MESSAGE_BYTES_MAX);
    let reporting = health::report(reporter, stage, shutdown.clone());
    let service = move |request| service::serve(Arc::clone(&door), health.clone(), request);
    let serving = Serving {
        protocol: protocol(&config),
        tls,
        service: tower::service_fn(service),
        limits: Limits { idle: config.grpc.idle_timeout, ..Limits::new(&config) },
        manners: MANNERS,
    };
    let closing = shutdown.clone();
    let attend = move |stream, account| serving.clone().attend(stream, account, closing.clone());
    let turn_away = |stream| {
        drop(stream);
        None::<std::future::Ready<()>>
    };
    let place = (telemetry::Door::Grpc, config.grpc.connections_max);
    let attending = listening::attend_all(listener, &shutdown, (&budget, &threads), place, attend, turn_away);
    tokio::join!(attending, reporting);
}

/// HTTP/2, and nothing else.
fn protocol(config: &Config) -> auto::Builder<TokioExecutor> {
    connection::protocol(config.http.head_bytes_max, config.grpc.calls_max).http2_only()
}

fn no_room() -> Status {
    Status::unavailable(super::budget::NoRoom.to_string())
}
