//! The parameters that several operations share, as the OpenAPI document tells of them.

#![allow(dead_code, reason = "only their attributes are read, by the derive")]

use utoipa::IntoParams;

/// Which counter.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Counter {
    /// A configured namespace
    #[param(example = "default", min_length = 1)]
    namespace: String,
    /// 1 to 512 bytes of UTF-8, percent-encoded, slashes too; neither `.` nor `..`
    #[param(example = "visits", min_length = 1, max_length = 512)]
    key: String,
}

/// What a write waits for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Acknowledgement {
    /// `local` (default), `regions:k` or `all`: answered when so many regions hold it durably, or with 202 when the time
    /// is over
    #[param(required = false, example = "regions:2", pattern = "^(local|all|regions:[0-9]+)$")]
    ack: String,
}

/// What a read tells.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct View {
    /// `regions`: also tell each region's share, how fresh it is, and the settled value
    #[param(required = false, example = "regions", pattern = "^regions$")]
    view: String,
}

/// From which state a request is answered.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct State {
    /// Tokens of earlier answers, separated by commas: answered from a state that includes what they name, or 504
    /// `token_wait_expired` and nothing is done
    #[param(rename = "Snowtide-Token", required = false)]
    token: String,
    /// RFC 7240, `wait=N`: wait up to N seconds for the token and for other regions; the answer says in
    /// `Preference-Applied` how long was granted
    #[param(rename = "Prefer", required = false, example = "wait=5")]
    prefer: String,
}

/// What lets a write be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct Repetition {
    /// 1 to 255 visible characters, quoted or not: a repetition with the same key at this node gets the same answer and
    /// counts once, also after a crash; kept for `idempotency.retention` (24 h)
    #[param(rename = "Idempotency-Key", required = false, pattern = "^[!-~]{1,255}$")]
    idempotency_key: String,
    /// `UUID; turn=N`, instead of `Idempotency-Key`: the N-th request of a session that has one request at a time,
    /// numbered upwards, at one node (`; at=REGION/NODE` has others refuse it with 421) and one incarnation of its data
    /// (`; replica=ID`, which `GET /v1/cluster` tells; another one refuses it with 422). A repetition, with `; again=SECONDS`
    /// since it was first sent, gets the same answer and counts once; it is refused 409 while the first is being carried
    /// out, and 422 where nobody knows whether it was: if the session has gone on, if it says no incarnation or another
    /// one, or if it comes later than half of `idempotency.session_idle`. Only the last answer of a session is kept
    #[param(
        rename = "Snowtide-Session",
        required = false,
        example = "5f0d4f0e-3c1a-4a86-9d1e-0a8f6f6c7b21; turn=1",
        pattern = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}; turn=[0-9]+(; at=[^/;]+/[0-9]+)?(; replica=[0-9a-f]{16})?(; again=[0-9]{1,9})?$"
    )]
    session: String,
}
