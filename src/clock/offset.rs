//! How far another machine's clock is from ours, and how certain that is. Pure: every time is an argument.
//!
//! As in NTP (RFC 5905): we note when we ask and when the answer comes; the other end notes when it answers, which is at
//! once, so that its two timestamps are one. Whatever the way there and the way back took, the truth lies within half of
//! the round trip of the middle. Of the last exchanges the one with the least uncertainty counts, since delays only ever
//! widen it; an older one is less certain by what two clocks may drift in the meantime.

use std::collections::VecDeque;

/// Exchanges that are remembered: as many stages as NTP's clock filter has.
const EXCHANGES_MAX: usize = 8;
/// Two clocks drift apart by at most this much in a second: 100 ppm, more than quartz does.
const DRIFT_US_PER_S: u64 = 100;

/// One question and its answer, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What our wall clock said when we asked.
    pub asked_us: u64,
    /// How long the answer took, by our monotonic clock: a step of the wall clock meanwhile is no delay.
    pub took_us: u64,
    /// What theirs said when they answered.
    pub theirs_us: u64,
}

/// Where another clock stands, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Theirs minus ours: positive if theirs is ahead.
    pub us: i64,
    /// The truth is at most this far from that.
    pub uncertainty_us: u64,
}

/// The last exchanges with one machine.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<(u64, Offset)>);

impl Exchange {
    /// What this exchange alone tells.
    pub fn offset(self) -> Offset {
        let middle = i128::from(self.asked_us) + i128::from(self.took_us / 2);
        let us = (i128::from(self.theirs_us) - middle).clamp(i64::MIN.into(), i64::MAX.into());
        Offset { us: i64::try_from(us).unwrap_or_default(), uncertainty_us: self.took_us / 2 + 1 }
    }
}

impl Offset {
    /// The offset and its uncertainty in seconds.
    pub fn seconds(self) -> (f64, f64) {
        (self.us as f64 / 1e6, self.uncertainty_us as f64 / 1e6)
    }

    /// What is left of it after so long.
    fn aged(self, us: u64) -> Self {
        let drift_us = us.saturating_mul(DRIFT_US_PER_S) / 1_000_000;
        Self { uncertainty_us: self.uncertainty_us.saturating_add(drift_us), ..self }
    }

    /// Whether both can be true of one clock that runs on.
    fn agrees(self, other: Self) -> bool {
        let apart = i128::from(self.us) - i128::from(other.us);
        apart.unsigned_abs() <= u128::from(self.uncertainty_us) + u128::from(other.uncertainty_us)
    }
}

impl Window {
    /// Takes an exchange that ended at `now_us` of monotonic time; returns the best that is known.
    pub fn add(&mut self, now_us: u64, exchange: Exchange) -> Offset {
        let newest = exchange.offset();
        // One of the clocks was set: what was known of them is of the past.
        self.0.retain(|(at, offset)| offset.aged(now_us.saturating_sub(*at)).agrees(newest));
        self.0.truncate(EXCHANGES_MAX - 1);
        self.0.push_front((now_us, newest));
        let aged = self.0.iter().map(|(at, offset)| offset.aged(now_us.saturating_sub(*at)));
        aged.min_by_key(|offset| offset.uncertainty_us).unwrap_or(newest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of a clock that is `ahead` of ours, over a line that takes so long there and back.
    fn exchange(asked_us: u64, there: u64, back: u64, ahead: i64) -> Exchange {
        let theirs_us = (asked_us + there).saturating_add_signed(ahead);
        Exchange { asked_us, took_us: there + back, theirs_us }
    }

    #[test]
    fn a_symmetric_line_tells_the_exact_offset() {
        for ahead in [-5_000_000, -1, 0, 1, 40_000] {
            assert_eq!(exchange(10_000_000, 150, 150, ahead).offset(), Offset { us: ahead, uncertainty_us: 151 });
        }
    }

    #[test]
    fn the_quickest_of_the_last_exchanges_counts_until_it_is_too_old() {
        let mut window = Window::default();
        let quick = window.add(0, exchange(1_000_000, 100, 100, 50));
        assert_eq!(quick, Offset { us: 50, uncertainty_us: 101 });
        for second in 1..8_u64 {
            let slow = exchange(1_000_000 + second * 1_000_000, 9_000, 1_000, 50);
            let best = window.add(second * 1_000_000, slow);
            assert_eq!(best, Offset { us: 50, uncertainty_us: 101 + second * DRIFT_US_PER_S });
        }
        let best = window.add(8_000_000, exchange(9_000_000, 9_000, 1_000, 50));
        assert!(best.us > 1_000, "the quick one has left the window: {best:?}");
        assert!(best.uncertainty_us.abs_diff(5_001) < 1_000 && best.us - 50 <= 5_001);
    }

    #[test]
    fn a_clock_that_is_set_is_seen_at_once() {
        let mut window = Window::default();
        let year = 31_536_000_000_000;
        for second in 0..8 {
            window.add(second * 1_000_000, exchange(year + second * 1_000_000, 50, 50, 0));
        }
        for step in [-i64::try_from(year).unwrap(), 5_000, 0] {
            let mut window = window.clone();
            let best = window.add(8_000_000, exchange(year + 8_000_000, 300, 300, step));
            assert!(best.us.abs_diff(step) <= best.uncertainty_us, "{step}: {best:?}");
        }
    }

    proptest! {
        #[test]
        fn the_truth_is_always_within_the_uncertainty(
            lines in proptest::collection::vec((0..500_000_u64, 0..500_000_u64, 1..10_000_000_u64), 1..40),
            ahead in -1_000_000_000_000..1_000_000_000_000_i64,
            ppm in -100..=100_i64,
        ) {
            let (mut window, mut mono, start) = (Window::default(), 0_u64, 1_735_689_600_000_000_u64);
            for (there, back, pause) in lines {
                mono += pause;
                // Theirs runs at another rate; what it has gained when it answers, and now.
                let gained = |at: u64| ahead + i64::try_from(at).unwrap() * ppm / 1_000_000;
                let asked = exchange(start + mono, there, back, gained(mono + there));
                mono += there + back;
                let best = window.add(mono, asked);
                prop_assert!(best.us.abs_diff(gained(mono)) <= best.uncertainty_us + 110, "{best:?}, {}", gained(mono));
            }
        }

        #[test]
        fn absurd_answers_get_an_offset(numbers in any::<[u64; 4]>(), again in any::<[u64; 3]>()) {
            let [now, asked_us, took_us, theirs_us] = numbers;
            let mut window = Window::default();
            window.add(now, Exchange { asked_us, took_us, theirs_us });
            let [asked_us, took_us, theirs_us] = again;
            window.add(now, Exchange { asked_us, took_us, theirs_us });
        }
    }
}
