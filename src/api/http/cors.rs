//! Which pages of other origins a browser lets read what this door answers (the Fetch standard, section 3.3).
//!
//! It grants pages what their callers could do anyway, with a token of theirs: it is no access control, and no cookies
//! are involved. With no origin configured, nothing of it is said.

use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{parameters, request_id, watch};

/// How long a browser need not ask again; none of them remembers longer than two hours.
const MAX_AGE: Duration = Duration::from_secs(600);
const ANY: &str = "*";

/// The headers for pages of these origins; `None` if there are none.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == ANY) {
        AllowOrigin::any()
    } else {
        // The configuration holds nothing else than origins, which are header values.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let asked: Vec<HeaderName> = [ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, watch::LAST_EVENT_ID]
        .into_iter()
        .chain(parameters::HEADERS)
        .chain(request_id::HEADERS)
        .collect();
    let told = [
        parameters::TOKEN,
        parameters::REPLAYED,
        parameters::PREFERENCE_APPLIED,
        request_id::REQUEST_ID,
        RETRY_AFTER,
        WWW_AUTHENTICATE,
    ];
    let layer = CorsLayer::new().allow_origin(allowed).allow_methods([Method::GET, Method::POST]);
    Some(layer.allow_headers(asked).expose_headers(told).max_age(MAX_AGE))
}
