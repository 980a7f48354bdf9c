//! Shapes: what a value may be, as data, so that messages, documentation and checks say the same.

use std::fmt;

use bytesize::ByteSize;
use figment::value::Value;

use super::place::NodeNumber;
use crate::identity::REGIONS_MAX;

/// What a value may be.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A string.
    Text {
        /// In words, as in "allowed: a path".
        allowed: &'static str,
        accepts: fn(&str) -> bool,
    },
    /// A string that is never shown.
    Secret { allowed: &'static str, accepts: fn(&str) -> bool },
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A string such as `20ms`, within these bounds, both included.
    Duration { min_ms: u64, max_ms: u64 },
    /// A string such as `4MiB`, or a number of bytes, within these bounds, both included.
    Size { min: u64, max: u64 },
    /// A whole number within these bounds, both included.
    Count { min: u64, max: u64 },
    /// Yes or no.
    Switch,
    /// A node's number, or the word for that of the host's name.
    NodeNumber,
    /// Latitude and longitude.
    Location,
    /// Known keys.
    Table(&'static [Field]),
    /// Keys that the operator chooses, all of one shape.
    Named { names: &'static Shape, each: &'static Shape },
    /// Any number of one shape.
    List(&'static Shape),
}

/// A key of a table.
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// A key that has to be given.
pub(super) const fn must(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, required: true }
}

/// A key that may be left out.
pub(super) const fn may(key: &'static str, shape: Shape) -> Field {
    Field { key, shape, required: false }
}

impl Shape {
    /// Whether a single value is allowed. Tables and lists are taken apart by the inspection.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Text { accepts, .. } | Self::Secret { accepts, .. } => value.as_str().is_some_and(accepts),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Duration { min_ms, max_ms } => duration_ns(value)
                .is_some_and(|ns| (u128::from(*min_ms) * NS_PER_MS..=u128::from(*max_ms) * NS_PER_MS).contains(&ns)),
            Self::Size { min, max } => size_bytes(value).is_some_and(|bytes| (*min..=*max).contains(&bytes)),
            Self::Count { min, max } => whole(value).is_some_and(|count| (*min..=*max).contains(&count)),
            Self::Switch => value.to_bool().is_some(),
            Self::NodeNumber => match value.as_str() {
                Some(text) => NodeNumber::parse(text).is_some(),
                None => whole(value).is_some_and(|number| number < REGIONS_MAX.into()),
            },
            Self::Location => is_location(value),
            Self::Table(_) | Self::Named { .. } => value.as_dict().is_some(),
            Self::List(_) => value.as_array().is_some(),
        }
    }

    /// The shape of `key` in a table; `None` if there is no such key.
    pub(super) fn child(&self, key: &str) -> Option<&Shape> {
        match self {
            Self::Table(fields) => fields.iter().find(|field| field.key == key).map(|field| &field.shape),
            Self::Named { each, .. } => Some(each),
            _ => None,
        }
    }

    /// The shape at the end of a dotted path.
    pub(super) fn at(&self, path: &str) -> Option<&Shape> {
        path.split('.').try_fold(self, |shape, key| shape.child(key))
    }

    /// Whether what stands in the environment or after a flag is the string itself, whatever it looks like.
    pub(super) fn is_verbatim(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Secret { .. } | Self::OneOf(_) | Self::NodeNumber)
    }

    /// Whether a value here, or within, may be a secret.
    pub(super) fn holds_secret(&self) -> bool {
        match self {
            Self::Secret { .. } => true,
            Self::List(each) | Self::Named { each, .. } => each.holds_secret(),
            Self::Table(fields) => fields.iter().any(|field| field.shape.holds_secret()),
            _ => false,
        }
    }
}

/// What is allowed, in words.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { allowed, .. } | Self::Secret { allowed, .. } => f.write_str(allowed),
            Self::OneOf(words) => write!(f, "\"{}\"", words.join("\" or \"")),
            Self::Duration { min_ms, max_ms } => {
                write!(f, "a duration from {} to {}", duration(*min_ms), duration(*max_ms))
            }
            Self::Size { min, max } => write!(f, "a size from {} to {}", size(*min), size(*max)),
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Switch => f.write_str("true or false"),
            Self::NodeNumber => write!(f, "\"auto\", or a whole number from 0 to {}", REGIONS_MAX - 1),
            Self::Location => f.write_str("[latitude from -90 to 90, longitude from -180 to 180], in degrees"),
            Self::Table(fields) => {
                let keys: Vec<_> = fields.iter().map(|field| field.key).collect();
                write!(f, "a table with the keys {}", keys.join(", "))
            }
            Self::Named { names, .. } => write!(f, "a table for each name; a name is {names}"),
            Self::List(each) => write!(f, "a list, each item {each}"),
        }
    }
}

const NS_PER_MS: u128 = 1_000_000;

/// A whole number that is not negative; TOML's are signed, those of the environment are not.
fn whole(value: &Value) -> Option<u64> {
    let unsigned = value.to_u128().and_then(|whole| u64::try_from(whole).ok());
    unsigned.or_else(|| u64::try_from(value.to_i128()?).ok())
}

fn duration_ns(value: &Value) -> Option<u128> {
    humantime::parse_duration(value.as_str()?).ok().map(|duration| duration.as_nanos())
}

fn size_bytes(value: &Value) -> Option<u64> {
    match value.as_str() {
        Some(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
        None => whole(value),
    }
}

fn is_location(value: &Value) -> bool {
    let Some([latitude, longitude]) = value.as_array() else { return false };
    // Whole degrees are written without a point.
    let degrees = |value: &Value| value.to_f64().or_else(|| i32::try_from(value.to_i128()?).ok().map(f64::from));
    let within = |value: &Value, bound: f64| degrees(value).is_some_and(|degrees| degrees.abs() <= bound);
    within(latitude, 90.0) && within(longitude, 180.0)
}

/// In the largest unit that needs no fraction.
fn duration(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    in_units(ms, &units)
}

/// In the largest unit that needs no fraction.
pub(super) fn size(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    in_units(bytes, &units)
}

fn in_units(amount: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, unit)| amount.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", amount / unit),
        None => amount.to_string(),
    }
}
