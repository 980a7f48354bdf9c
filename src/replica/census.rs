//! How many counters a namespace holds, and how many it may: so that one writer cannot fill every region.
//!
//! Counted are committed rows, wherever they came from: what peers bring is acknowledged elsewhere already and is always
//! taken. Only clients of this node are held to a quota, and only for counters that do not exist here yet. What is on disk is
//! counted beside the rows, in the same batches, and what is in memory on top of that, so no start counts anew.

use bincode::{Decode, Encode};

/// What a counter takes beside its key, about: its place, its slots, what indexes and filters need.
const ROW_BYTES: u64 = 64;

/// Counters of one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Census {
    /// How many.
    pub keys: u64,
    /// What they take: keys, and 64 bytes each.
    pub bytes: u64,
}

impl Census {
    /// One more, with a key of so many bytes.
    pub fn add(&mut self, key_bytes: usize) {
        self.join(Self { keys: 1, bytes: ROW_BYTES.saturating_add(key_bytes as u64) });
    }

    /// Others.
    pub fn join(&mut self, others: Self) {
        self.keys = self.keys.saturating_add(others.keys);
        self.bytes = self.bytes.saturating_add(others.bytes);
    }
}

/// How many there may be before clients get no new ones; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// `keys_max`
    pub keys_max: Option<u64>,
    /// `bytes_max`
    pub bytes_max: Option<u64>,
}

impl Quota {
    /// Whether one more fits beside these, with a key of so many bytes.
    pub fn admits(&self, mut held: Census, key_bytes: usize) -> bool {
        held.add(key_bytes);
        self.keys_max.is_none_or(|most| held.keys <= most) && self.bytes_max.is_none_or(|most| held.bytes <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_fits_is_taken() {
        let held = Census { keys: 9, bytes: 900 };
        let quota = |keys_max, bytes_max| Quota { keys_max, bytes_max };
        assert!(quota(None, None).admits(Census { keys: u64::MAX, bytes: u64::MAX }, 400));
        assert!(quota(Some(10), None).admits(held, 400));
        assert!(!quota(Some(9), None).admits(held, 1));
        assert!(quota(None, Some(974)).admits(held, 10));
        assert!(!quota(Some(10), Some(973)).admits(held, 10));
    }
}
