//! Records of other replicas: checked, merged, journalled under their own origin, acknowledged.

use std::collections::BTreeSet;

use snowtide_protocol::Key;

use crate::identity::{NamespaceId, Peer, ReplicaId, WorkerId};

use super::bounds;
use super::commit::Changed;
use super::effect::{Effect, Notice};
use super::message::{Message, Refused};
use super::record::Record;
use super::{Replica, Space};

/// What is to be done with a record, by I4.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It chains to what is applied and brings something new.
    Apply,
    /// Everything in it is known; say so, in case an acknowledgement was lost.
    Known,
    /// Known, but with another history behind it.
    Fork,
    /// Its log is known to have forked: only repair brings more of it.
    Forked,
    /// Something before it is missing.
    Gap { known: u64 },
}

fn judge(space: &Space, record: &Record) -> Verdict {
    let applied = space.applied.mark(record.origin);
    if applied.is_forked() {
        Verdict::Forked
    } else if record.upto == applied.seq && record.hash != applied.hash {
        Verdict::Fork
    } else if record.upto <= applied.seq {
        Verdict::Known
    } else if record.after > applied.seq {
        Verdict::Gap { known: applied.seq }
    } else {
        Verdict::Apply
    }
}

impl Replica {
    /// A record from a peer, of its own log or of another's.
    pub(super) fn delta(&mut self, from: Peer, record: Record) {
        if Some(record.origin) == self.replica {
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
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        if let Err(excess) = bounds::admits(&space.applied, &space.reach, from.worker, origin) {
            return self.bad_message(from.worker, &excess.to_string());
        }
        let idle = space.incoming.get(&origin).is_none_or(|queue| queue.is_empty());
        if space.enqueue(from, record) && idle {
            self.resume_origin(namespace, origin);
        }
    }

    /// Deltas are dropped while they, or the rows that they change, have no room (I6, I11); digests fetch them again.
    pub(super) fn refusal_of_deltas(&self) -> bool {
        self.disk.is_low()
            || self.checkpointing.dirty_rows >= self.settings.tuning.checkpoint.dirty_rows_max
            || self.works.loading_rows() >= self.settings.tuning.cache.loading_rows_max
    }

    /// Goes on with every origin whose deltas found the gathering commit full.
    pub(super) fn resume_incoming(&mut self) {
        let waiting: Vec<(NamespaceId, ReplicaId)> = self
            .spaces
            .values()
            .flat_map(|space| space.incoming.keys().map(|origin| (space.id, *origin)))
            .filter(|held| !self.held.contains(held))
            .collect();
        for (namespace, origin) in waiting {
            self.resume_origin(namespace, origin);
        }
    }

    /// The rows that the first delta of `origin` waited for are there.
    pub(super) fn release_origin(&mut self, namespace: NamespaceId, origin: ReplicaId) {
        self.held.remove(&(namespace, origin));
        self.resume_origin(namespace, origin);
    }

    /// Takes the waiting deltas of `origin` in order, until one has to wait for rows or the commit is full (I4).
    pub(super) fn resume_origin(&mut self, namespace: NamespaceId, origin: ReplicaId) {
        if self.held.contains(&(namespace, origin)) {
            return;
        }
        while !self.is_full() && !self.disk.is_out() {
            let Some(space) = self.spaces.get_mut(&namespace) else { return };
            let Some((from, record)) = space.incoming.get_mut(&origin).and_then(|queue| queue.pop_front()) else {
                space.incoming.remove(&origin);
                return;
            };
            match judge(space, &record) {
                Verdict::Apply => match self.try_apply(from, record) {
                    Some(record) => {
                        self.held.insert((namespace, origin));
                        if let Some(space) = self.spaces.get_mut(&namespace) {
                            space.incoming.entry(origin).or_default().push_front((from, record));
                        }
                        return;
                    }
                    None => continue,
                },
                Verdict::Known => {
                    self.acknowledge_known(from.worker, namespace);
                }
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

    /// Applies a record that chains; gives it back if some of its rows have to be loaded first.
    fn try_apply(&mut self, from: Peer, record: Record) -> Option<Record> {
        let Ok(changes) = record.changes() else {
            self.bad_message(from.worker, "a delta whose slots do not decode");
            return None;
        };
        if !self.find_rows(changes.iter().map(|change| (record.namespace, change.key))) {
            let keys: Result<Vec<Key>, _> = changes.iter().map(|change| Key::new(change.key)).collect();
            let Ok(keys) = keys else {
                self.bad_message(from.worker, "a delta with an empty or an overlong key");
                return None;
            };
            self.load_for_delta(record.namespace, record.origin, &keys);
            return Some(record);
        }
        let number = self.commits.gathering.number;
        let space = self.spaces.get_mut(&record.namespace)?;
        for (change, row) in changes.into_iter().zip(&self.works.found) {
            let Some(row) = *row else { continue };
            if space.rows.get_mut(row).apply(record.origin, change.slot, number) {
                let (namespace, replica, seq) = (record.namespace, record.origin, Some(record.upto));
                self.commits.gathering.foreign.push(Changed { namespace, row, replica, slot: change.slot, seq });
            }
        }
        space.applied.advance(record.origin, record.mark());
        space.moved(record.origin, self.now);
        self.commits.gathering.acks.insert((from.worker, record.namespace));
        self.fetched(&record);
        if self.hands_on(from.worker) {
            self.commits.gathering.onward.push(record.clone());
        }
        self.commits.gathering.add_record(record);
        None
    }

    /// Acknowledges what is known; if some of it is still being synced, then after that (I1).
    fn acknowledge_known(&mut self, to: WorkerId, namespace: NamespaceId) {
        if !self.commits.gathering.is_empty() {
            self.commits.gathering.acks.insert((to, namespace));
        } else if let Some(inflight) = &mut self.commits.inflight {
            inflight.acks.insert((to, namespace));
        } else {
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
                .filter_map(|(_, namespace)| Some((*namespace, self.spaces.get(namespace)?.vector.clone())))
                .collect();
            self.effects.push_back(Effect::Send { to, message: Message::Ack(vectors) });
        }
    }

    pub(super) fn bad_message(&mut self, peer: WorkerId, reason: &str) {
        self.effects.push_back(Effect::Notice(Notice::BadMessage { peer, reason: reason.to_owned() }));
    }
}
