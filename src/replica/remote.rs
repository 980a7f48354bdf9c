//! Records of other replicas: checked, merged, journalled under their own origin, acknowledged.

use std::collections::BTreeSet;

use snowtide_protocol::Key;

use crate::identity::{NamespaceId, Peer, ReplicaId, WorkerId};

use super::Replica;
use super::effect::{Effect, Notice};
use super::loads::Waiter;
use super::message::{Message, Refused};
use super::namespace::{Namespace, Verdict};
use super::record::Record;

impl Replica {
    /// A record from a peer, of its own log or of another's.
    pub(super) fn delta(&mut self, from: Peer, record: Record) {
        if Some(record.origin) == self.incarnation.id() {
            // I2: nobody else increases our slots. Whether a peer knows more of our log than we do is judged by
            // digests and proofs, which carry the hash.
            self.judge_own(from.worker, record.namespace, record.mark());
            return;
        }
        if record.after >= record.upto {
            self.bad_message(from.worker, "a delta that contains nothing");
            return;
        }
        if self.refusal_of_deltas() {
            return;
        }
        let (namespace, origin) = (record.namespace, record.origin);
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        if let Err(excess) = held.admits_origin(from.worker, origin) {
            return self.bad_message(from.worker, &excess.to_string());
        }
        if held.enqueue(from, record) {
            self.resume_origin(namespace, origin);
        }
    }

    /// Deltas are dropped while they, or the rows that they change, have no room (I6, I11); digests fetch them again.
    pub(super) fn refusal_of_deltas(&self) -> bool {
        self.readiness.disk().is_low()
            || self.lacks_room_for_changes()
            || self.loads.rows() >= self.settings.tuning.memory.loading_rows_max
    }

    /// Goes on with every origin whose deltas found the gathering commit full.
    pub(super) fn resume_incoming(&mut self) {
        let waiting = |held: &'_ Namespace| {
            let id = held.id();
            held.waiting_origins().map(|origin| (id, origin)).collect::<Vec<_>>()
        };
        let waiting: Vec<(NamespaceId, ReplicaId)> = self.namespaces.iter().flat_map(waiting).collect();
        for (namespace, origin) in waiting {
            self.resume_origin(namespace, origin);
        }
    }

    /// The rows that the first delta of `origin` waited for are there.
    pub(super) fn release_origin(&mut self, namespace: NamespaceId, origin: ReplicaId) {
        if let Some(held) = self.namespaces.get_mut(namespace) {
            held.rows_came(origin);
        }
        self.resume_origin(namespace, origin);
    }

    /// Takes the waiting deltas of `origin` in order, until one has to wait for rows or the commit is full (I4).
    pub(super) fn resume_origin(&mut self, namespace: NamespaceId, origin: ReplicaId) {
        while !self.is_full() && !self.readiness.disk().is_out() {
            let Some(held) = self.namespaces.get_mut(namespace) else { return };
            let Some((from, record)) = held.next_delta(origin) else { return };
            match held.judge(&record) {
                Verdict::Apply => self.try_apply(from, record),
                Verdict::Known => self.acknowledge_known(from.worker, namespace),
                Verdict::Fork => self.forked(from.worker, namespace, origin),
                Verdict::Forked => {}
                Verdict::Gap { known } => {
                    let refused = Message::Refused(Refused::Gap { namespace, origin, known });
                    self.effects.push_back(Effect::Send { to: from.worker, message: refused });
                    self.send_digest(from.worker);
                }
            }
        }
    }

    /// Applies a record that chains, or lets it wait for those of its rows that have to be loaded first.
    fn try_apply(&mut self, from: Peer, record: Record) {
        let Ok(changes) = record.changes() else {
            return self.bad_message(from.worker, "a delta whose slots do not decode");
        };
        if !self.find_rows(changes.iter().map(|change| (record.namespace, change.key))) {
            let keys: Result<Vec<Key>, _> = changes.iter().map(|change| Key::new(change.key)).collect();
            let Ok(keys) = keys else {
                return self.bad_message(from.worker, "a delta with an empty or an overlong key");
            };
            return self.await_delta_rows(from, record, &keys);
        }
        let Some(held) = self.namespaces.get_mut(record.namespace) else { return };
        let moment = (self.commits.number(), self.now);
        held.apply(&record, &changes, self.loads.found(), moment, self.commits.changed());
        self.fetched(&record);
        if self.hands_on(from.worker) {
            self.commits.add_onward(record.clone());
        }
        self.commits.add_record(from.worker, record);
    }

    fn await_delta_rows(&mut self, from: Peer, record: Record, keys: &[Key]) {
        self.load_rows(record.namespace, keys, Waiter::Delta(record.namespace, record.origin));
        if let Some(held) = self.namespaces.get_mut(record.namespace) {
            held.await_rows(from, record);
        }
    }

    /// Acknowledges what is known; if some of it is still being synced, then after that (I1).
    fn acknowledge_known(&mut self, to: WorkerId, namespace: NamespaceId) {
        if !self.commits.acknowledge_after(to, namespace) {
            self.acknowledge(&BTreeSet::from([(to, namespace)]));
        }
    }

    /// Tells peers our committed vectors.
    pub(super) fn acknowledge(&mut self, acks: &BTreeSet<(WorkerId, NamespaceId)>) {
        let mut workers: Vec<WorkerId> = acks.iter().map(|(worker, _)| *worker).collect();
        workers.dedup();
        for to in workers {
            let namespaces = acks.iter().filter(|(worker, _)| *worker == to);
            let vectors = namespaces
                .filter_map(|(_, namespace)| Some((*namespace, self.namespaces.get(*namespace)?.committed().clone())))
                .collect();
            self.effects.push_back(Effect::Send { to, message: Message::Ack(vectors) });
        }
    }

    pub(super) fn bad_message(&mut self, peer: WorkerId, reason: &str) {
        self.effects.push_back(Effect::Notice(Notice::BadMessage { peer, reason: reason.to_owned() }));
    }
}
