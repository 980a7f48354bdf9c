//! What a denied request is answered with.

use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::WirePolicy;

use crate::limits::Policy;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How a policy without a name is called in headers.
const NAMELESS: &str = "default";

/// A request that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied<'a> {
    /// By which policy.
    pub policy: Policy<'a>,
    /// What the node decided; `None` if no node would ever admit it: its cost is above the policy, or what was taken for its
    /// key is none, being empty or too long.
    pub decision: Option<Decision>,
}

/// Status 429 (RFC 6585) and an empty body, with `Retry-After` (RFC 9110) where waiting helps, and `RateLimit-Policy` and
/// `RateLimit` as in draft-ietf-httpapi-ratelimit-headers: whole seconds, rounded up.
///
/// The limit in `RateLimit-Policy` is that of the decision; how long a window is, only a request knows that brought the policy
/// along.
pub fn too_many_requests<B: Default>(denied: &Denied<'_>) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let Some(decision) = denied.decision else { return response };
    let (name, quota) = match denied.policy.0 {
        WirePolicy::Named(name) => (name, format!("q={}", decision.limit)),
        WirePolicy::Given(numbers) => (NAMELESS, format!("q={};w={}", numbers.limit, seconds(numbers.window_ms))),
    };
    let texts = [
        (RETRY_AFTER, seconds(decision.retry_after_ms).max(1).to_string()),
        (RATE_LIMIT_POLICY, format!("\"{name}\";{quota}")),
        (RATE_LIMIT, format!("\"{name}\";r={};t={}", decision.remaining, seconds(decision.reset_ms))),
    ];
    for (header, text) in texts {
        // Names of policies are letters, digits and "._-"; another one has no place in a header.
        response.headers_mut().extend(HeaderValue::try_from(text).ok().map(|value| (header, value)));
    }
    response
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::limit::{Algorithm, Numbers};

    use super::*;

    fn headers(policy: Policy<'_>, decision: Option<Decision>) -> Vec<String> {
        let response = too_many_requests::<String>(&Denied { policy, decision });
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let header = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut headers: Vec<String> = response.headers().iter().map(header).collect();
        headers.sort();
        headers
    }

    #[test]
    fn a_denial_says_when_to_come_again() {
        let decision = Decision { admitted: false, limit: 100, remaining: 3, reset_ms: 41_001, retry_after_ms: 1_001 };
        let expected = ["ratelimit-policy: \"default\";q=100", "ratelimit: \"default\";r=3;t=42", "retry-after: 2"];
        assert_eq!(headers("default".into(), Some(decision)), expected);
        let given = Numbers { algorithm: Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };
        assert_eq!(headers(given.into(), Some(decision))[0], "ratelimit-policy: \"default\";q=30;w=60");
    }

    #[test]
    fn what_is_never_admitted_is_not_told_to_come_again() {
        assert!(headers("default".into(), None).is_empty());
    }

    #[test]
    fn a_name_that_fits_no_header_is_left_out() {
        let decision = Decision { admitted: false, limit: 1, remaining: 0, reset_ms: 1, retry_after_ms: 1 };
        assert_eq!(headers("a\nb".into(), Some(decision)), ["retry-after: 1"]);
    }
}
