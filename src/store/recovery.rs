//! Recovery: from the last checkpoint, through the journal, to the state that was committed.
//!
//! Replaying is a join, so it may repeat what the rows already hold (I5). What it never does is guess: a log that does
//! not chain, or an own log whose running hash does not come out, refuses the start (I4).

use std::collections::BTreeMap;

use crate::crdt::{Mark, Row, VersionVector};
use crate::identity::{NamespaceId, ReplicaId};
use crate::replica::{Key, Record, RecoveredSpace};

use super::error::{Malformed, OpenRefusal, StoreError};
use super::format::JournalKey;
use super::journal::{self, Log};
use super::medium::Medium;
use super::{meta, rows};

/// Rows are read from disk this many at a time.
const ROWS_PER_READ: usize = 1024;

/// Slots that the journal holds beyond the checkpoint.
type Changed = BTreeMap<Key, Row>;

/// Recovers one namespace; `own` is the persisted incarnation.
pub(super) fn space(
    medium: &dyn Medium,
    namespace: NamespaceId,
    own: Option<ReplicaId>,
) -> Result<RecoveredSpace, OpenRefusal> {
    let mut vector = meta::position(medium, namespace)?;
    let mut changed = Changed::new();
    for origin in journal::origins(medium, namespace)? {
        let replay = Replay { medium, namespace, origin, own: own == Some(origin) };
        let mark = replay.run(&vector, &mut changed)?;
        vector.advance(origin, mark);
    }
    Ok(RecoveredSpace { namespace, vector, dirty: whole_rows(medium, namespace, changed)? })
}

/// Namespaces that have data but are not configured: their data stays, unused.
pub(super) fn unconfigured(medium: &dyn Medium, configured: &[NamespaceId]) -> Result<Vec<NamespaceId>, StoreError> {
    let mut found = journal::namespaces(medium)?;
    found.retain(|namespace| !configured.contains(namespace));
    Ok(found)
}

/// One origin's log in one namespace.
struct Replay<'a> {
    medium: &'a dyn Medium,
    namespace: NamespaceId,
    origin: ReplicaId,
    own: bool,
}

impl Replay<'_> {
    /// Folds everything beyond `position` into `changed`; returns how far that goes.
    fn run(&self, position: &VersionVector, changed: &mut Changed) -> Result<Mark, OpenRefusal> {
        let mut reached = position.mark(self.origin);
        let Some(mut log) = Log::beyond(self.medium, self.namespace, self.origin, reached.seq)? else {
            return Ok(reached);
        };
        while let Some(record) = log.next()? {
            self.check(reached, &record)?;
            fold(&record, changed)?;
            reached = record.mark();
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

/// Joins what the journal changed with what the checkpoint wrote.
fn whole_rows(medium: &dyn Medium, namespace: NamespaceId, changed: Changed) -> Result<Vec<(Key, Row)>, StoreError> {
    let mut dirty = Vec::with_capacity(changed.len());
    let mut changed = changed.into_iter();
    loop {
        let (keys, changes): (Vec<Key>, Vec<Row>) = changed.by_ref().take(ROWS_PER_READ).unzip();
        if keys.is_empty() {
            return Ok(dirty);
        }
        let mut held = rows::load(medium, namespace, &keys)?;
        held.iter_mut().zip(&changes).for_each(|(row, change)| {
            row.join(change);
        });
        dirty.extend(keys.into_iter().zip(held));
    }
}

fn malformed(record: &Record, reason: impl Into<Malformed>) -> StoreError {
    StoreError::malformed(journal::describe(JournalKey::of(record)), reason)
}
