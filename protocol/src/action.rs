//! Actions: what a client can have done to a counter, and all that has to be decided about each.
//!
//! Every question is answered by an exhaustive `match` here, so whoever adds an action is asked each of them by the compiler.

use bincode::{Decode, Encode};

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
