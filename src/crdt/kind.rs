//! Kinds: what a row may hold of one replica, by the laws that the rest of the node relies on.
//!
//! Journal, tree, disk and messages carry states as they are, and never look into one: how a state joins, what is hashed
//! of it and how it is written is the affair of its own file here. What its changes are and what a counter's value makes
//! of it is said there, too, because no two kinds have that in common.

use std::fmt::Debug;

use bincode::{Decode, Encode};

/// The state of one replica in one row: a join-semilattice whose bottom is the default (I5).
///
/// `law_tests.rs` holds every kind to the laws. A state is written in one way only, so that rows that are equal are equal
/// byte for byte.
pub trait Kind: Copy + Default + Eq + Debug + Encode + Decode<()> {
    /// Bytes of the written form, at most.
    const BYTES_MAX: usize;

    /// See [`Self::hashed`].
    type Hashed: AsRef<[u8]>;

    /// The join: idempotent, commutative, associative.
    #[must_use]
    fn join(self, other: Self) -> Self;

    /// Whether `self` holds everything that `other` does: joining that would change nothing.
    fn covers(self, other: Self) -> bool;

    /// Nothing has ever happened. Rows do not keep such a state, and it weighs nothing in a tree.
    fn is_bottom(self) -> bool {
        self == Self::default()
    }

    /// What a tree hashes of it: other bytes for every other state, and the same ones in every program there will ever be.
    fn hashed(self) -> Self::Hashed;
}
