//! The claim to a worker id: what is known of ID ceilings, and whether IDs may begin (I10). A node that lost its disk, or
//! took over a worker id, learns from its peers how far that one's IDs had come.
//!
//! What peers tell may lag: they hear of a ceiling after it is durable, and may have been restarted since, in which case
//! they know what they had written down. So where they know of more than this disk, IDs begin a quarantine above that.
//!
//! All ceilings are in milliseconds since the layout's epoch. This stands here and not in `ids`, which reads clocks: the
//! replica keeps it, since it is the replica that hears what peers know, and the replica is pure (I7).

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::WorkerId;

/// Where IDs may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// They begin above it.
    pub ceiling: u64,
    /// Somebody had IDs of this worker that this disk does not know of: the ceiling is a quarantine above theirs.
    pub quarantined: bool,
}

/// What one node knows of its own ceiling and those of others.
#[derive(Debug)]
pub struct Claim {
    highest: BTreeMap<WorkerId, u64>,
    own: WorkerId,
    /// The highest ceiling of ours that this disk knows of, or that was claimed above.
    remembered: u64,
    quarantine_ms: u64,
    awaiting: BTreeSet<WorkerId>,
    deadline: u64,
    claimed: bool,
}

impl Claim {
    /// Of a node whose disk knows of `ceiling` as its own last one, and of these of other nodes. Those in `awaiting` are asked
    /// for what they know, until `deadline`.
    pub fn new(
        (own, ceiling): (WorkerId, u64),
        of_others: &[(WorkerId, u64)],
        quarantine_ms: u64,
        awaiting: BTreeSet<WorkerId>,
        deadline: u64,
    ) -> Self {
        Self {
            highest: of_others.iter().copied().chain([(own, ceiling)]).collect(),
            own,
            remembered: ceiling,
            quarantine_ms,
            awaiting,
            deadline,
            claimed: false,
        }
    }

    /// True if this is news.
    pub fn raise(&mut self, worker: WorkerId, ceiling: u64) -> bool {
        let highest = self.highest.entry(worker).or_default();
        let news = ceiling > *highest;
        *highest = ceiling.max(*highest);
        news
    }

    /// This ceiling of ours is durable here; true if it is news.
    pub fn remember(&mut self, ceiling: u64) -> bool {
        self.remembered = self.remembered.max(ceiling);
        self.raise(self.own, ceiling)
    }

    /// What others told is forgotten, on an operator's word; this ceiling of ours stands.
    pub fn forget(&mut self, own: u64) {
        self.highest = BTreeMap::from([(self.own, own)]);
        self.remembered = own;
    }

    /// The highest ceiling that is known of a node; 0 if none is.
    pub fn ceiling(&self, worker: WorkerId) -> u64 {
        self.highest.get(&worker).copied().unwrap_or(0)
    }

    /// Every ceiling that is known, to be told to others.
    pub fn ceilings(&self) -> Vec<(WorkerId, u64)> {
        self.highest.iter().map(|(worker, ceiling)| (*worker, *ceiling)).collect()
    }

    /// Whether a peer has not said yet what it knows.
    pub fn awaits(&self, peer: WorkerId) -> bool {
        self.awaiting.contains(&peer)
    }

    /// When nobody is waited for any longer, if IDs have not begun.
    pub fn deadline(&self) -> Option<u64> {
        (!self.claimed).then_some(self.deadline)
    }

    /// A peer has said what it knows of our ceiling.
    pub fn answered(&mut self, worker: WorkerId, ceiling: u64) {
        self.awaiting.remove(&worker);
        self.raise(self.own, ceiling);
    }

    /// Where IDs may begin: once, and again for what is told too late.
    pub fn take(&mut self, now: u64) -> Option<Floor> {
        let told = self.ceiling(self.own);
        let quarantined = told > self.remembered;
        let ready = self.awaiting.is_empty() || now >= self.deadline;
        if self.claimed && !quarantined || !self.claimed && !ready {
            return None;
        }
        self.claimed = true;
        let ceiling = if quarantined { told.saturating_add(self.quarantine_ms) } else { told };
        self.remembered = self.remembered.max(ceiling);
        Some(Floor { ceiling, quarantined })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE_MS: u64 = 10_000;

    fn worker(region: u8) -> WorkerId {
        WorkerId::new(region, 0).unwrap()
    }

    /// Of the node of region 1, with peers in 2 and 3.
    fn claim(own_ceiling: u64) -> Claim {
        Claim::new((worker(1), own_ceiling), &[], QUARANTINE_MS, [worker(2), worker(3)].into(), 3_000)
    }

    fn taken(claim: &mut Claim, now: u64) -> Option<(u64, bool)> {
        claim.take(now).map(|Floor { ceiling, quarantined }| (ceiling, quarantined))
    }

    #[test]
    fn a_worker_id_that_nobody_has_had_begins_at_once() {
        let mut claim = claim(0);
        claim.answered(worker(2), 0);
        assert_eq!(taken(&mut claim, 1), None);
        claim.answered(worker(3), 0);
        assert_eq!(taken(&mut claim, 2), Some((0, false)));
        assert_eq!(taken(&mut claim, 3), None, "once");
    }

    #[test]
    fn a_restart_on_ones_own_disk_is_in_no_quarantine() {
        let mut claim = claim(700);
        claim.answered(worker(2), 700);
        claim.answered(worker(3), 650);
        assert_eq!(taken(&mut claim, 1), Some((700, false)));
        claim.remember(900);
        claim.answered(worker(2), 900);
        assert_eq!(taken(&mut claim, 2), None);
    }

    #[test]
    fn a_new_disk_under_a_used_worker_id_begins_a_quarantine_above_the_highest_that_peers_saw() {
        for own in [0, 650] {
            let mut claim = claim(own);
            claim.answered(worker(2), 700);
            claim.answered(worker(3), 800);
            assert_eq!(taken(&mut claim, 1), Some((800 + QUARANTINE_MS, true)));
            assert_eq!(taken(&mut claim, 2), None, "once");
        }
    }

    #[test]
    fn a_peer_that_answers_too_late_is_heard_all_the_same() {
        let mut claim = claim(0);
        assert_eq!(taken(&mut claim, 3_000), Some((0, false)), "nobody has answered");
        claim.remember(300);
        claim.answered(worker(2), 250);
        assert_eq!(taken(&mut claim, 3_001), None, "it has that from us");
        claim.answered(worker(3), 800);
        assert_eq!(taken(&mut claim, 3_002), Some((800 + QUARANTINE_MS, true)));
        claim.answered(worker(3), 800);
        assert_eq!(taken(&mut claim, 3_003), None);
    }

    #[test]
    fn what_was_told_can_be_forgotten_and_is_not_claimed_again_by_itself() {
        let mut claim = claim(700);
        claim.answered(worker(2), 900);
        claim.answered(worker(3), 0);
        claim.raise(worker(3), 5_000);
        assert_eq!(taken(&mut claim, 1), Some((900 + QUARANTINE_MS, true)));
        claim.forget(700);
        assert_eq!((taken(&mut claim, 2), claim.ceilings()), (None, vec![(worker(1), 700)]));
    }

    #[test]
    fn absurd_ceilings_get_an_answer() {
        let mut claim = claim(0);
        claim.answered(worker(2), u64::MAX);
        claim.answered(worker(3), 0);
        assert_eq!(taken(&mut claim, 1), Some((u64::MAX, true)));
    }
}
