//! Which limit a request of Envoy's meets: the descriptors that operators of its reference rate limit service write in
//! YAML, as a tree.
//!
//! A file has one domain and a list of descriptors. A descriptor has a key, perhaps a value, perhaps a rate limit, and
//! perhaps descriptors within. A request names a domain and, for each limit that it may meet, a list of entries, each a key
//! with a value. The first entry chooses among the outermost descriptors, the next among those within, and so on; the rate
//! limit of the last one chosen holds. So a request with more or fewer entries than a rate limit lies deep does not meet it.
//!
//! Among descriptors of one key, that with the very value is chosen; else the first pattern, in the order of the file, that
//! the value fits; else the one without a value. What is chosen is not gone back on: a descriptor without a rate limit
//! keeps its value from all others.
//!
//! Each rate limit becomes one policy of [`crate::limits`]; the values of the entries are its keys. What a file asks for
//! and cannot have is refused, with the file, the place in it and what to do. Nothing is passed over in silence.
//!
//! Bounds: files of [`FILE_BYTES_MAX`], [`DESCRIPTORS_MAX`] descriptors in all, [`DEPTH_MAX`] deep, [`PATTERNS_MAX`]
//! patterns of one key beside each other, and as many rate limits as there may be policies.

mod bounds;
mod document;
mod fault;
mod pattern;
mod reading;
mod rule;
#[cfg(test)]
mod tests;
mod tree;
mod unit;

pub use bounds::{DEPTH_MAX, DESCRIPTORS_MAX, FILE_BYTES_MAX, PATTERNS_MAX, TEXT_BYTES_MAX};
pub use fault::Fault;
pub use rule::{Rate, Rule};
pub use tree::{Domains, Met};
pub use unit::Unit;
