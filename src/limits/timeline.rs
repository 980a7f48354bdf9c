//! The time by which windows are numbered: the believed wall clock, carried on by monotonic time.
//!
//! Promises that this time never goes back and never stands still. It follows a wall clock that is ahead of it at once;
//! behind one that has gone back it runs slower, by an eighth, until they meet. So a window lasts at most an eighth too
//! long, and none is begun twice, whatever the wall clock does. A restart takes the wall clock as it is.

/// While the wall clock is behind, this part of the time that passes is not counted.
const HELD_BACK: u64 = 8;

/// What both clocks of the machine say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since any fixed moment of this boot; never jumps.
    pub mono_ms: u64,
    /// Milliseconds of Unix time; `None` while the node does not believe its wall clock.
    pub wall_ms: Option<u64>,
}

/// One moment of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of this boot's monotonic clock: durations are measured by it.
    pub mono_ms: u64,
    /// Milliseconds of Unix time as this node counts them: windows are numbered by it.
    pub unix_ms: u64,
}

impl Moment {
    /// What the window time was at another moment near this one.
    pub(super) fn unix_at(self, mono_ms: u64) -> u64 {
        self.unix_ms
            .saturating_add(mono_ms.saturating_sub(self.mono_ms))
            .saturating_sub(self.mono_ms.saturating_sub(mono_ms))
    }
}

/// Carries the believed clock on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeline {
    anchor: Option<Moment>,
    held_back: bool,
}

impl Timeline {
    /// The moment at this monotonic time; `None` as long as no wall clock was believed.
    pub(super) fn at(&self, mono_ms: u64) -> Option<Moment> {
        let anchor = self.anchor?;
        let passed = mono_ms.saturating_sub(anchor.mono_ms);
        let counted = if self.held_back { passed - passed / HELD_BACK } else { passed };
        Some(Moment { mono_ms: mono_ms.max(anchor.mono_ms), unix_ms: anchor.unix_ms.saturating_add(counted) })
    }

    /// Takes a reading in. Returns by how many milliseconds this time has leapt ahead.
    pub(super) fn read(&mut self, reading: Reading) -> u64 {
        let carried = self.at(reading.mono_ms);
        let Some(wall_ms) = reading.wall_ms else {
            (self.anchor, self.held_back) = (carried, false);
            return 0;
        };
        let unix_ms = carried.map_or(wall_ms, |carried| carried.unix_ms.max(wall_ms));
        self.held_back = unix_ms > wall_ms;
        self.anchor = Some(Moment { mono_ms: reading.mono_ms, unix_ms });
        carried.map_or(0, |carried| unix_ms - carried.unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(mono_ms: u64, wall_ms: u64) -> Reading {
        Reading { mono_ms, wall_ms: Some(wall_ms) }
    }

    #[test]
    fn there_is_no_time_before_a_clock_is_believed_and_always_one_after() {
        let mut line = Timeline::default();
        line.read(Reading { mono_ms: 5, wall_ms: None });
        assert_eq!(line.at(5), None);
        line.read(reading(10, 1_000));
        line.read(Reading { mono_ms: 30, wall_ms: None });
        assert_eq!(line.at(40).map(|moment| moment.unix_ms), Some(1_030));
    }

    #[test]
    fn it_leaps_ahead_and_never_goes_back() {
        let mut line = Timeline::default();
        line.read(reading(0, 1_000_000));
        assert_eq!(line.read(reading(10, 4_600_010)), 3_600_000);
        assert_eq!(line.at(10).unwrap().unix_ms, 4_600_010);
        // The clock goes back by a second: eight are counted as seven until both agree.
        line.read(reading(10, 4_599_010));
        assert_eq!(line.at(8_010).unwrap().unix_ms, 4_607_010);
        line.read(reading(8_010, 4_607_010));
        assert_eq!(line.at(9_010).unwrap().unix_ms, 4_608_010);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_wall_clock_does_it_moves_on(steps in proptest::collection::vec((8u64..500, 0u64..100_000), 1..50)) {
            let (mut line, mut mono_ms, mut last) = (Timeline::default(), 0, None);
            for (passed, wall_ms) in steps {
                mono_ms += passed;
                let before = line.at(mono_ms).map(|moment| moment.unix_ms);
                line.read(reading(mono_ms, wall_ms));
                let now = line.at(mono_ms).unwrap().unix_ms;
                proptest::prop_assert!(before <= Some(now) && last < Some(now + 1));
                proptest::prop_assert!(last.is_none_or(|last| now - last >= passed - passed / 8));
                last = Some(now);
            }
        }
    }
}
