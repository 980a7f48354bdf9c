//! The JSON API as a door: HTTP/1.1, connections kept alive, through hyper; with TLS if that is wanted.

mod ask;
mod problem;
#[cfg(feature = "https")]
pub(crate) mod tls;
mod told;

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use snowtide_protocol::id::IdScheme;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::door::{Asked, Boxed, Dial, Door, Kind, Site, Told};
use crate::error::{ConnectError, Error};

use ask::Request;
#[cfg(feature = "https")]
use tls::is_about_a_certificate;

/// A longer answer is not read to its end; the longest that a node gives is a batch of 10 000 with views.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Requests that are unanswered at one node, each on a connection of its own; further ones wait here.
const CONNECTIONS_MAX: usize = 64;
/// An idle connection is closed before the node does, so that no request meets its end.
const IDLE_MAX: Duration = Duration::from_secs(10);

const TOKEN: HeaderName = HeaderName::from_static("snowtide-token");
const SESSION: HeaderName = HeaderName::from_static("snowtide-session");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(feature = "https")]
type Connector = tls::Connector;
#[cfg(not(feature = "https"))]
type Connector = HttpConnector;

/// How to reach a node.
pub(crate) struct HttpDial {
    /// `http://host:port` or `https://host:port`
    base: String,
    connector: Connector,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Connections to a node.
struct HttpDoor {
    client: Client<Connector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
    places: Semaphore,
    /// The last attempt to connect has failed, or another incarnation answers.
    lost: AtomicBool,
    site: Site,
    incarnation: Option<u64>,
    round_trip: Duration,
}

/// An answer, whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl HttpDial {
    /// `address` is `host:port`.
    pub(crate) fn new(address: &str, bearer: Option<&str>, timeout: Duration) -> Result<Self, ConnectError> {
        let tcp = tcp(timeout);
        #[cfg(feature = "https")]
        let tcp = tls::without(tcp)?;
        Self::over("http", address, bearer, timeout, tcp)
    }

    /// The same with TLS.
    #[cfg(feature = "https")]
    pub(crate) fn secure(
        address: &str,
        bearer: Option<&str>,
        timeout: Duration,
        trusted: &tls::Trusted,
    ) -> Result<Self, ConnectError> {
        Self::over("https", address, bearer, timeout, trusted.connector(tcp(timeout)))
    }

    fn over(
        scheme: &str,
        address: &str,
        bearer: Option<&str>,
        timeout: Duration,
        connector: Connector,
    ) -> Result<Self, ConnectError> {
        let base = format!("{scheme}://{}", address.trim_end_matches('/'));
        let wrong = || ConnectError::Config(format!("{base:?} is not {scheme}://host:port"));
        let parsed: Uri = base.parse().map_err(|_| wrong())?;
        if parsed.port_u16().is_none() || parsed.path() != "/" || parsed.query().is_some() {
            return Err(wrong());
        }
        let header = |token: &str| {
            let mut header = HeaderValue::try_from(format!("Bearer {token}"));
            header.iter_mut().for_each(|header| header.set_sensitive(true));
            header.map_err(|_| ConnectError::Config("the bearer token is no header value".into()))
        };
        Ok(Self { authorization: bearer.map(header).transpose()?, base, connector, timeout })
    }

    async fn connect(&self) -> Result<HttpDoor, ConnectError> {
        let mut builder = Client::builder(TokioExecutor::new());
        // What it tries again by itself is what a connection that had ended never took.
        builder.pool_idle_timeout(IDLE_MAX).pool_timer(TokioTimer::new()).pool_max_idle_per_host(CONNECTIONS_MAX);
        let mut door = HttpDoor {
            client: builder.build(self.connector.clone()),
            base: self.base.clone(),
            authorization: self.authorization.clone(),
            places: Semaphore::new(CONNECTIONS_MAX),
            lost: AtomicBool::new(false),
            site: Site { region: String::new(), node: 0 },
            incarnation: None,
            round_trip: Duration::ZERO,
        };
        let answer = door.send(Request::get("/v1/cluster")).await.map_err(|error| self.failed(error))?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&answer));
        }
        (door.site, door.incarnation) = told::site(&answer.body).map_err(|reason| self.wrong_protocol(reason))?;
        // Once more, over the connection that stands now: nothing but the way there and back.
        let asked = Instant::now();
        door.send(Request::get("/livez")).await.map_err(|error| self.failed(error))?;
        door.round_trip = asked.elapsed();
        Ok(door)
    }

    fn refused(&self, answer: &Answer) -> ConnectError {
        match problem::error(answer) {
            Error::Refused { code, detail, .. } if problem::is_known(answer) => {
                ConnectError::Refused { address: self.base.clone(), code, detail }
            }
            other => self.wrong_protocol(other.to_string()),
        }
    }

    fn failed(&self, broken: Broken) -> ConnectError {
        match broken {
            Broken::Distrusted(reason) => ConnectError::Certificate { address: self.base.clone(), reason },
            broken => self.unreachable(broken.text()),
        }
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        ConnectError::Unreachable { address: self.base.clone(), reason }
    }

    fn wrong_protocol(&self, reason: String) -> ConnectError {
        ConnectError::WrongProtocol { address: self.base.clone(), reason }
    }
}

impl Dial for HttpDial {
    fn address(&self) -> &str {
        &self.base
    }

    fn dial(&self) -> Boxed<'_, Result<Arc<dyn Door>, ConnectError>> {
        Box::pin(async move {
            let late = || self.unreachable(format!("no answer within {:?}", self.timeout));
            let door = tokio::time::timeout(self.timeout, self.connect()).await.map_err(|_| late())??;
            Ok(Arc::new(door) as Arc<dyn Door>)
        })
    }
}

/// Why there is no answer.
enum Broken {
    /// Nothing was sent.
    Unsent(String),
    /// Nothing was sent, because the node's certificate was not accepted.
    Distrusted(String),
    /// Perhaps it was.
    Unknown(String),
}

impl Broken {
    fn text(self) -> String {
        match self {
            Self::Unsent(reason) | Self::Distrusted(reason) | Self::Unknown(reason) => reason,
        }
    }
}

impl HttpDoor {
    /// One request and its answer.
    async fn send(&self, request: Request) -> Result<Answer, Broken> {
        let request = self.build(request).map_err(|error| Broken::Unsent(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| {
            let reason = causes(&error);
            if error.is_connect() {
                self.lost.store(true, Ordering::Release);
                if is_about_a_certificate(&error) { Broken::Distrusted(reason) } else { Broken::Unsent(reason) }
            } else {
                Broken::Unknown(reason)
            }
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Broken::Unknown(format!("the answer broke off: {error}")))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn build(&self, request: Request) -> Result<http::Request<Full<Bytes>>, http::Error> {
        let Request { method, target, token, session, wait, accept, body } = request;
        let mut built = http::Request::builder().method(method).uri(format!("{}{target}", self.base));
        if let Some(headers) = built.headers_mut() {
            headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
            headers.extend(accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))));
            headers.extend((!body.is_empty()).then_some((CONTENT_TYPE, JSON)));
        }
        if let Some(token) = token {
            built = built.header(TOKEN, token);
        }
        if let Some(session) = session {
            built = built.header(SESSION, session);
        }
        if let Some(seconds) = wait {
            built = built.header(PREFER, format!("wait={seconds}"));
        }
        built.body(Full::from(body))
    }

    async fn exchange(&self, Asked { work, stamp, .. }: Asked<'_>, sent: &mut bool) -> Result<Told, Error> {
        let mut request = Request::of(&work)?;
        request.session = stamp.map(|stamp| ask::session(stamp, &self.site));
        let closed = |_| Error::Disconnected { reason: "this client is closed".into() };
        let _place = self.places.acquire().await.map_err(closed)?;
        *sent = true;
        let writes = work.kind() == Kind::Write;
        match self.send(request).await {
            Ok(answer) => told::read(&work, &answer),
            Err(Broken::Unknown(reason)) if writes => Err(Error::Ambiguous { reason }),
            Err(broken) => Err(Error::Disconnected { reason: broken.text() }),
        }
    }
}

impl Door for HttpDoor {
    fn ask<'a>(&'a self, asked: Asked<'a>) -> Boxed<'a, Result<Told, Error>> {
        Box::pin(async move {
            let (after, may_have_written) = (asked.within, asked.work.kind() == Kind::Write);
            let mut sent = false;
            match tokio::time::timeout(after, self.exchange(asked, &mut sent)).await {
                Ok(told) => told,
                Err(_) if sent => Err(Error::Timeout { after, may_have_written }),
                Err(_) => Err(Error::Busy { after }),
            }
        })
    }

    fn counts_once(&self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        !self.lost.load(Ordering::Acquire) && !self.places.is_closed()
    }

    fn round_trip(&self) -> Duration {
        self.round_trip
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    fn outdate(&self) {
        self.lost.store(true, Ordering::Release);
    }

    fn id_scheme(&self) -> Option<IdScheme> {
        None
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

/// How to connect, before any TLS.
fn tcp(timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeout));
    connector
}

#[cfg(not(feature = "https"))]
fn is_about_a_certificate(_: &(dyn StdError + 'static)) -> bool {
    false
}

/// An error with what caused it: the message of a client library alone says little.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Request {
    fn get(target: &str) -> Self {
        Self { target: target.into(), ..Self::empty(Method::GET) }
    }
}
