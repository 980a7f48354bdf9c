//! `/docs`: the OpenAPI document for people, in one page that asks nobody but this node.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;

const PAGE: &str = include_str!("docs.html");
/// The page reads `/openapi.json` and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[utoipa::path(
    get, path = "/docs", tag = "operations", operation_id = "docs", security(()),
    responses((status = 200, description = "HTML", content_type = "text/html", body = String)),
)]
/// This document, for people.
pub(super) async fn docs() -> Response<Body> {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], PAGE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_other_place() {
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(word), "{word}");
        }
        assert!(PAGE.contains("fetch(\"/openapi.json\")") && PAGE.contains("prefers-color-scheme: dark"));
    }
}
