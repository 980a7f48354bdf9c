//! What responses that are no success say about the state of the counters.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::RETRY_AFTER;
use serde::Deserialize;
use snowtide_protocol::Code;

use crate::error::Error;

/// A problem document (RFC 9457), as far as it is looked at.
#[derive(Default, Deserialize)]
struct ProblemBody<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
    #[serde(default)]
    retryable: bool,
}

/// The error that a response stands for.
///
/// Only a node knows what it has not done. A response without a code that is known here comes from something in between
/// or from a later release: unless it says for itself that nothing was done, it may have been.
pub(super) fn error(response: &Response<Bytes>) -> Error {
    let body: ProblemBody<'_> = serde_json::from_slice(response.body()).unwrap_or_default();
    let status = response.status().as_u16();
    let code = match body.code.as_deref() {
        Some(word) if known(word).is_none() && body.retryable => Code::Overloaded,
        word => code(status, word),
    };
    let detail = match (body.detail, body.code) {
        (Some(detail), Some(word)) if known(&word).is_none() => format!("{word}: {detail}"),
        (Some(detail), _) => detail.into_owned(),
        (None, _) => format!("HTTP status {}", response.status()),
    };
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|header| header.to_str().ok()?.parse().ok());
    Error::Refused { code, detail, retry_after: retry_after.map(Duration::from_secs) }
}

/// Whether it is a node that refuses.
pub(super) fn is_known(response: &Response<Bytes>) -> bool {
    let body: ProblemBody<'_> = serde_json::from_slice(response.body()).unwrap_or_default();
    body.code.is_some()
}

/// The code for a status and the word beside it.
pub(super) fn code(status: u16, word: Option<&str>) -> Code {
    if let Some(code) = word.and_then(known) {
        return code;
    }
    match (word, status) {
        // A word of a later release: by the contract of the interface, nothing was done.
        (Some(_), 400..=499) => Code::InvalidRequest,
        // Without a word, only what cannot have reached a node's counters.
        (None, 400) => Code::InvalidRequest,
        (None, 401) => Code::Unauthenticated,
        (None, 403) => Code::Forbidden,
        (None, 404) => Code::NotFound,
        (None, 405) => Code::MethodNotAllowed,
        (None, 413) => Code::TooLarge,
        (None, 429) => Code::Throttled,
        _ => Code::Internal,
    }
}

fn known(word: &str) -> Option<Code> {
    Code::ALL.into_iter().find(|code| code.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Error {
        error(&Response::builder().status(status).header(RETRY_AFTER, "3").body(body.to_owned().into()).unwrap())
    }

    #[test]
    fn a_node_is_believed_and_its_patience_honoured() {
        let error = answered(429, r#"{"code":"throttled","detail":"later","retryable":true}"#);
        let retry_after = Some(Duration::from_secs(3));
        assert_eq!(error, Error::Refused { code: Code::Throttled, detail: "later".into(), retry_after });
        for code in Code::ALL {
            let error = answered(code.http_status(), &format!(r#"{{"code":"{code}"}}"#));
            assert!(matches!(error, Error::Refused { code: told, .. } if told == code), "{error}");
        }
    }

    #[test]
    fn what_stands_in_between_is_believed_only_where_it_cannot_have_passed_the_request_on() {
        for (status, body) in [(503, "<html>"), (502, ""), (504, "{}"), (500, "[]"), (408, ""), (302, "")] {
            let error = answered(status, body);
            assert!(error.is_ambiguous() && !error.is_retryable(), "{status}: {error}");
        }
        assert!(answered(429, "slow down").is_retryable());
        assert!(matches!(answered(404, ""), Error::Refused { code: Code::NotFound, .. }));
    }

    #[test]
    fn a_word_of_a_later_release_counts_for_what_is_said_beside_it() {
        let retryable = answered(503, r#"{"code":"too_hot","detail":"in here","retryable":true}"#);
        assert!(retryable.is_retryable() && retryable.to_string().contains("too_hot: in here"), "{retryable}");
        let refused = answered(409, r#"{"code":"too_cold","retryable":false}"#);
        assert!(!refused.is_retryable() && !refused.is_ambiguous(), "{refused}");
        let unknown = answered(500, r#"{"code":"too_odd","retryable":false}"#);
        assert!(unknown.is_ambiguous(), "{unknown}");
    }
}
