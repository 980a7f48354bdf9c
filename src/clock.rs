//! The sole reader of the operating system's clocks.
//!
//! Everything else is told the time, so that the simulator can tell it any time it likes (I7).

pub mod offset;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, by the wall clock, which may jump.
pub fn wall_ms() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since the Unix epoch, by the wall clock, which may jump.
pub fn wall_us() -> u64 {
    u64::try_from(wall().as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::disallowed_methods)] // this is the one place
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// A moment in milliseconds of Unix time by RFC 3339, in UTC and always with milliseconds; `None` beyond the year 9999.
pub fn rfc3339(unix_ms: u64) -> Option<String> {
    let moment = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(format!("{moment:.3}"))
}

/// The same for people, who are told in words what has no date.
pub fn in_words(unix_ms: u64) -> String {
    rfc3339(unix_ms).unwrap_or_else(|| "after the year 9999".to_owned())
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

    /// Microseconds since the start.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(monotonic().duration_since(self.0).as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment at `ms` on this stopwatch.
    pub fn at(&self, ms: u64) -> Instant {
        self.0 + Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc_and_one_beyond_the_calendar_in_words() {
        assert_eq!(rfc3339(3_934_712_855_551).unwrap(), "2094-09-07T15:47:35.551Z");
        assert_eq!(in_words(1_735_689_600_000), "2025-01-01T00:00:00.000Z");
        assert_eq!(in_words(1 << 49), "after the year 9999");
        assert_eq!(rfc3339(u64::MAX), None);
    }
}
