//! When each request is meant to be sent.
//!
//! Pure arithmetic: the times follow from the rate alone and never from the answers, which is what makes the load an
//! open loop. A target that stalls finds the requests of the meantime waiting, and their latencies, counted from here,
//! show the stall ("coordinated omission" is the name of the mistake that this avoids).

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Rates are kept in thousandths of an operation per second, so that all times are exact integers.
pub const MILLI: u64 = 1_000;

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as answers come back: a closed loop, in which latencies hide stalls.
    Max,
    /// Thousandths of an operation per second, over all lanes together; never zero.
    Milli(u64),
}

impl Rate {
    /// Operations per second, where one was asked for.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::Milli(milli) => Some(milli as f64 / MILLI as f64),
        }
    }
}

/// The intended times of one lane's requests, as offsets from the start of the run, ascending and without end.
///
/// The lanes take turns: together they send one request every `batch / rate` seconds.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate_milli: u64,
    batch: u32,
    lanes: u64,
    turn: u64,
}

impl Schedule {
    /// The times of lane number `lane` of `lanes`, at `rate_milli` over all lanes, in requests of `batch` operations.
    pub fn new(rate_milli: u64, batch: u32, lane: u64, lanes: u64) -> Self {
        Self { rate_milli: rate_milli.max(1), batch, lanes: lanes.max(1), turn: lane }
    }

    /// When the next request is due. Asking again answers the same until [`Schedule::advance`].
    pub fn due(&self) -> Duration {
        let operations = u128::from(self.turn) * u128::from(self.batch);
        let nanos = operations.saturating_mul(NANOS_PER_SECOND * u128::from(MILLI)) / u128::from(self.rate_milli);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The next request has been sent, or given up.
    pub fn advance(&mut self) {
        self.turn = self.turn.saturating_add(self.lanes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(mut schedule: Schedule, count: usize) -> Vec<Duration> {
        let step = |_| {
            let due = schedule.due();
            schedule.advance();
            due
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn one_lane_sends_every_interval() {
        let schedule = Schedule::new(100 * MILLI, 1, 0, 1);
        assert_eq!(times(schedule, 4), [0, 10, 20, 30].map(Duration::from_millis));
    }

    #[test]
    fn a_batch_stretches_the_interval() {
        let schedule = Schedule::new(100 * MILLI, 50, 0, 1);
        assert_eq!(times(schedule, 3), [0, 500, 1_000].map(Duration::from_millis));
    }

    #[test]
    fn far_times_stay_exact() {
        let mut schedule = Schedule::new(3 * MILLI, 1, 0, 1);
        schedule.turn = 3_000_000_000;
        assert_eq!(schedule.due(), Duration::from_secs(1_000_000_000));
    }

    #[test]
    fn an_endless_rate_saturates() {
        let mut schedule = Schedule::new(1, u32::MAX, 0, u64::MAX);
        schedule.advance();
        assert_eq!(schedule.due(), Duration::from_nanos(u64::MAX));
    }

    proptest! {
        #[test]
        fn lanes_together_send_what_one_would(rate in 1_u64..10_000_000, batch in 1_u32..1_000, lanes in 1_u64..20) {
            let alone = times(Schedule::new(rate, batch, 0, 1), 100);
            let mut together: Vec<_> =
                (0..lanes).flat_map(|lane| times(Schedule::new(rate, batch, lane, lanes), 100)).collect();
            together.sort_unstable();
            together.truncate(100);
            prop_assert_eq!(alone, together);
        }

        /// One server that answers one request at a time in `service` and stalls once: whatever was due during the
        /// stall shows what is left of it in its latency. A generator that waits for answers would show one slow
        /// request only.
        #[test]
        fn a_stall_shows_in_every_latency_behind_it(stall_ms in 100_u64..5_000, service_us in 1_u64..1_000) {
            let (stall, service) = (Duration::from_millis(stall_ms), Duration::from_micros(service_us));
            let mut free_at = stall;
            let mut slow = 0_u64;
            for due in times(Schedule::new(1_000 * MILLI, 1, 0, 1), 10_000) {
                free_at = free_at.max(due) + service;
                let latency = free_at - due;
                if due < stall {
                    prop_assert!(latency >= stall - due);
                    slow += 1;
                }
            }
            prop_assert_eq!(slow, stall_ms);
        }
    }
}
