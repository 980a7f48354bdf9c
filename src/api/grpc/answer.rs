//! From a request to its answer.

use super::claim::{Claim, Limit, claims, code_of};
use super::decides::Decides;
use super::live::InForce;
use super::messages::{
    Code, CurrentLimit, DescriptorStatus, Duration, HeaderValue, RateLimitRequest, RateLimitResponse,
};
use super::verdict::{Verdict, verdicts};
use crate::api::Refused;
use crate::telemetry::{self, Descriptor};

/// Decides on a request, and charges what it costs.
pub(super) fn answer(
    in_force: &InForce,
    decides: &impl Decides,
    request: &RateLimitRequest,
) -> Result<RateLimitResponse, Refused> {
    let claims = claims(in_force, request)?;
    let verdicts = verdicts(decides, &claims)?;
    let stands: Vec<_> = claims.iter().zip(&verdicts).map(|(claim, verdict)| Standing::of(claim, *verdict)).collect();
    let is_over = is_over(&stands);
    stands.iter().for_each(|standing| telemetry::descriptor_judged(standing.outcome(in_force.shadow)));
    let headers = if in_force.headers { nearest(&stands).map(headers).unwrap_or_default() } else { Vec::new() };
    Ok(RateLimitResponse {
        overall_code: code(is_over && !in_force.shadow),
        statuses: stands.iter().map(Standing::status).collect(),
        response_headers_to_add: headers,
    })
}

/// How one descriptor stands.
enum Standing<'c> {
    Free,
    Unlimited,
    Limited(&'c Limit<'c>, Verdict),
}

impl<'c> Standing<'c> {
    fn of(claim: &'c Claim<'c>, verdict: Option<Verdict>) -> Self {
        match (claim, verdict) {
            (Claim::Limited(limit), Some(verdict)) => Self::Limited(limit, verdict),
            (Claim::Unlimited, _) => Self::Unlimited,
            _ => Self::Free,
        }
    }

    /// The limit that it is over, if that counts.
    fn over(&self) -> Option<&'c Limit<'c>> {
        match self {
            Self::Limited(limit, verdict) if verdict.is_over && !limit.is_shadow => Some(limit),
            _ => None,
        }
    }

    fn status(&self) -> DescriptorStatus {
        let code = code(self.over().is_some());
        match self {
            Self::Free => DescriptorStatus { code, ..DescriptorStatus::default() },
            Self::Unlimited => DescriptorStatus { code, limit_remaining: u32::MAX, ..DescriptorStatus::default() },
            Self::Limited(limit, verdict) => DescriptorStatus {
                code,
                current_limit: Some(CurrentLimit {
                    requests_per_unit: limit.requests,
                    unit: code_of(limit.unit).into(),
                    name: limit.name.to_owned(),
                }),
                limit_remaining: u32::try_from(verdict.remaining).unwrap_or(u32::MAX),
                duration_until_reset: verdict.reset_ms.map(duration),
            },
        }
    }

    fn outcome(&self, all_shadow: bool) -> Descriptor {
        match self {
            Self::Free => Descriptor::Unmatched,
            Self::Unlimited => Descriptor::Unlimited,
            Self::Limited(_, Verdict { is_over: false, .. }) => Descriptor::Ok,
            Self::Limited(limit, _) if limit.is_shadow || all_shadow => Descriptor::Shadowed,
            Self::Limited(..) => Descriptor::OverLimit,
        }
    }
}

/// Over if one limit is, or all of those that are quotas.
fn is_over(stands: &[Standing<'_>]) -> bool {
    let mut quotas =
        stands.iter().filter(|standing| matches!(standing, Standing::Limited(l, _) if l.is_quota)).peekable();
    let over_all_quotas = quotas.peek().is_some() && quotas.all(|standing| standing.over().is_some());
    over_all_quotas || stands.iter().filter_map(Standing::over).any(|limit| !limit.is_quota)
}

/// The limit that is over, or else the one of which the least is left.
fn nearest<'s>(stands: &'s [Standing<'s>]) -> Option<(&'s Limit<'s>, Verdict)> {
    let limited = stands.iter().filter_map(|standing| match standing {
        Standing::Limited(limit, verdict) => Some((standing.over().is_none(), verdict.remaining, (*limit, *verdict))),
        _ => None,
    });
    limited.min_by_key(|(is_within, remaining, _)| (*is_within, *remaining)).map(|(.., nearest)| nearest)
}

/// As the reference names and counts them: seconds, rounded up.
fn headers((limit, verdict): (&Limit<'_>, Verdict)) -> Vec<HeaderValue> {
    let header = |key: &str, value: u64| HeaderValue { key: key.to_owned(), value: value.to_string() };
    let reset = verdict.reset_ms.map(|ms| header("RateLimit-Reset", ms.div_ceil(1_000)));
    let numbers = [header("RateLimit-Limit", limit.requests.into()), header("RateLimit-Remaining", verdict.remaining)];
    numbers.into_iter().chain(reset).collect()
}

fn code(is_over: bool) -> i32 {
    (if is_over { Code::OverLimit } else { Code::Ok }).into()
}

fn duration(ms: u64) -> Duration {
    let nanos = i32::try_from(ms % 1_000 * 1_000_000).unwrap_or_default();
    Duration { seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX), nanos }
}
