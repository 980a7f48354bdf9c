//! Ordinary clients: they ask, take the answer, and ask again, each at its door; some come anew each time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snowtide::clock::monotonic;
use snowtide_client::{Config, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Target;
use crate::harness::{Bed, EAST, NAMESPACE, http};

/// From one answer to the next question.
const PAUSE: Duration = Duration::from_millis(10);
/// The same for those that come anew.
const FRESH_PAUSE: Duration = Duration::from_millis(100);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Ordinary {
    tasks: JoinSet<()>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    latencies: Vec<Duration>,
    refused: Vec<String>,
}

/// What was heard since one last asked.
pub(super) struct SoFar {
    pub(super) answered: usize,
    pub(super) refused: Vec<String>,
    pub(super) p99_ms: f64,
}

/// A client.
enum Client {
    Quic(Config, Connection),
    Redis(SocketAddr, TcpStream),
    Http(SocketAddr, TcpStream),
    /// On a new connection each time.
    Fresh(SocketAddr, &'static str),
}

impl Ordinary {
    pub(super) async fn start(bed: &Bed, target: &Target) -> Self {
        let mut clients = vec![
            Client::Quic(bed.cluster.client_config(EAST).unwrap(), bed.client(EAST).await),
            Client::Redis(target.redis, TcpStream::connect(target.redis).await.unwrap()),
            Client::Http(target.http, TcpStream::connect(target.http).await.unwrap()),
        ];
        let paths = ["/livez", "/readyz?verbose", "/v1/cluster", "/metrics", "/v1/counters/default/ordinary"];
        clients.extend(paths.map(|path| Client::Fresh(target.http, path)));
        let mut ordinary = Self { tasks: JoinSet::new(), heard: Arc::default() };
        for client in clients {
            ordinary.tasks.spawn(client.go_on(Arc::clone(&ordinary.heard)));
        }
        ordinary
    }

    pub(super) fn so_far(&self) -> SoFar {
        let Heard { mut latencies, refused } = std::mem::take(&mut *self.heard.lock().unwrap());
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
        SoFar { answered: latencies.len(), refused, p99_ms: p99.as_secs_f64() * 1_000.0 }
    }

    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Client {
    /// Asks again and again.
    async fn go_on(mut self, heard: Arc<Mutex<Heard>>) {
        loop {
            let begun = monotonic();
            let answer = timeout(PATIENCE, self.ask()).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            match answer {
                Ok(()) => heard.lock().unwrap().latencies.push(begun.elapsed()),
                Err(reason) => {
                    heard.lock().unwrap().refused.push(format!("{}: {reason}", self.name()));
                    self.come_back().await;
                }
            }
            sleep(if matches!(self, Self::Fresh(..)) { FRESH_PAUSE } else { PAUSE }).await;
        }
    }

    async fn ask(&mut self) -> Result<(), String> {
        match self {
            Self::Quic(_, client) => {
                client.increment(NAMESPACE, "ordinary", 1).await.map(drop).map_err(|error| error.to_string())
            }
            Self::Redis(_, stream) => exchange(stream, "INCR ordinary\r\n", ":").await,
            Self::Http(_, stream) => {
                let request = "POST /v1/counters/default/ordinary/increment HTTP/1.1\r\nhost: x\r\n\r\n";
                exchange(stream, request, "HTTP/1.1 200").await
            }
            Self::Fresh(address, path) => {
                let answer = http::get(*address, path).await.map_err(|error| error.to_string())?;
                if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
            }
        }
    }

    /// After a refusal that may have ended its connection.
    async fn come_back(&mut self) {
        if let Self::Redis(address, stream) | Self::Http(address, stream) = self
            && let Ok(again) = TcpStream::connect(*address).await
        {
            *stream = again;
        }
        if let Self::Quic(config, client) = self
            && let Ok(again) = Connection::open(config.clone()).await
        {
            *client = again;
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Quic(..) => "QUIC",
            Self::Redis(..) => "Redis",
            Self::Http(..) => "HTTP",
            Self::Fresh(_, path) => path,
        }
    }
}

/// Asks on a connection that is kept, for an answer that begins like this.
async fn exchange(stream: &mut TcpStream, request: &str, expected: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let (mut answer, mut part) = (String::new(), vec![0; 4_096]);
    while !is_whole(&answer) {
        let count = stream.read(&mut part).await.map_err(failed)?;
        if count == 0 {
            return Err(format!("the connection ended after {answer:?}"));
        }
        answer += &String::from_utf8_lossy(&part[..count]);
    }
    if answer.starts_with(expected) { Ok(()) } else { Err(answer) }
}

/// Whether all of an answer has come: a line, or over HTTP a head and its body.
fn is_whole(answer: &str) -> bool {
    if !answer.starts_with("HTTP/") {
        return answer.ends_with("\r\n");
    }
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.parse() == Ok(body.len()))
}
