//! A node's clocks: they drift, and the one on the wall jumps.

use snowtide::snowflake::Reading;

/// Where wall clocks stand when a run begins: some day in 2027.
const START_UNIX_MS: i64 = 1_800_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Parts in a million by which both clocks run fast.
    ppm: i64,
    /// The wall clock is off by this much.
    offset_ms: i64,
}

impl Clock {
    pub fn drift(&mut self, ppm: i64) {
        self.ppm = ppm;
    }

    pub fn jump(&mut self, ms: i64) {
        self.offset_ms = self.offset_ms.saturating_add(ms);
    }

    /// An operator sets the wall clock right.
    pub fn correct_wall(&mut self) {
        self.offset_ms = 0;
    }

    /// Milliseconds since the process was born, as it counts them.
    pub fn mono(&self, born: u64, now: u64) -> u64 {
        let elapsed = now.saturating_sub(born);
        elapsed.saturating_add_signed(i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_mul(self.ppm) / 1_000_000)
    }

    /// The virtual time at which the monotonic clock shows `mono` or more.
    pub fn at(&self, born: u64, mono: u64) -> u64 {
        if mono > 1 << 50 {
            return u64::MAX;
        }
        let guess = born.saturating_add(mono.saturating_mul(1_000_000) / 1_000_000u64.saturating_add_signed(self.ppm));
        (guess..).find(|at| self.mono(born, *at) >= mono).unwrap_or(u64::MAX)
    }

    pub fn reading(&self, born: u64, now: u64) -> Reading {
        let mono_ms = self.mono(born, now);
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let drifted = now.saturating_mul(self.ppm) / 1_000_000;
        let wall = START_UNIX_MS.saturating_add(now).saturating_add(drifted).saturating_add(self.offset_ms);
        Reading { wall_ms: u64::try_from(wall).unwrap_or(0), mono_ms }
    }
}
