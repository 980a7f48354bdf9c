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

/// What belongs to one commit, from when it is gathered until it is synced.
#[derive(Debug, Default)]
struct Gathered {
    /// 1, 2, 3, … within this boot.
    number: u64,
    /// Rows whose own slot changes; the slot's value is taken when the commit closes.
    own: BTreeMap<NamespaceId, Vec<RowId>>,
    /// Slots that change: those of others, as their records say, and from when the commit closes our own.
    changed: Vec<Changed>,
    /// The records of others, to be journalled under their own origin, and from when the commit closes our own.
    records: Vec<Record>,
    /// Those of others that the rest of our region has from us.
    onward: Vec<Record>,
    /// Requests that may be repeated, and what is answered.
    answered: Vec<Answered>,
    /// What repair brought.
    repaired: BTreeMap<NamespaceId, Brought>,
    /// Whom to acknowledge records, and in which namespaces.
    acks: BTreeSet<(WorkerId, NamespaceId)>,
    /// Answers that may leave once this is synced.
    answers: Vec<Waiting>,
    /// Counters that clients make with it.
    fresh: BTreeMap<NamespaceId, Census>,
    bytes: usize,
}

impl Gathered {
    fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Whether there is nothing to sync. Answers alone never wait for a commit without changes.
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.records.is_empty() && self.repaired.is_empty() && self.answered.is_empty()
    }

    /// Whether somebody waits for it to be synced, where `unsynced` tells the namespaces in which nobody does.
    fn is_awaited(&self, unsynced: &BTreeSet<NamespaceId>) -> bool {
        let awaited = |namespace: &NamespaceId| !unsynced.contains(namespace);
        self.own.keys().any(awaited)
            || self.records.iter().any(|record| awaited(&record.namespace))
            || !(self.repaired.is_empty() && self.answered.is_empty() && self.answers.is_empty())
    }

    /// The records of the local kind, numbered on from `last`. The marks that they adopt stay, until the commit is synced.
    fn take_repaired(&mut self, last: &mut u64) -> Vec<Repaired> {
        let numbered = self.repaired.iter_mut().map(|(namespace, brought)| {
            *last += 1;
            let (rows, reach) = (std::mem::take(&mut brought.rows), std::mem::take(&mut brought.reach));
            let (reach, adopted) = (reach.into_iter().collect(), brought.adopted.clone());
            Repaired { namespace: *namespace, number: *last, rows, reach, adopted }
        });
        numbered.collect()
    }
}

/// The two commits that are not finished.
#[derive(Debug)]
pub(super) struct Commits {
    gathering: Gathered,
    /// On its way to the disk.
    inflight: Option<Gathered>,
    /// When the gathering commit closes, if nobody waits for it.
    linger_until: Option<u64>,
    /// The number of the last record of the local kind.
    repaired: u64,
    /// The last of them that is synced.
    repaired_synced: u64,
}

impl Commits {
    /// `repaired` is the number of the last record of the local kind that recovery found.
    pub(super) fn new(repaired: u64) -> Self {
        let gathering = Gathered::new(1);
        Self { gathering, inflight: None, linger_until: None, repaired, repaired_synced: repaired }
    }

    /// The number of the commit that is being gathered.
    pub(super) fn number(&self) -> u64 {
        self.gathering.number
    }

    /// Slots of others that change with it.
    pub(super) fn changed(&mut self) -> &mut Vec<Changed> {
        &mut self.gathering.changed
    }

    /// Our own slot of a row changes.
    pub(super) fn add_own(&mut self, namespace: NamespaceId, row: RowId, key_bytes: usize) {
        self.gathering.own.entry(namespace).or_default().push(row);
        self.gathering.bytes += key_bytes + CHANGE_BYTES;
    }

    /// A client makes a counter.
    pub(super) fn add_fresh(&mut self, namespace: NamespaceId, key_bytes: usize) {
        self.gathering.fresh.entry(namespace).or_default().add(key_bytes);
    }

    pub(super) fn add_answered(&mut self, done: Answered) {
        self.gathering.bytes += CHANGE_BYTES * (2 + done.outcomes.len());
        self.gathering.answered.push(done);
    }

    /// A record from a peer, which hears once it is synced.
    pub(super) fn add_record(&mut self, from: WorkerId, record: Record) {
        self.gathering.acks.insert((from, record.namespace));
        self.gathering.bytes += record.weight();
        self.gathering.records.push(record);
    }

    /// The rest of our region has this record from us, once it is synced.
    pub(super) fn add_onward(&mut self, record: Record) {
        self.gathering.onward.push(record);
    }

    /// A row, whose slots are covered by the seqs that `reach` tells.
    pub(super) fn add_repaired(&mut self, namespace: NamespaceId, row: RepairedRow, reach: &Reach) {
        let slots = row.row.slots();
        self.gathering.bytes += row.key.len() + slots.len() * CHANGE_BYTES;
        let brought = self.gathering.repaired.entry(namespace).or_default();
        brought.reach.extend(slots.iter().map(|(origin, _)| (*origin, reach.of(*origin))).filter(|(_, seq)| *seq > 0));
        brought.rows.push(row);
    }

    /// I4: everything up to these marks is in this commit or in an earlier one.
    pub(super) fn adopt(&mut self, namespace: NamespaceId, marks: Vec<(ReplicaId, Mark)>) {
        self.gathering.repaired.entry(namespace).or_default().adopted.extend(marks);
    }

    /// Has a peer hear how far a namespace is known here once everything applied so far is synced; false if it is already.
    pub(super) fn acknowledge_after(&mut self, to: WorkerId, namespace: NamespaceId) -> bool {
        let gathering = Some(&mut self.gathering).filter(|gathering| !gathering.is_empty());
        let last = gathering.or(self.inflight.as_mut());
        last.map(|commit| commit.acks.insert((to, namespace))).is_some()
    }

    /// The last record of the local kind that is synced.
    pub(super) fn repaired_synced(&self) -> u64 {
        self.repaired_synced
    }

    /// Lets an answer wait until commit `number` is synced; gives it back if that has happened already.
    pub(super) fn hold(&mut self, number: u64, waiting: Waiting) -> Option<Waiting> {
        let mut unfinished = [Some(&mut self.gathering), self.inflight.as_mut()].into_iter().flatten();
        match unfinished.find(|commit| commit.number == number) {
            Some(commit) => {
                commit.answers.push(waiting);
                None
            }
            None => Some(waiting),
        }
    }

    /// The last commit that is synced.
    pub(super) fn synced(&self) -> u64 {
        self.inflight.as_ref().unwrap_or(&self.gathering).number.saturating_sub(1)
    }

    /// The commit after which everything applied so far is durable.
    pub(super) fn barrier(&self) -> u64 {
        if self.gathering.is_empty() { self.gathering.number - 1 } else { self.gathering.number }
    }

    /// Counters of a namespace that clients have made and that are not committed yet.
    pub(super) fn fresh(&self, namespace: NamespaceId) -> Census {
        let unfinished = [Some(&self.gathering), self.inflight.as_ref()].into_iter().flatten();
        unfinished.filter_map(|commit| commit.fresh.get(&namespace)).fold(Census::default(), |mut all, fresh| {
            all.join(*fresh);
            all
        })
    }

    /// Whether the gathering commit can go to the disk, and holds anything.
    pub(super) fn may_close(&self) -> bool {
        self.inflight.is_none() && !self.gathering.is_empty()
    }

    /// When it goes there although nobody waits for it.
    pub(super) fn linger_deadline(&self) -> Option<u64> {
        self.linger_until.filter(|_| self.inflight.is_none())
    }

    /// Nothing is gathered or being synced.
    pub(super) fn is_idle(&self) -> bool {
        self.inflight.is_none() && self.gathering.is_empty()
    }

    /// Whether the gathering commit will hold a record of our own of this namespace.
    pub(super) fn gathers_own(&self, namespace: NamespaceId) -> bool {
        self.gathering.own.contains_key(&namespace)
    }

    /// Whether commits of `own` are gathered or being synced.
    pub(super) fn holds_own(&self, own: WorkerId) -> bool {
        let syncing = self.inflight.iter().flat_map(|commit| &commit.records);
        !self.gathering.own.is_empty() || syncing.map(|record| record.origin.worker()).any(|worker| worker == own)
    }

    /// Takes the finished commit; `None` if `number` is not the one that is being synced.
    fn finish(&mut self, number: u64) -> Option<Gathered> {
        let done = self.inflight.take_if(|inflight| inflight.number == number)?;
        // No other has been closed meanwhile.
        self.repaired_synced = self.repaired;
        Some(done)
    }
}

impl Replica {
    /// Whether the gathering commit stays open although it could be synced: a commit on which nobody waits is synced
    /// only every `commit.interval`, so that one sync serves many changes.
    fn lingers(&mut self) -> bool {
        let awaited = self.commits.gathering.is_awaited(&self.settings.unsynced);
        if awaited || self.is_full() || self.readiness.is_draining() {
            return false;
        }
        let until = self.now.saturating_add(self.settings.tuning.commit.interval.ms());
        self.now < *self.commits.linger_until.get_or_insert(until)
    }

    /// The gathering commit has reached its bound.
    pub(super) fn is_full(&self) -> bool {
        self.commits.gathering.bytes >= self.settings.tuning.commit.bytes_max.bytes()
    }

    /// Closes the gathering commit if it holds anything and none is being synced.
    pub(super) fn close_commit(&mut self) {
        if !self.commits.may_close() || self.lingers() {
            return;
        }
        self.commits.linger_until = None;
        let next = Gathered::new(self.commits.number() + 1);
        let mut closed = std::mem::replace(&mut self.commits.gathering, next);
        for (namespace, rows) in std::mem::take(&mut closed.own) {
            let held = self.namespaces.get_mut(namespace).zip(self.incarnation.id());
            closed.records.extend(held.map(|(held, replica)| held.close_own(replica, &rows, &mut closed.changed)));
        }
        self.effects.push_back(Effect::Disk(Job::Commit(Commit {
            number: closed.number,
            records: closed.records.clone(),
            repaired: closed.take_repaired(&mut self.commits.repaired),
            answered: closed.answered.clone(),
            forgotten: self.idempotency.take_forgotten(),
        })));
        self.commits.inflight = Some(closed);
    }

    /// A slot's change is synced, and with it part of the committed row.
    fn settle_slot(&mut self, changed: Changed) {
        let Changed { namespace, row, replica, slot, seq } = changed;
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let committed = held.commit_slot(&changed);
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
        for (namespace, brought) in done.repaired {
            if let Some(held) = self.namespaces.get_mut(namespace) {
                held.commit_adopted(brought.adopted);
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
