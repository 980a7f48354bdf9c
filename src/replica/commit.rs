//! The commit being gathered and the one being synced: one at a time, so that while commit N syncs N+1 gathers.
//!
//! I1: answers and acknowledgements leave only through [`Synced`], which exists only once the sync has been reported.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::{Mark, Slot};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::section::{Bytes, Milliseconds};

use super::Replica;
use super::census::Census;
use super::effect::{Commit, Effect, Job, Repaired};
use super::event::Ticket;
use super::message::RepairedRow;
use super::once::Done;
use super::operation::Outcome;
use super::reach::Reach;
use super::record::{Change, Payload, Record};
use super::rows::RowId;
use super::terms::Owed;

/// Bytes that a changed slot takes in a record beside its key, at most.
const CHANGE_BYTES: usize = 24;

/// Rows that are fetched from memory at a time.
const WARMED: usize = 16;

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

/// One slot that a commit changes, with the absolute value that it journals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    pub(super) namespace: NamespaceId,
    pub(super) row: RowId,
    pub(super) replica: ReplicaId,
    pub(super) slot: Slot,
    /// The seq of the replica's log at which the slot has this value; `None` if it came by repair.
    pub(super) seq: Option<u64>,
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
    pub(super) onces: Vec<Done>,
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
        self.own.is_empty() && self.records.is_empty() && self.repaired.is_empty() && self.onces.is_empty()
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

    pub(super) fn add_once(&mut self, done: Done) {
        self.bytes += CHANGE_BYTES * (2 + done.outcomes.len());
        self.onces.push(done);
    }

    pub(super) fn add_record(&mut self, record: Record) {
        self.bytes += record.weight();
        self.records.push(record);
    }

    /// A row, whose slots are covered by the seqs that `reach` tells.
    pub(super) fn add_repaired(&mut self, namespace: NamespaceId, row: RepairedRow, reach: &Reach) {
        self.bytes += row.key.len() + row.slots.len() * CHANGE_BYTES;
        let brought = self.repaired.entry(namespace).or_default();
        brought
            .reach
            .extend(row.slots.iter().map(|(origin, _)| (*origin, reach.of(*origin))).filter(|(_, seq)| *seq > 0));
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
    pub(super) onces: Vec<Done>,
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
            && gathering.onces.is_empty()
            && gathering.answers.is_empty();
        if !unawaited || self.is_full() || self.draining.is_some() {
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
        let repaired = closed.take_repaired(&mut self.repairs.numbered);
        let adopted = repaired.iter().map(|record| (record.namespace, record.adopted.clone())).collect();
        let mut changed = closed.foreign;
        let mut records = closed.records;
        for (namespace, rows) in closed.own {
            records.extend(self.own_record(namespace, &rows, &mut changed));
        }
        self.effects.push_back(Effect::Disk(Job::Commit(Commit {
            number: closed.number,
            records: records.clone(),
            repaired,
            onces: closed.onces.clone(),
            forgotten: self.onces.take_forgotten(),
        })));
        self.commits.inflight = Some(Inflight {
            number: closed.number,
            changed,
            records,
            adopted,
            repaired: self.repairs.numbered,
            acks: closed.acks,
            onward: closed.onward,
            onces: closed.onces,
            answers: closed.answers,
            fresh: closed.fresh,
        });
    }

    /// The record of our own slots of these rows, as they are now.
    fn own_record(&mut self, namespace: NamespaceId, rows: &[usize], changed: &mut Vec<Changed>) -> Option<Record> {
        let replica = self.replica?;
        let space = self.spaces.get_mut(&namespace)?;
        let before = space.applied.mark(replica);
        let mut changes = Vec::with_capacity(rows.len());
        for group in rows.chunks(WARMED) {
            space.rows.warm(group.iter().copied());
            for row in group {
                let cell = space.rows.get(*row);
                let slot = cell.working_slot(replica);
                changes.push(Change { key: &cell.key, slot });
                changed.push(Changed { namespace, row: *row, replica, slot, seq: Some(before.seq + 1) });
            }
        }
        let payload = Payload::encode(&changes);
        let record = Record {
            namespace,
            origin: replica,
            after: before.seq,
            upto: before.seq + 1,
            hash: before.hash.then(&payload.0),
            payload,
        };
        space.applied.advance(replica, record.mark());
        Some(record)
    }

    /// A slot's change is synced, and with it part of the committed row.
    fn settle_slot(&mut self, Changed { namespace, row, replica, slot, seq }: Changed) {
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        let cell = space.rows.get_mut(row);
        let absent = cell.row.is_empty();
        let grown = cell.settle(&self.settings.hasher, replica, slot);
        if absent && !cell.row.is_empty() {
            space.census.add(cell.key.len());
        }
        space.tree.add(cell.place.leaf(), grown);
        let followed = !cell.trails().is_empty();
        self.checkpointing.dirty_rows += usize::from(space.rows.changed(row));
        if let Some(seq) = seq.filter(|_| followed) {
            self.follow_on(namespace, row, replica, (seq, slot));
        }
    }

    /// See [`rows::Rows::warm`]; the leaves of the rows too.
    fn warm(&self, group: &[Changed]) {
        let held = group.iter().filter_map(|changed| Some((self.spaces.get(&changed.namespace)?, changed.row)));
        held.clone().for_each(|(space, row)| space.rows.warm([row]));
        held.for_each(|(space, row)| {
            std::hint::black_box(space.tree.leaf(space.rows.get(row).place.leaf()));
        });
    }

    /// I1: only from here on is the commit visible to anyone.
    pub(super) fn committed(&mut self, number: u64) {
        let Some(done) = self.commits.finish(number) else { return };
        for group in done.changed.chunks(WARMED) {
            self.warm(group);
            group.iter().for_each(|changed| self.settle_slot(*changed));
        }
        for record in done.records {
            let own = Some(record.origin) == self.replica;
            if own {
                self.push_at.get_or_insert(self.now + self.settings.tuning.gossip.interval.ms());
            }
            if let Some(space) = self.spaces.get_mut(&record.namespace) {
                space.committed(record, own);
            }
        }
        self.repairs.synced = done.repaired;
        for (namespace, marks) in done.adopted {
            let Some(space) = self.spaces.get_mut(&namespace) else { continue };
            marks.into_iter().for_each(|(origin, mark)| {
                space.vector.advance(origin, mark);
            });
        }
        self.waits.stirred = true;
        for once in done.onces {
            self.settle_once(once);
        }
        done.answers.into_iter().for_each(|waiting| self.answer(waiting));
        self.acknowledge(&done.acks);
        self.hand_on(done.onward);
    }
}

impl Commits {
    pub(super) fn new() -> Self {
        Self { gathering: Gathered::new(1), inflight: None, linger_until: None }
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
