//! What can go wrong with a request, as the OpenAPI document tells of it.

use utoipa::IntoResponses;

use super::problem::ProblemBody;

/// What can go wrong with every request of `/v1`.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its attributes are read, by the derive")]
pub(super) enum Failures {
    /// `invalid_request`: the same request will always fail.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemBody<'static>),
    /// `unauthenticated`: the node asks for a bearer token.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemBody<'static>),
    /// `forbidden`: the token does not allow this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemBody<'static>),
    /// `not_found`, `unknown_namespace`.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemBody<'static>),
    /// `wrong_region`: the region of this node does not hold the namespace; `regions` do. Or a session is for another node.
    #[response(status = 421, content_type = "application/problem+json")]
    WrongRegion(ProblemBody<'static>),
    /// `too_large`: the body, the key, the batch or the count.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody<'static>),
    /// `idempotency_in_flight`: the same request is being carried out; ask this node again for its answer.
    #[response(status = 409, content_type = "application/problem+json")]
    InFlight(ProblemBody<'static>),
    /// `counter_overflow`: the counter is unchanged; or `idempotency_mismatch`: the key, or the turn of the session, was used
    /// for another request, the session has gone on, or the node is on a new disk.
    #[response(status = 422, content_type = "application/problem+json")]
    Overflow(ProblemBody<'static>),
    /// `throttled`: retry after a moment.
    #[response(status = 429, content_type = "application/problem+json")]
    Throttled(ProblemBody<'static>),
    /// `internal`: whether a write was carried out is unknown.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody<'static>),
    /// `starting`, `draining`, `overloaded`, `disk_low`, `clock_regressed`, `clock_ahead`, `sequence_exhausted`,
    /// `fenced`: nothing was done; retry later or elsewhere.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody<'static>),
    /// `timeout`: whether a write was carried out is unknown. `token_wait_expired`: nothing was done, because this node
    /// does not hold in time what the token names; the detail says which replica's log, how far it is known here, and
    /// how far it is wanted.
    #[response(status = 504, content_type = "application/problem+json")]
    Timeout(ProblemBody<'static>),
    /// `quota_exceeded`: the namespace holds as many counters as it may; those that exist go on.
    #[response(status = 507, content_type = "application/problem+json")]
    Quota(ProblemBody<'static>),
}
