//! What the disk still takes, as the node tells the replica.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

/// What may still be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Headroom {
    /// Nothing, or a write might fail, which is final (I9).
    None,
    /// What ends what was begun, and what makes room: commits in hand, checkpoints. Nothing new.
    Low,
    /// Everything.
    #[default]
    Ample,
}

/// How the disk stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What may still be written.
    pub headroom: Headroom,
    /// Free for this user.
    pub free_bytes: u64,
    /// With less free than this, nothing new is written.
    pub needed_bytes: u64,
}

impl Disk {
    /// Nothing new is taken.
    pub const fn is_low(&self) -> bool {
        !matches!(self.headroom, Headroom::Ample)
    }

    /// Nothing at all is written.
    pub const fn is_out(&self) -> bool {
        matches!(self.headroom, Headroom::None)
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, needed) =
            (ByteSize::b(self.free_bytes).display().iec(), ByteSize::b(self.needed_bytes).display().iec());
        let (state, consequence) = match self.headroom {
            Headroom::None => ("full", "nothing is written"),
            Headroom::Low => ("nearly full", "no writes"),
            Headroom::Ample => ("not full", "all is well"),
        };
        write!(f, "the disk is {state} ({free} free, {needed} needed): {consequence}")
    }
}
