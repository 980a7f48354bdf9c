//! Shapes: what a value may be, as data, so that messages, documentation and checks say the same.

use std::fmt;

use bytesize::ByteSize;
use figment::value::Value;

use super::{Field, Kind};

/// 1024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1024 KiB.
pub const MIB: u64 = 1 << 20;
/// 1024 MiB.
pub const GIB: u64 = 1 << 30;
/// 1024 GiB.
pub const TIB: u64 = 1 << 40;
/// In milliseconds, as the bounds of durations are.
pub const SECOND: u64 = 1_000;
/// In milliseconds.
pub const MINUTE: u64 = 60 * SECOND;
/// In milliseconds.
pub const HOUR: u64 = 60 * MINUTE;
/// In milliseconds.
pub const DAY: u64 = 24 * HOUR;

/// A duration within these bounds in milliseconds, both included.
pub const fn duration(min_ms: u64, max_ms: u64) -> Shape {
    Shape::Duration { min_ms, max_ms }
}

/// A size within these bounds in bytes, both included.
pub const fn size(min: u64, max: u64) -> Shape {
    Shape::Size { min, max }
}

/// A whole number within these bounds, both included.
pub const fn count(min: u64, max: u64) -> Shape {
    Shape::Count { min, max }
}

/// What a value may be.
#[derive(Clone, Copy)]
pub enum Shape {
    /// A string.
    Text {
        /// In words, as in "allowed: a path".
        allowed: &'static str,
        /// Whether the string is allowed.
        accepts: fn(&str) -> bool,
    },
    /// A string that is never shown.
    Secret {
        /// In words.
        allowed: &'static str,
        /// Whether the string is allowed.
        accepts: fn(&str) -> bool,
    },
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A string such as `20ms`, within these bounds, both included.
    Duration {
        /// In milliseconds.
        min_ms: u64,
        /// In milliseconds.
        max_ms: u64,
    },
    /// A string such as `4MiB`, or a number of bytes, within these bounds, both included.
    Size {
        /// In bytes.
        min: u64,
        /// In bytes.
        max: u64,
    },
    /// A whole number within these bounds, both included.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Yes or no.
    Switch,
    /// A string, or a whole number, which is taken as its digits.
    TextOrCount {
        /// In words.
        allowed: &'static str,
        /// Whether the string is allowed.
        accepts: fn(&str) -> bool,
    },
    /// Latitude and longitude.
    Location,
    /// Known keys.
    Table(&'static [Field]),
    /// Keys that the operator chooses, each a table of which any key may be left out.
    Named {
        /// What such a key may be.
        names: &'static Shape,
        /// What stands at it.
        each: &'static Shape,
    },
    /// Any number of one shape.
    List(&'static Shape),
}

impl Shape {
    /// Whether a single value is allowed. Tables and lists are taken apart by the inspection.
    pub fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Text { accepts, .. } | Self::Secret { accepts, .. } => value.as_str().is_some_and(accepts),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Duration { min_ms, max_ms } => duration_ns(value)
                .is_some_and(|ns| (u128::from(*min_ms) * NS_PER_MS..=u128::from(*max_ms) * NS_PER_MS).contains(&ns)),
            Self::Size { min, max } => size_bytes(value).is_some_and(|bytes| (*min..=*max).contains(&bytes)),
            Self::Count { min, max } => whole(value).is_some_and(|count| (*min..=*max).contains(&count)),
            Self::Switch => value.to_bool().is_some(),
            Self::TextOrCount { accepts, .. } => match value.as_str() {
                Some(text) => accepts(text),
                None => whole(value).is_some_and(|number| accepts(&number.to_string())),
            },
            Self::Location => is_location(value),
            Self::Table(_) | Self::Named { .. } => value.as_dict().is_some(),
            Self::List(_) => value.as_array().is_some(),
        }
    }

    /// The shape of `key` in a table; `None` if there is no such key.
    pub fn child(&self, key: &str) -> Option<&'static Shape> {
        match self {
            Self::Table(_) => self.keys().find(|field| field.key == key).map(|field| &field.shape),
            Self::Named { each, .. } => Some(each),
            _ => None,
        }
    }

    /// The keys of a table, with those of the groups in it.
    pub fn keys(&self) -> impl Iterator<Item = &'static Field> {
        self.fields().into_iter().filter(|field| !matches!(field.kind, Kind::Fixed | Kind::Moved))
    }

    /// Whether `key` of a table is a constant by now.
    pub fn has_fixed(&self, key: &str) -> bool {
        self.fields().into_iter().any(|field| field.kind == Kind::Fixed && field.key == key)
    }

    /// Which key has taken the place of `key` of a table.
    pub fn moved_to(&self, key: &str) -> Option<&'static str> {
        let moved = self.fields().into_iter().find(|field| field.kind == Kind::Moved && field.key == key);
        moved.map(|field| field.default)
    }

    fn fields(&self) -> Vec<&'static Field> {
        let Self::Table(fields) = self else { return Vec::new() };
        let within = |field: &'static Field| match field.kind {
            Kind::Group => field.shape.fields(),
            _ => vec![field],
        };
        fields.iter().flat_map(within).collect()
    }

    /// The shape at the end of a dotted path.
    pub fn at(&'static self, path: &str) -> Option<&'static Shape> {
        path.split('.').try_fold(self, |shape, key| shape.child(key))
    }

    /// Whether what stands in the environment or after a flag is the string itself, whatever it looks like.
    pub fn is_verbatim(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Secret { .. } | Self::OneOf(_) | Self::TextOrCount { .. })
    }

    /// Whether a value here, or within, may be a secret.
    pub fn holds_secret(&self) -> bool {
        match self {
            Self::Secret { .. } => true,
            Self::List(each) | Self::Named { each, .. } => each.holds_secret(),
            Self::Table(_) => self.keys().any(|field| field.shape.holds_secret()),
            _ => false,
        }
    }
}

/// What is allowed, in words.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { allowed, .. } | Self::Secret { allowed, .. } | Self::TextOrCount { allowed, .. } => {
                f.write_str(allowed)
            }
            Self::OneOf(words) => write!(f, "\"{}\"", words.join("\" or \"")),
            Self::Duration { min_ms, max_ms } => {
                write!(f, "a duration from {} to {}", duration_in_words(*min_ms), duration_in_words(*max_ms))
            }
            Self::Size { min, max } => write!(f, "a size from {} to {}", size_in_words(*min), size_in_words(*max)),
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Switch => f.write_str("true or false"),
            Self::Location => f.write_str("[latitude from -90 to 90, longitude from -180 to 180], in degrees"),
            Self::Table(_) => {
                let keys: Vec<_> = self.keys().map(|field| field.key).collect();
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
fn duration_in_words(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    in_units(ms, &units)
}

/// In the largest unit that needs no fraction.
pub fn size_in_words(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    in_units(bytes, &units)
}

fn in_units(amount: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, unit)| amount.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", amount / unit),
        None => amount.to_string(),
    }
}
