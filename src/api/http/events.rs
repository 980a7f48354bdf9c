//! Server-sent events (WHATWG HTML, 9.2), and who takes them.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, Response};
use axum::response::IntoResponse;
use futures_util::{Stream, stream};

use super::problem::Problem;

/// After a broken connection a client comes back this much later.
pub(super) const RETRY_MS: u64 = 2_000;
const EVENTS: &str = "text/event-stream";
/// nginx, and those who learned it from nginx, hold answers back until they are long, unless the answer says this.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An answer of events.
pub(super) fn streamed(events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response<Body> {
    let headers = [(CONTENT_TYPE, EVENTS), (CACHE_CONTROL, "no-store, no-transform"), (X_ACCEL_BUFFERING, "no")];
    (headers, Body::from_stream(events)).into_response()
}

/// Whether the client is an `EventSource`, or does as one.
pub(super) fn takes_events(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    ranges.any(is_of_events)
}

/// Whether this media range names events.
pub(super) fn is_of_events(range: &[u8]) -> bool {
    let name = range.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(EVENTS.as_bytes())
}

/// What a client that takes events is told instead of its first event.
pub(super) fn refused(problem: Problem) -> Response<Body> {
    let is_temporary = matches!(problem.refused.code.http_status(), 429 | 500..507);
    if !is_temporary {
        return problem.into_response();
    }
    let text = refusal(&problem);
    let mut response = streamed(stream::once(async { Ok(Bytes::from(text)) }));
    problem.mark(&mut response);
    response
}

/// An event that says why there is no other, and when to come back.
pub(super) fn refusal(problem: &Problem) -> String {
    let retry_ms = problem.refused.code.retry_after_ms().map_or(RETRY_MS, |ms| RETRY_MS.max(ms.into()));
    let document = problem.body();
    format!("retry: {retry_ms}\nevent: refused\ndata: {}\n\n", String::from_utf8_lossy(&document))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use snowtide_protocol::Code;

    use super::*;

    #[test]
    fn an_event_source_is_known_by_what_it_accepts() {
        let takes =
            |accept: &'static str| takes_events(&[(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect());
        for accept in ["text/event-stream", "Text/Event-Stream;q=0.9", "application/json, text/event-stream ,*/*"] {
            assert!(takes(accept), "{accept}");
        }
        for accept in ["*/*", "text/*", "application/json", "", "text/event-stream2"] {
            assert!(!takes(accept), "{accept}");
        }
        assert!(!takes_events(&HeaderMap::new()));
    }

    #[test]
    fn what_passes_by_itself_is_told_as_an_event_and_the_rest_as_a_status() {
        for code in Code::ALL {
            let response = refused(Problem::new(code, "why"));
            let passes = code.is_retryable() && code != Code::IdempotencyInFlight;
            let passes = passes || matches!(code, Code::Timeout | Code::Internal);
            assert_eq!(response.status() == 200, passes, "{code}");
        }
        let text = refusal(&Problem::new(Code::Throttled, "two\nlines"));
        assert!(text.starts_with("retry: 2000\nevent: refused\ndata: {") && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(refusal(&Problem::new(Code::DiskLow, "why")).starts_with("retry: 30000\n"));
    }
}
