//! Policies whose numbers come with a request instead of the configuration: `CL.THROTTLE key burst count period` brings its
//! own, and so do HTTP bodies.
//!
//! The numbers are part of what a key is ([`super::KeyHasher::hash_given`]): the same name under other numbers is another
//! key. What the numbers do not say, whose use counts and with which shares, is the configuration's [`Template`]. A node
//! takes such a policy in when somebody asks for it, tells its peers, and lets it go when it was not used for long and
//! there is no room for others.

use std::collections::BTreeMap;
use std::fmt;

use bincode::{Decode, Encode};

use crate::identity::WorkerId;

use super::policy::{Algorithm, Mode, Policy, PolicyError};

/// Policies that one node takes from requests, and hears of from a peer, at a time.
pub const GIVEN_MAX: usize = 512;

/// The numbers of a policy, as a request brings them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Given {
    algorithm: Algorithm,
    limit: u64,
    window_ms: u64,
    burst: u64,
}

/// What the configuration says of all policies that come with requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Whose use counts.
    pub mode: Mode,
    /// All nodes that decide, up or down, each with the weight of its share.
    pub weights: BTreeMap<WorkerId, u32>,
    /// Policies at a time; no more than [`GIVEN_MAX`].
    pub policies_max: usize,
}

/// Why a node does not take a policy from a request. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// There is no template.
    #[error("policies are not taken from requests here: declare them in the configuration")]
    NotTaken,
    /// The numbers make no sense.
    #[error(transparent)]
    Absurd(#[from] PolicyError),
    /// All there may be are in use.
    #[error(
        "as many policies as there may be came with requests and are in use: declare policies in the configuration"
    )]
    Full,
}

impl Given {
    /// So many units in each window.
    pub const fn fixed(limit: u64, window_ms: u64) -> Self {
        Self { algorithm: Algorithm::Fixed, limit, window_ms, burst: limit }
    }

    /// The same, with the window before weighted.
    pub const fn sliding(limit: u64, window_ms: u64) -> Self {
        Self { algorithm: Algorithm::Sliding, limit, window_ms, burst: limit }
    }

    /// So many units in a window, so many of them at once.
    pub const fn gcra(limit: u64, window_ms: u64, burst: u64) -> Self {
        Self { algorithm: Algorithm::Gcra, limit, window_ms, burst }
    }

    /// What is hashed of it with a key.
    pub(super) fn bytes(&self) -> [u8; 25] {
        let mut bytes = [self.algorithm.number(); 25];
        let numbers = [self.limit, self.window_ms, self.burst].map(u64::to_le_bytes);
        bytes.iter_mut().skip(1).zip(numbers.as_flattened()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Whether it is one that this module makes: numbers that mean the same are the same.
    pub(super) fn is_normal(&self) -> bool {
        self.algorithm == Algorithm::Gcra || self.burst == self.limit
    }
}

/// The name of the policy, in a form that no declared name has: `gcra 16/30/60000` is a burst of 16, and 30 units in 60 000
/// milliseconds; `fixed 30/60000` has no burst.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, limit, window_ms, burst } = self;
        match algorithm {
            Algorithm::Fixed => write!(f, "fixed {limit}/{window_ms}"),
            Algorithm::Sliding => write!(f, "sliding {limit}/{window_ms}"),
            Algorithm::Gcra => write!(f, "gcra {burst}/{limit}/{window_ms}"),
        }
    }
}

impl Template {
    /// The policy that has these numbers.
    pub fn policy(&self, given: Given) -> Policy {
        let Given { algorithm, limit, window_ms, burst } = given;
        let (mode, weights) = (self.mode, self.weights.clone());
        Policy { name: given.to_string(), algorithm, limit, window_ms, burst, mode, weights }
    }

    /// Refuses what gives no policy.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.policy(Given::fixed(1, super::policy::WINDOW_MIN_MS)).check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::policy::{LIMIT_MAX, NAME_BYTES_MAX, WINDOW_MAX_MS};

    #[test]
    fn numbers_make_a_name_that_is_not_too_long() {
        assert_eq!(Given::gcra(30, 60_000, 16).to_string(), "gcra 16/30/60000");
        assert_eq!(Given::fixed(30, 60_000).to_string(), "fixed 30/60000");
        let long = Given { algorithm: Algorithm::Sliding, ..Given::gcra(LIMIT_MAX, WINDOW_MAX_MS, LIMIT_MAX) };
        assert!(long.to_string().len() < NAME_BYTES_MAX && long.is_normal());
        assert!(!Given { burst: 1, ..long }.is_normal());
    }

    #[test]
    fn every_number_is_hashed() {
        let all = [
            Given::fixed(2, 3),
            Given::sliding(2, 3),
            Given::gcra(2, 3, 2),
            Given::gcra(2, 3, 4),
            Given::gcra(2, 4, 2),
            Given::gcra(3, 3, 2),
        ];
        for (at, given) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other.bytes() != given.bytes()));
        }
    }
}
