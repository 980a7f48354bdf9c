//! What can go wrong with a request, as the OpenAPI document tells of it.

use std::collections::BTreeMap;

use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

use super::problem::{PROBLEM_JSON, ProblemBody};

/// What can go wrong with every request of `/v1`.
pub(super) enum Failures {}

/// By status.
const FAILURES: [(u16, &str); 13] = [
    (400, "`invalid_request`: the same request will always fail."),
    (401, "`unauthenticated`: the node asks for a bearer token."),
    (403, "`forbidden`: the token does not allow this."),
    (404, "`not_found`, `unknown_namespace`, `unknown_policy`."),
    (
        421,
        "`wrong_region`: the region of this node does not hold the namespace; `regions` do. Or a session is \
         for another node.",
    ),
    (413, "`too_large`: the body, the key, the batch or the count."),
    (409, "`idempotency_in_flight`: the same request is being carried out; ask this node again for its answer."),
    (
        422,
        "`counter_overflow`: the counter is unchanged; or `idempotency_mismatch`: the key, or the turn of the \
         session, was used for another request, the session has gone on, or the node is on a new disk; or \
         `cost_too_high`: the policy can never admit so much at once.",
    ),
    (429, "`throttled`: retry after a moment. `limit_exceeded`: a limit denies it, and `respond=429` was asked."),
    (500, "`internal`: whether a write was carried out is unknown."),
    (
        503,
        "`starting`, `draining`, `overloaded`, `disk_low`, `clock_regressed`, `clock_ahead`, \
         `sequence_exhausted`, `fenced`, `limits_full`: nothing was done; retry later or elsewhere.",
    ),
    (
        504,
        "`timeout`: whether a write was carried out is unknown. `token_wait_expired`: nothing was done, \
         because this node does not hold in time what the token names; the detail says which replica's log, \
         how far it is known here, and how far it is wanted.",
    ),
    (507, "`quota_exceeded`: the namespace holds as many counters as it may; those that exist go on."),
];

impl IntoResponses for Failures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = || Content::new(Some(Ref::from_schema_name(ProblemBody::name())));
        let response = |text| ResponseBuilder::new().description(text).content(PROBLEM_JSON, problem()).build();
        FAILURES.map(|(status, text)| (status.to_string(), RefOr::T(response(text)))).into()
    }
}
