//! Fake nodes that speak just enough HTTP, and misbehave on request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What happens to the n-th increment, counted from 1 over all nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Acknowledged, not counted.
    Lost,
    /// Counted twice.
    Doubled,
    /// Refused with 429.
    Throttled,
    /// Refused with 429 and counted all the same.
    ThrottledButCounted,
    /// Counted, answered with 504.
    TimedOut,
    /// Counted, the connection breaks.
    Broken,
    /// Answered much later than everything else of the run is due.
    Stalled,
}

/// How long [`Fault::Stalled`] takes.
pub(crate) const STALL: Duration = Duration::from_millis(1_500);

/// The state that all honest nodes share at once.
#[derive(Default)]
pub(crate) struct Cluster {
    /// What to do to which increment.
    faults: HashMap<u64, Fault>,
    /// After so many IDs they begin again.
    ids_period: Option<u64>,
    /// How long each batch of reads takes.
    reads_take: Duration,
    counters: Mutex<HashMap<String, i128>>,
    increments: AtomicU64,
    ids: AtomicU64,
}

impl Cluster {
    pub(crate) fn with(faults: impl IntoIterator<Item = (u64, Fault)>) -> Arc<Self> {
        Arc::new(Self { faults: faults.into_iter().collect(), ..Self::default() })
    }

    /// A cluster that gives the same IDs again after so many.
    pub(crate) fn with_ids_period(period: u64) -> Arc<Self> {
        Arc::new(Self { ids_period: Some(period), ..Self::default() })
    }

    /// A cluster that takes so long for each batch of reads.
    pub(crate) fn with_reads_taking(reads_take: Duration) -> Arc<Self> {
        Arc::new(Self { reads_take, ..Self::default() })
    }

    /// Increments that have come.
    pub(crate) fn increments(&self) -> u64 {
        self.increments.load(Ordering::SeqCst)
    }

    /// A node of this cluster; the URL to reach it.
    pub(crate) async fn node(self: &Arc<Self>, region: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let cluster = Arc::clone(&cluster);
                tokio::spawn(async move {
                    let answer = service_fn(|request| Arc::clone(&cluster).answer(region, request));
                    // It ends with an error where the connection is broken on purpose.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
                });
            }
        });
        url
    }

    async fn answer(
        self: Arc<Self>,
        region: &'static str,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let path = &*percent_encoding::percent_decode_str(head.uri.path()).decode_utf8().unwrap();
        let (status, body) = match (head.method, path) {
            (Method::GET, "/v1/cluster") => (200, json!({"node": {"region": region, "node": 0}, "peers": []})),
            (Method::POST, "/v1/ids") => (200, self.ids(body["count"].as_u64().unwrap_or(1))),
            (Method::POST, "/v1/batch") => (200, self.batch(&body["operations"]).await?),
            (Method::POST, path) => {
                let counter = path.strip_prefix("/v1/counters/").unwrap().strip_suffix("/increment").unwrap();
                self.increment(counter, &body["by"]).await?
            }
            (_, path) => (200, self.read(path.strip_prefix("/v1/counters/").unwrap())),
        };
        let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
        Ok(response.body(Full::from(body.to_string())).unwrap())
    }

    fn ids(&self, count: u64) -> Value {
        let first = self.ids.fetch_add(count, Ordering::SeqCst);
        let number = |offset| self.ids_period.map_or(first + offset, |period| (first + offset) % period);
        let ids: Vec<String> = (0..count).map(|offset| (1_000 + number(offset)).to_string()).collect();
        json!({"ids": ids, "region": "a", "node": 0})
    }

    async fn batch(&self, operations: &Value) -> Result<Value, Broken> {
        let mut results = Vec::new();
        if operations.as_array().unwrap().iter().all(|operation| operation["increment"].is_null()) {
            tokio::time::sleep(self.reads_take).await;
        }
        for operation in operations.as_array().unwrap() {
            let (status, result) = match (&operation["increment"], &operation["get"]) {
                (Value::Null, get) => (200, self.read(&counter(get))),
                (increment, _) => self.increment(&counter(increment), &increment["by"]).await?,
            };
            results.push(json!({"status": status, "value": result["value"], "code": result["code"]}));
        }
        Ok(json!({ "results": results }))
    }

    async fn increment(&self, counter: &str, by: &Value) -> Result<(u16, Value), Broken> {
        let by: i128 = by.as_str().unwrap().parse().unwrap();
        let number = self.increments.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = self.faults.get(&number).copied();
        let times = match fault {
            Some(Fault::Lost | Fault::Throttled) => 0,
            Some(Fault::Doubled) => 2,
            _ => 1,
        };
        let value = {
            let mut counters = self.counters.lock().unwrap();
            let value = counters.entry(counter.to_owned()).or_default();
            *value += by * times;
            *value
        };
        match fault {
            Some(Fault::Throttled | Fault::ThrottledButCounted) => return Ok((429, json!({"code": "throttled"}))),
            Some(Fault::TimedOut) => return Ok((504, json!({"code": "timeout"}))),
            Some(Fault::Broken) => return Err(Broken),
            Some(Fault::Stalled) => tokio::time::sleep(STALL).await,
            _ => {}
        }
        Ok((200, json!({"value": value.to_string()})))
    }

    fn read(&self, counter: &str) -> Value {
        let value = self.counters.lock().unwrap().get(counter).copied().unwrap_or(0);
        json!({"value": value.to_string()})
    }
}

fn counter(operation: &Value) -> String {
    format!("{}/{}", operation["namespace"].as_str().unwrap(), operation["key"].as_str().unwrap())
}

/// Breaks the connection.
#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
pub(crate) struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
