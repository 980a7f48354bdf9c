//! Limits over HTTP: one decision, a look at one, and all policies.
//!
//! A denial is an answer like any other, so its status is 200; whoever wants proxies and clients to take it for one asks
//! for 429 (`respond=429`). Headers are those of draft-ietf-httpapi-ratelimit-headers.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use snowtide_protocol::limit::{Decision, Numbers};
use utoipa::ToSchema;

use super::call::Call;
use super::failures::Failures;
use super::json;
use super::paths;
use super::problem::Problem;

/// Stands in the path for the policy in the body.
const GIVEN: &str = "_";
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is asked; the body may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitRequest {
    /// How much is to be charged; 0 looks.
    #[serde(default = "one")]
    #[schema(minimum = 0, default = 1)]
    cost: u64,
    /// The policy's numbers, if its name in the path is `_`.
    #[serde(default)]
    #[schema(value_type = GivenPolicy, required = false)]
    policy: Option<Numbers>,
}

/// The numbers of a policy. They are part of the key: with others, another is counted.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used, for a type of the protocol")]
pub(super) struct GivenPolicy {
    /// How use is counted; `sliding` if it is left out.
    #[schema(required = false)]
    algorithm: AlgorithmName,
    /// Units in a window.
    #[schema(minimum = 1, example = 100)]
    limit: u64,
    /// Milliseconds that a window takes.
    #[schema(minimum = 1_000, example = 60_000)]
    window_ms: u64,
    /// Units that may come at once, of `gcra` only; as many as `limit` if it is left out.
    #[schema(required = false, minimum = 1)]
    burst: u64,
}

/// How use is counted.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used, for a type of the protocol")]
pub(super) enum AlgorithmName {
    /// So many units in each window of the clock.
    Fixed,
    /// The same, where the window before counts for as much as of it lies within the last window's length; the default.
    Sliding,
    /// A level that drains at `limit` units in a window and holds `burst` (generic cell rate algorithm).
    Gcra,
}

impl Default for LimitRequest {
    fn default() -> Self {
        Self { cost: one(), policy: None }
    }
}

const fn one() -> u64 {
    1
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Decided {
    /// Whether the cost was charged.
    allowed: bool,
    /// Units in a window; with `gcra` units at once.
    #[schema(example = 100)]
    limit: u64,
    /// Units that could still be had at this node now.
    #[schema(example = 99)]
    remaining: u64,
    /// Milliseconds until the key is as if unused, as far as this node can tell.
    #[schema(example = 42_000)]
    reset_ms: u64,
    /// Milliseconds until it is worth while to try the same again; 0 if it was allowed.
    #[schema(example = 0)]
    retry_after_ms: u64,
}

impl From<Decision> for Decided {
    fn from(Decision { admitted, limit, remaining, reset_ms, retry_after_ms }: Decision) -> Self {
        Self { allowed: admitted, limit, remaining, reset_ms, retry_after_ms }
    }
}

#[utoipa::path(
    post, path = "/v1/limits/{policy}/{key}", tag = "limits", operation_id = "limit",
    params(
        ("policy" = String, Path, description = "A configured policy, or `_` for the one in the body", example = "default",
            min_length = 1),
        ("key" = String, Path, description = "What is limited: 1 to 512 bytes of UTF-8, percent-encoded, slashes too; \
            neither `.` nor `..`", example = "alice", min_length = 1, max_length = 512),
        ("respond" = Option<String>, Query, description = "`429`: a denial is a problem `limit_exceeded` of status 429",
            pattern = "^429$"),
    ),
    request_body(content = Option<LimitRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "Decided, and charged if it is allowed", body = Decided, headers(
            ("RateLimit-Policy" = String, description = "The policy: `\"name\";q=units;w=seconds`"),
            ("RateLimit" = String, description = "What is left: `\"name\";r=units;t=seconds until it is as if unused`"),
        )),
        Failures,
    ),
)]
/// Decides whether a key may have so many units more, and charges them if so.
///
/// This node decides by itself, at once: it counts what it knows of all that decide by the policy. An answer that never
/// arrives leaves open whether it was charged; a cost that is above what the policy can ever admit is refused 422
/// `cost_too_high`.
pub(super) async fn limit(mut call: Call) -> Result<Response<Body>, Problem> {
    let body = call.body().await?;
    let LimitRequest { cost, policy } = json::parse_or_default(&body)?;
    answer(&call, cost, policy)
}

#[utoipa::path(
    get, path = "/v1/limits/{policy}/{key}", tag = "limits", operation_id = "look_at_limit",
    params(
        ("policy" = String, Path, description = "A configured policy", example = "default", min_length = 1),
        ("key" = String, Path, description = "What is limited: 1 to 512 bytes of UTF-8, percent-encoded, slashes too; \
            neither `.` nor `..`", example = "alice", min_length = 1, max_length = 512),
    ),
    responses((status = 200, description = "How the key stands; nothing was charged", body = Decided), Failures),
)]
/// Looks at a key of a policy.
pub(super) async fn look(call: Call) -> Result<Response<Body>, Problem> {
    answer(&call, 0, None)
}

fn answer(call: &Call, cost: u64, given: Option<Numbers>) -> Result<Response<Body>, Problem> {
    let decider = &call.door.decider;
    decider.admit(call.pass.grant()).map_err(|refused| call.turned_away(refused))?;
    let (name, key) = paths::limit(call.path())?;
    let chosen = match (&*name, given) {
        (GIVEN, Some(numbers)) => decider.given(numbers)?,
        (GIVEN, None) => return Err(Problem::invalid("the policy _ is the one in the body, and there is none")),
        (_, Some(_)) => {
            return Err(Problem::invalid("a policy in the body goes with the name _ in the path, not with another"));
        }
        (name, None) => decider.policy(name)?,
    };
    let decision = decider.decide_one(&chosen, &key, cost)?;
    let mut response = if decision.admitted || !call.parameters.respond_429 {
        json::answer(&Decided::from(decision))?
    } else {
        Problem::limit_exceeded(&name, decision).into_response()
    };
    tell(chosen.numbers, &name, decision, response.headers_mut());
    Ok(response)
}

/// Adds the headers of the draft: whole seconds, rounded up.
fn tell(numbers: Numbers, name: &str, decision: Decision, headers: &mut HeaderMap) {
    let seconds = |ms: u64| ms.div_ceil(1_000);
    let policy = format!("\"{name}\";q={};w={}", numbers.limit, seconds(numbers.window_ms));
    let left = format!("\"{name}\";r={};t={}", decision.remaining, seconds(decision.reset_ms));
    for (header, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
        // Names of policies are letters, digits and "._-".
        headers.extend(HeaderValue::try_from(value).ok().map(|value| (header, value)));
    }
}
