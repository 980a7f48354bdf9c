//! Requests as the JSON API wants them.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::request::Builder;
use http::{HeaderName, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use snowtide_protocol::Ack;
use snowtide_protocol::json::JsonOperation;

use super::{TOKEN, limits};
use crate::batch::Batch;
use crate::door::{Request, Site, Stamp};
use crate::error::Error;
use crate::terms::Terms;

/// IDs come as bytes: eight for each, big-endian.
const BYTES: &str = "application/octet-stream";
const SESSION: HeaderName = HeaderName::from_static("snowtide-session");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// RFC 3986, unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Serialize)]
struct Operations<'a> {
    operations: Vec<JsonOperation<'a>>,
}

/// A request, but for its node's address; `session` is what makes it count once.
pub(super) fn request(request: &Request<'_>, session: Option<String>) -> Result<http::Request<Bytes>, Error> {
    let (mut built, body) = match *request {
        Request::Operation { namespace, key, action } => {
            let method = if action.is_write() { Method::POST } else { Method::GET };
            let target = format!("{}{}", path(namespace, key), action.path_suffix());
            let body = action.by().map(|by| format!(r#"{{"by":"{by}"}}"#)).unwrap_or_default();
            (Builder::new().method(method).uri(target), body.into_bytes())
        }
        Request::Batch(batch, None) => (http::Request::post("/v1/batch"), operations(batch)?),
        Request::Batch(batch, Some(terms)) => (on_terms(terms), operations(batch)?),
        Request::Limit(check) => {
            let target = format!("/v1/limits/{}/{}", escaped(limits::name(check.policy)), escaped(check.key));
            let body = limits::one(check)?;
            let method = if body.is_some() { Method::POST } else { Method::GET };
            (Builder::new().method(method).uri(target), body.unwrap_or_default())
        }
        Request::Limits(batch) => (http::Request::post("/v1/batch"), limits::several(batch)?),
        Request::Ids(count) => {
            let body = format!(r#"{{"count":{count}}}"#).into_bytes();
            (http::Request::post("/v1/ids").header(ACCEPT, BYTES), body)
        }
    };
    if let Some(session) = session {
        built = built.header(SESSION, session);
    }
    built.body(body.into()).map_err(|error| Error::Disconnected { reason: error.to_string() })
}

fn on_terms(terms: &Terms) -> Builder {
    let mut built = http::Request::post(format!("/v1/batch{}", query(terms)));
    // A token that names nothing is enough to be told one in turn, whatever the namespace's durability.
    if terms.wants_token || !terms.after.is_empty() {
        built = built.header(TOKEN, terms.after.to_string());
    }
    if let Some(wait) = terms.wait {
        built = built.header(PREFER, format!("wait={}", seconds(wait)));
    }
    built
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
    format!("/v1/counters/{}/{}", escaped(namespace), escaped(key))
}

/// A segment of a path.
fn escaped(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

fn query(terms: &Terms) -> String {
    let ack = Some(terms.ack).filter(|ack| *ack != Ack::Local).map(|ack| format!("ack={ack}"));
    let view = terms.wants_views.then(|| "view=regions".to_owned());
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
    use snowtide_protocol::limit::{Algorithm, Numbers};
    use snowtide_protocol::wire::Turn;
    use snowtide_protocol::{Action, Token};

    use super::*;
    use crate::limits::{Check, Policy};

    fn text(request: &Request<'_>) -> String {
        let built = super::request(request, None).unwrap();
        format!("{} {} {}", built.method(), built.uri(), std::str::from_utf8(built.body()).unwrap())
    }

    #[test]
    fn one_operation_uses_the_path_of_its_counter() {
        let of = |key, action| text(&Request::Operation { namespace: "default", key, action });
        assert_eq!(of("likes/42", Action::Get), "GET /v1/counters/default/likes%2F42 ");
        let expected = r#"POST /v1/counters/default/%E2%82%AC%25%20%3F/increment {"by":"-5"}"#;
        assert_eq!(of("€% ?", Action::Increment(-5)), expected);
    }

    #[test]
    fn one_decision_uses_the_path_of_its_policy_and_key() {
        let of = |policy, cost| text(&Request::Limit(Check { policy, key: "a/b", cost }));
        assert_eq!(of(Policy::from("default"), 2), r#"POST /v1/limits/default/a%2Fb {"cost":2}"#);
        assert_eq!(of(Policy::from("default"), 0), "GET /v1/limits/default/a%2Fb ");
        let given = Numbers { algorithm: Algorithm::Sliding, limit: 5, window_ms: 1_000, burst: 5 };
        let expected =
            r#"POST /v1/limits/_/a%2Fb {"policy":{"algorithm":"sliding","limit":5,"window_ms":1000},"cost":1}"#;
        assert_eq!(of(Policy::from(given), 1), expected);
    }

    #[test]
    fn a_batch_is_json_in_order() {
        let mut batch = Batch::new();
        batch.add("n", "a\"b", i64::MIN).unwrap().get("m", "a").unwrap();
        let expected = r#"POST /v1/batch {"operations":[{"increment":{"namespace":"n","key":"a\"b","by":-9223372036854775808}},{"get":{"namespace":"m","key":"a"}}]}"#;
        assert_eq!(text(&Request::Batch(&batch, None)), expected);
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
        let of = |terms: &Terms| {
            let built = request(&Request::Batch(&batch, Some(terms)), None).unwrap();
            let header = |name: HeaderName| built.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (built.uri().to_string(), header(TOKEN), header(PREFER))
        };
        assert_eq!(of(&Terms::new()), ("/v1/batch".into(), None, None));
        let all = Terms::new().ack(Ack::Regions(2)).with_regions().with_token().wait(Duration::from_millis(1_001));
        let expected = ("/v1/batch?ack=regions:2&view=regions".into(), Some("AQA".into()), Some("wait=2".into()));
        assert_eq!(of(&all), expected);
        let mut token = Token::new();
        token.raise(1, 2, 3);
        assert_eq!(of(&Terms::new().after(&token)).1, Some(token.to_string()));
    }
}
