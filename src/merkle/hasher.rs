//! Keyed hashes: where a counter stands, and what a slot weighs.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

use crate::crdt::{Kind, Slots};
use crate::identity::ReplicaId;

use super::{Place, Sum};

/// Length of the cluster's secret.
pub const SECRET_BYTES: usize = 192;
/// A key, a replica id and a state of so many bytes together are hashed from the stack.
const SHORT_BYTES: usize = 128;

/// Hashes under the cluster's secret, so that no client can choose counters whose sums cancel out. The encoding that
/// is hashed never changes: another would make every row differ between an old and a new program.
#[derive(Clone)]
pub struct Hasher {
    secret: Arc<[u8; SECRET_BYTES]>,
}

impl Hasher {
    /// The secret must be the same on every node.
    pub fn new(secret: [u8; SECRET_BYTES]) -> Self {
        Self { secret: Arc::new(secret) }
    }

    /// Where `key` stands.
    pub fn place(&self, key: &str) -> Place {
        Place(xxh3_64_with_secret(key.as_bytes(), self.secret.as_slice()))
    }

    /// What one slot adds to its leaf. The bottom is none, and adds nothing.
    pub fn slot<K: Kind>(&self, key: &str, replica: ReplicaId, slot: K) -> Sum {
        if slot.is_bottom() {
            return Sum::default();
        }
        let (id, hashed) = (replica.0.to_le_bytes(), slot.hashed());
        let parts = [key.as_bytes(), &id, hashed.as_ref()];
        let mut bytes = [0; SHORT_BYTES];
        let length = parts.iter().map(|part| part.len()).sum();
        let Some(whole) = bytes.get_mut(..length) else { return self.sum(&parts.concat()) };
        parts.iter().fold(&mut *whole, |rest, part| {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            after
        });
        self.sum(whole)
    }

    /// What a whole row adds to its leaf.
    pub fn row<K: Kind>(&self, key: &str, row: &Slots<K>) -> Sum {
        let slots = row.slots().iter().map(|(replica, slot)| self.slot(key, *replica, *slot));
        slots.fold(Sum::default(), Sum::plus)
    }

    fn sum(&self, bytes: &[u8]) -> Sum {
        Sum(xxh3_128_with_secret(bytes, self.secret.as_slice()))
    }
}

/// The secret is not shown.
impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Slot;

    fn keyed(first: u8) -> Hasher {
        let mut secret = std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(151));
        secret[0] = first;
        Hasher::new(secret)
    }

    #[test]
    fn the_encoding_never_changes() {
        // Figures of the first program: any other would make nodes of two versions differ in every row.
        let slot = Slot::of(7, 3);
        let (hasher, replica) = (keyed(1), ReplicaId(0x0123_4567_89ab_cdef));
        assert_eq!(hasher.place("visits").0, 2_671_121_980_782_839_075);
        assert_eq!(hasher.slot("visits", replica, slot).0, 70_994_587_002_886_189_837_895_530_042_318_327_161);
        assert_eq!(hasher.slot(&"k".repeat(200), replica, slot).0, 43_436_425_045_103_717_980_889_114_725_367_923_503);
    }

    #[test]
    fn everything_in_a_slot_counts() {
        let (hasher, slot) = (keyed(1), Slot::of(7, 3));
        let sums = [
            hasher.slot("a", ReplicaId(1), slot),
            hasher.slot("b", ReplicaId(1), slot),
            hasher.slot("a", ReplicaId(2), slot),
            hasher.slot("a", ReplicaId(1), Slot::of(3, 7)),
            keyed(2).slot("a", ReplicaId(1), slot),
        ];
        for (at, sum) in sums.iter().enumerate() {
            assert!(!sums[..at].contains(sum) && *sum != Sum::default());
        }
        assert_eq!(hasher.slot("a", ReplicaId(1), Slot::default()), Sum::default());
    }

    #[test]
    fn a_long_key_is_hashed_like_a_short_one() {
        // Around the length at which the buffer moves from the stack to the heap.
        let hasher = keyed(1);
        for length in SHORT_BYTES - 25..SHORT_BYTES - 22 {
            let key = "k".repeat(length);
            let slot = Slot::of(1, 2);
            let bytes = [key.as_bytes(), &9u64.to_le_bytes(), &1u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
            assert_eq!(hasher.slot(&key, ReplicaId(9), slot), hasher.sum(&bytes));
        }
    }
}
