//! When each request is meant to be sent.
//!
//! Pure arithmetic: the times follow from the rate and a seed alone and never from the answers, which is what makes the load an
//! open loop. A target that stalls finds the requests of the meantime waiting, and their latencies, counted from here,
//! show the stall ("coordinated omission" is the name of the mistake that this avoids).

use std::str::FromStr;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Exp1};
use serde::Serialize;

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
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::Milli(milli) => Some(milli as f64 / MILLI as f64),
        }
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = per_second(text).ok_or("write a number of operations a second such as 500, 200k or 1.5M, or max")?;
        let milli = (rate * MILLI as f64).round();
        if !(1.0..=1e15).contains(&milli) {
            return Err("a rate is 0.001 to 10^12 operations a second");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
        Ok(Self::Milli(milli as u64))
    }
}

/// The operations a second that a text such as `500`, `200k` or `1.5M` means, whether that makes sense or not.
pub fn per_second(text: &str) -> Option<f64> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    Some(digits.trim().parse::<f64>().ok()? * factor)
}

/// How requests are spread over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// One after the other, always as far apart.
    #[default]
    Constant,
    /// Independent of each other, as those of many people are: gaps vary, and requests come in clumps.
    Poisson,
}

/// The intended times of one lane's requests, as offsets from the start of the run, ascending and without end.
///
/// The lanes take turns: together they send one request every `batch / rate` seconds. With random gaps each lane has
/// its own, and together they are as random as each.
#[derive(Debug)]
pub struct Schedule {
    rate_milli: u64,
    batch: u32,
    lanes: u64,
    turn: u64,
    random: Option<Random>,
}

#[derive(Debug)]
struct Random {
    rng: SmallRng,
    due_nanos: f64,
}

impl Schedule {
    /// The times of lane number `lane` of `lanes`, at `rate_milli` over all lanes, in requests of `batch` operations.
    pub fn new(rate_milli: u64, batch: u32, lane: u64, lanes: u64) -> Self {
        Self { rate_milli: rate_milli.max(1), batch, lanes: lanes.max(1), turn: lane, random: None }
    }

    /// Spread in this way; the seed decides about random gaps.
    #[must_use]
    pub fn arriving(self, arrivals: Arrivals, seed: u64) -> Self {
        if arrivals == Arrivals::Constant {
            return self;
        }
        let rng = SmallRng::seed_from_u64(seed ^ self.turn.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let mut random = Self { random: Some(Random { rng, due_nanos: 0.0 }), ..self };
        random.advance();
        random
    }

    /// When the next request is due. Asking again answers the same until [`Schedule::advance`].
    pub fn due(&self) -> Duration {
        if let Some(random) = &self.random {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
            return Duration::from_nanos(random.due_nanos as u64);
        }
        let operations = u128::from(self.turn) * u128::from(self.batch);
        let nanos = operations.saturating_mul(NANOS_PER_SECOND * u128::from(MILLI)) / u128::from(self.rate_milli);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The next request has been sent, or given up.
    pub fn advance(&mut self) {
        self.turn = self.turn.saturating_add(self.lanes);
        let mean_nanos = self.mean_gap_nanos();
        if let Some(Random { rng, due_nanos }) = &mut self.random {
            let gap: f64 = Exp1.sample(rng);
            *due_nanos += gap * mean_nanos;
        }
    }

    fn mean_gap_nanos(&self) -> f64 {
        let operations = f64::from(self.batch) * self.lanes as f64;
        operations * (NANOS_PER_SECOND * u128::from(MILLI)) as f64 / self.rate_milli as f64
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

    fn poisson(lane: u64, lanes: u64) -> Schedule {
        Schedule::new(1_000 * MILLI, 10, lane, lanes).arriving(Arrivals::Poisson, 7)
    }

    /// The gaps of a Poisson process have a standard deviation as large as their mean, and half of them are shorter
    /// than 0.69 of it; lanes that are random alone are as random together.
    #[test]
    fn random_arrivals_keep_the_rate_and_come_in_clumps() {
        let mut all: Vec<Duration> = (0..4).flat_map(|lane| times(poisson(lane, 4), 10_000)).collect();
        all.sort_unstable();
        all.truncate(30_000);
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1_000.0).collect();
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count).sqrt();
        let short = gaps.iter().filter(|gap| **gap < 0.693 * mean).count() as f64 / count;
        assert!((9.8..10.2).contains(&mean), "{mean}");
        assert!((0.97..1.03).contains(&(deviation / mean)), "{deviation}");
        assert!((0.49..0.51).contains(&short), "{short}");
    }

    #[test]
    fn random_arrivals_follow_from_the_seed_and_ascend() {
        let (one, other) = (times(poisson(1, 2), 100), times(poisson(1, 2), 100));
        assert_eq!(one, other);
        assert_ne!(one, times(poisson(0, 2), 100));
        assert!(one.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(poisson(0, 2).due(), poisson(0, 2).due());
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

    #[test]
    fn rates_have_suffixes() {
        for (text, milli) in [("200k", 200_000_000), ("1.5M", 1_500_000_000), ("0.5", 500)] {
            assert_eq!(text.parse(), Ok(Rate::Milli(milli)), "{text}");
        }
        assert_eq!("max".parse(), Ok(Rate::Max));
        for text in ["", "k", "0", "-1", "NaN", "inf", "1e30", "10x", "MAX"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
