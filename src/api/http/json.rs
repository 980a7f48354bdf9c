//! JSON bodies, in and out.
//!
//! 64-bit integers leave as decimal strings, because a JSON number is a double to most readers and holds 53 bits.
//! Where a client sends one, both forms are taken.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;

/// An answer of status 200.
pub(super) fn answer(value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|_| Problem::internal("the answer could not be written as JSON"))?;
    // No more memory than is charged for.
    let mut response = Response::new(Body::from(bytes.into_boxed_slice().into_vec()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Reads a body; `Default` if it is empty, which makes `curl -X POST` do the obvious thing.
pub(super) fn parse_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

/// Reads a body, which must be an object.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = object(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| Problem::invalid(format!("the body is not what is expected: {error}")))
}

/// A structure from a JSON object alone: by itself, serde would also take an array, member by member.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
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

/// By how much a counter changes: a decimal string or a JSON integer, of 64 bits, negative to decrement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct By(pub(super) i64);

impl Default for By {
    fn default() -> Self {
        Self(1)
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByVisitor)
    }
}

struct ByVisitor;

impl Visitor<'_> for ByVisitor {
    type Value = By;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a signed 64-bit integer, in decimal digits or as a JSON integer")
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<By, E> {
        Ok(By(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<By, E> {
        i64::try_from(value).map(By).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<By, E> {
        value.parse().map(By).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(value), &self))
    }
}

impl PartialSchema for By {
    fn schema() -> RefOr<Schema> {
        let digits = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^-?\d+$"));
        let number = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        OneOfBuilder::new()
            .item(digits)
            .item(number)
            .description(Some("A signed 64-bit integer: decimal digits, or a JSON integer"))
            .into()
    }
}

impl ToSchema for By {}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(json: &str) -> Option<i64> {
        serde_json::from_str::<By>(json).ok().map(|By(by)| by)
    }

    #[test]
    fn both_forms_of_a_64_bit_integer_are_taken_over_their_whole_range() {
        assert_eq!(by("5"), Some(5));
        assert_eq!(by("\"-5\""), Some(-5));
        assert_eq!(by("9223372036854775807"), Some(i64::MAX));
        assert_eq!(by("\"-9223372036854775808\""), Some(i64::MIN));
    }

    #[test]
    fn anything_that_is_not_a_64_bit_integer_is_refused() {
        for json in ["1.0", "1e3", "\"1.5\"", "\"\"", "\" 1\"", "null", "true", "[]", "9223372036854775808", "\"1e3\""]
        {
            assert_eq!(by(json), None, "{json}");
        }
    }
}
