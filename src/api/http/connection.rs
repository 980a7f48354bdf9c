//! Connections: how many, how long, and how they end.
//!
//! Promises that no client can hold a place for nothing: a connection beyond `http.connections_max` is told so and
//! closed at once; one whose client has not sent a whole request head within `http.header_timeout`, or has neither asked
//! nor taken anything for `http.idle_timeout`, is closed, at most one `http.header_timeout` later. Requests in progress have
//! `api.request_timeout`. hyper's own header timeout is off, because on kept-alive connections it runs from the end
//! of the last answer, which would make it the idle timeout too.

use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::config::Http;
use crate::telemetry::{self, Door};

use super::pulse::{Answering, Heard, Limits, Pulse, Taken};

/// Sent to a connection that finds no place, before its request is read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 207\r\n\r\n\
{\"type\":\"https://snowtide.dev/problems/overloaded\",\"title\":\"Overloaded\",\"status\":503,\
\"detail\":\"this node has as many connections open as it allows; retry after a moment\",\
\"code\":\"overloaded\",\"retryable\":true}";

/// How hyper serves one connection, HTTP/1.1 or HTTP/2, whichever the client's first bytes say.
pub(super) fn protocol(config: &Http) -> auto::Builder<TokioExecutor> {
    // A larger head, and over HTTP/1 a larger buffer, is answered 431 by hyper.
    let head_bytes_max = u32::try_from(config.head_bytes_max.as_u64()).unwrap_or(u32::MAX);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(head_bytes_max as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_max)
        .max_header_list_size(head_bytes_max);
    builder
}

/// Tells a client that there is no place, as far as its socket takes it without waiting, and closes. Over TLS that would
/// take a handshake first: it is only closed.
pub(super) fn turn_away(stream: &TcpStream, is_plain: bool) {
    telemetry::connection_refused(Door::Http);
    if is_plain {
        // A client that has gone already has missed nothing.
        let _ = stream.try_write(FULL);
    }
}

/// Says who we are, over TLS; `None` if the client does not understand it, or not in time.
pub(super) async fn secure(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    limits: Limits,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match tokio::time::timeout(limits.header, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection was not secured");
            None
        }
        Err(_) => {
            tracing::debug!("a connection was not secured in time");
            None
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn attend<T, S, B>(
    stream: T,
    protocol: auto::Builder<TokioExecutor>,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<B>> + Clone + 'static,
    S::Error: std::error::Error + Send + Sync + 'static,
    S::Future: Send + 'static,
    S: Send,
    B: hyper::body::Body<Data: Send> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let pulse = Arc::new(Pulse::new());
    let felt = Arc::clone(&pulse);
    let counted = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let answering = Answering::new(Arc::clone(&felt), request.version());
        let (answer, felt) = (service.clone().oneshot(request), Arc::clone(&felt));
        async move {
            let answer = answer.await;
            let answer = answer.map(|answer| answer.map(|body| Taken::new(body, felt)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_a_well_formed_answer() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&503.into(), &"overloaded".into()));
    }
}
