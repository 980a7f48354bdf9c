//! Policies as they are declared, and what makes one absurd.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::identity::WorkerId;

/// The most units that a limit or a burst may have.
pub const LIMIT_MAX: u64 = 1 << 40;
/// Windows are at least a second: shorter ones are over before another region hears of them.
pub const WINDOW_MIN_MS: u64 = 1_000;
/// A little more than 24 days.
pub const WINDOW_MAX_MS: u64 = 1 << 31;
/// Units times milliseconds: what a level is counted in has to fit.
const SCALE_MAX: u64 = 1 << 60;
/// A name is part of what is hashed for each key.
pub const NAME_BYTES_MAX: usize = 64;
/// Policies that one node may declare.
pub const POLICIES_MAX: usize = 1_024;

/// How use is counted against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Algorithm {
    /// So many units in each window.
    Fixed,
    /// The same, where the window before counts for as much as of it lies within the last window's length.
    Sliding,
    /// A level that drains at `limit` units in a window and holds `burst` (the generic cell rate algorithm, ITU-T I.371).
    Gcra,
}

impl Algorithm {
    /// What stands for it in whatever is hashed; it never changes.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Fixed => 0,
            Self::Sliding => 1,
            Self::Gcra => 2,
        }
    }
}

/// Whose use counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// That of all nodes, as far as it is known.
    Shared,
    /// Each node's own, against its share.
    Split,
    /// Each node's own, against the whole limit.
    Local,
}

/// A policy as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How requests name it.
    pub name: String,
    /// How it counts.
    pub algorithm: Algorithm,
    /// Units in a window.
    pub limit: u64,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
    /// Units that may come at once; of [`Algorithm::Gcra`] only.
    pub burst: u64,
    /// Whose use counts.
    pub mode: Mode,
    /// All nodes that decide by it, up or down, each with the weight of its share.
    pub weights: BTreeMap<WorkerId, u32>,
}

/// Why a policy cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No name, or a long one.
    #[error("a policy's name has 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    /// Nothing would be admitted, or more than can be counted.
    #[error("a limit is 1 to {LIMIT_MAX} units")]
    Limit,
    /// Too short or too long.
    #[error("a window is {WINDOW_MIN_MS} to {WINDOW_MAX_MS} milliseconds")]
    Window,
    /// Nothing would be admitted, or more than can be counted.
    #[error("a burst is 1 to {LIMIT_MAX} units")]
    Burst,
    /// Limit or burst times window cannot be counted.
    #[error("limit and burst, times the window in milliseconds, are at most {SCALE_MAX} each")]
    Scale,
    /// Nobody decides, or nobody has a share.
    #[error("at least one node needs a share above zero")]
    Shares,
    /// Requests could not say which is meant.
    #[error("two policies have the same name")]
    Twice,
    /// Peers would not take them.
    #[error("there are at most {POLICIES_MAX} policies")]
    TooMany,
}

impl Policy {
    /// Of these numbers, local, with no node yet; a burst of the whole limit.
    pub fn new(name: &str, algorithm: Algorithm, limit: u64, window_ms: u64) -> Self {
        let (name, mode, weights) = (name.to_owned(), Mode::Local, BTreeMap::new());
        Self { name, algorithm, limit, window_ms, burst: limit, mode, weights }
    }

    /// Shared by these nodes, with these weights.
    pub fn shared_by(mut self, weights: impl IntoIterator<Item = (WorkerId, u32)>) -> Self {
        self.mode = Mode::Shared;
        self.weights = weights.into_iter().collect();
        self
    }

    /// Refuses what is absurd.
    pub fn check(&self) -> Result<(), PolicyError> {
        let scales = |units: u64| units.checked_mul(self.window_ms).is_some_and(|scaled| scaled <= SCALE_MAX);
        let rules = [
            ((1..=NAME_BYTES_MAX).contains(&self.name.len()), PolicyError::Name),
            ((1..=LIMIT_MAX).contains(&self.limit), PolicyError::Limit),
            ((WINDOW_MIN_MS..=WINDOW_MAX_MS).contains(&self.window_ms), PolicyError::Window),
            ((1..=LIMIT_MAX).contains(&self.burst), PolicyError::Burst),
            (scales(self.limit) && scales(self.burst), PolicyError::Scale),
            (self.weights.values().any(|weight| *weight > 0), PolicyError::Shares),
        ];
        rules.into_iter().find_map(|(holds, error)| (!holds).then_some(error)).map_or(Ok(()), Err)
    }

    /// The most that one request can ever get.
    pub fn cost_max(&self) -> u64 {
        if self.algorithm == Algorithm::Gcra { self.burst } else { self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absurd_is_refused_and_what_is_large_is_not() {
        let worker = WorkerId::new(0, 0).unwrap();
        let policy = |limit, window_ms| Policy::new("a", Algorithm::Fixed, limit, window_ms).shared_by([(worker, 1)]);
        assert_eq!(policy(LIMIT_MAX, 86_400_000 / 100).check(), Ok(()));
        assert_eq!(policy(10_000_000_000, 86_400_000).check(), Ok(()));
        assert_eq!(policy(0, 1_000).check(), Err(PolicyError::Limit));
        assert_eq!(policy(u64::MAX, 1_000).check(), Err(PolicyError::Limit));
        assert_eq!(policy(1, 999).check(), Err(PolicyError::Window));
        assert_eq!(policy(1, u64::MAX).check(), Err(PolicyError::Window));
        assert_eq!(policy(LIMIT_MAX, WINDOW_MAX_MS).check(), Err(PolicyError::Scale));
        assert_eq!(Policy { burst: 0, ..policy(1, 1_000) }.check(), Err(PolicyError::Burst));
        assert_eq!(Policy { name: "n".repeat(65), ..policy(1, 1_000) }.check(), Err(PolicyError::Name));
        assert_eq!(policy(1, 1_000).shared_by([(worker, 0)]).check(), Err(PolicyError::Shares));
    }
}
