//! Windows and their numbers.

use super::policy::Algorithm;
use super::timeline::Moment;

/// How a policy cuts time into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) length_ms: u64,
    /// How many windows before the present one a decision still looks at.
    pub(super) memory: u32,
}

impl Windows {
    pub(super) fn of(algorithm: Algorithm, length_ms: u64) -> Self {
        Self { length_ms: length_ms.max(1), memory: u32::from(algorithm == Algorithm::Sliding) }
    }

    /// The number of the window that holds this time.
    pub(super) fn number(self, unix_ms: u64) -> u32 {
        u32::try_from(unix_ms / self.length_ms).unwrap_or(u32::MAX)
    }

    /// When a window begins.
    pub(super) fn start_ms(self, number: u32) -> u64 {
        u64::from(number).saturating_mul(self.length_ms)
    }

    /// How much of a window is over.
    pub(super) fn passed_ms(self, number: u32, now: Moment) -> u64 {
        now.unix_ms.saturating_sub(self.start_ms(number)).min(self.length_ms)
    }

    /// Until the window ends.
    pub(super) fn left_ms(self, number: u32, now: Moment) -> u64 {
        self.start_ms(number.saturating_add(1)).saturating_sub(now.unix_ms)
    }

    /// Whether a change in window `number` is still remembered in window `later`.
    pub(super) fn remembers(self, number: u32, later: u32) -> bool {
        number.saturating_add(self.memory) >= later
    }

    /// Whether what has been so since `since_ms` was so in all that window `number` looks at.
    pub(super) fn holds_throughout(self, since_ms: u64, number: u32) -> bool {
        number.checked_sub(self.memory).is_some_and(|first| since_ms <= self.start_ms(first))
    }
}
