//! Keys: the names of counters within their namespaces.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// The longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 512;

/// A counter's name within its namespace: UTF-8, 1–512 bytes. Up to 24 of them stand in the value itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(CompactString);

/// No client may name a counter so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is empty or too long.
    #[error(transparent)]
    Length(#[from] KeyLength),
    /// In a path of a URL, `.` and `..` mean a place, in whatever way they are encoded (RFC 3986, section 5.2.4): many
    /// clients and proxies resolve them before a node sees them, and would ask for another counter.
    #[error("a key is not \".\" or \"..\": in the path of a URL these mean another place")]
    DotSegment,
}

/// The key is empty or longer than 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 1 to {KEY_BYTES_MAX} bytes of UTF-8, this one has {0} bytes")]
pub struct KeyLength(pub usize);

/// Whether a client may name a counter so.
pub fn check(text: &str) -> Result<(), BadKey> {
    match (text, text.len()) {
        ("." | "..", _) => Err(BadKey::DotSegment),
        (_, 1..=KEY_BYTES_MAX) => Ok(()),
        (_, length) => Err(KeyLength(length).into()),
    }
}

impl Key {
    /// Checks the length.
    pub fn new(text: impl Into<CompactString>) -> Result<Self, KeyLength> {
        let text = text.into();
        if (1..=KEY_BYTES_MAX).contains(&text.len()) { Ok(Self(text)) } else { Err(KeyLength(text.len())) }
    }

    /// A key as a client names it, at any door. What peers and disks hold is not asked again: it stays.
    pub fn of_client(text: impl Into<CompactString>) -> Result<Self, BadKey> {
        let text = text.into();
        check(&text)?;
        Ok(Self(text))
    }

    /// What it takes beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        if self.0.is_heap_allocated() { self.0.capacity() } else { 0 }
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
