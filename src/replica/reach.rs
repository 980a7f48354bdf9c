//! How far the slots that repair brought may go.
//!
//! A peer answers repair with the rows that it holds when it answers: more than the vector that it announced, and more
//! than ours, which does not even move before the session is over. So a slot here may be ahead of our vector, though
//! never of the dot up to which that peer could tell the log. These dots are kept until the vector has come as far:
//! a token read off the vector alone would cover less than the answer shows.

use std::collections::BTreeMap;

use crate::crdt::VersionVector;
use crate::identity::ReplicaId;

/// Per log, the seq that covers whatever repair brought of it.
#[derive(Debug, Default)]
pub(super) struct Reach(BTreeMap<ReplicaId, Dot>);

/// How far slots of one log may go, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dot {
    pub(super) seq: u64,
    pub(super) raised_at: u64,
}

impl Reach {
    /// What recovery found.
    pub(super) fn new(dots: Vec<(ReplicaId, u64)>, now: u64) -> Self {
        Self(dots.into_iter().map(|(origin, seq)| (origin, Dot { seq, raised_at: now })).collect())
    }

    /// Slots of `origin` come that its log holds at `seq` at the latest.
    pub(super) fn raise(&mut self, origin: ReplicaId, seq: u64, now: u64) {
        let dot = self.0.entry(origin).or_insert(Dot { seq: 0, raised_at: now });
        if seq > dot.seq {
            *dot = Dot { seq, raised_at: now };
        }
    }

    /// 0 if nothing came by repair that the vector did not cover then.
    pub(super) fn of(&self, origin: ReplicaId) -> u64 {
        self.0.get(&origin).map_or(0, |dot| dot.seq)
    }

    pub(super) fn dot(&self, origin: ReplicaId) -> Option<Dot> {
        self.0.get(&origin).copied()
    }

    /// The logs of which something came by repair.
    pub(super) fn origins(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.0.keys().copied()
    }

    /// Drops what the vector covers by now; the rest.
    pub(super) fn settle(&mut self, vector: &VersionVector) -> Vec<(ReplicaId, u64)> {
        self.0.retain(|origin, dot| dot.seq > vector.mark(*origin).seq);
        self.0.iter().map(|(origin, dot)| (*origin, dot.seq)).collect()
    }
}
