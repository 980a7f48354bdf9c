//! The Merkle tree that repair compares: what two nodes hold, in one number, and where they differ, in a few more.
//!
//! A leaf is the wrapping 128-bit sum of keyed hashes over all slots of the rows that stand in it; a node is the sum of
//! its children. So a change costs one subtraction and one addition on each level, whatever the size of the tree, and
//! the order of changes plays no part. A sum, not an exclusive or: two equal slots must not cancel out. See Merkle
//! (1987) for the tree, and Bellare and Micciancio, "A New Paradigm for Collision-Free Hashing: Incrementality at
//! Reduced Cost" (1997), for sums of keyed hashes.
//!
//! Pure (I7).

mod hasher;
mod leaves;
mod place;
mod tree;

pub use hasher::{Hasher, SECRET_BYTES};
pub use leaves::LeafSet;
pub use place::{Leaf, Place};
pub use tree::{DEPTH, FANOUT, LEAVES, Node, Tree};

use bincode::{Decode, Encode};

/// A sum of slot hashes. Equal sums mean equal content, but for chances of 2⁻¹²⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Sum(pub u128);

impl Sum {
    /// Adds; wraps.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Subtracts; wraps.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// Half of it, for comparing many at half the bytes.
    #[allow(clippy::cast_possible_truncation)] // the low half is meant
    pub const fn short(self) -> u64 {
        self.0 as u64
    }
}
