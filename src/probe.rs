//! Asks a node over HTTP, or over HTTPS, what an operator or a load balancer asks: is it ready, and how does it see the cluster?
//!
//! Every question is bounded in time and every answer in size. Nothing is asked twice by itself.

use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A node that lives answers these in milliseconds, whatever else it does.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A longer answer is not read to its end.
const BODY_BYTES_MAX: usize = 1 << 20;

/// There is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens there, or the connection broke.
    #[error("nothing answers at {address}: {reason}")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Somebody listens and is silent.
    #[error("{address} did not answer within {TIMEOUT:?}")]
    Silent {
        /// Who was asked.
        address: String,
    },
    /// The node refused to say.
    #[error("{address} answers {status}: {detail}")]
    Refused {
        /// Who was asked.
        address: String,
        /// The HTTP status.
        status: StatusCode,
        /// In the node's words.
        detail: String,
    },
    /// The answer is not one of a Snowtide node.
    #[error("{address} does not answer as a Snowtide node does: {reason}")]
    Malformed {
        /// Who was asked.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Asks; cheap to clone.
#[derive(Clone)]
pub struct Probe {
    authorization: Option<HeaderValue>,
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe(..)") // never the token
    }
}

/// `GET /v1/cluster`: a node, and its peers as it sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The node that was asked.
    pub node: NodeView,
    /// Its IDs; absent in the answers of former releases.
    #[serde(default)]
    pub ids: Option<IdsView>,
    /// Every other configured node.
    pub peers: Vec<PeerView>,
    /// Logs that have forked.
    #[serde(default)]
    pub forks: Vec<ForkView>,
}

/// A log in which two processes have counted under one replica id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForkView {
    /// Of which namespace.
    pub namespace: String,
    /// Of which region's node.
    pub region: String,
    /// Its number in the region.
    pub node: u8,
    /// The replica id.
    pub replica: String,
}

/// What a node's IDs are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdsView {
    /// The split of their bits.
    pub layout: String,
    /// The last moment that one can carry.
    pub last: String,
}

/// The node that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its region's name.
    pub region: String,
    /// Its number in the region.
    pub node: u8,
    /// The current incarnation of its data.
    pub replica: Option<String>,
    /// `starting`, `ready`, `draining` or `fenced`.
    pub stage: String,
    /// Why it stopped itself.
    #[serde(default)]
    pub reason: Option<String>,
    /// The release that runs.
    #[serde(default)]
    pub version: Option<String>,
    /// Own commits so far, in decimal digits.
    pub commits: Option<String>,
}

/// A peer in the eyes of the node that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its region's name.
    pub region: String,
    /// Its number in the region.
    pub node: u8,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Namespaces that are not exchanged with it, because the two define them differently.
    #[serde(default)]
    pub not_exchanged: Vec<String>,
    /// Commits of the node that was asked which the peer has not acknowledged, in decimal digits.
    pub lag_commits: Option<String>,
    /// For how long the peer has been behind.
    pub lag_seconds: Option<f64>,
    /// How long ago everything was last compared with what it holds; absent in the answers of former releases.
    #[serde(default)]
    pub compared_seconds: Option<f64>,
    /// By how much the peer's clock is ahead.
    #[serde(default)]
    pub clock_offset_seconds: Option<f64>,
    /// How far the truth may be from that.
    #[serde(default)]
    pub clock_uncertainty_seconds: Option<f64>,
}

/// `GET /v1/limits`: the policies by which a node decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitsView {
    /// By name.
    pub policies: Vec<PolicyView>,
}

/// A policy as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its name; of one that a request brought along, its numbers.
    pub name: String,
    /// A request brought it along.
    pub given: bool,
    /// `fixed`, `sliding` or `gcra`.
    pub algorithm: String,
    /// Units in a window.
    pub limit: u64,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
    /// Units that may come at once; of `gcra` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// `shared`, `split` or `local`.
    pub mode: String,
    /// The nodes that count together with this one, itself included.
    pub side: Vec<String>,
    /// Those that do not.
    pub parted: Vec<PartedView>,
    /// Decisions of this node since it started, those that only look among them.
    pub decisions: u64,
    /// Units that it admitted.
    pub admitted: u64,
    /// Decisions that denied.
    pub denied: u64,
}

/// A node that does not count together with the one that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartedView {
    /// Its region's name and its number.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// What a problem document says.
#[derive(Deserialize)]
struct ProblemView {
    detail: String,
}

impl Probe {
    /// Asks with a bearer token, where there is one. `None` if the token cannot stand in a header.
    pub fn new(token: Option<&str>) -> Option<Self> {
        let authorization = match token {
            Some(token) => Some(HeaderValue::try_from(format!("Bearer {token}")).ok()?),
            None => None,
        };
        Some(Self { authorization, tls: None })
    }

    /// Asks over TLS from now on. Nodes have to prove that they are at their address to whom this believes.
    #[must_use]
    pub fn over_tls(self, config: Arc<ClientConfig>) -> Self {
        Self { tls: Some(config.into()), ..self }
    }

    /// Asks without a token.
    pub fn anonymous() -> Self {
        Self { authorization: None, tls: None }
    }

    /// Whether the node has recovered and serves; an error if nobody says.
    pub async fn is_ready(&self, address: impl Display) -> Result<bool, ProbeError> {
        let (status, _) = self.get(&address.to_string(), "/readyz").await?;
        Ok(status == StatusCode::OK)
    }

    /// How the node sees itself and its peers.
    pub async fn cluster(&self, address: impl Display) -> Result<ClusterView, ProbeError> {
        self.view(address, "/v1/cluster").await
    }

    /// By which policies the node decides, and with whom.
    pub async fn limits(&self, address: impl Display) -> Result<LimitsView, ProbeError> {
        self.view(address, "/v1/limits").await
    }

    async fn view<T: DeserializeOwned>(&self, address: impl Display, path: &str) -> Result<T, ProbeError> {
        let address = address.to_string();
        let (status, body) = self.get(&address, path).await?;
        if status != StatusCode::OK {
            let detail = serde_json::from_slice::<ProblemView>(&body).map(|problem| problem.detail).unwrap_or_default();
            return Err(ProbeError::Refused { address, status, detail });
        }
        serde_json::from_slice(&body).map_err(|error| ProbeError::Malformed { address, reason: error.to_string() })
    }

    /// What the node measures, in the text format of Prometheus.
    pub async fn metrics(&self, address: impl Display) -> Result<String, ProbeError> {
        let address = address.to_string();
        let (status, body) = self.get(&address, "/metrics").await?;
        let malformed = |reason: String| ProbeError::Malformed { address: address.clone(), reason };
        if status != StatusCode::OK {
            return Err(malformed(format!("status {status}")));
        }
        String::from_utf8(body.into()).map_err(|error| malformed(error.to_string()))
    }

    async fn get(&self, address: &str, path: &str) -> Result<(StatusCode, Bytes), ProbeError> {
        timeout(TIMEOUT, self.exchange(address, path))
            .await
            .unwrap_or_else(|_| Err(ProbeError::Silent { address: address.to_owned() }))
    }

    /// A connection for each question: a node that was restarted meanwhile is asked anew.
    async fn exchange(&self, address: &str, path: &str) -> Result<(StatusCode, Bytes), ProbeError> {
        let unreachable =
            |error: io::Error| ProbeError::Unreachable { address: address.to_owned(), reason: innermost(&error) };
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        match &self.tls {
            None => self.ask(stream, address, path).await,
            Some(tls) => {
                let name = host(address).map_err(|error| unreachable(io::Error::other(error)))?;
                let stream = tls.connect(name, stream).await.map_err(unreachable)?;
                self.ask(stream, address, path).await
            }
        }
    }

    async fn ask<T>(&self, stream: T, address: &str, path: &str) -> Result<(StatusCode, Bytes), ProbeError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let malformed = |reason: String| ProbeError::Malformed { address: address.to_owned(), reason };
        let mut request = Request::get(path).header(HOST, address);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| malformed(error.to_string()))?;
        let greeted = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = greeted.map_err(|error| malformed(innermost(&error)))?;
        // Ends with the sender.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| malformed(innermost(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| malformed(error.to_string()))?;
        Ok((head.status, body.to_bytes()))
    }
}

/// Who has to stand at `host:port`.
fn host(address: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    ServerName::try_from(host.to_owned())
}

/// The cause of all causes: those above it only say that it was not possible to connect.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes, and tells what was asked.
    async fn answer_once(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        (address, asked)
    }

    #[tokio::test]
    async fn ready_is_status_200_and_nothing_else() {
        let (address, _) = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert!(Probe::anonymous().is_ready(address).await.unwrap());
        let (address, _) = answer_once("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert!(!Probe::anonymous().is_ready(address).await.unwrap());
    }

    #[tokio::test]
    async fn the_token_is_sent_and_a_refusal_is_told_in_the_nodes_words() {
        let body = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 28\r\n\r\n{\"detail\":\"no such token\"}  ";
        let (address, asked) = answer_once(body).await;
        let error = Probe::new(Some("s3cret")).unwrap().cluster(address).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address} answers 401 Unauthorized: no such token"));
        assert!(asked.await.unwrap().to_lowercase().contains("authorization: bearer s3cret"));
    }

    #[tokio::test]
    async fn nobody_and_somebody_else_are_told_apart() {
        let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Probe::anonymous().cluster(vacant).await.unwrap_err();
        assert!(matches!(error, ProbeError::Unreachable { .. }), "{error}");
        let (address, _) = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let error = Probe::anonymous().cluster(address).await.unwrap_err();
        assert!(matches!(error, ProbeError::Malformed { .. }), "{error}");
    }

    #[test]
    fn a_token_that_is_no_header_is_refused() {
        assert!(Probe::new(Some("a\nb")).is_none());
    }
}
