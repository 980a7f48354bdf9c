//! The HTTP door: one connection, one request at a time, HTTP/1.1 kept alive, through the client crate's transport.
//!
//! A batch of one uses the plain endpoints of a counter, any other `POST /v1/batch`. Nothing is ever sent twice.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::StatusCode;
use http::request::Builder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use snowtide_client::{HttpFailure, HttpLimits, HttpTransport, Site};

use super::{Asking, Dial, Failure, Fate, Outcome};
use crate::ids::Run;
use crate::keys::{Action, Operation};

/// A longer answer is not read to its end.
const BODY_BYTES_MAX: usize = 16 << 20;
/// An idle connection is closed after this, as it is by any client of hyper.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Words of servers that are kept as they are; longer ones are not words.
const CODE_BYTES_MAX: usize = 64;
/// RFC 3986, unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One connection.
pub struct Http {
    transport: HttpTransport,
    /// Path of the counters up to the number in their names.
    counters: String,
    /// The beginning of an operation in JSON, up to the number in the counter's name.
    opening: String,
    checks: Checks,
    timeout: Duration,
}

/// The parts of requests for decisions that are always the same.
struct Checks {
    /// Path of a single one, up to the number in the key's name.
    path: String,
    /// Its body.
    body: String,
    /// One of a batch in JSON, up to the number in the key's name.
    opening: String,
    /// What comes behind that.
    closing: String,
}

#[derive(Deserialize)]
struct IdsBody<'a> {
    #[serde(borrow)]
    ids: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ClusterBody {
    node: NodeBody,
}

#[derive(Deserialize)]
struct NodeBody {
    region: String,
    node: u8,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    results: Vec<Item<'a>>,
}

/// One result of a batch, the answer about one counter, and a problem document alike.
#[derive(Deserialize)]
struct Item<'a> {
    status: Option<u16>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    allowed: Option<bool>,
}

impl Http {
    /// Connects, and asks the node who it is.
    pub async fn open(address: &str, dial: &Dial) -> anyhow::Result<(Self, Site)> {
        let names = &dial.names;
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let quoted = |text: &str| serde_json::to_string(text).map(|quoted| quoted.trim_end_matches('"').to_owned());
        let limits = HttpLimits {
            connect_timeout: None,
            idle_connections_max: 1,
            idle_max: IDLE_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            resends: false,
        };
        let this = Self {
            transport: HttpTransport::new(address, dial.token.as_deref(), limits)?,
            counters: format!("/v1/counters/{}/{}", escaped(&names.namespace), escaped(&names.prefix)),
            opening: format!(r#"{{"namespace":{}","key":{}"#, quoted(&names.namespace)?, quoted(&names.prefix)?),
            checks: Checks::of(&dial.asking, &escaped(&names.prefix), &quoted(&names.prefix)?)?,
            timeout: dial.timeout,
        };
        let refused = |failure: Failure| anyhow::anyhow!("asked who it is, the answer was `{}`", failure.code);
        let body = this.exchange(http::Request::get("/v1/cluster"), String::new()).await.map_err(refused)?;
        let node = serde_json::from_slice::<ClusterBody>(&body).context("this is no Snowtide node")?.node;
        Ok((this, Site { region: node.region, node: node.node }))
    }

    /// One outcome per operation, unless the server miscounts.
    pub async fn batch(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Failure> {
        if let [operation] = operations {
            return Ok(vec![Ok(self.single(*operation).await?)]);
        }
        let body = self.exchange(http::Request::post("/v1/batch"), self.batch_json(operations)).await?;
        let answer: BatchBody<'_> = serde_json::from_slice(&body).map_err(|_| Failure::BAD_ANSWER)?;
        Ok(answer.results.iter().map(Item::outcome).collect())
    }

    /// As many IDs as were asked for, as runs.
    pub async fn ids(&self, count: u32) -> Result<Vec<Run>, Failure> {
        // One is what is meant where nothing is said.
        let asked = if count == 1 { String::new() } else { format!(r#"{{"count":{count}}}"#) };
        let body = self.exchange(http::Request::post("/v1/ids"), asked).await?;
        let answer: IdsBody<'_> = serde_json::from_slice(&body).map_err(|_| Failure::BAD_ANSWER)?;
        let expected = usize::try_from(count).is_ok_and(|count| answer.ids.len() == count);
        runs_of(&answer.ids).filter(|_| expected).ok_or(Failure::BAD_ANSWER)
    }

    /// Whether the node lives.
    pub async fn live(&self) -> Result<(), Failure> {
        self.exchange(http::Request::get("/livez"), String::new()).await.map(drop)
    }

    /// For each key in order whether it was admitted, unless the server miscounts.
    pub async fn decisions(&self, keys: &[u32]) -> Result<Vec<Result<bool, Failure>>, Failure> {
        let Checks { path, body, opening, closing } = &self.checks;
        if let [key] = keys {
            let answer = self.exchange(http::Request::post(format!("{path}{key}")), body.clone()).await?;
            let item: Item<'_> = serde_json::from_slice(&answer).map_err(|_| Failure::BAD_ANSWER)?;
            return Ok(vec![Ok(item.allowed.ok_or(Failure::BAD_ANSWER)?)]);
        }
        let checks: Vec<String> = keys.iter().map(|key| format!("{opening}{key}{closing}")).collect();
        let body = format!(r#"{{"operations":[{}]}}"#, checks.join(","));
        let body = self.exchange(http::Request::post("/v1/batch"), body).await?;
        let answer: BatchBody<'_> = serde_json::from_slice(&body).map_err(|_| Failure::BAD_ANSWER)?;
        Ok(answer.results.iter().map(Item::decided).collect())
    }

    async fn single(&self, operation: Operation) -> Result<i128, Failure> {
        let Operation { key, action } = operation;
        let path = format!("{}{key}", self.counters);
        let (request, body) = match action {
            Action::Increment(by) => (http::Request::post(format!("{path}/increment")), format!(r#"{{"by":"{by}"}}"#)),
            Action::Read => (http::Request::get(path), String::new()),
        };
        let body = self.exchange(request, body).await?;
        serde_json::from_slice::<Item<'_>>(&body).ok().and_then(|item| item.number()).ok_or(Failure::BAD_ANSWER)
    }

    fn batch_json(&self, operations: &[Operation]) -> String {
        let mut json = String::with_capacity(operations.len().saturating_mul(self.opening.len().saturating_add(40)));
        json.push_str(r#"{"operations":["#);
        for (position, Operation { key, action }) in operations.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            let _infallible = match action {
                Action::Increment(by) => {
                    write!(json, r#"{comma}{{"increment":{}{key}","by":"{by}"}}}}"#, self.opening)
                }
                Action::Read => write!(json, r#"{comma}{{"get":{}{key}"}}}}"#, self.opening),
            };
        }
        json.push_str("]}");
        json
    }

    /// The body of a response that is a success. Before the connection stood, nothing can have been sent; after that, anything may
    /// have happened.
    async fn exchange(&self, request: Builder, body: String) -> Result<Bytes, Failure> {
        let request = request.body(body.into()).map_err(|_| Failure::undone("bad_address"))?;
        let sent = tokio::time::timeout(self.timeout, self.transport.send(request)).await;
        let response = sent.map_err(|_| Failure::TIMED_OUT)?.map_err(|failure| match failure {
            HttpFailure::Unsent(_) | HttpFailure::Distrusted(_) => Failure::undone("unreachable").lost(),
            HttpFailure::Unknown(_) => Failure::unknown("disconnected").lost(),
        })?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(failure_of(status, response.body())),
        }
    }
}

impl Checks {
    /// With the beginning of all names, escaped for a path and quoted for JSON.
    fn of(Asking { policy, numbers, cost }: &Asking, escaped: &str, quoted: &str) -> anyhow::Result<Self> {
        let (name, given, written) = match policy {
            Some(name) => {
                let path = utf8_percent_encode(name, ESCAPED).to_string();
                (path, String::new(), serde_json::to_string(name)?)
            }
            None => {
                let written = serde_json::to_string(numbers)?;
                ("_".to_owned(), format!(r#""policy":{written},"#), written)
            }
        };
        Ok(Self {
            path: format!("/v1/limits/{name}/{escaped}"),
            body: format!(r#"{{{given}"cost":{cost}}}"#),
            opening: format!(r#"{{"limit":{{"policy":{written},"key":{quoted}"#),
            closing: format!(r#"","cost":{cost}}}}}"#),
        })
    }
}

impl Item<'_> {
    fn decided(&self) -> Result<bool, Failure> {
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        match (status, self.allowed) {
            (Some(StatusCode::OK), Some(allowed)) => Ok(allowed),
            (Some(StatusCode::OK) | None, _) => Err(Failure::BAD_ANSWER),
            (Some(status), _) => Err(failure(status, self.code.as_deref())),
        }
    }

    fn number(&self) -> Option<i128> {
        self.value.as_deref()?.parse().ok()
    }

    fn outcome(&self) -> Outcome {
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        match (status, self.number()) {
            (Some(StatusCode::OK), Some(value)) => Ok(value),
            (Some(StatusCode::OK) | None, _) => Err(Failure::BAD_ANSWER),
            (Some(status), _) => Err(failure(status, self.code.as_deref())),
        }
    }
}

fn failure_of(status: StatusCode, body: &[u8]) -> Failure {
    let code = serde_json::from_slice::<Item<'_>>(body).ok().and_then(|problem| problem.code);
    failure(status, code.as_deref())
}

/// By the contract of the interface 4xx and 503 promise that nothing was done; no other status does.
fn failure(status: StatusCode, code: Option<&str>) -> Failure {
    let certain = status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE;
    let code = match code {
        Some(code) if code.len() <= CODE_BYTES_MAX => code.to_owned(),
        _ => format!("http_{}", status.as_u16()),
    };
    Failure { code: code.into(), fate: if certain { Fate::Refused } else { Fate::Unknown }, lost: false }
}

/// Joins neighbours; `None` if any is not a number.
fn runs_of(ids: &[Cow<'_, str>]) -> Option<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for id in ids {
        let first: u64 = id.parse().ok()?;
        match runs.last_mut() {
            Some(run) if run.first.checked_add(u64::from(run.count)) == Some(first) => {
                run.count = run.count.saturating_add(1);
            }
            _ => runs.push(Run { first, count: 1, target: 0 }),
        }
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use snowtide_client::{Algorithm, Numbers};

    use super::*;

    #[test]
    fn neighbouring_ids_become_runs() {
        let ids = ["5", "6", "9", "8", "18446744073709551615"].map(Cow::Borrowed);
        let run = |first, count| Run { first, count, target: 0 };
        assert_eq!(runs_of(&ids).unwrap(), [run(5, 2), run(9, 1), run(8, 1), run(u64::MAX, 1)]);
        assert_eq!(runs_of(&[Cow::Borrowed("-1")]), None);
    }

    #[test]
    fn decisions_are_asked_in_json_and_read_one_by_one() {
        let numbers = Numbers { algorithm: Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };
        let given = Checks::of(&Asking { policy: None, numbers, cost: 2 }, "a%2F", "\"a/").unwrap();
        let policy = r#"{"algorithm":"gcra","limit":30,"window_ms":60000,"burst":16}"#;
        assert_eq!(given.path, "/v1/limits/_/a%2F");
        assert_eq!(given.body, format!(r#"{{"policy":{policy},"cost":2}}"#));
        let one = format!("{}7{}", given.opening, given.closing);
        assert_eq!(one, format!(r#"{{"limit":{{"policy":{policy},"key":"a/7","cost":2}}}}"#));
        let named = Checks::of(&Asking { policy: Some("web".into()), numbers, cost: 1 }, "a", "\"a").unwrap();
        assert_eq!((&*named.path, &*named.body), ("/v1/limits/web/a", r#"{"cost":1}"#));
        assert_eq!(format!("{}7{}", named.opening, named.closing), r#"{"limit":{"policy":"web","key":"a7","cost":1}}"#);
        let body =
            br#"{"results":[{"status":200,"allowed":true,"limit":1,"remaining":0},{"status":200,"allowed":false},
            {"status":503,"code":"limits_full"},{"status":200}]}"#;
        let body: BatchBody<'_> = serde_json::from_slice(body).unwrap();
        let decided: Vec<_> = body.results.iter().map(Item::decided).collect();
        assert_eq!(decided[..2], [Ok(true), Ok(false)]);
        assert_eq!(decided[2..], [Err(Failure::refused("limits_full")), Err(Failure::BAD_ANSWER)]);
    }

    #[test]
    fn only_some_statuses_promise_that_nothing_was_done() {
        let fate = |status: u16| failure(StatusCode::from_u16(status).unwrap(), None).fate;
        assert!([400, 404, 413, 422, 429, 503].iter().all(|status| fate(*status) == Fate::Refused));
        assert!([302, 500, 502, 504].iter().all(|status| fate(*status) == Fate::Unknown));
        assert_eq!(failure_of(StatusCode::TOO_MANY_REQUESTS, br#"{"code":"throttled"}"#).code, "throttled");
        assert_eq!(failure_of(StatusCode::BAD_GATEWAY, b"<html>").code, "http_502");
    }

    #[test]
    fn results_are_read_one_by_one() {
        let body = br#"{"results":[{"status":200,"value":"-170141183460469231731687303715884105728"},
            {"status":422,"code":"counter_overflow"},{"status":200},{"value":"1"}]}"#;
        let body: BatchBody<'_> = serde_json::from_slice(body).unwrap();
        let outcomes: Vec<Outcome> = body.results.iter().map(Item::outcome).collect();
        assert_eq!(outcomes[0], Ok(i128::MIN));
        assert_eq!(outcomes[1], Err(Failure::refused("counter_overflow")));
        assert_eq!(outcomes[2], Err(Failure::BAD_ANSWER));
        assert_eq!(outcomes[3], Err(Failure::BAD_ANSWER));
    }
}
