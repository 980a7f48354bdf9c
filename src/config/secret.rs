//! The cluster's secret: what content hashes are keyed with, and how its holders tell that they hold the same.

use std::fmt;

use ring::{digest, hkdf};

use super::Cluster;

/// Part of the derivation: another number means another secret.
const SALT: &[u8] = b"snowtide tree secret 1";
/// Enough for a hash that takes a secret of its own (XXH3 wants at least 136 bytes).
pub const SECRET_BYTES: usize = 192;
/// Telling two secrets apart by accident, not by design, takes no more.
const FINGERPRINT_BYTES: usize = 8;

/// Derived from `cluster.id` and `cluster.secret`; equal in the whole cluster, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TreeSecret([u8; SECRET_BYTES]);

impl TreeSecret {
    /// HKDF-SHA256 (RFC 5869).
    ///
    /// # Panics
    /// Never: the length is a constant within what HKDF can give.
    pub fn of(cluster: &Cluster) -> Self {
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(cluster.secret.as_bytes());
        let mut bytes = [0; SECRET_BYTES];
        let filled = key.expand(&[cluster.id.as_bytes()], Length).and_then(|okm| okm.fill(&mut bytes));
        filled.expect("192 bytes are less than 255 blocks");
        Self(bytes)
    }

    /// The bytes to key with.
    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Tells two secrets apart and gives neither away; this is what is logged and compared between nodes.
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.0);
        digest.as_ref().iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for TreeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeSecret({})", self.fingerprint())
    }
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        SECRET_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn derived(id: &str, secret: &str) -> TreeSecret {
        TreeSecret::of(&Cluster { id: id.into(), secret: secret.into() })
    }

    #[test]
    fn one_cluster_and_one_secret_make_one_key_for_good() {
        let secret = derived("snowtide-dev", "");
        assert_eq!(secret, derived("snowtide-dev", ""));
        // By an HKDF of somebody else. Hashes on disk and between nodes are made with it: it must never change.
        assert_eq!(secret.fingerprint(), "3e41d98b3bde0e6e");
    }

    #[test]
    fn another_id_or_another_secret_makes_another_key() {
        let pairs = [("a", ""), ("b", ""), ("a", "correct-horse-battery"), ("b", "correct-horse-battery"), ("ab", "")];
        let keys: BTreeSet<_> = pairs.iter().map(|(id, secret)| *derived(id, secret).bytes()).collect();
        let fingerprints: BTreeSet<_> = pairs.iter().map(|(id, secret)| derived(id, secret).fingerprint()).collect();
        assert_eq!((keys.len(), fingerprints.len()), (pairs.len(), pairs.len()));
    }

    #[test]
    fn what_is_printed_is_not_the_key() {
        let secret = derived("a", "correct-horse-battery");
        let shown = format!("{secret:?}");
        assert!(shown.contains(&secret.fingerprint()) && !shown.contains(&format!("{:?}", secret.bytes())), "{shown}");
    }
}
