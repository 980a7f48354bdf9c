//! What a client wants to be answered in: JSON, or bare bytes.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

pub(super) const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// Whether bytes are named and preferred to JSON (RFC 9110, section 12.5.1). Wildcards mean JSON, and so does everything
/// else that is not served: an answer in JSON tells more than a refusal.
pub(super) fn bytes_wanted(headers: &HeaderMap) -> bool {
    let bytes = quality(headers, BYTES);
    bytes > 0.0 && bytes > quality(headers, JSON)
}

/// The weight of a media type that is named; 0 if it is not.
fn quality(headers: &HeaderMap, wanted: &str) -> f32 {
    let fields = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
    let named = fields.flat_map(|field| field.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
    });
    named.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn bytes_are_sent_to_those_who_prefer_them() {
        for (accept, bytes) in [
            (BYTES, true),
            ("Application/Octet-Stream", true),
            ("application/octet-stream, application/json;q=0.9", true),
            ("application/json;q=0.1,application/octet-stream;q=0.2", true),
            ("text/html, application/octet-stream ; q=0.5, */*;q=0.1", true),
            ("application/octet-stream;q=0", false),
            ("application/octet-stream;q=x", false),
            ("application/octet-stream;q=NaN", false),
            ("application/json, application/octet-stream", false),
            ("application/json;q=0.5, application/octet-stream;q=0.4", false),
            ("application/*", false),
            ("*/*", false),
            ("text/html", false),
            ("", false),
        ] {
            let headers = [(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(bytes_wanted(&headers), bytes, "{accept}");
        }
        assert!(!bytes_wanted(&HeaderMap::new()));
    }
}
