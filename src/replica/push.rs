//! Pushing: own commits go to every linked peer that has them from us, and records that a peer asked for come from disk.

use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::section::Bytes;

use super::Replica;
use super::effect::{Effect, Job};
use super::event::JournalRead;
use super::message::{Message, Refused};
use super::record::coalesce;

/// One delta carries about this much, so that a slow link is not held up by one message.
pub(super) const DELTA_BYTES: usize = 1 << 20;

impl Replica {
    /// Pushes own commits to every linked peer that has them from us, as far as its window allows.
    pub(super) fn advance_pushes(&mut self) {
        if self.gossip.is_gathering() {
            // Commits are still being gathered; they all go together.
            return;
        }
        let Some(replica) = self.incarnation.id() else { return };
        let linked: Vec<WorkerId> = self.gossip.linked_workers();
        for worker in linked {
            let shared = self.gossip.peer(worker).into_iter().flat_map(|peer| peer.shared.iter().copied());
            let ours: Vec<NamespaceId> = shared.filter(|namespace| self.pushes_to(worker, *namespace)).collect();
            for namespace in ours {
                while self.push_one(worker, namespace, replica) {}
            }
            self.note_lag(worker);
        }
    }

    /// Sends the next own delta; false if there is none, or no room, or it has to come from disk first.
    fn push_one(&mut self, worker: WorkerId, namespace: NamespaceId, replica: ReplicaId) -> bool {
        let (Some(peer), Some(held)) = (self.gossip.peer_mut(worker), self.namespaces.get_mut(namespace)) else {
            return false;
        };
        let room = self.settings.tuning.gossip.inflight_bytes_max.bytes().saturating_sub(peer.sending.inflight_bytes());
        let reading = peer.sending.is_reading((namespace, replica));
        let Some(push) = peer.sending.own_mut(namespace).filter(|push| push.ready) else { return false };
        let after = push.sent;
        if room == 0 || reading || after >= held.committed().mark(replica).seq {
            return false;
        }
        let bytes_max = room.min(DELTA_BYTES);
        let Some(record) = held.own_after(after, bytes_max) else {
            self.read_journal(worker, namespace, replica, after, bytes_max);
            return false;
        };
        push.sent(record.upto, record.weight(), self.now);
        self.effects.push_back(Effect::Send { to: worker, message: Message::Delta(record) });
        true
    }

    /// Reads records for a peer from disk, one read at a time for each log.
    pub(super) fn read_journal(
        &mut self,
        to: WorkerId,
        namespace: NamespaceId,
        origin: ReplicaId,
        after: u64,
        bytes_max: usize,
    ) {
        let Some(peer) = self.gossip.peer_mut(to) else { return };
        if peer.sending.begin_reading((namespace, origin)) {
            self.effects.push_back(Effect::Disk(Job::ReadJournal { to, namespace, origin, after, bytes_max }));
        }
    }

    pub(super) fn journal_read(&mut self, read: JournalRead) {
        let JournalRead { to, namespace, origin, after, records, whole_from } = read;
        let Some(peer) = self.gossip.peer_mut(to) else { return };
        if !peer.sending.end_reading((namespace, origin)) || !peer.up {
            return;
        }
        if let Some(record) = coalesce(after, &records) {
            let own = Some(origin) == self.incarnation.id();
            if let Some(push) = peer.sending.own_mut(namespace).filter(|push| own && push.ready) {
                push.sent(record.upto, record.weight(), self.now);
            }
            self.effects.push_back(Effect::Send { to, message: Message::Delta(record) });
            self.advance_pushes();
        } else if let Some(from) = whole_from {
            // What is missing in between is not to be had here: the next digest tells whether that has changed.
            if let Some(push) = peer.sending.own_mut(namespace).filter(|_| Some(origin) == self.incarnation.id()) {
                push.pause();
            }
            let refused = Message::Refused(Refused::NotWhole { namespace, origin, from });
            self.effects.push_back(Effect::Send { to, message: refused });
        }
    }
}
