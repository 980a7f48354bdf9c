//! JSON bodies, in and out.
//!
//! 64-bit integers leave as decimal strings, because a JSON number is a double to most readers and holds 53 bits.
//! Where a client sends one, both forms are taken.

use std::fmt;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use snowtide_protocol::json::Object;

use super::problem::Problem;

/// An answer of status 200.
pub(super) fn answer(value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|_| Problem::internal("the answer could not be written as JSON"))?;
    // No more memory than is charged for.
    Ok(([(CONTENT_TYPE, "application/json")], bytes.into_boxed_slice().into_vec()).into_response())
}

/// Reads a body; `Default` if it is empty, which makes `curl -X POST` do the obvious thing.
pub(super) fn parse_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

/// Reads a body, which must be an object.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Object::deserialize(&mut reader).and_then(|Object(value)| reader.end().map(|()| value));
    value.map_err(|error| Problem::invalid(format!("the body is not what is expected: {error}")))
}

/// Writes anything with a decimal form as a JSON string.
pub(super) fn decimal<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As [`decimal`], or `null`.
pub(super) fn decimal_or_null<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
