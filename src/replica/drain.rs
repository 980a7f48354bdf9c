//! Draining: a node that shuts down refuses new work, commits what is in hand, and waits until some other region holds it.

use crate::identity::WorkerId;
use crate::section::Milliseconds;

use super::Replica;
use super::effect::Effect;
use super::message::Message;
use super::namespace::Namespace;
use super::peers::Neighbour;

/// A shutdown in progress.
#[derive(Debug)]
pub(super) struct Drain {
    /// When nobody waits any longer for other regions.
    deadline: u64,
    /// When nothing was left to commit: peers heard that we leave, and a last checkpoint is due.
    announced_at: Option<u64>,
    over: bool,
}

impl Drain {
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

impl Replica {
    pub(super) fn drain(&mut self) {
        if !self.readiness.is_draining() {
            let deadline = self.now + self.settings.tuning.drain.timeout.ms();
            self.readiness.begin_drain(Drain { deadline, announced_at: None, over: false });
            self.gossip.push_by(self.now);
            self.refuse_waiting();
        }
    }

    /// Refused new work, committed what was in hand; now some other region has to hold it, and the changed rows go to disk,
    /// so that the next start has nothing to replay.
    pub(super) fn advance_drain(&mut self) {
        let Some(expired) = self.drain_deadline().map(|deadline| self.now >= deadline) else { return };
        let safe = self.commits.is_idle() && self.loads.len() + self.waits.lined_up() == 0;
        let (holder, holder_of_all) = if safe { (self.holder(), self.holder_of_all()) } else { (None, None) };
        let disk_is_out = self.readiness.disk().is_out();
        let Some(drain) = self.readiness.drain_mut() else { return };
        if safe && drain.announced_at.is_none() {
            drain.announced_at = Some(self.now);
            self.gossip.push_by(self.now);
            self.checkpointing.due_at = self.now;
            let linked = self.gossip.linked();
            self.effects.extend(linked.map(|peer| Effect::Send { to: peer.worker, message: Message::Leaving }));
        }
        // Without room for a checkpoint, the next start replays the journal.
        let written = drain.announced_at.is_some_and(|since| disk_is_out || self.checkpointing.is_over(since));
        let held = holder.is_some() || self.settings.peers.is_empty() || self.now >= drain.deadline;
        if expired || (written && held) {
            drain.over = true;
            self.release_acks();
            self.effects.push_back(Effect::Drained(holder_of_all));
        }
    }

    /// When the drain is over in any case, if one is under way.
    pub(super) fn drain_deadline(&self) -> Option<u64> {
        self.readiness.drain().map(|drain| self.deadline_of(drain))
    }

    /// When a drain is over in any case. The last checkpoint has more time than the other regions, once it has begun.
    fn deadline_of(&self, drain: &Drain) -> u64 {
        match drain.announced_at {
            Some(since) if !self.checkpointing.is_over(since) => {
                drain.deadline + self.settings.tuning.drain.checkpoint.ms()
            }
            _ => drain.deadline,
        }
    }

    /// All that clients have asked for here is committed. What others have counted may be on its way to the disk.
    pub(super) fn owes_nothing(&self) -> bool {
        !self.commits.holds_own(self.settings.worker) && self.loads.batches() + self.waits.lined_up() == 0
    }

    /// A region other than ours of which a node holds all that this worker has ever committed. What the disk has of
    /// namespaces that are not configured is not exchanged, so nobody knows who holds that.
    pub(super) fn holder_of_all(&self) -> Option<u8> {
        self.holder().filter(|_| !self.namespaces.keeps_unconfigured())
    }

    /// The same of the namespaces that are configured: for more there is no use in waiting.
    fn holder(&self) -> Option<u8> {
        let others = self.gossip.peers().filter(|peer| self.is_abroad(peer.worker));
        others.filter(|peer| self.is_held_by(peer)).map(|peer| peer.worker.region()).min()
    }

    fn is_abroad(&self, worker: WorkerId) -> bool {
        worker.region() != self.settings.worker.region()
    }

    /// Earlier incarnations count as well: nobody may have heard of the last one yet. What no other region is to have at
    /// all cannot be held there.
    fn is_held_by(&self, peer: &Neighbour) -> bool {
        let abroad = |held: &&Namespace| self.settings.sharing(held.id()).any(|worker| self.is_abroad(worker));
        self.namespaces.iter().filter(abroad).all(|held| {
            let mut own = held.committed().iter().filter(|(origin, _)| origin.worker() == self.settings.worker);
            own.all(|(origin, mark)| peer.holds(held.id(), origin) >= mark.seq)
        })
    }
}
