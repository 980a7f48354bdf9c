//! How many IDs are kept in advance, and for how long.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use snowtide_protocol::wire::IDS_MAX;

use super::block::Life;
use crate::error::InvalidArgument;
use crate::setters::setters;

const MAX_AGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3_600);

/// How [`crate::Ids`] keeps IDs in advance.
///
/// What is fetched and not used in time is lost, which costs nothing but numbers: a node has four million a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Prefetch {
    pub(super) block: u32,
    low_water: u32,
    pub(super) max_age: Duration,
}

impl Default for Prefetch {
    /// Blocks of 1 000, the next one asked for when half of it is used, none used for more than 2 s.
    fn default() -> Self {
        Self { block: 1_000, low_water: 500, max_age: Duration::from_secs(2) }
    }
}

impl Prefetch {
    setters! {
        /// How many IDs are asked for at once: 1 to 10 000.
        block: u32;
        /// The next block is asked for when no more than so many IDs of the present one are left: 0 to the block's size.
        /// As many as are used during a round trip to the node, so that nobody has to wait for it.
        low_water: u32;
        /// No ID is handed out later than this after it was asked for: 10 ms to 1 h. The next block is asked for at half
        /// of it, if IDs are being used.
        max_age: Duration;
    }

    /// Refuses what cannot work, saying what is allowed.
    pub(super) fn check(self) -> Result<Self, InvalidArgument> {
        let wrong = |setting, allowed| Err(InvalidArgument::Setting { setting, allowed });
        match self {
            Self { block, .. } if !(1..=IDS_MAX).contains(&block) => Err(InvalidArgument::IdCount(block)),
            Self { block, low_water, .. } if low_water > block => {
                wrong("the low-water mark", "is at most the size of a block")
            }
            Self { max_age, .. } if !MAX_AGE.contains(&max_age) => {
                wrong("the age of prefetched ids", "is 10 ms to 1 h")
            }
            _ => Ok(self),
        }
    }

    /// The life of a block that was requested at `since`.
    pub(super) fn life(self, since: Instant) -> Life {
        let (refresh_at, expires_at) = (since + self.max_age / 2, since + self.max_age);
        Life { low_water: self.low_water.into(), refresh_at, expires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        assert_eq!(Prefetch::default().check(), Ok(Prefetch::default()));
    }

    #[test]
    fn what_cannot_work_is_refused_and_says_what_can() {
        let of = Prefetch::default;
        for (bad, word) in [
            (of().block(0), "10000"),
            (of().block(10_001), "10000"),
            (of().block(10).low_water(11), "low-water"),
            (of().max_age(Duration::from_millis(9)), "10 ms"),
            (of().max_age(Duration::from_secs(3_601)), "1 h"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(of().block(10_000).low_water(10_000).max_age(Duration::from_secs(3_600)).check().is_ok());
    }
}
