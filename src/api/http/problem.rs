//! Problem documents (RFC 9457): how every error looks over HTTP.
//!
//! Each carries the same `code` that the other front doors use, so that clients branch on one vocabulary, and the
//! `type` is that code as a URI. The URI identifies; it is stable, but nothing has to answer there.

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use snowtide_protocol::Code;
use snowtide_protocol::limit::Decision;
use utoipa::ToSchema;

use crate::api::Refused;
use crate::replica::Refusal;

use super::request_id;

/// The content type of every error.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
const TYPE_BASE: &str = "https://snowtide.dev/problems/";
/// The problem type of draft-ietf-httpapi-ratelimit-headers.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Why a request was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) refused: Refused,
    /// What to send in `WWW-Authenticate` (RFC 6750).
    challenge: Option<&'static str>,
    /// The limit that denies it.
    denied: Option<Denied>,
}

/// A limit that denies a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Denied {
    policy: String,
    retry_after_ms: u64,
}

/// The body of every error (`application/problem+json`, RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// The code as a URI: identifies the kind of problem, need not resolve.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "https://snowtide.dev/problems/throttled")]
    kind: &'a str,
    /// The kind of problem in words.
    #[schema(example = "Too many requests")]
    title: &'a str,
    /// The HTTP status, repeated.
    #[schema(example = 429)]
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The word that every front door uses.
    #[schema(example = "throttled")]
    code: &'a str,
    /// Whether the request was certainly not carried out and may succeed later, here or elsewhere.
    retryable: bool,
    /// With `wrong_region`: the regions that serve the namespace.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false, example = json!(["eu-west"]))]
    regions: &'a [String],
    /// With `limit_exceeded`: the policies that deny it.
    #[serde(rename = "violated-policies", skip_serializing_if = "<[&str]>::is_empty")]
    #[schema(required = false, example = json!(["default"]))]
    violated_policies: &'a [&'a str],
    /// The request's name, as in the header `X-Request-Id` and in this node's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "7d0b5f2ab71c4e93-1f")]
    request_id: Option<&'a str>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Refused::new(code, detail).into()
    }

    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    pub(super) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::TooLarge, detail)
    }

    pub(super) fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Internal, detail)
    }

    /// About a counter of this namespace. Where that is not served here its name is shown, but never more of it than a name
    /// may have.
    pub(super) fn within(name: &str, refused: Refused) -> Self {
        if !refused.is_not_served() {
            return refused.into();
        }
        let shown: String = name.chars().take(64).collect();
        refused.about(format_args!("{shown:?}")).into()
    }

    /// A limit denies it.
    pub(super) fn limit_exceeded(policy: &str, decision: Decision) -> Self {
        let Decision { limit, remaining, retry_after_ms, .. } = decision;
        let again = humantime::format_duration(Duration::from_millis(retry_after_ms));
        let detail =
            format!("the policy {policy:?} has {remaining} of {limit} units left for this key; again in {again}");
        let denied = Some(Denied { policy: policy.to_owned(), retry_after_ms });
        Self { denied, ..Self::new(Code::LimitExceeded, detail) }
    }

    /// Adds a `WWW-Authenticate` header.
    pub(super) fn challenged(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The document, as JSON without a line break.
    pub(super) fn body(&self) -> Vec<u8> {
        let Refused { code, detail, regions } = &self.refused;
        let kind = if self.denied.is_some() { QUOTA_EXCEEDED.to_owned() } else { format!("{TYPE_BASE}{code}") };
        let violated: Vec<&str> = self.denied.iter().map(|denied| denied.policy.as_str()).collect();
        let request_id = request_id::current(|name| name.id().to_owned());
        let body = ProblemBody {
            kind: &kind,
            title: code.title(),
            status: code.http_status(),
            detail,
            code: code.as_str(),
            retryable: code.is_retryable(),
            regions,
            violated_policies: &violated,
            request_id: request_id.as_deref(),
        };
        // Strings, a number and a boolean: there is nothing in it that JSON could refuse.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Refused::from(refusal).into()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        // RFC 6750, section 3.1.
        let is_forbidden = refused.code == Code::Forbidden;
        Self {
            refused,
            denied: None,
            challenge: is_forbidden.then_some(r#"Bearer realm="snowtide", error="insufficient_scope""#),
        }
    }
}

/// Among the extensions of a response: its client was told to come back later, so meanwhile others may have its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComeBack;

impl Problem {
    /// Marks the response that tells of it.
    pub(super) fn mark(&self, response: &mut Response<Body>) {
        if matches!(self.refused.code, Code::Throttled | Code::Overloaded) {
            response.extensions_mut().insert(ComeBack);
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body()));
        self.mark(&mut response);
        let code = self.refused.code;
        *response.status_mut() = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        let told = self.denied.as_ref().map(|denied| denied.retry_after_ms);
        if let Some(ms) = told.or(code.retry_after_ms().map(u64::from)) {
            // The header has whole seconds only (RFC 9110): rounded up, so that nobody comes too early.
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// The answer to a request whose handler panicked. The panic's message goes to the log, never to the client.
#[allow(clippy::needless_pass_by_value)] // the signature is the caller's
pub(super) fn of_panic(panic: Box<dyn Any + Send>) -> Response<Body> {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    tracing::error!(message, request_id = %request_id::shown(), "a request handler panicked");
    Problem::internal("this should not have happened; whether a write was carried out is unknown").into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::api::NotServed;

    async fn rendered(problem: Problem) -> (StatusCode, http::HeaderMap, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_problem_has_the_six_members_and_its_content_type() {
        let (status, headers, body) = rendered(Problem::from(Refusal::Throttled)).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(headers[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(body["type"], "https://snowtide.dev/problems/throttled");
        assert_eq!((&body["status"], &body["code"]), (&429.into(), &"throttled".into()));
        assert_eq!(body["retryable"], true);
        assert_eq!(body["detail"], Refusal::Throttled.to_string());
        assert_eq!(body.as_object().unwrap().len(), 6, "and the name of the request, if one is being answered");
    }

    #[tokio::test]
    async fn retry_after_is_rounded_up_and_absent_where_retrying_does_not_help() {
        let (_, headers, _) = rendered(Refusal::Throttled.into()).await;
        assert_eq!(headers[RETRY_AFTER], "1", "100 ms, rounded up");
        let (_, headers, _) = rendered(Refusal::DiskLow.into()).await;
        assert_eq!(headers[RETRY_AFTER], "30");
        let (_, headers, body) = rendered(Problem::invalid("no")).await;
        assert!(!headers.contains_key(RETRY_AFTER));
        assert_eq!(body["retryable"], false);
    }

    #[tokio::test]
    async fn every_code_is_told_with_its_own_title() {
        for code in Code::ALL {
            let (status, _, body) = rendered(Problem::new(code, "why")).await;
            assert_eq!((status.as_u16(), &body["code"]), (code.http_status(), &code.as_str().into()));
            assert_eq!(body["title"], code.title());
            assert_eq!(body["title"] == "Internal error", code == Code::Internal, "{code}");
        }
    }

    #[tokio::test]
    async fn a_fence_says_why() {
        let (status, _, body) = rendered(Refusal::Fenced("the disk failed".into()).into()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body["detail"].as_str().unwrap().contains("the disk failed"), "{body}");
    }

    #[tokio::test]
    async fn the_detail_is_escaped_and_a_long_name_is_cut() {
        let (_, _, body) = rendered(Problem::within(&"\"\u{1f9ca}".repeat(1_000), NotServed::Unknown.into())).await;
        assert!(body["detail"].as_str().unwrap().len() < 600, "{body}");
    }

    #[tokio::test]
    async fn a_panic_keeps_its_message_to_itself() {
        let response = of_panic(Box::new("secret".to_owned()));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
