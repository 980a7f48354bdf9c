//! Operations and checks of limits as JSON has them in the batches of the HTTP door:
//! `{"increment": {"namespace": "default", "key": "visits", "by": "5"}}`,
//! `{"limit": {"policy": "default", "key": "alice", "cost": 1}}`.
//!
//! Names and arguments of operations are those of the [`Action`], so this file knows none of them by itself. Reading copies no text that has no
//! escapes, and takes objects alone.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::action::{Action, BY_DEFAULT};
use crate::limit::Numbers;

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

/// One decision of a limit in a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonCheck<'a> {
    /// By which policy.
    #[serde(borrow)]
    pub policy: JsonPolicy<'a>,
    /// On which key.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// How much is to be charged; zero looks.
    #[serde(default = "one")]
    pub cost: u64,
}

/// A policy by its name, or its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum JsonPolicy<'a> {
    /// One of the node's configuration.
    Named(Cow<'a, str>),
    /// These numbers, which are part of the key.
    Given(Numbers),
}

/// One member of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonItem<'a> {
    /// On a counter.
    Operation(JsonOperation<'a>),
    /// Of a limit.
    Check(JsonCheck<'a>),
}

/// The name of a check.
const LIMIT: &str = "limit";

const fn one() -> u64 {
    1
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonPolicy<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PolicyVisitor)
    }
}

struct PolicyVisitor;

impl<'de> Visitor<'de> for PolicyVisitor {
    type Value = JsonPolicy<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a policy, or an object with its numbers")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<JsonPolicy<'de>, E> {
        Ok(JsonPolicy::Named(name.into()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<JsonPolicy<'de>, E> {
        Ok(JsonPolicy::Named(name.to_owned().into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<JsonPolicy<'de>, A::Error> {
        Numbers::deserialize(MapAccessDeserializer::new(members)).map(JsonPolicy::Given)
    }
}

impl Serialize for JsonItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Operation(operation) => operation.serialize(serializer),
            Self::Check(check) => serializer.serialize_newtype_variant("item", 0, LIMIT, check),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonItem<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
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

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = JsonItem<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one member, whose name is one of ")?;
        f.write_str(&Action::ALL.map(Action::name).join(", "))?;
        write!(f, ", {LIMIT}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonItem<'de>, A::Error> {
        let Some(Name(name)) = map.next_key()? else { return Err(A::Error::invalid_length(0, &self)) };
        if name == LIMIT {
            let Object(check) = map.next_value()?;
            let end = map.next_key::<IgnoredAny>()?;
            return if end.is_some() { Err(A::Error::invalid_length(2, &self)) } else { Ok(JsonItem::Check(check)) };
        }
        let named = Action::ALL.into_iter().find(|action| action.name() == name);
        let named = named.ok_or_else(|| A::Error::invalid_value(Unexpected::Str(&name), &self))?;
        let Object(Members { namespace, key, by }) = map.next_value()?;
        if map.next_key::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_length(2, &self));
        }
        let action = by.map_or(Some(named), |By(by)| named.with_by(by));
        let action = action.ok_or_else(|| A::Error::unknown_field("by", &["namespace", "key"]))?;
        Ok(JsonItem::Operation(JsonOperation { namespace, key, action }))
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
            assert_eq!(serde_json::from_str::<JsonItem<'_>>(&json).unwrap(), JsonItem::Operation(operation), "{json}");
        }
        let bare = r#"{"increment":{"namespace":"n","key":"k"}}"#;
        let JsonItem::Operation(operation) = serde_json::from_str(bare).unwrap() else { panic!("no operation") };
        assert_eq!(operation.action, Action::Increment(1));
        assert!(matches!((operation.namespace, operation.key), (Cow::Borrowed("n"), Cow::Borrowed("k"))));
    }

    #[test]
    fn checks_come_back_from_their_json() {
        let numbers = Numbers { algorithm: crate::limit::Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };
        for policy in [JsonPolicy::Named("p\"".into()), JsonPolicy::Given(numbers)] {
            let item = JsonItem::Check(JsonCheck { policy, key: "k".into(), cost: 7 });
            let json = serde_json::to_string(&item).unwrap();
            assert_eq!(serde_json::from_str::<JsonItem<'_>>(&json).unwrap(), item, "{json}");
        }
        let JsonItem::Check(check) = serde_json::from_str(r#"{"limit":{"policy":"p","key":"k"}}"#).unwrap() else {
            panic!("no check")
        };
        assert_eq!(check, JsonCheck { policy: JsonPolicy::Named("p".into()), key: "k".into(), cost: 1 });
    }

    #[test]
    fn what_is_no_operation_is_refused_and_why_is_said() {
        for (json, words) in [
            (r#"{"limit":{"policy":"p","key":"k","by":1}}"#, "unknown field `by`"),
            (r#"{"limit":{"policy":7,"key":"k"}}"#, "the name of a policy, or an object with its numbers"),
            ("{}", "one of increment, get, limit"),
            (r#""get""#, "one of increment, get, limit"),
            (r#"{"delete":{"namespace":"n","key":"k"}}"#, "\"delete\", expected an object with one member"),
            (r#"{"get":{"namespace":"n","key":"k","by":1}}"#, "unknown field `by`, expected `namespace` or `key`"),
            (r#"{"increment":{"namespace":"n","key":"k","by":null}}"#, "a signed 64-bit integer"),
            (r#"{"increment":{"namespace":"n","key":"k","to":1}}"#, "unknown field `to`"),
            (r#"{"get":{"key":"k"}}"#, "missing field `namespace`"),
            (r#"{"get":["n","k"]}"#, "expected a JSON object"),
            (r#"{"get":{"namespace":"n","key":"k"},"get":{"namespace":"n","key":"k"}}"#, "with one member"),
        ] {
            let error = serde_json::from_str::<JsonItem<'_>>(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
