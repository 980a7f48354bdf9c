//! HTTP/1.1 to one node, connections kept alive, through hyper; with TLS if that is wanted.
//!
//! It carries a request there and its whole response back, or says what is known of one that got none. What they mean is for
//! those who use it: the client's door, and the load test, which measures what it sends.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::InvalidUriParts;
use http::{HeaderValue, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[cfg(feature = "https")]
use super::tls::{self, is_about_a_certificate};
use crate::error::ConnectError;

#[cfg(feature = "https")]
pub(super) type Connector = tls::Connector;
#[cfg(not(feature = "https"))]
pub(super) type Connector = HttpConnector;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How a transport uses its connections.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// A connection is given up if it does not stand by then; `None` leaves that to the caller.
    pub connect_timeout: Option<Duration>,
    /// Idle connections that are kept; one more is closed.
    pub idle_connections_max: usize,
    /// They are closed after so long.
    pub idle_max: Duration,
    /// A longer response is not read to its end.
    pub body_bytes_max: usize,
    /// What a connection that had ended never took is sent once more, over another.
    pub resends: bool,
}

/// Why there is no response, in words, and what is known of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// Nothing was sent.
    #[error("{0}")]
    Unsent(String),
    /// Nothing was sent, because the node's certificate was not accepted.
    #[error("{0}")]
    Distrusted(String),
    /// Perhaps it was.
    #[error("{0}")]
    Unknown(String),
}

/// A node, and who asks it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// `http://host:port` or `https://host:port`
    pub(super) base: String,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// Connections to a node.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: Client<Connector, Full<Bytes>>,
    node: Node,
    body_bytes_max: usize,
}

impl Node {
    /// `address` is `host:port`.
    pub(super) fn new(scheme: &str, address: &str, bearer: Option<&str>) -> Result<Self, ConnectError> {
        let base = format!("{scheme}://{}", address.trim_end_matches('/'));
        let wrong = || ConnectError::Config(format!("{base:?} is not {scheme}://host:port"));
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        if uri.port_u16().is_none() || uri.path() != "/" || uri.query().is_some() {
            return Err(wrong());
        }
        let header = |token: &str| {
            let mut header = HeaderValue::try_from(format!("Bearer {token}"));
            header.iter_mut().for_each(|header| header.set_sensitive(true));
            header.map_err(|_| ConnectError::Config("the bearer token is no header value".into()))
        };
        Ok(Self { authorization: bearer.map(header).transpose()?, base, uri })
    }
}

impl HttpTransport {
    /// To `http://address`, where `address` is `host:port`, with a bearer token if the node asks for one. It connects when it is
    /// first used.
    pub fn new(address: &str, bearer: Option<&str>, limits: HttpLimits) -> Result<Self, ConnectError> {
        Ok(Self::over(plain(limits.connect_timeout)?, Node::new("http", address, bearer)?, limits))
    }

    pub(super) fn over(connector: Connector, node: Node, limits: HttpLimits) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(limits.idle_max).pool_timer(TokioTimer::new());
        builder.pool_max_idle_per_host(limits.idle_connections_max).retry_canceled_requests(limits.resends);
        Self { client: builder.build(connector), node, body_bytes_max: limits.body_bytes_max }
    }

    /// Sends a request, whose URI is a path with its query and whose body is JSON, and waits for the whole response.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpFailure> {
        let request = self.addressed(request).map_err(|error| HttpFailure::Unsent(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| {
            let reason = causes(&error);
            match error.is_connect() {
                true if is_about_a_certificate(&error) => HttpFailure::Distrusted(reason),
                true => HttpFailure::Unsent(reason),
                false => HttpFailure::Unknown(reason),
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.body_bytes_max).collect().await;
        let body = body.map_err(|error| HttpFailure::Unknown(format!("the answer broke off: {error}")))?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }

    /// The request with its node's address, and who asks.
    fn addressed(&self, request: http::Request<Bytes>) -> Result<http::Request<Full<Bytes>>, InvalidUriParts> {
        let (mut head, body) = request.into_parts();
        let mut uri = self.node.uri.clone().into_parts();
        uri.path_and_query = head.uri.path_and_query().cloned();
        head.uri = Uri::from_parts(uri)?;
        head.headers.extend(self.node.authorization.clone().map(|value| (AUTHORIZATION, value)));
        head.headers.extend((!body.is_empty()).then_some((CONTENT_TYPE, JSON)));
        Ok(http::Request::from_parts(head, Full::new(body)))
    }
}

/// How to connect, before any TLS.
pub(super) fn tcp(timeout: Option<Duration>) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(timeout);
    connector
}

/// How to connect without TLS.
pub(super) fn plain(timeout: Option<Duration>) -> Result<Connector, ConnectError> {
    #[cfg(feature = "https")]
    return tls::without(tcp(timeout));
    #[cfg(not(feature = "https"))]
    Ok(tcp(timeout))
}

#[cfg(not(feature = "https"))]
fn is_about_a_certificate(_: &(dyn StdError + 'static)) -> bool {
    false
}

/// An error with what caused it: the message of a client library alone says little.
fn causes(error: &dyn StdError) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HttpLimits = HttpLimits {
        connect_timeout: None,
        idle_connections_max: 1,
        idle_max: Duration::from_secs(10),
        body_bytes_max: 64,
        resends: false,
    };

    #[test]
    fn an_address_is_host_and_port() {
        for address in ["127.0.0.1", "127.0.0.1:80/x", "a b:80", ""] {
            assert!(HttpTransport::new(address, None, LIMITS).is_err(), "{address}");
        }
        assert!(HttpTransport::new("[::1]:80", Some("a\nb"), LIMITS).is_err(), "no header can hold that token");
    }

    #[tokio::test]
    async fn what_never_left_is_told_from_what_may_have_arrived() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transport = HttpTransport::new(&address.to_string(), None, LIMITS).unwrap();
        let hanging_up = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            // The stream is dropped with the request in it, and so is the listener.
        });
        let request = || http::Request::get("/livez").body(Bytes::new()).unwrap();
        let failure = transport.send(request()).await.unwrap_err();
        assert!(matches!(failure, HttpFailure::Unknown(_)), "{failure}");
        hanging_up.await.unwrap();
        let failure = transport.send(request()).await.unwrap_err();
        assert!(matches!(failure, HttpFailure::Unsent(_)), "{failure}");
    }
}
