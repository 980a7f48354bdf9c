//! Operations as JSON has them in the batches of the HTTP door:
//! `{"increment": {"namespace": "default", "key": "visits", "by": "5"}}`.
//!
//! Names and arguments are those of the [`Action`], so this file knows none of them by itself. Reading copies no text that has no
//! escapes, and takes objects alone.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::action::{Action, BY_DEFAULT};

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonOperation<'a> {
    /// The counter's namespace.
    pub namespace: Cow<'a, str>,
    /// The counter's key.
    pub key: Cow<'a, str>,
    /// What to do with it.
    pub action: Action,
}

/// What stands behind an operation's name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    by: Option<By>,
}

/// An operation's name, borrowed where it can be.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Serialize for JsonOperation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { namespace, key, action } = self;
        let members = Members { namespace: (&**namespace).into(), key: (&**key).into(), by: action.by().map(By) };
        serializer.serialize_newtype_variant("operation", 0, action.name(), &members)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonOperation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OperationVisitor)
    }
}

struct OperationVisitor;

impl<'de> Visitor<'de> for OperationVisitor {
    type Value = JsonOperation<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one member, whose name is one of ")?;
        f.write_str(&Action::ALL.map(Action::name).join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonOperation<'de>, A::Error> {
        let Some(Name(name)) = map.next_key()? else { return Err(A::Error::invalid_length(0, &self)) };
        let named = Action::ALL.into_iter().find(|action| action.name() == name);
        let named = named.ok_or_else(|| A::Error::invalid_value(Unexpected::Str(&name), &self))?;
        let Object(Members { namespace, key, by }) = map.next_value()?;
        if map.next_key::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_length(2, &self));
        }
        let action = by.map_or(Some(named), |By(by)| named.with_by(by));
        let action = action.ok_or_else(|| A::Error::unknown_field("by", &["namespace", "key"]))?;
        Ok(JsonOperation { namespace, key, action })
    }
}

/// What is there has a value; `null` is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<By>, D::Error> {
    By::deserialize(deserializer).map(Some)
}

/// By how much a counter changes: read from a decimal string or a JSON integer, of 64 bits, negative to decrement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct By(pub i64);

impl Default for By {
    fn default() -> Self {
        Self(BY_DEFAULT)
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

    fn visit_i64<E: Error>(self, value: i64) -> Result<By, E> {
        Ok(By(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<By, E> {
        i64::try_from(value).map(By).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<By, E> {
        value.parse().map(By).map_err(|_| E::invalid_value(Unexpected::Str(value), &self))
    }
}

/// A structure from a JSON object alone: by itself, serde would also take an array, member by member.
#[derive(Clone, Copy, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

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

    #[test]
    fn every_action_comes_back_from_its_json() {
        for action in Action::ALL.into_iter().chain([Action::Increment(i64::MIN)]) {
            let operation = JsonOperation { namespace: "n".into(), key: "a\"b".into(), action };
            let json = serde_json::to_string(&operation).unwrap();
            assert_eq!(serde_json::from_str::<JsonOperation<'_>>(&json).unwrap(), operation, "{json}");
        }
        let bare = r#"{"increment":{"namespace":"n","key":"k"}}"#;
        let operation: JsonOperation<'_> = serde_json::from_str(bare).unwrap();
        assert_eq!(operation.action, Action::Increment(1));
        assert!(matches!((operation.namespace, operation.key), (Cow::Borrowed("n"), Cow::Borrowed("k"))));
    }

    #[test]
    fn what_is_no_operation_is_refused_and_why_is_said() {
        for (json, words) in [
            ("{}", "one of increment, get"),
            (r#""get""#, "one of increment, get"),
            (r#"{"delete":{"namespace":"n","key":"k"}}"#, "\"delete\", expected an object with one member"),
            (r#"{"get":{"namespace":"n","key":"k","by":1}}"#, "unknown field `by`, expected `namespace` or `key`"),
            (r#"{"increment":{"namespace":"n","key":"k","by":null}}"#, "a signed 64-bit integer"),
            (r#"{"increment":{"namespace":"n","key":"k","to":1}}"#, "unknown field `to`"),
            (r#"{"get":{"key":"k"}}"#, "missing field `namespace`"),
            (r#"{"get":["n","k"]}"#, "expected a JSON object"),
            (r#"{"get":{"namespace":"n","key":"k"},"get":{"namespace":"n","key":"k"}}"#, "with one member"),
        ] {
            let error = serde_json::from_str::<JsonOperation<'_>>(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
