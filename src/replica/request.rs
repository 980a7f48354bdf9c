//! Requests that may be repeated, by name.

use bincode::{Decode, Encode};

/// Who asks: a hash of the name of the token that he has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Caller(pub u64);

/// The name of a request that may be repeated: an idempotency key, or a session and a number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RequestId {
    /// Whose request it is.
    pub caller: Caller,
    /// The hash of the caller and his idempotency key, or his session. No two callers have the same.
    pub id: u128,
    /// Which of its requests.
    pub turn: Turn,
}

/// Which request of a name this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Turn {
    /// The only one; a hash of what it asks.
    Only(u128),
    /// One after another; at most one at a time is unanswered.
    Next {
        /// Upwards.
        number: u64,
        /// A hash of what it asks; 0 where the caller is known to number its requests well.
        content: u128,
    },
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Session,
}

impl Turn {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Only(_) => Kind::Key,
            Self::Next { .. } => Kind::Session,
        }
    }
}
