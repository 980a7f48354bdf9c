//! Connections: how many, how long, and how they end.
//!
//! Promises that no client can hold a place for nothing: a connection beyond `http.connections_max` is told so and
//! closed at once; one whose client has not sent a whole request head within `http.header_timeout`, or has asked
//! nothing for `http.idle_timeout`, is closed, at most one `http.header_timeout` later. Requests in progress have
//! `api.request_timeout`. hyper's own header timeout is off, because on kept-alive connections it runs from the end
//! of the last answer, which would make it the idle timeout too.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Version;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::clock::Stopwatch;
use crate::config::Config;
use crate::telemetry::{self, Door};

/// A request head, or the buffer of an HTTP/1 connection, is never larger: hyper answers 431 and closes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection; more wait at the client, as the protocol tells it to.
const STREAMS_MAX: u32 = 256;
/// Sent to a connection that finds no place, before its request is read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 207\r\n\r\n\
{\"type\":\"https://snowtide.dev/problems/overloaded\",\"title\":\"Overloaded\",\"status\":503,\
\"detail\":\"this node has as many connections open as it allows; retry after a moment\",\
\"code\":\"overloaded\",\"retryable\":true}";

/// How long a connection may take over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    header: Duration,
    idle: Duration,
    request: Duration,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        Self { header: config.http.header_timeout, idle: config.http.idle_timeout, request: config.api.request_timeout }
    }
}

/// How hyper serves one connection, HTTP/1.1 or HTTP/2 without TLS, whichever the client's first bytes say.
pub(super) fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// Tells a client that there is no place, as far as its socket takes it without waiting, and closes.
pub(super) fn turn_away(stream: &TcpStream) {
    telemetry::connection_refused(Door::Http);
    // A client that has gone already has missed nothing.
    let _ = stream.try_write(FULL);
}

/// Serves one connection to its end.
pub(super) async fn attend<S, B>(
    stream: TcpStream,
    protocol: auto::Builder<TokioExecutor>,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) where
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>> + Clone + 'static,
    S::Error: std::error::Error + Send + Sync + 'static,
    S::Future: Send + 'static,
    S: Send,
    B: hyper::body::Body<Data: Send> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let pulse = Arc::new(Pulse::new());
    let felt = Arc::clone(&pulse);
    let counted = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let answering = Answering::new(Arc::clone(&felt), request.version());
        let answer = service.clone().oneshot(request);
        async move {
            let answer = answer.await;
            drop(answering);
            answer
        }
    });
    let io = TokioIo::new(Heard { stream, pulse: Arc::clone(&pulse) });
    let mut connection = pin!(protocol.serve_connection(io, counted));
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

/// When something last happened on a connection.
struct Pulse {
    watch: Stopwatch,
    /// Requests being answered.
    answering: AtomicUsize,
    /// When the last answer was ready.
    answered_ms: AtomicU64,
    /// A request head has begun to arrive, or, on a new connection, is awaited.
    head_begun: AtomicBool,
    /// When it began.
    head_begun_ms: AtomicU64,
    /// HTTP/2: bytes between requests are mostly not heads, so only the idle timeout holds.
    multiplexed: AtomicBool,
}

impl Pulse {
    fn new() -> Self {
        Self {
            watch: Stopwatch::start(),
            answering: AtomicUsize::new(0),
            answered_ms: AtomicU64::new(0),
            head_begun: AtomicBool::new(true),
            head_begun_ms: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
        }
    }

    /// Bytes came in.
    fn heard(&self) {
        let between = self.answering.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed);
        if between && !self.head_begun.load(Relaxed) {
            self.head_begun_ms.store(self.watch.elapsed_ms(), Relaxed);
            self.head_begun.store(true, Relaxed);
        }
    }

    /// The moment at which this connection has been still for too long; `None` while a request is being answered.
    fn deadline_ms(&self, limits: Limits) -> Option<u64> {
        if self.answering.load(Relaxed) > 0 {
            return None;
        }
        let (since, limit) = if self.head_begun.load(Relaxed) {
            (self.head_begun_ms.load(Relaxed), limits.header)
        } else {
            (self.answered_ms.load(Relaxed), limits.idle)
        };
        Some(since.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns once the connection has been still for too long.
    async fn still_for(&self, limits: Limits) {
        loop {
            let now = self.watch.elapsed_ms();
            let left = match self.deadline_ms(limits) {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => Duration::from_millis(deadline.saturating_sub(now)).min(limits.header),
                None => limits.header,
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// Held while one request is answered, however that ends.
struct Answering(Arc<Pulse>);

impl Answering {
    fn new(pulse: Arc<Pulse>, version: Version) -> Self {
        pulse.answering.fetch_add(1, Relaxed);
        pulse.head_begun.store(false, Relaxed);
        pulse.multiplexed.store(version == Version::HTTP_2, Relaxed);
        Self(pulse)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered_ms.store(self.0.watch.elapsed_ms(), Relaxed);
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

/// A socket that tells the pulse when bytes come in.
struct Heard {
    stream: TcpStream,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let filled = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > filled {
            self.pulse.heard();
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { header: Duration::from_secs(10), idle: Duration::from_secs(60), request: Duration::from_secs(5) };

    #[test]
    fn the_refusal_of_a_connection_is_a_well_formed_answer() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&503.into(), &"overloaded".into()));
    }

    #[test]
    fn a_new_connection_has_the_time_of_a_head_and_an_answered_one_that_of_idling() {
        let pulse = Arc::new(Pulse::new());
        assert_eq!(pulse.deadline_ms(LIMITS), Some(10_000));
        let answering = Answering::new(Arc::clone(&pulse), Version::HTTP_11);
        assert_eq!(pulse.deadline_ms(LIMITS), None, "a request in progress has its own limit");
        drop(answering);
        assert!(pulse.deadline_ms(LIMITS).unwrap() >= 60_000);
    }

    #[test]
    fn the_first_byte_of_the_next_head_starts_its_time_and_later_ones_do_not_move_it() {
        let pulse = Arc::new(Pulse::new());
        drop(Answering::new(Arc::clone(&pulse), Version::HTTP_11));
        pulse.heard();
        let deadline = pulse.deadline_ms(LIMITS).unwrap();
        assert!(deadline < 60_000);
        pulse.head_begun_ms.store(7, Relaxed);
        pulse.heard();
        assert_eq!(pulse.deadline_ms(LIMITS), Some(10_007));
    }

    #[test]
    fn frames_between_requests_of_http_2_do_not_count_as_heads() {
        let pulse = Arc::new(Pulse::new());
        drop(Answering::new(Arc::clone(&pulse), Version::HTTP_2));
        pulse.heard();
        assert!(pulse.deadline_ms(LIMITS).unwrap() >= 60_000);
    }
}
