//! Single counters over HTTP: for each action its route, what the OpenAPI document tells of it, and its handler.
//!
//! A request becomes an operation for the engine, and its outcome becomes an answer; both are pure functions.

use std::future::Future;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::routing::MethodFilter;
use serde::{Deserialize, Serialize};
use snowtide_protocol::json::By;
use snowtide_protocol::{Access, Action};
use utoipa::{OpenApi, ToSchema};

use crate::api::Refused;
use crate::engine::Applied;
use crate::replica::Outcome;
use crate::telemetry::Verb;

use super::call::Call;
use super::failures::Failures;
use super::problem::Problem;
use super::receipt::{self, AckState, Acknowledged, CounterView};
use super::{Route, json, operations, params, paths, v1};

/// What the OpenAPI document tells of them.
#[derive(OpenApi)]
#[openapi(paths(increment, get))]
pub(super) struct Document;

/// Where each action is, and who handles it.
pub(super) fn routes() -> [Route; 2] {
    [route(Action::Increment(1), increment), route(Action::Get, get)]
}

fn route<H, F>(action: Action, handler: H) -> Route
where
    H: FnOnce(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Problem>> + Send + 'static,
{
    let path = format!("/v1/counters/{{namespace}}/{{key}}{}", action.path_suffix());
    let method = if action.is_write() { MethodFilter::POST } else { MethodFilter::GET };
    v1(path, method, Verb::One(action), handler)
}

/// The body of an increment; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IncrementRequest {
    /// Default 1.
    #[serde(default)]
    #[schema(value_type = operations::By)]
    by: By,
}

/// A counter after an increment that is durable here.
#[derive(Serialize, ToSchema)]
pub(super) struct Incremented<'a> {
    #[schema(example = "default")]
    namespace: &'a str,
    #[schema(example = "visits")]
    key: &'a str,
    /// The value after the increment, as far as this region knows.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, pattern = r"^-?\d+$", example = "42")]
    value: i128,
    /// By how much it was changed.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, pattern = r"^-?\d+$", example = "5")]
    by: i64,
    /// Only if `ack` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<AckState>,
    /// The regions that hold the increment durably; only if `ack` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["eu-west"]))]
    acknowledged_by: Option<Vec<String>>,
}

/// A counter.
#[derive(Serialize, ToSchema)]
pub(super) struct CounterValue<'a> {
    #[schema(example = "default")]
    namespace: &'a str,
    #[schema(example = "visits")]
    key: &'a str,
    /// The value as far as this region knows; "0" if it has never heard of the counter.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, pattern = r"^-?\d+$", example = "42")]
    value: i128,
    /// Only with `view=regions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<CounterView>,
}

impl<'a> CounterValue<'a> {
    pub(super) fn new(namespace: &'a str, key: &'a str, value: i128) -> Self {
        Self { namespace, key, value, view: None }
    }
}

#[utoipa::path(
    post, path = "/v1/counters/{namespace}/{key}/increment", tag = "counters", operation_id = "increment",
    params(params::Counter, params::Acknowledgement, params::State, params::Repetition),
    request_body(content = Option<IncrementRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "Counted, and durable at this node and wherever `ack` asked for", body = Incremented, headers(
            ("Snowtide-Token" = String, description = "Covers everything that this answer shows; in a namespace \
                of durability `interval` only if the request brings a token or asks for `ack` or `view`"),
            ("Idempotent-Replayed" = String, description = "`true` if the request was carried out before"),
            ("Preference-Applied" = String, description = "`wait=N`, if a wait was asked for and granted"),
        )),
        (status = 202, description = "Counted, and durable at this node, but not yet in as many regions as `ack` asked for: \
            do not send it again", body = Incremented),
        Failures,
    ),
)]
/// Adds to a counter.
///
/// An answer that never arrives, or a 500 or 504, leaves open whether the counter was changed.
pub(super) async fn increment(mut call: Call) -> Result<Response<Body>, Problem> {
    let path = call.path().to_owned();
    let (namespace, key) = paths::counter(&path, Action::Increment(1).path_suffix())?;
    let named = call.named(Access::Write, &namespace)?;
    let body = call.body().await?;
    let IncrementRequest { by: By(by) } = json::parse_or_default(&body)?;
    let operation =
        named.operation(&key, Action::Increment(by)).map_err(|refused| Problem::within(&namespace, refused))?;
    let Applied { outcomes, receipt } = call.apply(vec![operation]).await?;
    let value = only(&outcomes, &namespace)?;
    let (status, Acknowledged { ack, by: acknowledged_by }) =
        Acknowledged::of(&call.parameters, receipt.as_deref(), &call.door.doors.terms_codec);
    let incremented = Incremented { namespace: &namespace, key: &key, value, by, ack, acknowledged_by };
    call.answer(status, &incremented, receipt.as_deref())
}

#[utoipa::path(
    get, path = "/v1/counters/{namespace}/{key}", tag = "counters", operation_id = "get",
    params(params::Counter, params::View, params::State),
    responses(
        (status = 200, description = "What this region knows of it", body = CounterValue, headers(
            ("Snowtide-Token" = String, description = "Covers everything that this answer shows; in a namespace \
                of durability `interval` only if the request brings a token or asks for `ack` or `view`"),
            ("Preference-Applied" = String, description = "`wait=N`, if a wait was asked for and granted"),
        )),
        Failures,
    ),
)]
/// Reads a counter.
pub(super) async fn get(call: Call) -> Result<Response<Body>, Problem> {
    read(call, Action::Get).await
}

/// Answers an action that changes nothing.
async fn read(mut call: Call, action: Action) -> Result<Response<Body>, Problem> {
    let path = call.path().to_owned();
    let (namespace, key) = paths::counter(&path, action.path_suffix())?;
    let operation = call.operation(&namespace, &key, action)?;
    let Applied { outcomes, receipt } = call.apply(vec![operation]).await?;
    let value = only(&outcomes, &namespace)?;
    let view = receipt::views(receipt.as_deref(), &call.door.doors.terms_codec).pop();
    call.answer(StatusCode::OK, &CounterValue { namespace: &namespace, key: &key, value, view }, receipt.as_deref())
}

/// The value of the only operation of a batch.
pub(super) fn only(outcomes: &[Outcome], namespace: &str) -> Result<i128, Problem> {
    let outcome = outcomes.first().ok_or_else(Refused::miscounted)?;
    Refused::value_of(*outcome).map_err(|refused| Problem::within(namespace, refused))
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::Code;

    use super::*;
    use crate::api::Namespaces;
    use crate::api::bearer::Grant;
    use crate::identity::NamespaceId;
    use crate::replica::Operation;

    fn operation(namespace: &str, key: &str) -> Result<Operation, Refused> {
        let namespaces: Namespaces =
            [("default", 1), ("a b", 2)].map(|(name, id)| (name.to_owned(), NamespaceId(id))).into();
        namespaces.named(&Grant::anyone(), namespace).operation(key, Action::Get)
    }

    #[test]
    fn keys_have_1_to_512_bytes() {
        let code = |key: &str| operation("default", key).map_err(|refused| refused.code);
        assert_eq!(code("").unwrap_err(), Code::InvalidRequest);
        assert_eq!(code(&"x".repeat(513)).unwrap_err(), Code::TooLarge);
        assert_eq!(&*code(&"\u{1f9ca}".repeat(128)).unwrap().key, "\u{1f9ca}".repeat(128));
    }

    #[test]
    fn a_key_that_paths_resolve_is_refused_in_any_encoding() {
        for path in [".", "..", "%2e", "%2E%2e", ".%2E"] {
            for suffix in Action::ALL.map(Action::path_suffix) {
                let path = format!("/v1/counters/default/{path}{suffix}");
                let (namespace, key) = paths::counter(&path, suffix).unwrap();
                let refused = operation(&namespace, &key).unwrap_err();
                assert_eq!(refused.code, Code::InvalidRequest, "{path}");
            }
        }
        for key in ["...", "a/../b", "../a", "/", "%2e", "a."] {
            assert!(operation("default", key).is_ok(), "{key}");
        }
    }

    #[test]
    fn an_increment_without_a_body_is_by_one() {
        let by = |body: &str| json::parse_or_default::<IncrementRequest>(body.as_bytes()).map(|r| r.by.0).ok();
        assert_eq!(by(""), Some(1));
        assert_eq!(by("{}"), Some(1));
        assert_eq!(by(r#"{"by":"-7"}"#), Some(-7));
        for refused in [r#"{"by":1,"extra":2}"#, r#"{"by":1,"by":2}"#, "[]x", "{", "5", "null", r#"{"by":1} {"#] {
            assert_eq!(by(refused), None, "{refused}");
        }
    }

    #[test]
    fn values_are_decimal_strings_beyond_64_bits() {
        let value = i128::from(u64::MAX) * 3;
        let counter = CounterValue { namespace: "default", key: "k", value, view: None };
        assert_eq!(serde_json::to_value(counter).unwrap()["value"], value.to_string());
    }

    #[test]
    fn each_verdict_of_the_engine_has_its_code() {
        let code = |outcomes: &[Outcome]| only(outcomes, "default").map_err(|problem| problem.refused.code);
        assert_eq!(code(&[Outcome::Value(7)]), Ok(7));
        assert_eq!(code(&[Outcome::Overflow]), Err(Code::CounterOverflow));
        assert_eq!(code(&[Outcome::UnknownNamespace]), Err(Code::UnknownNamespace));
        assert_eq!(code(&[]), Err(Code::Internal));
    }
}
