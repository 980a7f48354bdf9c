//! The end of the IDs: shown at each start, and warned of while there is time to move to another layout.

use tracing::{info, warn};

use crate::clock;
use crate::config::Config;
use crate::section::Milliseconds;
use crate::telemetry;

/// The warning is repeated this often.
const REPEAT_MS: u64 = 24 * 60 * 60 * 1_000;

/// When the time field of IDs is used up, and when that was last told.
pub(super) struct Horizon {
    end_ms: u64,
    warning_ms: u64,
    /// Of the process's own time.
    told_at: Option<u64>,
}

impl Horizon {
    pub(super) fn new(config: &Config) -> Self {
        let end_ms = config.ids_end_ms();
        telemetry::ids_end(end_ms);
        info!(last = clock::in_words(end_ms), "the last moment that an ID of this layout can carry");
        let warning_ms = config.ids.exhaustion_warning.ms();
        Self { end_ms, warning_ms, told_at: None }
    }

    /// Warns if it is time to.
    pub(super) fn look(&mut self, wall_ms: u64, elapsed_ms: u64) {
        if self.is_due(wall_ms, elapsed_ms) {
            let last = clock::in_words(self.end_ms);
            warn!(
                last,
                "the milliseconds of ids.bits.time will be used up: no IDs after that; plan for another layout"
            );
        }
    }

    fn is_due(&mut self, wall_ms: u64, elapsed_ms: u64) -> bool {
        let near = self.end_ms.saturating_sub(wall_ms) <= self.warning_ms;
        let due = near && self.told_at.is_none_or(|told| elapsed_ms.saturating_sub(told) >= REPEAT_MS);
        if due {
            self.told_at = Some(elapsed_ms);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_warned_of_when_it_is_near_and_then_once_a_day() {
        let mut horizon = Horizon { end_ms: 10 * REPEAT_MS, warning_ms: 3 * REPEAT_MS, told_at: None };
        assert!(!horizon.is_due(7 * REPEAT_MS - 1, 0));
        assert!(horizon.is_due(7 * REPEAT_MS, 1));
        assert!(!horizon.is_due(8 * REPEAT_MS, REPEAT_MS));
        assert!(horizon.is_due(8 * REPEAT_MS, REPEAT_MS + 1));
        assert!(horizon.is_due(99 * REPEAT_MS, 3 * REPEAT_MS), "past the end, too");
    }
}
