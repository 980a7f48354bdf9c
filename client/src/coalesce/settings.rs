//! How much is gathered, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use snowtide_protocol::wire::BATCH_OPERATIONS_MAX;

use crate::error::InvalidArgument;
use crate::setters::setters;

const DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
const BYTES: RangeInclusive<usize> = 1_024..=1 << 20;

/// How a [`crate::Coalescer`] gathers increments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Coalescing {
    pub(super) delay: Duration,
    pub(super) counters: usize,
    pub(super) bytes: usize,
}

impl Default for Coalescing {
    /// For 2 ms, up to 1 000 counters and 256 KiB of their names.
    fn default() -> Self {
        Self { delay: Duration::from_millis(2), counters: 1_000, bytes: 256 << 10 }
    }
}

impl Coalescing {
    setters! {
        /// How long the first increment of a batch waits for others, if no batch is under way: 0 to 60 s.
        delay: Duration;
        /// How many counters a batch has at most: 1 to 10 000.
        counters: usize;
        /// How many bytes their names take at most, in each of two batches: 1 KiB to 1 MiB. What is kept beside a name takes
        /// about 100 bytes.
        bytes: usize;
    }

    pub(super) fn check(self) -> Result<Self, InvalidArgument> {
        let wrong = |setting, allowed| Err(InvalidArgument::Setting { setting, allowed });
        match self {
            Self { delay, .. } if !DELAY.contains(&delay) => wrong("the delay of coalescing", "is at most 60 s"),
            Self { counters, .. } if !(1..=BATCH_OPERATIONS_MAX).contains(&counters) => {
                wrong("the counters of a batch", "are 1 to 10000")
            }
            Self { bytes, .. } if !BYTES.contains(&bytes) => wrong("the names in a batch", "take 1 KiB to 1 MiB"),
            _ => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_and_says_what_can() {
        let of = Coalescing::default;
        assert_eq!(of().check(), Ok(of()));
        for (bad, word) in [
            (of().delay(Duration::from_secs(61)), "60 s"),
            (of().counters(0), "1 to 10000"),
            (of().counters(10_001), "1 to 10000"),
            (of().bytes(1_023), "1 KiB"),
            (of().bytes((1 << 20) + 1), "1 MiB"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
