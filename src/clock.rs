//! The sole reader of the operating system's clocks.
//!
//! Everything else is told the time, so that the simulator can tell it any time it likes (I7).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, by the wall clock, which may jump.
#[allow(clippy::disallowed_methods)] // this is the one place
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The monotonic clock, which never jumps.
#[allow(clippy::disallowed_methods)] // this is the one place
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Counts milliseconds from the moment it was made, monotonically.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(monotonic())
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(monotonic().duration_since(self.0).as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment at `ms` on this stopwatch.
    pub fn at(&self, ms: u64) -> Instant {
        self.0 + Duration::from_millis(ms)
    }
}
