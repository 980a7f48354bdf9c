//! How much room the disk has, and how much RocksDB may need: from this follows what may still be written.
//!
//! A write that finds no room is final (I9), and RocksDB writes more than it is given: a flush writes a table before it
//! gives up the log, a compaction writes all its output before it gives up its input. So the node stops taking what is
//! new while there is room for all of that; then compactions, the largest first of all, stop; and last the checkpoints,
//! while there is still room to flush what is in memory. Nothing here is a constant of the disk: each need is measured at
//! the moment of the look.

use crate::replica::{Disk, Headroom};

/// For manifests, option files, ceilings and what else is small; also the least that the log may grow between two looks.
pub(super) const SMALL_THINGS_BYTES: u64 = 16 << 20;

/// What a look at the disk and the database has found, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Free for this user.
    pub free: u64,
    /// Tables that no version names: what a compaction or a flush has written so far, or what is about to go.
    pub unfinished: u64,
    /// The input of the largest compaction that can be picked, which is also the most that it writes.
    pub compaction: u64,
    /// What is in memory and would be flushed.
    pub flush: u64,
    /// What the next write-ahead log takes in advance.
    pub log: u64,
    /// What a checkpoint has to write of what was committed since the last one.
    pub checkpoint: u64,
    /// Handed to the log since the database was opened.
    pub written: u64,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// For the replica.
    pub disk: Disk,
    /// The largest compaction fits.
    pub compacts: bool,
}

impl Look {
    /// A disk of which nothing but its free bytes is known.
    pub fn of_free(free: u64) -> Self {
        Self { free, ..Self::default() }
    }

    /// What may be written, after a look `before` this one at which it was `headroom`; with less than `min_free` nothing
    /// new is, whatever the needs. What was refused is taken again only with some room to spare, so that the node does not
    /// change its mind at each look.
    pub fn judge(&self, before: &Self, headroom: Headroom, min_free: u64) -> Judgement {
        let grown = self.written.saturating_sub(before.written);
        // Each byte of the log is written a second time by the flush.
        let margin = SMALL_THINGS_BYTES.max(grown.saturating_mul(4));
        let flush = self.flush.saturating_add(self.log).saturating_add(margin);
        let compaction = flush.saturating_add(self.compaction);
        let all = compaction.saturating_add(self.checkpoint).saturating_add(margin).max(min_free);
        // A compaction's output has taken its room already.
        let free = self.free.saturating_add(self.unfinished);
        let spare = |refused: Headroom| if headroom <= refused { SMALL_THINGS_BYTES } else { 0 };
        let ample = free >= all.saturating_add(spare(Headroom::Low));
        let some = self.free >= flush.saturating_add(spare(Headroom::None));
        let headroom = match (some, ample) {
            (false, _) => Headroom::None,
            (true, false) => Headroom::Low,
            (true, true) => Headroom::Ample,
        };
        Judgement {
            disk: Disk { headroom, free_bytes: self.free, needed_bytes: all },
            compacts: some && free >= compaction,
        }
    }
}

/// The input of the largest compaction that can be picked among tables of these sizes, level by level. The first level's
/// tables overlap, so all of them go together into the next level that holds anything; deeper ones move a few tables at a
/// time, `step_max` bytes together.
pub(super) fn largest_compaction(levels: &[u64], step_max: u64) -> u64 {
    let mut held = levels.iter().copied().skip(1).filter(|bytes| *bytes > 0);
    let first = levels.first().copied().unwrap_or(0);
    let above = held.next().unwrap_or(0);
    let from_first = if first > 0 { first.saturating_add(above) } else { 0 };
    let deeper = above.saturating_add(held.sum()).min(step_max);
    from_first.max(deeper)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn look(free: u64) -> Look {
        Look { free: free * MIB, compaction: 100 * MIB, flush: 40 * MIB, log: 20 * MIB, ..Look::default() }
    }

    fn judged(free: u64, headroom: Headroom) -> (Headroom, bool) {
        let judgement = look(free).judge(&Look::default(), headroom, 0);
        (judgement.disk.headroom, judgement.compacts)
    }

    #[test]
    fn what_is_new_stops_first_then_compactions_then_everything() {
        use Headroom::{Ample, Low, None};
        assert_eq!(judged(192, Ample), (Ample, true));
        assert_eq!(judged(191, Ample), (Low, true));
        assert_eq!(judged(175, Ample), (Low, false));
        assert_eq!(judged(75, Ample), (None, false));
        assert_eq!(judged(0, Ample), (None, false));
    }

    #[test]
    fn what_was_refused_is_taken_again_with_room_to_spare() {
        use Headroom::{Ample, Low, None};
        assert_eq!((judged(200, Low).0, judged(208, Low).0), (Low, Ample));
        assert_eq!((judged(80, None).0, judged(92, None).0, judged(208, None).0), (None, Low, Ample));
    }

    #[test]
    fn the_operator_can_ask_for_more_and_never_for_less() {
        let judge = |min_free| look(200).judge(&Look::default(), Headroom::Ample, min_free * MIB).disk;
        assert_eq!((judge(1).headroom, judge(1).needed_bytes), (Headroom::Ample, 192 * MIB));
        assert_eq!((judge(201).headroom, judge(201).needed_bytes), (Headroom::Low, 201 * MIB));
    }

    #[test]
    fn a_running_compaction_does_not_count_twice() {
        let running = Look { unfinished: 80 * MIB, ..look(115) };
        assert_eq!(running.judge(&Look::default(), Headroom::Ample, 0).disk.headroom, Headroom::Ample);
        let stuck = Look { unfinished: 500 * MIB, ..look(10) };
        assert_eq!(stuck.judge(&Look::default(), Headroom::Ample, 0).disk.headroom, Headroom::None);
    }

    #[test]
    fn a_log_that_grows_fast_needs_more() {
        let grown = Look { written: 50 * MIB, ..look(300) };
        assert_eq!(grown.judge(&Look::default(), Headroom::Ample, 0).disk.headroom, Headroom::Low);
        assert_eq!(grown.judge(&grown, Headroom::Ample, 0).disk.headroom, Headroom::Ample);
    }

    #[test]
    fn all_of_the_first_level_goes_at_once_and_little_of_the_others() {
        assert_eq!(largest_compaction(&[], 400), 0);
        assert_eq!(largest_compaction(&[0, 0, 0], 400), 0);
        assert_eq!(largest_compaction(&[64, 0, 0, 256, 9_000], 400), 400);
        assert_eq!(largest_compaction(&[640, 0, 0, 256, 9_000], 400), 896);
        assert_eq!(largest_compaction(&[0, 0, 0, 0, 9_000], 400), 400);
        assert_eq!(largest_compaction(&[0, 0, 0, 0, 90], 400), 90);
    }
}
