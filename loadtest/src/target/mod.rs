//! The front doors under test, behind one face: send a request, get answers or a failure that says what is known.

pub mod http;
pub mod quic;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use snowtide_client::{Numbers, Site};
use snowtide_protocol::Code;

use crate::ids::Run;
use crate::keys::{Names, Operation, Request};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Which front door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Door {
    /// `snowtide-client/1`.
    Quic,
    /// HTTP/1.1, plain, connections kept alive.
    Http,
}

/// Where to send to: `quic://127.0.0.1:7410` or `http://127.0.0.1:8410`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The protocol.
    pub door: Door,
    /// `host:port`.
    pub address: String,
}

/// Not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write quic://HOST:PORT or http://HOST:PORT")]
pub struct NotAnEndpoint;

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAnEndpoint)?;
        let door = <Door as ValueEnum>::from_str(scheme, false).map_err(|_| NotAnEndpoint)?;
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = address.rsplit_once(':').ok_or(NotAnEndpoint)?;
        let valid = !host.is_empty() && !address.contains(['/', '?', '#', '@']) && port.parse::<u16>().is_ok();
        valid.then(|| Self { door, address: address.to_owned() }).ok_or(NotAnEndpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.door, self.address)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Http => "http",
        })
    }
}

/// What every connection needs.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The certificate authority of the QUIC doors, in PEM.
    pub ca: Option<std::path::PathBuf>,
    /// A bearer token.
    pub token: Option<String>,
    /// The names of the counters, and of the keys that are limited.
    pub names: Names,
    /// How decisions are asked.
    pub asking: Asking,
    /// After this an unanswered request counts as unknown.
    pub timeout: Duration,
    /// After this without a word a QUIC connection is given up and made anew: a node that was killed says no goodbye.
    pub silence: Duration,
}

/// How decisions are asked.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The policy's name; without one, the request brings its numbers along.
    pub policy: Option<String>,
    /// The policy's numbers.
    pub numbers: Numbers,
    /// What is to be charged.
    pub cost: u32,
}

/// What is known about an operation that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The node answered that it was not carried out.
    Refused,
    /// No answer came, and it was certainly not carried out: it never left, or it only reads.
    Undone,
    /// It may or may not have been, or may yet be.
    Unknown,
}

/// Why there is no acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A word for the counts: a code of the server, or one of the generator's own.
    pub code: Cow<'static, str>,
    /// What is known.
    pub fate: Fate,
    /// The connection is of no more use.
    pub lost: bool,
}

impl Failure {
    /// No answer in time.
    pub const TIMED_OUT: Self = Self::unknown("timed_out");
    /// The answer does not fit the question.
    pub const BAD_ANSWER: Self = Self::unknown("bad_answer");

    /// The node refused.
    pub const fn refused(code: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), fate: Fate::Refused, lost: false }
    }

    /// No answer, and certainly not carried out.
    pub const fn undone(code: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), fate: Fate::Undone, lost: false }
    }

    /// Perhaps carried out.
    pub const fn unknown(code: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), fate: Fate::Unknown, lost: false }
    }

    /// When to try again, as the node says with each refusal that passes (`Retry-After`).
    pub fn rest(&self) -> Option<Duration> {
        let is_it = |code: &Code| self.fate == Fate::Refused && code.as_str() == self.code;
        Code::ALL.into_iter().find(is_it)?.retry_after_ms().map(|ms| Duration::from_millis(ms.into()))
    }

    /// The same, and the connection is gone.
    pub fn lost(self) -> Self {
        Self { lost: true, ..self }
    }
}

/// The value after an operation, or why there is none.
pub type Outcome = Result<i128, Failure>;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One outcome per operation, in order.
    Values(Vec<Outcome>),
    /// As many IDs as were asked for, their target not filled in.
    Ids(Vec<Run>),
    /// The node lives.
    Lives,
    /// For each key in order whether it was admitted, or why that is not known.
    Decided(Vec<Result<bool, Failure>>),
}

/// One connection to one target.
pub struct Connection {
    door: OpenDoor,
    site: Site,
    lost: AtomicBool,
}

enum OpenDoor {
    Quic(quic::Quic),
    Http(Box<http::Http>),
}

impl Connection {
    /// Connects, and asks the node who it is.
    pub async fn open(endpoint: &Endpoint, dial: &Dial) -> anyhow::Result<Self> {
        let (door, site) = match endpoint.door {
            Door::Quic => {
                let (quic, site) = quic::Quic::open(&endpoint.address, dial).await?;
                (OpenDoor::Quic(quic), site)
            }
            Door::Http => {
                let (http, site) = http::Http::open(&endpoint.address, dial).await?;
                (OpenDoor::Http(Box::new(http)), site)
            }
        };
        Ok(Self { door, site, lost: AtomicBool::new(false) })
    }

    /// Who answers there.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Sends a request and waits for its answer, at most [`Dial::timeout`].
    pub async fn perform(&self, request: &Request) -> Result<Answer, Failure> {
        match request {
            Request::Batch(_, operations) => self.batch(operations).await.map(Answer::Values),
            Request::Ids(count) => self.ids(*count).await.map(Answer::Ids),
            Request::Live => self.live().await.map(|()| Answer::Lives),
            Request::Limits(keys) => self.decisions(keys).await.map(Answer::Decided),
        }
        .inspect_err(|failure| self.note(failure))
    }

    /// Nothing more is sent over a connection once it has failed.
    fn note(&self, failure: &Failure) {
        if failure.lost {
            self.lost.store(true, Ordering::Release);
        }
    }

    async fn batch(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Failure> {
        let outcomes = match &self.door {
            OpenDoor::Quic(quic) => quic.batch(operations).await?,
            OpenDoor::Http(http) => http.batch(operations).await?,
        };
        if outcomes.len() == operations.len() { Ok(outcomes) } else { Err(Failure::BAD_ANSWER) }
    }

    async fn ids(&self, count: u32) -> Result<Vec<Run>, Failure> {
        match &self.door {
            OpenDoor::Quic(quic) => quic.ids(count).await,
            OpenDoor::Http(http) => http.ids(count).await,
        }
    }

    async fn decisions(&self, keys: &[u32]) -> Result<Vec<Result<bool, Failure>>, Failure> {
        let decided = match &self.door {
            OpenDoor::Quic(quic) => quic.decisions(keys).await?,
            OpenDoor::Http(http) => http.decisions(keys).await?,
        };
        if decided.len() == keys.len() { Ok(decided) } else { Err(Failure::BAD_ANSWER) }
    }

    async fn live(&self) -> Result<(), Failure> {
        match &self.door {
            // There is no such question there; the options rule it out.
            OpenDoor::Quic(_) => Err(Failure::undone("not_over_quic")),
            OpenDoor::Http(http) => http.live().await,
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

/// A connection that comes back: when it is lost, the next use connects again, for as long as it takes.
pub struct Link {
    endpoint: Endpoint,
    dial: Arc<Dial>,
    connection: Arc<Connection>,
}

impl Link {
    /// Connects within `patience`, or says why that was not possible.
    pub async fn open(endpoint: &Endpoint, dial: &Arc<Dial>, patience: Duration) -> anyhow::Result<Self> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut backoff = BACKOFF_MIN;
        loop {
            let error = match tokio::time::timeout_at(deadline, Connection::open(endpoint, dial)).await {
                Ok(Ok(connection)) => {
                    let connection = Arc::new(connection);
                    return Ok(Self { endpoint: endpoint.clone(), dial: Arc::clone(dial), connection });
                }
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("no answer within {patience:?}"),
            };
            if tokio::time::Instant::now() + backoff >= deadline {
                return Err(error.context(format!("cannot connect to {endpoint}")));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Who answered first there.
    pub fn site(&self) -> &Site {
        self.connection.site()
    }

    /// Sends operations over a connection that is not known to be lost; one outcome for each.
    pub async fn read(&mut self, operations: &[Operation]) -> Result<Vec<Outcome>, Failure> {
        let connection = self.ready().await;
        connection.batch(operations).await.inspect_err(|failure| connection.note(failure))
    }

    /// A connection that is not known to be lost. May be dropped while it waits.
    pub async fn ready(&mut self) -> Arc<Connection> {
        let mut backoff = BACKOFF_MIN;
        while self.connection.is_lost() {
            let attempt = Connection::open(&self.endpoint, &self.dial);
            match tokio::time::timeout(self.dial.timeout, attempt).await {
                Ok(Ok(connection)) => self.connection = Arc::new(connection),
                Ok(Err(error)) => tracing::debug!(endpoint = %self.endpoint, "still away: {error:#}"),
                Err(_) => tracing::debug!(endpoint = %self.endpoint, "still away: no answer"),
            }
            if self.connection.is_lost() {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
        Arc::clone(&self.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_scheme_host_and_port() {
        let endpoint: Endpoint = "quic://127.0.0.1:7410".parse().unwrap();
        assert_eq!(endpoint, Endpoint { door: Door::Quic, address: "127.0.0.1:7410".into() });
        assert_eq!("http://[::1]:80/".parse::<Endpoint>().unwrap().to_string(), "http://[::1]:80");
    }

    #[test]
    fn a_refusal_that_passes_says_when_to_try_again() {
        assert_eq!(Failure::refused("throttled").rest(), Some(Duration::from_millis(100)));
        for other in [Failure::refused("forbidden"), Failure::unknown("throttled"), Failure::TIMED_OUT] {
            assert_eq!(other.rest(), None, "{other:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["127.0.0.1:80", "https://a:1", "http://a", "http://:80", "http://a:b", "http://a:1/x", "quic://"] {
            assert_eq!(text.parse::<Endpoint>(), Err(NotAnEndpoint), "{text}");
        }
    }
}
