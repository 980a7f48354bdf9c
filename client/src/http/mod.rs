//! The JSON API as a door, over HTTP/1.1 ([`transport`]).

mod ask;
mod json;
mod limits;
mod problem;
mod reply;
#[cfg(feature = "https")]
mod tls;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::door::{Boxed, Dial, Door, Identity, Reply, Request, Stamp};
use crate::error::{ConnectError, Error};

use transport::{Connector, Node};

pub use transport::{HttpFailure, HttpLimits, HttpTransport};

/// A longer response is not read to its end; the longest that a node gives is that of a batch of 10 000 with views.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Requests that are unanswered at one node, each on a connection of its own; further ones wait here.
const CONNECTIONS_MAX: usize = 64;
/// An idle connection is closed before the node does, so that no request meets its end.
const IDLE_MAX: Duration = Duration::from_secs(10);

const TOKEN: HeaderName = HeaderName::from_static("snowtide-token");

/// How to reach a node.
pub(crate) struct HttpDial {
    node: Node,
    connector: Connector,
    timeout: Duration,
}

/// Connections to a node.
struct HttpDoor {
    transport: HttpTransport,
    places: Semaphore,
    /// The last attempt to connect has failed, or another incarnation answers.
    lost: AtomicBool,
    identity: Identity,
}

impl HttpDial {
    /// `address` is `host:port`.
    pub(crate) fn new(address: &str, bearer: Option<&str>, timeout: Duration) -> Result<Self, ConnectError> {
        let connector = transport::plain(Some(timeout))?;
        Ok(Self { node: Node::new("http", address, bearer)?, connector, timeout })
    }

    /// The same with TLS, trusting `roots` alone. The node's certificate holds the name `certified`, if that is another than the
    /// host of its address.
    #[cfg(feature = "https")]
    pub(crate) fn secure(
        address: &str,
        bearer: Option<&str>,
        timeout: Duration,
        roots: rustls::RootCertStore,
        certified: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let connector = tls::trusting(roots, certified, transport::tcp(Some(timeout)))?;
        Ok(Self { node: Node::new("https", address, bearer)?, connector, timeout })
    }

    async fn connect(&self) -> Result<HttpDoor, ConnectError> {
        let limits = HttpLimits {
            connect_timeout: Some(self.timeout),
            idle_connections_max: CONNECTIONS_MAX,
            idle_max: IDLE_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            resends: true,
        };
        let transport = HttpTransport::over(self.connector.clone(), self.node.clone(), limits);
        let get = async |path| {
            let request = http::Request::get(path).body(Bytes::new()).map_err(|error| self.unreachable(&error))?;
            transport.send(request).await.map_err(|failure| match failure {
                HttpFailure::Distrusted(reason) => {
                    ConnectError::Certificate { address: self.node.base.clone(), reason }
                }
                failure => self.unreachable(&failure),
            })
        };
        let response = get("/v1/cluster").await?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(&response));
        }
        let (site, incarnation) = reply::site(response.body()).map_err(|reason| self.wrong_protocol(reason))?;
        // Once more, over the connection that stands now: nothing but the way there and back.
        let began = Instant::now();
        get("/livez").await?;
        let identity = Identity { site, incarnation, id_scheme: None, round_trip: began.elapsed(), counts_once: true };
        let places = Semaphore::new(CONNECTIONS_MAX);
        Ok(HttpDoor { transport, places, lost: AtomicBool::new(false), identity })
    }

    fn refused(&self, response: &http::Response<Bytes>) -> ConnectError {
        match problem::error(response) {
            Error::Refused { code, detail, .. } if problem::is_known(response) => {
                ConnectError::Refused { address: self.node.base.clone(), code, detail }
            }
            other => self.wrong_protocol(other.to_string()),
        }
    }

    fn unreachable(&self, reason: &impl ToString) -> ConnectError {
        ConnectError::Unreachable { address: self.node.base.clone(), reason: reason.to_string() }
    }

    fn wrong_protocol(&self, reason: String) -> ConnectError {
        ConnectError::WrongProtocol { address: self.node.base.clone(), reason }
    }
}

impl Dial for HttpDial {
    fn address(&self) -> &str {
        &self.node.base
    }

    fn dial(&self) -> Boxed<'_, Result<Arc<dyn Door>, ConnectError>> {
        Box::pin(async move {
            let late = |_| self.unreachable(&format!("no answer within {:?}", self.timeout));
            let door = tokio::time::timeout(self.timeout, self.connect()).await.map_err(late)??;
            Ok(Arc::new(door) as Arc<dyn Door>)
        })
    }
}

impl HttpDoor {
    async fn exchange(&self, request: Request<'_>, stamp: Option<Stamp>, sent: &mut bool) -> Result<Reply, Error> {
        let asked = ask::request(&request, stamp.map(|stamp| ask::session(stamp, &self.identity.site)))?;
        let closed = |_| Error::Disconnected { reason: "this client is closed".into() };
        let _place = self.places.acquire().await.map_err(closed)?;
        *sent = true;
        match self.transport.send(asked).await {
            Ok(response) => reply::read(&request, &response),
            Err(HttpFailure::Unknown(reason)) if request.writes() => Err(Error::Ambiguous { reason }),
            Err(HttpFailure::Unknown(reason)) => Err(Error::Disconnected { reason }),
            Err(HttpFailure::Unsent(reason) | HttpFailure::Distrusted(reason)) => {
                self.outdate();
                Err(Error::Disconnected { reason })
            }
        }
    }
}

impl Door for HttpDoor {
    fn send<'a>(
        &'a self,
        request: Request<'a>,
        stamp: Option<Stamp>,
        timeout: Duration,
    ) -> Boxed<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let mut sent = false;
            match tokio::time::timeout(timeout, self.exchange(request, stamp, &mut sent)).await {
                Ok(reply) => reply,
                Err(_) if sent => Err(Error::Timeout { after: timeout, may_have_written: request.writes() }),
                Err(_) => Err(Error::Busy { after: timeout }),
            }
        })
    }

    fn is_open(&self) -> bool {
        !self.lost.load(Ordering::Acquire) && !self.places.is_closed()
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn outdate(&self) {
        self.lost.store(true, Ordering::Release);
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(async move {
            // With all places at hand, nothing is under way.
            let all = self.places.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX));
            let _ = tokio::time::timeout(crate::CLOSE_WAIT, all).await;
            self.places.close();
        })
    }
}
