//! Requests as the JSON API wants them.

use std::time::Duration;

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use snowtide_protocol::Ack;
use snowtide_protocol::json::JsonOperation;

use crate::batch::Batch;
use crate::door::{Site, Stamp, Work};
use crate::error::Error;
use crate::terms::Terms;

/// IDs come as bytes: eight for each, big-endian.
const BYTES: &str = "application/octet-stream";
/// RFC 3986, unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request before it is given a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    /// `Snowtide-Token`
    pub(super) token: Option<String>,
    /// `Snowtide-Session`
    pub(super) session: Option<String>,
    /// `Prefer: wait`, in seconds.
    pub(super) wait: Option<u64>,
    /// `Accept`
    pub(super) accept: Option<&'static str>,
    /// JSON, or nothing.
    pub(super) body: Vec<u8>,
}

#[derive(Serialize)]
struct Operations<'a> {
    operations: Vec<JsonOperation<'a>>,
}

impl Request {
    pub(super) fn empty(method: Method) -> Self {
        Self { method, target: String::new(), token: None, session: None, wait: None, accept: None, body: Vec::new() }
    }

    fn post(target: String, body: Vec<u8>) -> Self {
        Self { target, body, ..Self::empty(Method::POST) }
    }

    pub(super) fn of(work: &Work<'_>) -> Result<Self, Error> {
        match *work {
            Work::One { namespace, key, action } => {
                let target = format!("{}{}", path(namespace, key), action.path_suffix());
                let body = action.by().map(|by| format!(r#"{{"by":"{by}"}}"#)).unwrap_or_default().into_bytes();
                let method = if action.is_write() { Method::POST } else { Method::GET };
                Ok(Self { target, body, ..Self::empty(method) })
            }
            Work::Batch(batch) => Ok(Self::post("/v1/batch".into(), operations(batch)?)),
            Work::OnTerms(batch, terms) => {
                let mut request = Self::post(format!("/v1/batch{}", query(terms)), operations(batch)?);
                // A token that names nothing is enough to be told one in turn, whatever the namespace's durability.
                request.token = (terms.wants_token() || !terms.token().is_empty()).then(|| terms.token().to_string());
                request.wait = terms.waits().then(|| seconds(terms.patience()));
                Ok(request)
            }
            Work::Ids(count) => {
                let body = format!(r#"{{"count":{count}}}"#).into_bytes();
                Ok(Self { accept: Some(BYTES), ..Self::post("/v1/ids".into(), body) })
            }
        }
    }
}

/// A stamp as a header: a random UUID for the session, the turn, the node and the incarnation of its data that alone may take
/// it, and how long ago it was first sent.
pub(super) fn session(Stamp { turn, incarnation, again, age }: Stamp, site: &Site) -> String {
    let text = format!("{:032x}", turn.session);
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| text.get(group).unwrap_or_default());
    let replica = incarnation.map(|incarnation| format!("; replica={incarnation:016x}")).unwrap_or_default();
    let again = if again { format!("; again={}", seconds(age)) } else { String::new() };
    format!("{}; turn={}; at={site}{replica}{again}", groups.join("-"), turn.number)
}

fn path(namespace: &str, key: &str) -> String {
    format!("/v1/counters/{}/{}", utf8_percent_encode(namespace, ESCAPED), utf8_percent_encode(key, ESCAPED))
}

fn query(terms: &Terms) -> String {
    let ack = Some(terms.acknowledged_by()).filter(|ack| *ack != Ack::Local).map(|ack| format!("ack={ack}"));
    let view = terms.wants_views().then(|| "view=regions".to_owned());
    let parameters: Vec<String> = ack.into_iter().chain(view).collect();
    if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) }
}

/// Whole seconds, at least as long.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

fn operations(batch: &Batch) -> Result<Vec<u8>, Error> {
    let operations = batch.operations().map(|(namespace, key, action)| JsonOperation {
        namespace: namespace.into(),
        key: key.into(),
        action,
    });
    let operations = Operations { operations: operations.collect() };
    serde_json::to_vec(&operations).map_err(|error| Error::Protocol(error.to_string()))
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::wire::Turn;
    use snowtide_protocol::{Action, Token};

    use super::*;

    fn text(request: &Request) -> String {
        format!("{} {} {}", request.method, request.target, String::from_utf8(request.body.clone()).unwrap())
    }

    #[test]
    fn one_operation_uses_the_path_of_its_counter() {
        let of = |key, action| text(&Request::of(&Work::One { namespace: "default", key, action }).unwrap());
        assert_eq!(of("likes/42", Action::Get), "GET /v1/counters/default/likes%2F42 ");
        let expected = r#"POST /v1/counters/default/%E2%82%AC%25%20%3F/increment {"by":"-5"}"#;
        assert_eq!(of("€% ?", Action::Increment(-5)), expected);
    }

    #[test]
    fn a_batch_is_json_in_order() {
        let mut batch = Batch::new();
        batch.add("n", "a\"b", i64::MIN).unwrap().get("m", "a").unwrap();
        let expected = r#"POST /v1/batch {"operations":[{"increment":{"namespace":"n","key":"a\"b","by":-9223372036854775808}},{"get":{"namespace":"m","key":"a"}}]}"#;
        assert_eq!(text(&Request::of(&Work::Batch(&batch)).unwrap()), expected);
    }

    #[test]
    fn a_stamp_is_a_session_a_turn_and_a_node() {
        let turn = Turn { session: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, number: 7 };
        let site = Site { region: "eu-west".into(), node: 1 };
        let stamp = Stamp { turn, incarnation: None, again: false, age: Duration::ZERO };
        let first = session(stamp, &site);
        assert_eq!(first, "01234567-89ab-cdef-0123-456789abcdef; turn=7; at=eu-west/1");
        let again = Stamp { again: true, age: Duration::from_millis(1_001), incarnation: Some(0x21), ..stamp };
        assert_eq!(session(again, &site), format!("{first}; replica=0000000000000021; again=2"));
    }

    #[test]
    fn terms_become_query_and_headers() {
        let mut batch = Batch::new();
        batch.get("n", "a").unwrap();
        let of = |terms: &Terms| Request::of(&Work::OnTerms(&batch, terms)).unwrap();
        let plain = of(&Terms::new());
        assert_eq!((plain.target.as_str(), plain.token, plain.wait), ("/v1/batch", None, None));
        let all = Terms::new().ack(Ack::Regions(2)).with_regions().with_token().wait(Duration::from_millis(1_001));
        let all = of(&all);
        assert_eq!(all.target, "/v1/batch?ack=regions:2&view=regions");
        assert_eq!((all.token.as_deref(), all.wait), (Some("AQA"), Some(2)));
        let mut token = Token::new();
        token.raise(1, 2, 3);
        assert_eq!(of(&Terms::new().after(&token)).token, Some(token.to_string()));
    }
}
