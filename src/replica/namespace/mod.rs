//! A namespace of a replica: its rows and their tree, its vectors, its journal, and what is fetched and repaired in it.
//!
//! Its fields are private, so that I4 is upheld in this file and nowhere else:
//! - `applied` moves with what is applied: a record of another replica that chains to it ([`Namespace::judge`],
//!   [`Namespace::apply`]), a record of our own ([`Namespace::close_own`]), or a mark that a commit is to hold
//!   ([`Namespace::finish_session`], [`Namespace::mark_forked`]);
//! - `committed` moves to the marks of a commit once that commit is synced ([`Namespace::commit`],
//!   [`Namespace::commit_adopted`]), and only what it covers is told to others (I1).
//!
//! A namespace knows nothing of the node that serves it: neither its boot nor its fence, nor whether it is proven.

mod counters;
mod fetches;
mod incoming;
mod journal;
mod loading;
mod repair;
mod session;
mod stored;

use std::collections::BTreeSet;

use crate::crdt::{Kind, Mark, Overflow, Row, Slot, VersionVector};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::merkle::{Hasher, Tree};

use super::bounds;
use super::event::RecoveredSpace;
use super::message::RepairedRow;
use super::reach::Reach;
use super::record::{Change, Payload, Record};
use super::rows::{RowId, Rows};

use counters::Counters;
use fetches::Fetches;
use incoming::Incoming;
use journal::Journal;
use repair::Repair;
use stored::Stored;

pub(super) use fetches::Times;
pub(super) use journal::Lease;
pub(super) use session::{Ask, COMPARE, Ended, LEAVES_PER_ASK, NODES_PER_ASK, Session, SessionId, Span};

/// Rows that are fetched from memory at a time.
pub(super) const WARMED: usize = 16;

/// One namespace.
pub(super) struct Namespace {
    id: NamespaceId,
    rows: Rows,
    /// Everything up to here is durable here. This is what is told to others (I1).
    committed: VersionVector,
    /// The committed vector with what is gathered or being synced on top; new deltas must chain to this (I4).
    applied: VersionVector,
    /// How far what repair brought may be ahead of the vector.
    reach: Reach,
    /// The sums of the committed rows.
    tree: Tree,
    counters: Counters,
    stored: Stored,
    incoming: Incoming,
    fetches: Fetches,
    journal: Journal,
    repair: Repair,
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

/// What became of a row whose slot is committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    /// It differs from the row on disk, and did not before.
    pub(super) dirtied: bool,
    /// Somebody asks how far its slots are settled.
    pub(super) followed: bool,
}

/// What is to be done with a record, by I4.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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

impl Namespace {
    /// What recovery found.
    pub(super) fn recover(found: RecoveredSpace, hasher: &Hasher, tail_bytes_max: usize, now: u64) -> Self {
        let mut tree = Tree::new();
        found.leaves.iter().for_each(|(leaf, sum)| tree.add(*leaf, *sum));
        let mut rows = Rows::new(hasher.clone());
        let mut census = found.census;
        for row in found.dirty {
            if row.stored.is_empty() {
                census.add(row.key.len());
            }
            let (id, grown) = rows.insert_recovered(row.key, &row.stored, row.row);
            tree.add(rows.get(id).place.leaf(), grown);
        }
        Self {
            id: found.namespace,
            rows,
            journal: Journal::new(found.journal_bytes, found.vector.clone(), tail_bytes_max, now),
            applied: found.vector.clone(),
            committed: found.vector,
            reach: Reach::new(found.reach, now),
            tree,
            counters: Counters { committed: census, refused: 0 },
            stored: Stored::new(found.leaves, found.census, found.position),
            incoming: Incoming::default(),
            fetches: Fetches::default(),
            repair: Repair::default(),
        }
    }

    pub(super) fn id(&self) -> NamespaceId {
        self.id
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The committed vector.
    pub(super) fn committed(&self) -> &VersionVector {
        &self.committed
    }

    /// The vector to which new deltas chain. It is told to nobody.
    pub(super) fn applied(&self) -> &VersionVector {
        &self.applied
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// How far our own log goes, committed.
    pub(super) fn own_mark(&self, replica: Option<ReplicaId>) -> Mark {
        replica.map_or(Mark::default(), |replica| self.committed.mark(replica))
    }

    /// Whether slots of `origin` here may be newer than the vector tells.
    pub(super) fn is_ahead(&self, origin: ReplicaId) -> bool {
        self.reach.of(origin) > self.committed.mark(origin).seq
    }

    /// Whether another origin may come in by what `teller` says.
    pub(super) fn admits_origin(&self, teller: WorkerId, origin: ReplicaId) -> Result<(), bounds::Excess> {
        bounds::admits(&self.applied, &self.reach, teller, origin)
    }
}

/// Increments of clients.
impl Namespace {
    /// Changes our own slot of a row as part of this commit; whether the row joins the commit's own record by that.
    pub(super) fn increment(&mut self, replica: ReplicaId, row: RowId, by: i64, commit: u64) -> Result<bool, Overflow> {
        let cell = self.rows.get_mut(row);
        let slot = cell.working_slot(replica).changed(by)?;
        Ok(cell.apply(replica, slot, commit) && cell.joins_own(commit))
    }

    /// A row is read: it stays in memory a while longer.
    pub(super) fn touch(&mut self, row: RowId) {
        self.rows.get_mut(row);
    }

    /// The record of our own slots of these rows, as they are now; the applied vector moves with it (I4).
    pub(super) fn close_own(&mut self, replica: ReplicaId, rows: &[RowId], changed: &mut Vec<Changed>) -> Record {
        let before = self.applied.mark(replica);
        let mut changes = Vec::with_capacity(rows.len());
        for group in rows.chunks(WARMED) {
            self.rows.warm(group.iter().copied());
            for row in group {
                let cell = self.rows.get(*row);
                let slot = cell.working_slot(replica);
                changes.push(Change { key: &cell.key, slot });
                changed.push(Changed { namespace: self.id, row: *row, replica, slot, seq: Some(before.seq + 1) });
            }
        }
        let payload = Payload::encode(&changes);
        let record = Record {
            namespace: self.id,
            origin: replica,
            after: before.seq,
            upto: before.seq + 1,
            hash: before.hash.then(&payload.0),
            payload,
        };
        self.applied.advance(replica, record.mark());
        record
    }
}

/// Records of other replicas.
impl Namespace {
    /// I4: what is to be done with a record.
    pub(super) fn judge(&self, record: &Record) -> Verdict {
        let applied = self.applied.mark(record.origin);
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

    /// Applies a record that chains, as part of this commit: `changes` to `rows`, and the applied vector with them (I4).
    pub(super) fn apply(
        &mut self,
        record: &Record,
        changes: &[Change<'_>],
        rows: &[Option<RowId>],
        (commit, now): (u64, u64),
        changed: &mut Vec<Changed>,
    ) {
        let (namespace, replica, seq) = (self.id, record.origin, Some(record.upto));
        for (change, row) in changes.iter().zip(rows) {
            let Some(row) = *row else { continue };
            if self.rows.get_mut(row).apply(record.origin, change.slot, commit) {
                changed.push(Changed { namespace, row, replica, slot: change.slot, seq });
            }
        }
        self.applied.advance(record.origin, record.mark());
        self.fetches.moved(record.origin, now);
    }

    /// A log is known to have forked: that is written into our vector, and so told to everyone. The mark, if that is news.
    pub(super) fn mark_forked(&mut self, origin: ReplicaId) -> Option<Mark> {
        let mark = self.applied.mark(origin).forked();
        if !self.applied.advance(origin, mark) {
            return None;
        }
        self.fetches.end(origin);
        Some(mark)
    }

    /// Which logs the marks of a peer show to have forked, beside those that are known to have.
    pub(super) fn forks_in(&self, theirs: &VersionVector) -> Vec<ReplicaId> {
        let shows = |(origin, mark): &(ReplicaId, Mark)| {
            let ours = self.applied.mark(*origin);
            mark.seq > 0 && ours.seq > 0 && !ours.is_forked() && ours.shows_fork(*mark)
        };
        theirs.iter().filter(shows).map(|(origin, _)| origin).collect()
    }
}

/// What a synced commit makes visible (I1).
impl Namespace {
    /// A slot's change is synced, and with it part of the committed row.
    pub(super) fn commit_slot(&mut self, changed: &Changed) -> Committed {
        let Changed { row, replica, slot, .. } = *changed;
        let absent = self.rows.get(row).row.is_empty();
        let grown = self.rows.settle(row, replica, slot);
        let cell = self.rows.get(row);
        if absent && !cell.row.is_empty() {
            self.counters.committed.add(cell.key.len());
        }
        self.tree.add(cell.place.leaf(), grown);
        let followed = !cell.trails().is_empty();
        Committed { dirtied: self.rows.changed(row), followed }
    }

    /// A record is synced: the vector moves with it (I4), and our own ones can be pushed.
    pub(super) fn commit(&mut self, record: Record, own: bool) {
        self.committed.advance(record.origin, record.mark());
        self.journal.append(record, own);
    }

    /// The marks that a commit adopted are synced, and all records and rows before them (I4).
    pub(super) fn commit_adopted(&mut self, marks: Vec<(ReplicaId, Mark)>) {
        marks.into_iter().for_each(|(origin, mark)| {
            self.committed.advance(origin, mark);
        });
    }

    /// See [`Rows::warm`].
    pub(super) fn warm_row(&self, row: RowId) {
        self.rows.warm([row]);
    }

    /// The same of the leaf of a row.
    pub(super) fn warm_leaf(&self, row: RowId) {
        std::hint::black_box(self.tree.leaf(self.rows.get(row).place.leaf()));
    }

    /// Follows a row's slots from now on, so that it can be told how far they are settled.
    pub(super) fn follow(&mut self, row: RowId) {
        self.rows.follow(row, &self.committed, &self.reach);
    }

    /// A commit moves a slot of a row that is followed to a place in its origin's log, up to `floor` of which every peer holds;
    /// the vector stands where it did before.
    pub(super) fn follow_on(&mut self, row: RowId, origin: ReplicaId, place: (u64, Slot), floor: u64) {
        let before = (!self.is_ahead(origin)).then(|| self.committed.mark(origin).seq);
        self.rows.follow_on(row, origin, before, place, floor);
    }
}

/// What repair brings.
impl Namespace {
    /// Rows come that may be ahead of our vector, as far as this.
    pub(super) fn raise_reach(&mut self, reach: Vec<(ReplicaId, u64)>, now: u64) {
        let committed = &self.committed;
        for (origin, seq) in reach.into_iter().filter(|(origin, seq)| *seq > committed.mark(*origin).seq) {
            self.reach.raise(origin, seq, now);
        }
    }

    /// Merges a row that repair brought, as part of this commit: what of it is news, and whether it holds more of our own slot
    /// than we wrote. That slot is never taken from anybody (I2, I3).
    pub(super) fn apply_repaired(
        &mut self,
        (row, id): (&RepairedRow, RowId),
        own: Option<ReplicaId>,
        commit: u64,
        changed: &mut Vec<Changed>,
    ) -> (Option<RepairedRow>, bool) {
        let cell = self.rows.get_mut(id);
        let (mut news, mut ahead) = (Row::default(), false);
        for (replica, slot) in row.row.slots() {
            if Some(*replica) == own {
                ahead |= !cell.working_slot(*replica).covers(*slot);
            } else if cell.apply(*replica, *slot, commit) {
                news.join_slot(*replica, *slot);
                changed.push(Changed { namespace: self.id, row: id, replica: *replica, slot: *slot, seq: None });
            }
        }
        let news = (!news.is_empty()).then(|| RepairedRow { key: row.key.clone(), row: news });
        if let Some(session) = self.repair.session.as_mut().filter(|_| news.is_some()) {
            session.count_row();
        }
        (news, ahead)
    }

    /// Ends our session: everything that the peer held when it announced its vector is applied here, so we stand at least
    /// there. The applied vector moves to it, and the marks are for the gathering commit, which is synced after all rows
    /// of the session (I4). A log that moves by gossip is left to it: adopting its mark would leave a hole in our journal of it.
    pub(super) fn finish_session(&mut self, own: Option<ReplicaId>, now: u64) -> Option<Ended> {
        let session = self.repair.session.take()?;
        let closing = session.is_closing();
        let (mut ended, announced) = session.end();
        let moved_since = |origin| self.fetches.moved_since(origin, ended.began_at);
        let still: BTreeSet<_> = announced.iter().map(|(origin, _)| origin).filter(|at| !moved_since(*at)).collect();
        for (origin, mark) in announced.iter().filter(|(origin, _)| Some(*origin) != own) {
            let admitted = self.admits_origin(ended.id.with.worker, origin).is_ok();
            if admitted && (closing || still.contains(&origin)) && self.applied.advance(origin, mark) {
                self.fetches.moved(origin, now);
                self.fetches.end(origin);
                ended.marks.push((origin, self.applied.mark(origin)));
            }
        }
        Some(ended)
    }

    /// The seqs that cover what repair brought, as far as the vector does not.
    pub(super) fn settle_reach(&mut self) -> Vec<(ReplicaId, u64)> {
        self.reach.settle(&self.committed)
    }
}
