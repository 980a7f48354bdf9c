//! Counters by prefix, page by page.
//!
//! A cursor is the key that a page ended with, and of which namespace of which cluster: so any node can go on with any
//! walk, and none keeps anything of it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use snowtide_protocol::{Access, Code, KEY_BYTES_MAX, Key};
use utoipa::ToSchema;

use crate::identity::NamespaceId;
use crate::replica::List;

use super::call::Call;
use super::counters::CounterValue;
use super::failures::Failures;
use super::parameters::Listing;
use super::paths;
use super::problem::Problem;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// What every cursor begins with.
const CURSOR_VERSION: u8 = 1;
/// Characters of the longest cursor: a version, a number for the namespace and a key.
const CURSOR_LEN_MAX: usize = (1 + 8 + KEY_BYTES_MAX) * 4 / 3 + 1;

/// A part of the counters of a namespace.
#[derive(Serialize, ToSchema)]
pub(super) struct CounterList<'a> {
    /// In no order that means anything.
    counters: Vec<CounterValue<'a>>,
    /// Asks for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "AZ_0nW3P1kGSdmlzaXRz")]
    next_cursor: Option<String>,
}

#[utoipa::path(
    get, path = "/v1/counters/{namespace}", tag = "counters", operation_id = "list_counters",
    params(
        ("namespace" = String, Path, description = "A configured namespace", example = "default"),
        ("prefix" = Option<String>, Query, description = "Only keys that begin with this, byte by byte", max_length = 512,
            example = "likes/"),
        ("limit" = Option<u16>, Query, description = "The most counters in one page; default 100", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = CounterList), Failures),
)]
/// Lists the counters of a namespace whose keys begin alike.
///
/// A counter that exists throughout the walk comes once; one that is new may come or not. The order means nothing. A page
/// may hold fewer counters than `limit`, or none, and still have a `next_cursor`: keep asking until there is none. A walk
/// reads the whole namespace, whatever the prefix. Each value is durable at this node, and as of its page.
pub(super) async fn list(mut call: Call) -> Result<Response<Body>, Problem> {
    let path = call.path().to_owned();
    let name = paths::namespace(&path)?;
    let named = call.named(Access::Read, &name)?;
    let namespace = named.id(Access::Read).map_err(|refused| Problem::within(&name, refused))?;
    let Some(scope) = call.door.doors.terms_codec.scope(namespace) else {
        return Err(Problem::internal("the namespace has no number in cursors"));
    };
    let list = question(namespace, scope, std::mem::take(&mut call.parameters.listing))?;
    let room = Arc::clone(&call.door.listings).try_acquire_owned();
    let room =
        room.map_err(|_| Problem::new(Code::Throttled, "too many pages are being made; retry after a moment"))?;
    let Some(page) = call.door.doors.engine.list(list, room).await else {
        return Err(Problem::internal("this node stopped before it answered"));
    };
    let page = page?;
    let counters = page.counters.iter().map(|(key, value)| CounterValue::new(&name, key, *value)).collect();
    let next_cursor = page.next.map(|key| cursor(scope, &key));
    call.answer(StatusCode::OK, &CounterList { counters, next_cursor }, None)
}

/// What the engine is asked.
pub(super) fn question(namespace: NamespaceId, scope: u64, asked: Listing) -> Result<List, Problem> {
    let prefix = asked.prefix.unwrap_or_default();
    if prefix.len() > KEY_BYTES_MAX {
        return Err(Problem::too_large(format!("prefix: a key has at most {KEY_BYTES_MAX} bytes")));
    }
    let after = asked.cursor.map(|text| read_cursor(scope, &text)).transpose()?;
    Ok(List { namespace, prefix, after, limit: limit(asked.limit.as_deref())? })
}

fn limit(asked: Option<&str>) -> Result<usize, Problem> {
    let Some(asked) = asked else { return Ok(LIMIT_DEFAULT) };
    match asked.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Ok(0) | Err(_) => Err(Problem::invalid(format!("limit: allowed: a whole number from 1 to {LIMIT_MAX}"))),
        Ok(_) => Err(Problem::too_large(format!("limit: a page has at most {LIMIT_MAX} counters"))),
    }
}

fn cursor(scope: u64, key: &Key) -> String {
    let mut bytes = vec![CURSOR_VERSION];
    bytes.extend(scope.to_be_bytes());
    bytes.extend(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(scope: u64, text: &str) -> Result<Key, Problem> {
    let bytes = if text.len() <= CURSOR_LEN_MAX { URL_SAFE_NO_PAD.decode(text).ok() } else { None };
    let not_ours = || Problem::invalid("cursor: this is no next_cursor of a page; begin without one");
    let bytes = bytes.ok_or_else(not_ours)?;
    let (version, rest) = bytes.split_first().ok_or_else(not_ours)?;
    let (named, key) = rest.split_first_chunk().ok_or_else(not_ours)?;
    let key = std::str::from_utf8(key).ok().and_then(|key| Key::new(key).ok());
    let key = key.filter(|_| *version == CURSOR_VERSION).ok_or_else(not_ours)?;
    if u64::from_be_bytes(*named) == scope {
        Ok(key)
    } else {
        Err(Problem::invalid("cursor: it is another namespace's, or another cluster's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given_out() {
        for text in ["k", "a/\u{1f9ca}", &"x".repeat(512)] {
            assert_eq!(read_cursor(7, &cursor(7, &key(text))), Ok(key(text)));
        }
    }

    #[test]
    fn what_is_no_cursor_of_this_namespace_is_refused() {
        let long = URL_SAFE_NO_PAD.encode([1; 9 + 513]);
        let (empty, other) = (URL_SAFE_NO_PAD.encode([1; 9]), URL_SAFE_NO_PAD.encode([2; 10]));
        let broken = URL_SAFE_NO_PAD.encode([&[1, 0, 0, 0, 0, 0, 0, 0, 7][..], b"\xff"].concat());
        for text in ["", "A", "!", "AQ==", &long, &empty, &other, &broken, &"A".repeat(100_000)] {
            let problem = read_cursor(7, text).unwrap_err();
            assert_eq!(problem.refused.code, Code::InvalidRequest);
            assert!(problem.refused.detail.contains("no next_cursor"), "{text}: {}", problem.refused.detail);
        }
        let problem = read_cursor(7, &cursor(8, &key("k"))).unwrap_err();
        assert!(problem.refused.detail.contains("another namespace's"), "{}", problem.refused.detail);
    }

    #[test]
    fn a_page_has_1_to_1000_counters() {
        let code = |asked: &str| limit(Some(asked)).map_err(|problem| problem.refused.code);
        assert_eq!((limit(None), code("1"), code("1000")), (Ok(100), Ok(1), Ok(1000)));
        for asked in ["0", "", "-1", "+1x", "1.5", "ten", "99999999999999999999999"] {
            assert_eq!(code(asked), Err(Code::InvalidRequest), "{asked}");
        }
        assert_eq!(code("1001"), Err(Code::TooLarge));
    }
}
