//! Connections: how many, how long, and how they end.
//!
//! Promises that no client can hold a place for nothing: a connection beyond `http.connections_max` is told so, in a form
//! that its client understands, and closed; one whose client has not sent a whole request head within `http.header_timeout`, or has neither asked
//! nor taken anything for `http.idle_timeout`, is closed, at most one `http.header_timeout` later. Requests in progress have
//! `api.request_timeout`. hyper's own header timeout is off, because on kept-alive connections it runs from the end
//! of the last answer, which would make it the idle timeout too.
//!
//! A client that has closed its sending side is still answered.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::response::IntoResponse;
use bytesize::ByteSize;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use snowtide_protocol::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::api::budget::Account;
use crate::api::listening;
use crate::telemetry;
use crate::tls::Live;

use super::answers;
use super::events;
use super::manners::Manners;
use super::problem::{PROBLEM_JSON, Problem};
use super::pulse::{Answering, Heard, Limits, Pulse};
use super::socket::{self, ClientSide};

/// What a connection takes that has said something: its task, and the protocol's buffers and tables.
pub(super) const CONNECTION_BYTES: usize = 32 << 10;
/// What the protocol keeps of each stream beyond the first that was open at once, for as long as the connection lasts.
const STREAM_BYTES: usize = 4 << 10;
/// What an HTTP/2 client may send ahead of being read.
const WINDOW_BYTES: u32 = 256 << 10;
/// What one HTTP/2 stream may queue beyond what its client takes.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// An HTTP/2 client that has so many streams reset before they were looked at, or by its own faults, is told to calm down
/// and closed.
const RESETS_MAX: usize = 64;

/// How long a connection for which there is no place may take to ask something and to be told so.
const TURNING_AWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// So many of them at once. What is beyond is sent [`FULL`] without waiting for its request.
pub(super) const TURNED_AWAY_MAX: usize = 32;

/// Sent to a connection for which there is no place, not even to ask; and to an `EventSource`, which comes back.
static FULL: LazyLock<[String; 2]> = LazyLock::new(|| {
    let problem = no_place();
    let body = String::from_utf8_lossy(&problem.body()).into_owned();
    let head = "retry-after: 1\r\nconnection: close\r\ncontent-length";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\n{head}: {}\r\n\r\n{body}",
        body.len()
    );
    let events = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store, no-transform\r\n\
         connection: close\r\n\r\n{}",
        events::refusal(&problem)
    );
    [answer, events]
});

/// Why a connection is turned away.
pub(super) fn no_place() -> Problem {
    Problem::new(Code::Overloaded, "this node has as many connections open as it allows; retry after a moment")
}

/// How hyper serves one connection, HTTP/1.1 or HTTP/2, whichever the client's first bytes say, with so many requests at
/// once over HTTP/2.
pub(in crate::api) fn protocol(head_bytes_max: ByteSize, streams_max: u32) -> auto::Builder<TokioExecutor> {
    // A larger head, and over HTTP/1 a larger buffer, is answered 431 by hyper.
    let head_bytes_max = u32::try_from(head_bytes_max.as_u64()).unwrap_or(u32::MAX);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(head_bytes_max as usize)
        // A client that has said all that it had to say still wants its answer.
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams_max)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(head_bytes_max);
    builder
}

/// What a client is told for which there is no place, by the beginning of its request.
fn full(head: &[u8]) -> &'static [u8] {
    let [answer, events] = &*FULL;
    if asks_for_events(head) { events.as_bytes() } else { answer.as_bytes() }
}

/// Whether a head that may be cut off is an `EventSource`'s, for which any status but 200 is the end.
fn asks_for_events(head: &[u8]) -> bool {
    let accepts = |line: &&[u8]| line.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"accept:"));
    let ranges = head.split(|byte| *byte == b'\n').filter(accepts).filter_map(|line| line.get(7..));
    ranges.flat_map(|ranges| ranges.split(|byte| *byte == b',')).any(events::is_of_events)
}

/// Where a request comes from, among its extensions.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Remote(pub(in crate::api) IpAddr);

/// Those of the HTTP door.
pub(super) const MANNERS: Manners =
    Manners { door: telemetry::Door::Http, no_place: full, no_room: || answers::no_room().into_response() };

/// What every connection is served with.
#[derive(Clone)]
pub(in crate::api) struct Serving<S> {
    pub(in crate::api) protocol: auto::Builder<TokioExecutor>,
    /// Speaks TLS, and nothing else.
    pub(in crate::api) tls: Option<Live>,
    pub(in crate::api) service: S,
    pub(in crate::api) limits: Limits,
    pub(in crate::api) manners: Manners,
}

impl<S, B> Serving<S>
where
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    /// Serves one connection to its end, once it has something to say and there is room for that.
    pub(in crate::api) async fn attend(self, stream: TcpStream, account: Arc<Account>, shutdown: CancellationToken) {
        let mut first = [0];
        let spoken = tokio::select! {
            spoken = tokio::time::timeout(self.limits.header, stream.peek(&mut first)) => matches!(spoken, Ok(Ok(1..))),
            () = account.is_cut() => false,
            () = shutdown.cancelled() => false,
        };
        if !spoken {
            return;
        }
        if account.begin(CONNECTION_BYTES).await.is_err() {
            return listening::turn_away(stream, self.tls.is_none(), self.manners.no_place);
        }
        // What is to be said on a connection takes more room than waiting for it.
        let spoken = Box::pin(self.speak(stream, &account, shutdown));
        tokio::select! {
            () = spoken => {}
            () = account.is_cut() => tracing::debug!("a connection was cut: others needed its room"),
            () = account.stalls_for(self.limits.idle) => {
                tracing::debug!("a connection was cut: its client takes no answers");
            }
        }
    }

    async fn speak(&self, stream: TcpStream, account: &Arc<Account>, shutdown: CancellationToken) {
        let remote = Remote(listening::address(&stream));
        let (socket, client) = socket::socket(stream);
        match &self.tls {
            None => self.converse(socket, client, remote, account, shutdown).await,
            Some(live) => {
                if let Some(secured) = listening::secure(socket, live, self.limits.header).await {
                    self.converse(secured, client, remote, account, shutdown).await;
                }
            }
        }
    }

    /// Answers one request of a connection for which there is no place, and closes it. All of that takes
    /// [`TURNING_AWAY_TIMEOUT`] at most.
    pub(super) async fn attend_once(self, stream: TcpStream, account: Arc<Account>) {
        let answered = CancellationToken::new();
        let (done, service) = (answered.clone(), self.service.clone());
        let once = tower::service_fn(move |request| {
            let (answer, done) = (service.clone().oneshot(request), done.clone());
            async move {
                let answer = answer.await;
                done.cancel();
                answer
            }
        });
        let Self { protocol, tls, limits, manners, .. } = self;
        let serving = Serving { protocol, tls, service: once, limits, manners };
        if tokio::time::timeout(TURNING_AWAY_TIMEOUT, serving.attend(stream, account, answered)).await.is_err() {
            tracing::debug!("a connection for which there is no place has not asked, or not taken its answer, in time");
        }
    }

    async fn converse<T>(
        &self,
        stream: T,
        client: ClientSide,
        remote: Remote,
        account: &Arc<Account>,
        shutdown: CancellationToken,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (pulse, limits, manners) = (Arc::new(Pulse::new()), self.limits, self.manners);
        let (felt, service, charged) = (Arc::clone(&pulse), self.service.clone(), Arc::clone(account));
        let counted = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            let answering = Answering::new(Arc::clone(&felt), request.version());
            let wider = felt.widened();
            if wider > 0 {
                charged.keep(wider.saturating_mul(STREAM_BYTES));
            }
            request.extensions_mut().insert(client.clone());
            request.extensions_mut().insert(remote);
            let answer = answers::answer(service.clone(), request, manners, Arc::clone(&charged), Arc::clone(&felt));
            async move {
                let answer = answer.await;
                drop(answering);
                answer
            }
        });
        let io = TokioIo::new(Heard::new(stream, Arc::clone(&pulse), Arc::clone(account), limits.head_bytes));
        let mut connection = pin!(self.protocol.serve_connection(io, counted));
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection broke");
                }
                return;
            }
            () = pulse.still_for(limits) => {}
            () = shutdown.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        // Whatever is left in progress has its own time limit; a client that does not read its answer has this one.
        let grace = if shutdown.is_cancelled() { limits.request } else { limits.header };
        if tokio::time::timeout(grace, connection).await.is_err() {
            tracing::debug!("a connection was cut: its client neither finished its request nor read its answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_source_without_a_place_is_told_to_come_back() {
        let events = "GET /v1/counters/a/b/watch HTTP/1.1\r\nHost: x\r\nAccept: */*, text/Event-Stream;q=1\r\n\r\n";
        assert!(asks_for_events(events.as_bytes()));
        for other in ["", "GET / HTTP/1.1\r\naccept: text/plain\r\nx: text/event-stream\r\n", "\r\nacc", "\0\n\u{ff}"] {
            assert!(!asks_for_events(other.as_bytes()), "{other}");
        }
        let (head, event) = FULL[1].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/event-stream"), "{head}");
        assert!(event.starts_with("retry: 2000\nevent: refused\ndata: {") && event.ends_with("}\n\n"), "{event}");
    }

    #[test]
    fn the_refusal_of_a_connection_is_a_well_formed_answer() {
        let (head, body) = FULL[0].split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&503.into(), &"overloaded".into()));
    }
}
