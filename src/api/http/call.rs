//! One request on its way to a handler: authenticated, timed, counted, and stripped of what is not supported.
//!
//! Handlers of `/v1` receive nothing but a [`Call`], and only [`Door::answer`] makes one, so that no route can be
//! added that forgets to ask for a token or to count.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Response};
use axum::response::IntoResponse;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use snowtide_client::Code;

use crate::api::{Doors, Stage};
use crate::clock;
use crate::config::Access;
use crate::replica::Refusal;
use crate::telemetry::{self, Verb};

use super::auth::{self, Tokens};
use super::problem::Problem;

/// What all requests share.
pub(super) struct Door {
    pub(super) doors: Doors,
    tokens: Tokens,
    body_bytes_max: usize,
    timeout: Duration,
}

/// A request that may be carried out, as far as its headers tell.
pub(super) struct Call {
    pub(super) door: Arc<Door>,
    access: Access,
    parts: Parts,
    body: Body,
}

impl Door {
    pub(super) fn new(doors: Doors) -> Self {
        let api = &doors.config.api;
        Self {
            tokens: Tokens::new(&api.tokens),
            body_bytes_max: usize::try_from(api.request_bytes_max.as_u64()).unwrap_or(usize::MAX),
            timeout: api.request_timeout,
            doors,
        }
    }

    /// Admits a request, has it handled within the time limit, and counts the answer.
    pub(super) async fn answer<H, F>(self: Arc<Self>, verb: Verb, request: Request, handler: H) -> Response<Body>
    where
        H: FnOnce(Call) -> F,
        F: Future<Output = Result<Response<Body>, Problem>>,
    {
        let begun = clock::monotonic();
        let limit = self.timeout;
        let answer = match self.admit(request) {
            Ok(call) => tokio::time::timeout(limit, handler(call)).await.unwrap_or_else(|_| Err(timed_out(limit))),
            Err(problem) => Err(problem),
        };
        let refused = answer.as_ref().err().map(|problem| problem.code);
        let seconds = clock::monotonic().duration_since(begun).as_secs_f64();
        telemetry::request_answered(telemetry::Door::Http, verb, refused, seconds);
        answer.unwrap_or_else(IntoResponse::into_response)
    }

    fn admit(self: Arc<Self>, request: Request) -> Result<Call, Problem> {
        let (parts, body) = request.into_parts();
        let access = self.tokens.access(&parts.headers)?;
        refuse_unsupported(&parts)?;
        Ok(Call { door: self, access, parts, body })
    }

    /// Refuses what a node in this stage does not do, without troubling the engine.
    pub(super) fn admit_counting(&self) -> Result<(), Problem> {
        match &*self.doors.stage.borrow() {
            Stage::Ready => Ok(()),
            Stage::Starting => Err(Refusal::Starting.into()),
            Stage::Draining | Stage::Drained => Err(Refusal::Draining.into()),
            Stage::Fenced(why) => Err(Refusal::Fenced(why.clone()).into()),
        }
    }

    /// As [`Self::admit_counting`], but IDs need no proof of the counters' history: while the node is starting, their
    /// source decides.
    pub(super) fn admit_minting(&self) -> Result<(), Problem> {
        match &*self.doors.stage.borrow() {
            Stage::Ready | Stage::Starting => Ok(()),
            Stage::Draining | Stage::Drained => Err(Refusal::Draining.into()),
            Stage::Fenced(why) => Err(Refusal::Fenced(why.clone()).into()),
        }
    }
}

impl Call {
    /// Refuses a caller who may not do this.
    pub(super) fn require(&self, needed: Access) -> Result<(), Problem> {
        auth::require(self.access, needed)
    }

    /// The path, still percent-encoded.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The whole body. One that is too large is refused by its announced length, or as soon as it exceeds the limit.
    pub(super) async fn body(&mut self) -> Result<Bytes, Problem> {
        let max = self.door.body_bytes_max;
        let body = std::mem::take(&mut self.body);
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(body_too_large(max));
        }
        match Limited::new(body, max).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(body_too_large(max)),
            Err(_) => Err(Problem::invalid("the body ended early")),
        }
    }
}

/// Whoever asks for a promise that this version does not make must not be led to believe that it was made.
fn refuse_unsupported(parts: &Parts) -> Result<(), Problem> {
    const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    const TOKEN: HeaderName = HeaderName::from_static("snowtide-token");
    for (header, shown) in [(IDEMPOTENCY_KEY, "Idempotency-Key"), (TOKEN, "Snowtide-Token")] {
        if parts.headers.contains_key(header) {
            return Err(Problem::invalid(format!("the header {shown} is not supported by this version")));
        }
    }
    if prefers_waiting(&parts.headers) {
        return Err(Problem::invalid("the preference `wait` (header Prefer) is not supported by this version"));
    }
    match parts.uri.query() {
        None | Some("") => Ok(()),
        Some(query) => {
            let name: String = query.chars().take_while(|c| !['=', '&'].contains(c)).take(64).collect();
            Err(Problem::invalid(format!("the query parameter {name:?} is not supported by this version")))
        }
    }
}

/// RFC 7240: preferences are separated by commas, their parameters by semicolons; names have no case.
fn prefers_waiting(headers: &HeaderMap) -> bool {
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    headers.get_all(PREFER).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|preference| {
            let name = preference.split(|byte| [b'=', b';'].contains(byte)).next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"wait")
        })
    })
}

fn body_too_large(max: usize) -> Problem {
    Problem::too_large(format!("a body has at most {max} bytes (api.request_bytes_max)"))
}

fn timed_out(limit: Duration) -> Problem {
    let limit = humantime::format_duration(limit);
    Problem::new(Code::Timeout, format!("no answer within {limit}; whether a write was carried out is unknown"))
}

/// Nothing is at this path.
pub(super) async fn not_found() -> Problem {
    count_unknown(Code::NotFound);
    Problem::new(Code::NotFound, "nothing is at this path; /openapi.json lists what there is")
}

/// The path exists, the method does not; the router adds `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    count_unknown(Code::MethodNotAllowed);
    Problem::new(Code::MethodNotAllowed, "this path has other methods: see the header Allow")
}

fn count_unknown(code: Code) {
    telemetry::request_answered(telemetry::Door::Http, Verb::Unknown, Some(code), 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: http::request::Builder) -> Option<String> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        refuse_unsupported(&parts).err().map(|problem| {
            assert_eq!(problem.code, Code::InvalidRequest);
            problem.detail.into_owned()
        })
    }

    #[test]
    fn promises_of_later_versions_are_refused_by_name() {
        let get = || Request::get("/v1/counters/a/b");
        assert_eq!(refused(get()), None);
        assert_eq!(refused(Request::get("/v1/cluster?")), None);
        assert!(refused(get().header("Idempotency-Key", "x")).unwrap().contains("Idempotency-Key"));
        assert!(refused(get().header("Snowtide-Token", "x")).unwrap().contains("Snowtide-Token"));
        assert!(refused(Request::get("/v1/counters/a/b?view=regions")).unwrap().contains("\"view\""));
        assert!(refused(Request::get("/v1/cluster?x")).unwrap().contains("\"x\""));
    }

    #[test]
    fn only_the_preference_that_would_change_the_answer_is_refused() {
        let prefer = |value: &str| refused(Request::get("/").header("Prefer", value)).is_some();
        for value in ["wait=5", "WAIT=5", "respond-async, wait=1", " wait ; x", "wait"] {
            assert!(prefer(value), "{value}");
        }
        for value in ["return=minimal", "waiting=1", "handling=\"wait\""] {
            assert!(!prefer(value), "{value}");
        }
    }
}
