//! What a request has failed with, as its caller is told.

use tokio::time::Instant;

use super::node::Rest;
use crate::error::Error;

/// Why no node can be asked now, and when that may change.
pub(super) fn resting(reasons: Vec<Rest>) -> Error {
    match reasons.into_iter().min_by_key(|rest| rest.until) {
        Some(Rest { until, error: Error::Refused { code, detail, retry_after: Some(_) }, .. }) => {
            let left = until.saturating_duration_since(Instant::now());
            Error::Refused { code, detail, retry_after: Some(left) }
        }
        Some(rest) => rest.error,
        None => Error::Unreachable { reason: "no node is left to try".into(), retryable: true },
    }
}

/// Why an outcome is unknown, in words.
pub(super) fn because(address: &str, error: &Error) -> String {
    match error {
        Error::Ambiguous { reason } => format!("{address}: {reason}"),
        Error::Timeout { after, .. } => format!("{address}: no answer within {after:?}"),
        Error::Refused { code, detail, .. } => format!("{address} answered {code}: {detail}"),
        other => format!("{address}: {other}"),
    }
}
