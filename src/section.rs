//! How a section of the configuration is declared: once, with everything that is said of each key.
//!
//! [`section!`] makes of one declaration the struct that is read and the [`Field`]s that the rest follows from: what is
//! refused and in which words, the built-in defaults, `config/default.toml`, and the page of the book that lists all
//! keys. Whoever needs a section declares it: the replica its own, and `config` those of everybody else.
//!
//! It reads nothing and knows no key.

pub mod shape;

use std::time::Duration;

use bytesize::ByteSize;

use shape::Shape;

/// A key of a table.
#[derive(Clone, Copy)]
pub struct Field {
    /// As it is written.
    pub key: &'static str,
    /// What its value may be.
    pub shape: Shape,
    /// What becomes of a table without it.
    pub kind: Kind,
    /// What it does and what happens at its bound, line by line.
    pub text: &'static [&'static str],
    /// As TOML; of a table whose keys the operator chooses, the one key that is there from the start.
    pub default: &'static str,
}

/// What becomes of a table without a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is refused.
    Must,
    /// It is taken.
    May,
    /// It is no key at all, but the keys of its table stand where it would.
    Group,
    /// It is no key any more: what it set is a constant.
    Fixed,
    /// It is no key any more: the key of its default has taken its place.
    Moved,
}

impl Field {
    /// A key that has to be given.
    pub const fn must(key: &'static str, shape: Shape) -> Self {
        Self { key, shape, kind: Kind::Must, text: &[], default: "" }
    }

    /// A key that may be left out.
    pub const fn may(key: &'static str, shape: Shape) -> Self {
        Self { kind: Kind::May, ..Self::must(key, shape) }
    }

    /// A key with everything that is said of it.
    pub const fn said(key: &'static str, text: &'static [&'static str], default: &'static str, shape: Shape) -> Self {
        Self { text, default, ..Self::must(key, shape) }
    }

    /// Keys that are declared together and stand among the others.
    pub const fn group(fields: &'static [Field]) -> Self {
        Self { kind: Kind::Group, ..Self::must("", Shape::Table(fields)) }
    }

    /// What was a key once.
    pub const fn fixed(key: &'static str) -> Self {
        Self { kind: Kind::Fixed, ..Self::must(key, Shape::Switch) }
    }

    /// What was a key once, and which one has taken its place.
    pub const fn moved(key: &'static str, to: &'static str) -> Self {
        Self { kind: Kind::Moved, default: to, ..Self::must(key, Shape::Switch) }
    }
}

/// Declares a section.
///
/// ```text
/// section! {
///     /// `[gossip]`
///     pub struct Gossip {
///         /// How long commits are gathered before they are pushed to peers.
///         #[serde(with = "humantime_serde")]
///         pub interval: Duration = "20ms", duration(1, 10 * SECOND);
///     }
///     fixed {
///         /// How long a peer has to answer a request for records.
///         pub fetch_timeout: Duration = Duration::from_secs(2), by "Gossip::fetch_timeout";
///     }
/// }
/// ```
///
/// Each key is a field: its documentation, which is its text everywhere, its type, its default as TOML, and its shape. A
/// key without default is a table of its own; with `#[serde(flatten)]`, the keys of that table stand in this one.
///
/// Under `fixed` stands what no operator turns and some test does: a constant, with the path by which serde finds it. It
/// was a key once, so whoever still sets it is told. Under `moved` stand keys, and tables of them, with the key that has
/// taken their place: `cache to "memory.bytes_max";`.
///
/// Serde need not refuse unknown keys: the inspection does, and says more.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $text:literal])+
                $(#[serde($($how:tt)+)])?
                pub $key:ident: $type:ty $(= $default:expr, $shape:expr)?;
            )+
        }
        $(fixed {
            $(
                $(#[doc = $reason:literal])+
                pub $constant:ident: $of:ty = $value:expr, by $path:literal;
            )+
        })?
        $(moved {
            $($former:ident to $successor:literal;)+
        })?
    ) => {
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        $(#[$about])*
        pub struct $name {
            $(
                $(#[doc = $text])+
                $(#[serde($($how)+)])?
                pub $key: $type,
            )+
            $($(
                $(#[doc = $reason])+
                #[serde(skip, default = $path)]
                pub $constant: $of,
            )+)?
        }

        impl $name {
            /// Its keys, in the order of their declaration.
            pub(crate) const FIELDS: &'static [$crate::section::Field] = &[
                $($crate::section::section!(
                    @field $key [$($text),+] $type [$($($how)+)?] $($default, $shape)?
                ),)+
                $($($crate::section::Field::fixed(stringify!($constant)),)+)?
                $($($crate::section::Field::moved(stringify!($former), $successor),)+)?
            ];

            $($(
                fn $constant() -> $of {
                    $value
                }
            )+)?
        }
    };
    (@field $key:ident $text:tt $type:ty [flatten]) => { $crate::section::Field::group(<$type>::FIELDS) };
    (@field $key:ident $text:tt $type:ty [$($how:tt)*]) => {
        $crate::section::Field::said(
            stringify!($key),
            &$text,
            "",
            $crate::section::shape::Shape::Table(<$type>::FIELDS),
        )
    };
    (@field $key:ident $text:tt $type:ty [$($how:tt)*] $default:expr, $shape:expr) => {
        $crate::section::Field::said(stringify!($key), &$text, stringify!($default), $shape)
    };
}

pub(crate) use section;

/// A length of time as pure code counts it.
pub trait Milliseconds {
    /// Whole milliseconds; the most that there can be, where it is longer.
    fn ms(&self) -> u64;
}

impl Milliseconds for Duration {
    fn ms(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A size as memory is counted.
pub trait Bytes {
    /// Bytes; the most that this machine can address, where it is more.
    fn bytes(&self) -> usize;
}

impl Bytes for ByteSize {
    fn bytes(&self) -> usize {
        usize::try_from(self.as_u64()).unwrap_or(usize::MAX)
    }
}
