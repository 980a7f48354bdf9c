//! What stands in a request: its path, its query, its headers and its body.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue, Request, Uri};
use snowtide_protocol::Action;
use snowtide_protocol::id::IdScheme;

use super::batch::{self, Planner};
use super::parameters::{Parameters, TOKEN};
use super::paths::{self, WATCH_SUFFIX};
use super::request_id::{REQUEST_ID, RequestId};
use super::{auth, counters, decoded, ids, json, list};
use crate::api::bearer::Grant;
use crate::api::gate::Decider;
use crate::api::known::{KNOWN, Known};
use crate::api::{Named, Refused};
use crate::identity::NamespaceId;
use crate::limiter::Checks;
use crate::telemetry::Verb;

const HEADERS: [HeaderName; 7] = [
    TOKEN,
    HeaderName::from_static("prefer"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("snowtide-session"),
    AUTHORIZATION,
    HeaderName::from_static("traceparent"),
    REQUEST_ID,
];
const SCOPE: u64 = 7;

impl Planner for Known {
    fn named(&self, namespace: &str) -> Named {
        self.namespaces.named(&Grant::anyone(), namespace)
    }

    fn admit_checks(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn decider(&self) -> &Decider {
        &self.decider
    }
}

/// The first byte tells what is parameters. Then a line each for the path, the query and some headers; the rest is the body.
pub(crate) fn parameters(bytes: &[u8]) {
    let Some((verb, rest)) = bytes.split_first() else { return };
    let verb = Verb::all().cycle().nth(usize::from(*verb)).unwrap_or(Verb::Unknown);
    let mut lines = rest.splitn(HEADERS.len().saturating_add(3), |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (path, query) = (String::from_utf8_lossy(next()), next());
    let mut request = Request::new(());
    *request.uri_mut() = Uri::try_from([b"/?".as_slice(), query].concat()).unwrap_or_default();
    for name in HEADERS {
        let line = next();
        if let Some(value) = HeaderValue::from_bytes(line).ok().filter(|value| !value.is_empty()) {
            request.headers_mut().append(name, value);
        }
    }
    let body = next();
    let (parts, ()) = request.into_parts();
    let _ = RequestId::of(&parts.headers);
    let _ = auth::admit(&KNOWN.bearers, &parts.headers);
    if let Ok(parameters) = Parameters::of(&parts, verb, &KNOWN.terms_codec) {
        if let Ok(question) = list::question(NamespaceId(1), SCOPE, parameters.listing) {
            assert!(question.limit > 0);
        }
        if let (Some(from), Some(to)) = (&parameters.from, &parameters.to) {
            let _ = crate::ids::TimeRange::read(scheme(), from, to);
        }
        let _ = decoded::read(scheme(), &path, parameters.format);
    }
    for suffix in Action::ALL.map(Action::path_suffix).into_iter().chain([WATCH_SUFFIX]) {
        let _ = paths::counter(&path, suffix);
    }
    let _ = paths::namespace(&path);
    let _ = ids::read(body);
    let _ = json::parse_or_default::<counters::IncrementRequest>(body);
    if let Ok(request) = json::parse::<batch::BatchRequest<'_>>(body) {
        let _ = batch::plan(&request, &*KNOWN, &mut Checks::default());
    }
}

fn scheme() -> IdScheme {
    IdScheme::new("snowtide-dev", 1_735_689_600_000, 41)
}

pub(crate) fn parameters_seeds() -> Vec<Vec<u8>> {
    let token = snowtide_protocol::Token::new();
    let requests = [
        format!("\u{9}/v1/counters/default/likes%2F42/increment\nack=regions:2\n{token}\nwait=5\n\"one\"\n\n\n\n\n{{\"by\": \"-3\"}}"),
        "\u{a}/v1/counters/default/visits\nview=regions\n\nrespond-async, wait=1;x\n\n\nBearer 0123456789abcdef\n\nid-1\n".to_owned(),
        "\0/v1/batch\nack=all&view=regions\n\n\n\n5f0d4f0e-3c1a-4a86-9d1e-0a8f6f6c7b21; turn=1; at=eu-west/0; again\n\n\n\n\
         {\"operations\":[{\"increment\":{\"namespace\":\"default\",\"key\":\"a\",\"by\":\"1\"}},\
         {\"get\":{\"namespace\":\"default\",\"key\":\"b\"}}]}"
            .to_owned(),
        "\u{1}/v1/counters/default\nprefix=likes%2F&limit=10&cursor=AQAAAAAAAAAHdmlzaXRz\n\n\n\n\n\n\n\n".to_owned(),
        "\u{4}/v1/ids\n\n\n\n\n\n\n00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\n{\"count\": 3, \"format\": \"uuid7\"}"
            .to_owned(),
        "\u{5}07B925KD5S000\nformat=base32\n\n\n\n\n\n\n\n".to_owned(),
        "\u{6}\nfrom=2025-06-01T00:00:00Z&to=1748822400000&format=ulid\n\n\n\n\n\n\n\n".to_owned(),
    ];
    requests.into_iter().map(String::into_bytes).collect()
}
