//! Forks: two processes have written under one replica id, so its log is no one history any more.
//!
//! A copy of a disk, or a restored one, can be started where nobody who knows better is in reach. The two logs share their
//! numbers and not their content, and whoever holds the one takes commits of the other for known ones. So once any node
//! sees two histories, the replica id is finished for good:
//!
//! - The node writes [`LogHash::FORKED`](crate::crdt::LogHash::FORKED) in place of the hash into its vector, durably, and
//!   reports it; once, since marks only grow. Digests carry the mark on, so every node comes to know of it, whatever seqs it
//!   stands at, and so does everyone who ever asks for a proof of that replica id.
//! - It applies no delta of that log any more, from nobody: what it lacks comes by repair, rows by their join, and the mark
//!   by the join of marks once a session has covered the whole tree. Both only grow, so all nodes come to one state.
//! - A process that counts under that replica id goes on under another one (`Replica::renew`).
//!
//! What is lost: where both processes changed one counter, the greater total of each direction hides the other one. What a
//! node says it holds of such a log may be of either history.

use std::collections::BTreeSet;

use crate::crdt::{Mark, VersionVector};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};

use super::Replica;
use super::effect::{Effect, Notice};

/// Incarnations that a process makes on the word of peers. Real forks of the incarnations of one process are rare, for
/// each takes another copy of its disk and a partition. Whoever claims more of them is not believed any more: each
/// incarnation costs every node a little for good, and peers must not be able to end a node (I6).
const RENEWALS_MAX: u32 = 16;
/// Between two of them.
const RENEWAL_MS: u64 = 60_000;

/// What has become of our own incarnation, as peers tell it.
#[derive(Debug, Default)]
pub(super) struct OwnForks {
    /// Where the current one is known to have forked.
    namespaces: BTreeSet<NamespaceId>,
    renewals: u32,
    renewed_at: Option<u64>,
    /// What was written under this one may be hidden by what another process wrote: nothing that says otherwise leaves.
    doubted: Option<ReplicaId>,
}

impl OwnForks {
    /// When a new incarnation may be made, if at all.
    fn due(&self, now: u64) -> Option<u64> {
        let at = self.renewed_at.map_or(now, |at| at.saturating_add(RENEWAL_MS).max(now));
        (self.renewals < RENEWALS_MAX).then_some(at)
    }

    /// A new one is being made.
    pub(super) fn renewing(&mut self, now: u64) {
        self.renewals += 1;
        self.renewed_at = Some(now);
    }
}

impl Replica {
    /// A peer tells marks: do they show forks?
    pub(super) fn find_forks(&mut self, peer: WorkerId, namespace: NamespaceId, theirs: &VersionVector) {
        let found = self.namespaces.get(namespace).map_or_else(Vec::new, |held| held.forks_in(theirs));
        found.into_iter().for_each(|origin| self.forked(peer, namespace, origin));
    }

    /// `peer` has shown that a log of somebody else has forked.
    pub(super) fn forked(&mut self, peer: WorkerId, namespace: NamespaceId, origin: ReplicaId) {
        if Some(origin) == self.incarnation.id() {
            return;
        }
        if let Some(seq) = self.mark_forked(namespace, origin) {
            self.effects.push_back(Effect::Notice(Notice::Fork { namespace, origin, seq, peer }));
        }
    }

    /// Writes it into our vector, and so tells everyone; how far the log goes here, if that is news.
    fn mark_forked(&mut self, namespace: NamespaceId, origin: ReplicaId) -> Option<u64> {
        let mark = self.namespaces.get_mut(namespace)?.mark_forked(origin)?;
        self.commits.adopt(namespace, vec![(origin, mark)]);
        Some(mark.seq)
    }

    /// A peer's mark of our own log. It can never be ahead of us, nor differ, unless our history is not what we think
    /// it is: never adopt it and go on (I3).
    pub(super) fn judge_own(&mut self, peer: WorkerId, namespace: NamespaceId, mark: Mark) {
        let (Some(replica), Some(held)) = (self.incarnation.id(), self.namespaces.get(namespace)) else { return };
        let own = held.committed().mark(replica);
        let differs = held.own_hash(mark.seq).is_some_and(|hash| hash != mark.hash);
        if mark.seq == 0 || !(mark.seq > own.seq || own.shows_fork(mark) || differs) {
            return;
        }
        let reason = format!(
            "peer {peer} holds commit {} of this replica, which wrote {}: the data directory is older than its history, a \
             copy is or was running, or a peer has relayed what nobody wrote",
            mark.seq, own.seq
        );
        if self.incarnation.is_serving() {
            self.renew(peer, namespace, mark.seq, reason);
        } else {
            self.unproven(reason);
        }
    }

    /// A peer holds slots of ours that our log holds at `seq` at the latest: whatever it lacks of our log, it has seen that.
    pub(super) fn judge_rows(&mut self, peer: WorkerId, namespace: NamespaceId, seq: u64) {
        let own = self.namespaces.get(namespace).map(|held| held.own_mark(self.incarnation.id()));
        if let Some(own) = own.filter(|own| seq > own.seq) {
            self.judge_own(peer, namespace, Mark { seq, ..own });
        }
    }

    /// A peer's row holds more of our live slot than we wrote (I3).
    pub(super) fn own_slot_ahead(&mut self, peer: WorkerId, namespace: NamespaceId) {
        let seq = self.namespaces.get(namespace).map_or(0, |held| held.own_mark(self.incarnation.id()).seq);
        let reason = format!(
            "peer {peer} holds more of this replica's counters than it wrote: a copy of this data is or was running, or a \
             peer has relayed what nobody wrote"
        );
        self.renew(peer, namespace, seq, reason);
    }

    /// Somebody else has written to our log, or a peer says so; who lies and who copied a disk cannot be told apart here. What
    /// we wrote on under this replica id could be swallowed by those who believe the other history. So nothing more is, and
    /// work goes on under a new one: at once the first time, and then after a pause, and not for ever.
    fn renew(&mut self, peer: WorkerId, namespace: NamespaceId, seq: u64, reason: String) {
        let Some(replica) =
            self.incarnation.id().filter(|_| self.incarnation.is_serving() && !self.readiness.is_fenced())
        else {
            return;
        };
        if self.incarnation.forks.namespaces.insert(namespace) {
            self.effects.push_back(Effect::Notice(Notice::Fork { namespace, origin: replica, seq, peer }));
        }
        let Some(due) = self.incarnation.forks.due(self.now) else { return };
        self.pause_until(due);
        self.doubt_own();
        self.effects.push_back(Effect::Notice(Notice::Unproven { replica, reason }));
    }

    /// What is on its way under our replica id may be hidden by what another process wrote under it: clients are told that
    /// it is not known whether that counts.
    pub(super) fn doubt_own(&mut self) {
        let own = self.incarnation.id();
        self.incarnation.forks.doubted = own;
        self.release_acks();
    }

    /// Whether a write under this replica id must not be acknowledged any more.
    pub(super) fn is_doubted(&self, replica: ReplicaId) -> bool {
        self.incarnation.forks.doubted == Some(replica)
    }

    /// Another incarnation takes over from `former`, whose log is somebody else's from now on.
    pub(super) fn retire_own(&mut self, former: Option<ReplicaId>) {
        let namespaces = std::mem::take(&mut self.incarnation.forks.namespaces);
        for namespace in namespaces {
            // Reported when it was found.
            former.and_then(|former| self.mark_forked(namespace, former));
        }
    }
}
