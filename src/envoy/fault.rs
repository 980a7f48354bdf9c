//! What is wrong with a file of descriptors.

use std::fmt;

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The place in the document, as `descriptors[2].rate_limit.unit`; empty where it is the whole.
    pub at: String,
    /// A sentence.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, what } = self;
        if at.is_empty() { write!(f, "{file}: {what}") } else { write!(f, "{file}: {at}: {what}") }
    }
}
