//! Recovery: from the last checkpoint, through the journal, to the state that was committed.
//!
//! Replaying is a join, so it may repeat what the rows already hold (I5). What it never does is guess: a log that does
//! not chain, or an own log whose running hash does not come out, refuses the start (I4).

use std::collections::{BTreeMap, HashMap};

use snowtide_protocol::Key;

use crate::crdt::{Mark, Row, VersionVector};
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::Hasher;
use crate::replica::{Answered, Census, DirtyRow, Record, RecoveredSpace, Repaired};

use super::error::{Malformed, OpenRefusal, StoreError};
use super::format::{JournalKey, unseal, unseal_repaired};
use super::journal::{self, Log};
use super::medium::{Family, Medium, decoded};
use super::{meta, rows};

/// Rows are read from disk this many at a time.
const ROWS_PER_READ: usize = 1024;

/// Slots that the journal holds beyond the checkpoint.
type Changed = HashMap<Key, Row>;

/// What every namespace's recovery needs.
pub(super) struct Recovery<'a> {
    pub(super) medium: &'a dyn Medium,
    pub(super) hasher: &'a Hasher,
    /// The persisted incarnation.
    pub(super) own: Option<ReplicaId>,
    /// The records of the local kind that are left.
    pub(super) repaired: Vec<Repaired>,
}

impl Recovery<'_> {
    /// Recovers one namespace.
    pub(super) fn space(&self, namespace: NamespaceId) -> Result<RecoveredSpace, OpenRefusal> {
        let medium = self.medium;
        let position = meta::POSITION.of(namespace).read(medium)?;
        let mut changed = Changed::new();
        let adopted = self.fold_repaired(namespace, &mut changed)?;
        let mut vector = position.clone();
        for origin in journal::origins(medium, namespace)? {
            let replay = Replay { medium, namespace, origin, own: self.own == Some(origin) };
            let mark = replay.run(position.mark(origin), adopted.mark(origin), &mut changed)?;
            vector.advance(origin, mark);
        }
        vector.join(&adopted);
        Ok(RecoveredSpace {
            namespace,
            vector,
            position,
            reach: self.reach(namespace)?,
            census: self.census(namespace)?,
            leaves: rows::leaves(medium, namespace)?,
            dirty: self.dirty_rows(namespace, changed)?,
            journal_bytes: medium.size_bytes(Family::Journal),
        })
    }

    /// What repair brought since the checkpoint: its rows, and how far finished sessions moved the vector.
    fn fold_repaired(&self, namespace: NamespaceId, changed: &mut Changed) -> Result<VersionVector, StoreError> {
        let mut adopted = VersionVector::default();
        for record in self.repaired.iter().filter(|record| record.namespace == namespace) {
            for row in &record.rows {
                let key = Key::new(row.key.as_str()).map_err(|error| {
                    StoreError::malformed(describe_repaired(record.number), Malformed::impossible(error.to_string()))
                })?;
                changed.entry(key).or_default().join(&row.row);
            }
            adopted.join(&record.adopted.iter().copied().collect());
        }
        Ok(adopted)
    }

    /// The counters on disk: as they were counted, or, where nobody has, counted now.
    fn census(&self, namespace: NamespaceId) -> Result<Census, StoreError> {
        match rows::census(self.medium, namespace)? {
            Some(census) => Ok(census),
            None => rows::count(self.medium, namespace),
        }
    }

    /// The seqs that cover what repair brought, before the checkpoint and since.
    fn reach(&self, namespace: NamespaceId) -> Result<Vec<(ReplicaId, u64)>, StoreError> {
        let mut reach: BTreeMap<ReplicaId, u64> = meta::REACH.of(namespace).read(self.medium)?.into_iter().collect();
        for (origin, seq) in
            self.repaired.iter().filter(|held| held.namespace == namespace).flat_map(|held| &held.reach)
        {
            let held = reach.entry(*origin).or_default();
            *held = (*seq).max(*held);
        }
        Ok(reach.into_iter().collect())
    }

    /// Joins what the journal changed with what the checkpoint wrote, in the order of the disk.
    fn dirty_rows(&self, namespace: NamespaceId, changed: Changed) -> Result<Vec<DirtyRow>, StoreError> {
        let mut dirty = Vec::with_capacity(changed.len());
        let mut changed: Vec<(Key, Row)> = changed.into_iter().collect();
        changed.sort_by_cached_key(|(key, _)| self.hasher.place(key));
        let mut changed = changed.into_iter();
        loop {
            let (keys, changes): (Vec<Key>, Vec<Row>) = changed.by_ref().take(ROWS_PER_READ).unzip();
            if keys.is_empty() {
                return Ok(dirty);
            }
            let held = rows::load(self.medium, self.hasher, namespace, &keys)?;
            dirty.extend(keys.into_iter().zip(held).zip(changes).map(|((key, stored), change)| {
                let mut row = stored.clone();
                row.join(&change);
                DirtyRow { key, stored, row }
            }));
        }
    }
}

/// All records of the local kind, those of each namespace oldest first.
pub(super) fn repaired(medium: &dyn Medium) -> Result<Vec<Repaired>, StoreError> {
    decoded(medium, Family::Repair, &[], "a record of repaired rows", unseal_repaired)
}

/// All requests that may be repeated.
pub(super) fn answered(medium: &dyn Medium) -> Result<Vec<Answered>, StoreError> {
    decoded(medium, Family::Dedupe, &[], "a request that may be repeated", |_, value| unseal(value))
}

/// One origin's log in one namespace.
struct Replay<'a> {
    medium: &'a dyn Medium,
    namespace: NamespaceId,
    origin: ReplicaId,
    own: bool,
}

impl Replay<'_> {
    /// Folds everything beyond `position` into `changed`; returns how far that goes. What repair brought has no record
    /// here, so there may be a hole up to what was `adopted`.
    fn run(&self, position: Mark, adopted: Mark, changed: &mut Changed) -> Result<Mark, OpenRefusal> {
        let mut reached = position;
        let Some(mut log) = Log::beyond(self.medium, self.namespace, self.origin, reached.seq)? else {
            return Ok(reached);
        };
        while let Some(record) = log.next()? {
            if record.after > reached.seq && adopted.seq > reached.seq {
                reached = adopted;
            }
            self.check(reached, &record)?;
            fold(&record, changed)?;
            if record.upto > reached.seq {
                reached = record.mark();
            }
        }
        Ok(reached)
    }

    fn check(&self, reached: Mark, record: &Record) -> Result<(), OpenRefusal> {
        if record.after > reached.seq {
            let seq = reached.seq.saturating_add(1);
            return Err(OpenRefusal::Hole { namespace: self.namespace, origin: self.origin, seq });
        }
        if self.own { check_own(reached, record) } else { Ok(()) }
    }
}

/// Our own log holds every single commit, so its running hash can be computed again. Another's may hold several commits
/// as one record, of which only the origin knows the hashes between.
fn check_own(reached: Mark, record: &Record) -> Result<(), OpenRefusal> {
    let single = record.after == reached.seq && record.upto.checked_sub(record.after) == Some(1);
    let reason = if !single {
        format!("our own log holds single commits, and this one covers {} to {}", record.after, record.upto)
    } else if record.hash != reached.hash.then(&record.payload.0) {
        "its running hash does not follow from the record before".to_owned()
    } else {
        return Ok(());
    };
    Err(malformed(record, Malformed::Impossible(reason)).into())
}

fn fold(record: &Record, changed: &mut Changed) -> Result<(), StoreError> {
    for change in record.changes().map_err(|reason| malformed(record, reason))? {
        // Busy counters are in most records: their key is checked and allocated once.
        if let Some(row) = changed.get_mut(change.key) {
            row.join_slot(record.origin, change.slot);
            continue;
        }
        let key = Key::new(change.key).map_err(|error| malformed(record, Malformed::impossible(error.to_string())))?;
        changed.insert(key, [(record.origin, change.slot)].into_iter().collect());
    }
    Ok(())
}

fn describe_repaired(number: u64) -> String {
    format!("record {number} of repaired rows")
}

fn malformed(record: &Record, reason: impl Into<Malformed>) -> StoreError {
    StoreError::malformed(journal::describe(JournalKey::of(record)), reason)
}
