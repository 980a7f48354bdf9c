//! Keys as the table knows them: a keyed hash in place of the name.

use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_secret};

use super::given::Given;

/// Length of the cluster's secret.
pub const SECRET_BYTES: usize = 192;
/// A policy's name and a key of so many bytes together are hashed from the stack.
const SHORT_BYTES: usize = 128;
/// Stands in front of numbers, where names have their length.
const GIVEN: u32 = u32::MAX;

/// What stands for a key of one policy, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct KeyHash {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl KeyHash {
    /// From 128 bits.
    #[allow(clippy::cast_possible_truncation)] // both halves are kept
    pub const fn of(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

/// Hashes keys under the cluster's secret, so that no client can choose two that are taken for one.
#[derive(Clone)]
pub struct KeyHasher {
    secret: Arc<[u8; SECRET_BYTES]>,
}

impl KeyHasher {
    /// The secret must be the same on every node.
    pub fn new(secret: [u8; SECRET_BYTES]) -> Self {
        Self { secret: Arc::new(secret) }
    }

    /// What stands for `key` under the policy of this name.
    pub fn hash(&self, policy: &str, key: &[u8]) -> KeyHash {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        self.hash_parts(u32::try_from(policy.len()).unwrap_or(GIVEN - 1), policy.as_bytes(), key)
    }

    /// What stands for `key` under the policy that came with its request.
    pub fn hash_given(&self, given: &Given, key: &[u8]) -> KeyHash {
        self.hash_parts(GIVEN, &given.bytes(), key)
    }

    fn hash_parts(&self, first: u32, policy: &[u8], key: &[u8]) -> KeyHash {
        let first = first.to_le_bytes();
        let parts = [&first, policy, key];
        let mut bytes = [0; SHORT_BYTES];
        match bytes.get_mut(..parts.iter().map(|part| part.len()).sum()) {
            Some(whole) => {
                parts.iter().fold(&mut *whole, |rest, part| {
                    let (here, after) = rest.split_at_mut(part.len());
                    here.copy_from_slice(part);
                    after
                });
                KeyHash::of(xxh3_128_with_secret(whole, self.secret.as_slice()))
            }
            None => self.hash_long(parts),
        }
    }

    fn hash_long(&self, parts: [&[u8]; 3]) -> KeyHash {
        let mut hasher = Xxh3::with_secret(*self.secret);
        parts.into_iter().for_each(|part| hasher.update(part));
        KeyHash::of(hasher.digest128())
    }
}

/// The secret is not shown.
impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts_and_long_keys_are_hashed_like_short_ones() {
        let secret = |first: u8| std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(first));
        let hasher = KeyHasher::new(secret(151));
        let all = [
            hasher.hash("ab", b"c"),
            hasher.hash("a", b"bc"),
            hasher.hash("", b"abc"),
            hasher.hash("ab", b"d"),
            KeyHasher::new(secret(89)).hash("ab", b"c"),
            hasher.hash_given(&Given::fixed(1, 2), b"c"),
            hasher.hash_given(&Given::fixed(2, 1), b"c"),
            hasher.hash(&Given::fixed(1, 2).to_string(), b"c"),
        ];
        for (at, hash) in all.iter().enumerate() {
            assert!(!all[..at].contains(hash));
        }
        for length in SHORT_BYTES - 8..SHORT_BYTES {
            let key = vec![b'k'; length];
            assert_eq!(hasher.hash("per", &key), hasher.hash_long([&3u32.to_le_bytes(), b"per", &key]));
        }
    }
}
