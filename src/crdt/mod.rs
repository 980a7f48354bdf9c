//! The replicated value: kinds of slots, rows of them, and version vectors.
//!
//! Everything here is a join-semilattice and every merge is its join: idempotent, commutative and associative (I5). So
//! messages may be lost, repeated and reordered, and recovery may replay anything, in any order, any number of times. See
//! Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types" (2011), for the PN-counter,
//! and Almeida et al., "Delta state replicated data types" (2018), for deltas.
//!
//! Pure (I7): reads no clock, no randomness, no environment, and does no I/O.

mod kind;
mod row;
mod slot;
mod vector;

pub use kind::Kind;
pub use row::{Row, Slots};
pub use slot::{Overflow, Slot};
pub use vector::{LogHash, Mark, VersionVector};

#[cfg(test)]
mod law_tests;
