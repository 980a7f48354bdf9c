//! How often a request is tried, and how long between.

use std::time::Duration;

use crate::error::InvalidArgument;
use crate::setters::setters;

const ATTEMPTS_MAX: u32 = 100;

/// When a request is tried again: with full jitter between tries, and within a budget that all requests share.
///
/// Only what was surely not carried out is tried again, or what writes nothing. A first try at each other node comes at
/// once; from then on the client waits a random time between zero and a limit that doubles, and never asks a node before
/// the time that it has asked for (`Retry-After`).
///
/// The budget keeps retries from making an overload worse: each takes one from it, ten requests that succeed put one
/// back, and without one left a failure is final. Tries that cost no node anything, because there was no connection, are
/// free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retries {
    pub(super) attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
    pub(super) within: Duration,
    pub(super) budget: u32,
    pub(super) at_least_once: bool,
}

impl Default for Retries {
    /// 4 attempts within 20 s, pauses of up to 50 ms, 100 ms, and so on up to 2 s; a budget of 50.
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            within: Duration::from_secs(20),
            budget: 50,
            at_least_once: false,
        }
    }
}

impl Retries {
    /// Every request is sent once, to the best node that is known to be there.
    pub fn none() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    setters! {
        /// How often a request is tried in all: 1 to 100.
        attempts: u32;
        /// How long a request takes in all, with its tries and the pauses between; 20 s by default. What its terms may wait
        /// comes on top.
        within: Duration;
        /// How many retries may be made beyond one for every ten requests that succeed; 50 by default.
        budget: u32;
    }

    /// The limit of the first pause, which each further pause doubles, and the limit of them all.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_pause, self.longest_pause) = (first, longest);
        self
    }

    /// Tries a write again even if its outcome is unknown, at any node. **It may then count more than once.** For counters
    /// of which that is better than counting less.
    ///
    /// The node that took it is asked once what became of it, if it can be reached, and for half of the time that is left at
    /// most. With two attempts there is none to spare for that.
    pub fn at_least_once(mut self) -> Self {
        self.at_least_once = true;
        self
    }

    pub(crate) fn check(self) -> Result<(), InvalidArgument> {
        if (1..=ATTEMPTS_MAX).contains(&self.attempts) {
            Ok(())
        } else {
            Err(InvalidArgument::Setting { setting: "attempts", allowed: "are 1 to 100" })
        }
    }

    /// What to wait after so many tries: full jitter, anything from zero to the limit. The average of the pauses is half of what it
    /// is without, but no two clients that failed together come back together, which is what the server needs.
    ///
    /// The usual builders of backoffs add their jitter to the whole pause instead, so that everybody waits at least that.
    pub(super) fn pause(self, tries: u32) -> Duration {
        rand::random_range(Duration::ZERO..=ceiling(self.first_pause, self.longest_pause, tries))
    }
}

/// The limit of the pause after so many tries.
pub(super) fn ceiling(first: Duration, longest: Duration, tries: u32) -> Duration {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_are_anything_below() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let ceilings: Vec<_> = (1..=8).map(|tries| ceiling(first, longest, tries).as_millis()).collect();
        assert_eq!(ceilings, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(ceiling(first, longest, u32::MAX), longest);
        let pauses: Vec<_> = (0..1_000).map(|_| Retries::default().pause(1)).collect();
        assert!(pauses.iter().all(|pause| *pause <= first));
        // The chance that none of a thousand falls into a given fifth is below 10^-96.
        assert!(pauses.iter().any(|pause| *pause < first / 5) && pauses.iter().any(|pause| *pause > first / 5 * 4));
    }

    #[test]
    fn no_attempts_at_all_are_refused() {
        assert!(Retries::default().check().is_ok() && Retries::none().check().is_ok());
        for wrong in [0, 101] {
            let error = Retries::default().attempts(wrong).check().unwrap_err();
            assert_eq!(error.to_string(), "attempts are 1 to 100");
        }
    }
}
