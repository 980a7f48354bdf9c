//! What two nodes must agree on before they count together.

use std::fmt;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use super::policy::{Mode, Policy};

/// A hash of everything that a policy says: its numbers and shares, and all nodes that decide by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a policy. The encoding never changes: another would part nodes of two versions.
    pub fn of(policy: &Policy) -> Self {
        let mode = match policy.mode {
            Mode::Shared => 0,
            Mode::Split => 1,
            Mode::Local => 2,
        };
        let mut bytes = vec![policy.algorithm.number(), mode];
        for number in [policy.limit, policy.window_ms, policy.burst] {
            bytes.extend(number.to_le_bytes());
        }
        for (worker, weight) in &policy.weights {
            bytes.extend(worker.bits().to_le_bytes());
            bytes.extend(weight.to_le_bytes());
        }
        bytes.extend(policy.name.as_bytes());
        Self(xxh3_64(&bytes))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::WorkerId;
    use crate::limits::policy::Algorithm;

    #[test]
    fn everything_that_a_policy_says_counts() {
        let worker = |node| WorkerId::new(0, node).unwrap();
        let base = Policy::new("a", Algorithm::Fixed, 10, 1_000).shared_by([(worker(0), 1), (worker(1), 1)]);
        let changes: [fn(&mut Policy); 8] = [
            |policy| policy.name.push('b'),
            |policy| policy.algorithm = Algorithm::Gcra,
            |policy| policy.limit += 1,
            |policy| policy.window_ms += 1,
            |policy| policy.burst += 1,
            |policy| policy.mode = Mode::Split,
            |policy| _ = policy.weights.insert(WorkerId::new(0, 2).unwrap(), 0),
            |policy| _ = policy.weights.insert(WorkerId::new(0, 1).unwrap(), 2),
        ];
        let mut all = vec![Fingerprint::of(&base)];
        for change in changes {
            let mut policy = base.clone();
            change(&mut policy);
            all.push(Fingerprint::of(&policy));
            let (last, earlier) = all.split_last().unwrap();
            assert!(!earlier.contains(last));
        }
    }
}
