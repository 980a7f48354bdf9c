//! What paths name: counters and namespaces, percent-encoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::problem::Problem;

const PREFIX: &str = "/v1/counters/";
const LIMITS_PREFIX: &str = "/v1/limits/";
/// Where a counter is watched.
pub(super) const WATCH_SUFFIX: &str = "/watch";

/// The namespace and the key in a path like `/v1/counters/{namespace}/{key}{suffix}`, decoded. The router has matched
/// the path before it is decoded, so an encoded slash belongs to the key.
pub(super) fn counter<'a>(path: &'a str, suffix: &str) -> Result<(Cow<'a, str>, Cow<'a, str>), Problem> {
    let (namespace, key) = path
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(suffix))
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| Problem::invalid("the path names no counter"))?;
    Ok((decoded(namespace)?, decoded(key)?))
}

/// The name of the namespace in a path like `/v1/counters/{namespace}`.
pub(super) fn namespace(path: &str) -> Result<Cow<'_, str>, Problem> {
    decoded(path.strip_prefix(PREFIX).ok_or_else(|| Problem::invalid("the path names no namespace"))?)
}

/// The policy and the key in a path like `/v1/limits/{policy}/{key}`.
pub(super) fn limit(path: &str) -> Result<(Cow<'_, str>, Cow<'_, str>), Problem> {
    let named = path.strip_prefix(LIMITS_PREFIX).and_then(|rest| rest.split_once('/'));
    let (policy, key) = named.ok_or_else(|| Problem::invalid("the path names no policy and key"))?;
    Ok((decoded(policy)?, decoded(key)?))
}

fn decoded(segment: &str) -> Result<Cow<'_, str>, Problem> {
    if !is_percent_encoded(segment) {
        return Err(Problem::invalid("a % in the path must be followed by two hexadecimal digits (RFC 3986, 2.1)"));
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Problem::invalid("the path is not UTF-8 once its percent-encoding is undone"))
}

/// Whether every % begins an escape. Taken for itself, a broken one would name another counter than was meant.
fn is_percent_encoded(segment: &str) -> bool {
    let is_escape =
        |rest: &str| matches!(rest.as_bytes(), [one, two, ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit());
    segment.split('%').skip(1).all(is_escape)
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::Code;

    use super::*;

    #[test]
    fn keys_are_decoded_after_the_path_was_split() {
        let (namespace, key) = counter("/v1/counters/a%20b/x%2Fy%25%F0%9F%A7%8A+/increment", "/increment").unwrap();
        assert_eq!((&*namespace, &*key), ("a b", "x/y%\u{1f9ca}+"));
        let (_, key) = counter("/v1/counters/default/increment", "").unwrap();
        assert_eq!(key, "increment", "a counter may be called like the action");
    }

    #[test]
    fn what_is_not_utf_8_is_invalid() {
        let problem = counter("/v1/counters/default/%ff", "").unwrap_err();
        assert_eq!(problem.refused.code, Code::InvalidRequest);
    }

    #[test]
    fn a_broken_escape_is_invalid_rather_than_a_key_of_its_own() {
        for path in ["a%", "a%2", "a%zz", "%%41", "a%2%41"] {
            let problem = counter(&format!("/v1/counters/default/{path}"), "").unwrap_err();
            assert_eq!(problem.refused.code, Code::InvalidRequest, "{path}");
        }
        assert_eq!(counter("/v1/counters/default/%25%c3%A9", "").unwrap().1, "%é");
    }
}
