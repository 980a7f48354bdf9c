//! Places: where rows stand in the tree, and in which leaf.

use bincode::{Decode, Encode};

/// Where a counter stands in the tree: its upper bits are its leaf. Rows are kept on disk in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Place(pub u64);

impl Place {
    /// The leaf that it falls into.
    #[allow(clippy::cast_possible_truncation)] // sixteen bits
    pub const fn leaf(self) -> Leaf {
        Leaf((self.0 >> 48) as u16)
    }
}

/// A leaf's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Leaf(pub u16);

impl Leaf {
    /// The first and the last place in it.
    pub const fn places(self) -> (Place, Place) {
        let first = (self.0 as u64) << 48;
        (Place(first), Place(first | (u64::MAX >> 16)))
    }
}
