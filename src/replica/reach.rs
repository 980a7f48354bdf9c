//! How far the slots that repair brought may go.
//!
//! A peer answers repair with the rows that it holds when it answers: more than the vector that it announced, and more
//! than ours, which does not even move before the session is over. So a slot here may be ahead of our vector, though
//! never of the dot up to which that peer could tell the log. These dots are kept until the vector has come as far:
//! a token read off the vector alone would cover less than the answer shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId};
use crate::section::Milliseconds;

use super::Replica;
use super::message::RepairedRow;
use super::space::Space;

/// Per log, the seq that covers whatever repair brought of it.
#[derive(Debug, Default)]
pub(super) struct Reach(BTreeMap<ReplicaId, Dot>);

#[derive(Clone, Copy, Debug)]
struct Dot {
    seq: u64,
    raised_at: u64,
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

impl Replica {
    /// The seq at which the log of `origin` covers what is committed of it here.
    pub(super) fn covering_seq(&self, space: &Space, origin: ReplicaId) -> u64 {
        let held = space.vector.mark(origin).seq;
        match space.reach.0.get(&origin) {
            Some(dot) if dot.seq > held && !self.is_lost(space.id, origin, *dot) => dot.seq,
            _ => held,
        }
    }

    /// How far the logs go that these rows are made of, as of now.
    pub(super) fn covering_dots(&self, namespace: NamespaceId, rows: &[RepairedRow]) -> Vec<(ReplicaId, u64)> {
        let Some(space) = self.spaces.get(&namespace) else { return Vec::new() };
        let origins: BTreeSet<ReplicaId> = rows.iter().flat_map(|row| &row.slots).map(|(origin, _)| *origin).collect();
        origins.into_iter().map(|origin| (origin, self.covering_seq(space, origin))).collect()
    }

    /// Every peer has told long since what it holds, and nobody holds the log as far as that: it went with the disks that
    /// did, and a token that named it could not be honoured anywhere, ever.
    fn is_lost(&self, namespace: NamespaceId, origin: ReplicaId, dot: Dot) -> bool {
        let told_since = dot.raised_at.saturating_add(self.settings.tuning.repair.session_max.ms());
        let mut sharing = self.settings.peers.iter().filter(|(_, shared)| shared.contains(&namespace));
        sharing.all(|(worker, _)| {
            let told = self.peers.get(worker).filter(|peer| peer.told_at >= told_since);
            let known = told.and_then(|peer| peer.known.get(&namespace));
            known.is_some_and(|vector| vector.mark(origin).seq < dot.seq)
        })
    }
}
