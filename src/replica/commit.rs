//! The commit being gathered and the one being synced: one at a time, so that while commit N syncs N+1 gathers.
//!
//! I1: answers and acknowledgements leave only through [`Synced`], which exists only once the sync has been reported.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::{Kind, Mark, Slot};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::section::{Bytes, Milliseconds};

use super::Replica;
use super::census::Census;
use super::effect::{Commit, Effect, Job, Repaired};
use super::event::Ticket;
use super::idempotency::Answered;
use super::message::RepairedRow;
use super::namespace::{Changed, WARMED};
use super::operation::Outcome;
use super::reach::Reach;
use super::record::Record;
use super::rows::RowId;
use super::terms::Owed;

/// Bytes that a changed slot takes in a record beside its key, about.
const CHANGE_BYTES: usize = Slot::BYTES_MAX + 6;

/// An answer that waits for a commit.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) outcomes: Vec<Outcome>,
    /// Under which incarnation it changed counters, if it did.
    pub(super) wrote: Option<ReplicaId>,
    /// What else is to be told and waited for; `None` without terms.
    pub(super) owed: Option<Box<Owed>>,
}

/// What repair brought to one namespace: rows, and how far a finished session moves the vector.
#[derive(Debug, Default)]
pub(super) struct Brought {
    rows: Vec<RepairedRow>,
    reach: BTreeMap<ReplicaId, u64>,
    adopted: Vec<(ReplicaId, Mark)>,
}

/// What belongs to one commit.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// 1, 2, 3, … within this boot.
    pub(super) number: u64,
    /// Rows whose own slot changes; the slot's value is taken when the commit closes.
    pub(super) own: BTreeMap<NamespaceId, Vec<RowId>>,
    /// Slots of others, as their records say.
    pub(super) foreign: Vec<Changed>,
    /// The records of others, to be journalled under their own origin.
    pub(super) records: Vec<Record>,
    /// Those of them that the rest of our region has from us.
    pub(super) onward: Vec<Record>,
    /// Requests that may be repeated, and what is answered.
    pub(super) answered: Vec<Answered>,
    /// What repair brought.
    pub(super) repaired: BTreeMap<NamespaceId, Brought>,
    /// Whom to acknowledge records, and in which namespaces.
    pub(super) acks: BTreeSet<(WorkerId, NamespaceId)>,
    /// Answers that may leave once this is synced.
    pub(super) answers: Vec<Waiting>,
    /// Counters that clients make with it.
    fresh: BTreeMap<NamespaceId, Census>,
    bytes: usize,
}

impl Gathered {
    pub(super) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Whether there is nothing to sync. Answers alone never wait for a commit without changes.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.records.is_empty() && self.repaired.is_empty() && self.answered.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add_own(&mut self, namespace: NamespaceId, row: RowId, key_bytes: usize) {
        self.own.entry(namespace).or_default().push(row);
        self.bytes += key_bytes + CHANGE_BYTES;
    }

    pub(super) fn add_fresh(&mut self, namespace: NamespaceId, key_bytes: usize) {
        self.fresh.entry(namespace).or_default().add(key_bytes);
    }

    pub(super) fn add_answered(&mut self, done: Answered) {
        self.bytes += CHANGE_BYTES * (2 + done.outcomes.len());
        self.answered.push(done);
    }

    pub(super) fn add_record(&mut self, record: Record) {
        self.bytes += record.weight();
        self.records.push(record);
    }

    /// A row, whose slots are covered by the seqs that `reach` tells.
    pub(super) fn add_repaired(&mut self, namespace: NamespaceId, row: RepairedRow, reach: &Reach) {
        self.bytes += row.key.len() + row.row.slots().len() * CHANGE_BYTES;
        let brought = self.repaired.entry(namespace).or_default();
        brought
            .reach
            .extend(row.row.slots().iter().map(|(origin, _)| (*origin, reach.of(*origin))).filter(|(_, seq)| *seq > 0));
        brought.rows.push(row);
    }

    /// I4: everything up to these marks is in this commit or in an earlier one.
    pub(super) fn adopt(&mut self, namespace: NamespaceId, marks: Vec<(ReplicaId, Mark)>) {
        self.repaired.entry(namespace).or_default().adopted.extend(marks);
    }

    /// The records of the local kind, numbered on from `last`.
    pub(super) fn take_repaired(&mut self, last: &mut u64) -> Vec<Repaired> {
        let taken = std::mem::take(&mut self.repaired).into_iter();
        let numbered = taken.map(|(namespace, Brought { rows, reach, adopted })| {
            *last += 1;
            Repaired { namespace, number: *last, rows, reach: reach.into_iter().collect(), adopted }
        });
        numbered.collect()
    }
}

/// A commit on its way to the disk.
#[derive(Debug)]
pub(super) struct Inflight {
    pub(super) number: u64,
    pub(super) changed: Vec<Changed>,
    pub(super) records: Vec<Record>,
    /// Where repair moves the vector.
    pub(super) adopted: Vec<(NamespaceId, Vec<(ReplicaId, Mark)>)>,
    /// The number of the last record of the local kind in this or an earlier commit.
    pub(super) repaired: u64,
    pub(super) acks: BTreeSet<(WorkerId, NamespaceId)>,
    pub(super) onward: Vec<Record>,
    pub(super) answered: Vec<Answered>,
    pub(super) answers: Vec<Waiting>,
    fresh: BTreeMap<NamespaceId, Census>,
}

/// The two commits that are not finished.
#[derive(Debug)]
pub(super) struct Commits {
    pub(super) gathering: Gathered,
    pub(super) inflight: Option<Inflight>,
    /// When the gathering commit closes, if nobody waits for it.
    pub(super) linger_until: Option<u64>,
    /// The number of the last record of the local kind.
    repaired: u64,
    /// The last of them that is synced.
    repaired_synced: u64,
}

impl Replica {
    /// Whether the gathering commit stays open although it could be synced: a commit on which nobody waits is synced
    /// only every `commit.interval`, so that one sync serves many changes.
    pub(super) fn lingers(&mut self) -> bool {
        let unsynced = |namespace| self.settings.unsynced.contains(namespace);
        let gathering = &self.commits.gathering;
        let unawaited = gathering.own.keys().all(unsynced)
            && gathering.records.iter().all(|record| unsynced(&record.namespace))
            && gathering.repaired.is_empty()
            && gathering.answered.is_empty()
            && gathering.answers.is_empty();
        if !unawaited || self.is_full() || self.readiness.is_draining() {
            return false;
        }
        let until = self.now.saturating_add(self.settings.tuning.commit.interval.ms());
        self.now < *self.commits.linger_until.get_or_insert(until)
    }

    /// The gathering commit has reached its bound.
    pub(super) fn is_full(&self) -> bool {
        self.commits.gathering.bytes() >= self.settings.tuning.commit.bytes_max.bytes()
    }

    /// Closes the gathering commit if it holds anything and none is being synced.
    pub(super) fn close_commit(&mut self) {
        if self.commits.inflight.is_some() || self.commits.gathering.is_empty() || self.lingers() {
            return;
        }
        self.commits.linger_until = None;
        let next = Gathered::new(self.commits.gathering.number + 1);
        let mut closed = std::mem::replace(&mut self.commits.gathering, next);
        let repaired = closed.take_repaired(&mut self.commits.repaired);
        let adopted = repaired.iter().map(|record| (record.namespace, record.adopted.clone())).collect();
        let mut changed = closed.foreign;
        let mut records = closed.records;
        for (namespace, rows) in closed.own {
            let held = self.namespaces.get_mut(namespace).zip(self.incarnation.id());
            records.extend(held.map(|(held, replica)| held.close_own(replica, &rows, &mut changed)));
        }
        self.effects.push_back(Effect::Disk(Job::Commit(Commit {
            number: closed.number,
            records: records.clone(),
            repaired,
            answered: closed.answered.clone(),
            forgotten: self.idempotency.take_forgotten(),
        })));
        self.commits.inflight = Some(Inflight {
            number: closed.number,
            changed,
            records,
            adopted,
            repaired: self.commits.repaired,
            acks: closed.acks,
            onward: closed.onward,
            answered: closed.answered,
            answers: closed.answers,
            fresh: closed.fresh,
        });
    }

    /// A slot's change is synced, and with it part of the committed row.
    fn settle_slot(&mut self, changed: Changed) {
        let Changed { namespace, row, replica, slot, seq } = changed;
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let committed = held.commit_slot(&self.settings.hasher, &changed);
        self.checkpointing.dirty_rows += usize::from(committed.dirtied);
        if let Some(seq) = seq.filter(|_| committed.followed) {
            let floor = self.floor(namespace, replica);
            if let Some(held) = self.namespaces.get_mut(namespace) {
                held.follow_on(row, replica, (seq, slot), floor);
            }
        }
    }

    /// See [`super::rows::Rows::warm`]; the leaves of the rows too.
    fn warm(&self, group: &[Changed]) {
        let held = group.iter().filter_map(|changed| Some((self.namespaces.get(changed.namespace)?, changed.row)));
        held.clone().for_each(|(namespace, row)| namespace.warm_row(row));
        held.for_each(|(namespace, row)| namespace.warm_leaf(row));
    }

    /// I1: only from here on is the commit visible to anyone.
    pub(super) fn committed(&mut self, number: u64) {
        let Some(done) = self.commits.finish(number) else { return };
        for group in done.changed.chunks(WARMED) {
            self.warm(group);
            group.iter().for_each(|changed| self.settle_slot(*changed));
        }
        for record in done.records {
            let own = Some(record.origin) == self.incarnation.id();
            if own {
                self.gossip.push_later(self.now + self.settings.tuning.gossip.interval.ms());
            }
            if let Some(held) = self.namespaces.get_mut(record.namespace) {
                held.commit(record, own);
            }
        }
        self.commits.repaired_synced = done.repaired;
        for (namespace, marks) in done.adopted {
            if let Some(held) = self.namespaces.get_mut(namespace) {
                held.commit_adopted(marks);
            }
        }
        self.waits.stirred = true;
        for answered in done.answered {
            self.settle_answered(answered);
        }
        done.answers.into_iter().for_each(|waiting| self.answer(waiting));
        self.acknowledge(&done.acks);
        self.hand_on(done.onward);
    }
}

impl Commits {
    /// `repaired` is the number of the last record of the local kind that recovery found.
    pub(super) fn new(repaired: u64) -> Self {
        let gathering = Gathered::new(1);
        Self { gathering, inflight: None, linger_until: None, repaired, repaired_synced: repaired }
    }

    /// The last record of the local kind that is synced.
    pub(super) fn repaired_synced(&self) -> u64 {
        self.repaired_synced
    }

    /// Lets an answer wait until commit `number` is synced; gives it back if that has happened already.
    pub(super) fn hold(&mut self, number: u64, waiting: Waiting) -> Option<Waiting> {
        if number == self.gathering.number {
            self.gathering.answers.push(waiting);
            return None;
        }
        match &mut self.inflight {
            Some(inflight) if inflight.number == number => {
                inflight.answers.push(waiting);
                None
            }
            _ => Some(waiting),
        }
    }

    /// The last commit that is synced.
    pub(super) fn synced(&self) -> u64 {
        self.inflight.as_ref().map_or(self.gathering.number, |inflight| inflight.number).saturating_sub(1)
    }

    /// The commit after which everything applied so far is durable.
    pub(super) fn barrier(&self) -> u64 {
        if self.gathering.is_empty() { self.gathering.number - 1 } else { self.gathering.number }
    }

    /// Counters of a namespace that clients have made and that are not committed yet.
    pub(super) fn fresh(&self, namespace: NamespaceId) -> Census {
        let mut fresh = self.gathering.fresh.get(&namespace).copied().unwrap_or_default();
        let inflight = self.inflight.as_ref().and_then(|inflight| inflight.fresh.get(&namespace));
        fresh.join(inflight.copied().unwrap_or_default());
        fresh
    }

    /// Nothing is gathered or being synced.
    pub(super) fn is_idle(&self) -> bool {
        self.inflight.is_none() && self.gathering.is_empty()
    }

    /// Takes the finished commit; `None` if `number` is not the one that is being synced.
    pub(super) fn finish(&mut self, number: u64) -> Option<Inflight> {
        self.inflight.take_if(|inflight| inflight.number == number)
    }
}
