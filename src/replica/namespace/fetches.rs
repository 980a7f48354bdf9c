//! What is being fetched from peers: whom which log was asked of, and who cannot serve it.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::Mark;
use crate::identity::{Peer, ReplicaId, WorkerId};

use super::Namespace;

/// Logs that others have more of.
#[derive(Default)]
pub(in super::super) struct Fetches {
    /// When each foreign log last moved here.
    moved_at: BTreeMap<ReplicaId, u64>,
    /// Whom a log's missing records were asked of, and when.
    asked: BTreeMap<ReplicaId, Fetch>,
    /// Who cannot serve a log's records from where we stand.
    not_whole: BTreeSet<(ReplicaId, WorkerId)>,
}

/// A request for records that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    from: Peer,
    asked_at: u64,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Times {
    /// A log that has moved since then moves by itself.
    pub(in super::super) quiet_since: u64,
    /// What was asked for by then was lost.
    pub(in super::super) overdue: u64,
}

impl Fetches {
    /// Records of `origin` have come, one way or another: who could not serve them may be asked again.
    pub(super) fn moved(&mut self, origin: ReplicaId, now: u64) {
        self.moved_at.insert(origin, now);
        self.not_whole.retain(|(held, _)| *held != origin);
    }

    pub(super) fn moved_since(&self, origin: ReplicaId, since: u64) -> bool {
        self.moved_at.get(&origin).is_some_and(|at| *at >= since)
    }

    /// Whether a log moves by itself, or was asked for and may still come.
    pub(super) fn is_under_way(&self, origin: ReplicaId, Times { quiet_since, overdue }: Times) -> bool {
        self.moved_at.get(&origin).is_some_and(|moved| *moved > quiet_since)
            || self.asked.get(&origin).is_some_and(|fetch| fetch.asked_at > overdue)
    }

    /// A log is asked of a peer.
    pub(in super::super) fn begin(&mut self, origin: ReplicaId, from: Peer, now: u64) {
        self.asked.insert(origin, Fetch { from, asked_at: now });
    }

    /// A log need not be asked for any more; of whom it was.
    pub(in super::super) fn end(&mut self, origin: ReplicaId) -> Option<Peer> {
        self.asked.remove(&origin).map(|fetch| fetch.from)
    }

    /// Whoever was asked for a log says that its journal does not reach back to where we stand. Others are not listened to: a
    /// peer cannot have us remember what it likes.
    pub(in super::super) fn refused(&mut self, origin: ReplicaId, by: Peer) {
        if self.asked.get(&origin).is_some_and(|fetch| fetch.from == by) {
            self.asked.remove(&origin);
            self.not_whole.insert((origin, by.worker));
        }
    }

    /// Whether a peer has said that it cannot serve a log from where we stand.
    pub(in super::super) fn is_refused(&self, origin: ReplicaId, by: WorkerId) -> bool {
        self.not_whole.contains(&(origin, by))
    }

    /// Nothing that was asked of this node counts any more.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.asked.retain(|_, fetch| fetch.from.worker != worker);
        self.not_whole.retain(|(_, by)| *by != worker);
    }

    /// What was asked of this boot is lost.
    pub(super) fn lost(&mut self, peer: Peer) {
        self.asked.retain(|_, fetch| fetch.from != peer);
    }
}

impl Namespace {
    /// Another boot of a peer has taken over. What an earlier one sent and we have not applied was never acknowledged: it
    /// goes (I3), also where its rows are being loaded. Applied later, it would be more than a proof tells that is given
    /// meanwhile. Sessions die with either boot.
    pub(in super::super) fn peer_rebooted(&mut self, peer: Peer) {
        self.incoming.forget_earlier(peer);
        self.fetches.forget(peer.worker);
        self.repair.forget(peer.worker);
        self.end_lease(peer.worker);
    }

    /// Our link to a boot of a peer is lost.
    pub(in super::super) fn peer_down(&mut self, peer: Peer) {
        self.fetches.lost(peer);
    }

    /// Up to which seq we have a log of which a peer tells more; `None` if there is no need to ask for the rest now. A log that
    /// moves by itself is left alone, because its origin is pushing it.
    pub(in super::super) fn lacks(&self, origin: ReplicaId, theirs: Mark, times: Times) -> Option<u64> {
        let after = self.applied.mark(origin).seq;
        (theirs.seq > after && !self.fetches.is_under_way(origin, times)).then_some(after)
    }

    pub(in super::super) fn fetches(&mut self) -> &mut Fetches {
        &mut self.fetches
    }

    /// Repair has to close a gap, with this peer if with nobody else.
    pub(in super::super) fn note_gap(&mut self, with: WorkerId) {
        self.repair.note_gap(with);
    }
}
