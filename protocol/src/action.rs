//! Actions: what a client can have done to a counter, and all that has to be decided about each.
//!
//! Every question is answered by an exhaustive `match` here, so whoever adds an action is asked each of them by the compiler.

use bincode::{Decode, Encode};

/// By how much an increment adds that does not say so.
pub(crate) const BY_DEFAULT: i64 = 1;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// Adds; negative is a decrement.
    Increment(i64),
    /// Reads.
    Get,
}

/// What a caller has to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To know counters.
    Read,
    /// To change them.
    Write,
}

impl Action {
    /// One of each, with the argument that it has where none is given.
    pub const ALL: [Self; 2] = [Self::Increment(BY_DEFAULT), Self::Get];

    /// Its name, wherever a request or a metric spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Increment(_) => "increment",
            Self::Get => "get",
        }
    }

    /// What it does, in a word or two for people.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Increment(_) => "Adds.",
            Self::Get => "Reads.",
        }
    }

    /// Its argument, which requests spell `by`; `None` if it takes none.
    pub const fn by(self) -> Option<i64> {
        match self {
            Self::Increment(by) => Some(by),
            Self::Get => None,
        }
    }

    /// The same with another argument; `None` if it takes none.
    pub const fn with_by(self, by: i64) -> Option<Self> {
        match self {
            Self::Increment(_) => Some(Self::Increment(by)),
            Self::Get => None,
        }
    }

    /// Where it stands over HTTP, behind the path of its counter. What reads is a GET there, what writes a POST.
    pub const fn path_suffix(self) -> &'static str {
        match self {
            Self::Increment(_) => "/increment",
            Self::Get => "",
        }
    }

    /// What its caller has to be allowed.
    pub const fn access(self) -> Access {
        match self {
            Self::Increment(_) => Access::Write,
            Self::Get => Access::Read,
        }
    }

    /// Whether it is a write: it needs the disk, its answer waits for the sync, and to carry it out again is not the same as
    /// once. An increment by 0 is one, although it leaves the counter as it is.
    pub const fn is_write(self) -> bool {
        match self {
            Self::Increment(_) => true,
            Self::Get => false,
        }
    }

    /// Whether it leaves the counter other than it was.
    pub const fn changes(self) -> bool {
        match self {
            Self::Increment(by) => by != 0,
            Self::Get => false,
        }
    }
}
