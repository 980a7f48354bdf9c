//! The store on real RocksDB in temporary directories.

mod copies;
mod crash;
mod durability;
mod journal;
mod purge;
mod recovery;
mod refusal;
mod tables;

use std::path::Path;

use snowtide_protocol::Key;

use crate::crdt::{LogHash, Mark, Row, Slot, VersionVector};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::replica::{
    Change, CheckpointChunk, Commit, DirtyRow, Payload, Position, Record, Recovered, RecoveredSpace, Repaired,
};

use super::{Options, Store};

const SPACE: NamespaceId = NamespaceId(7);
const OTHER_SPACE: NamespaceId = NamespaceId(8);

fn worker() -> WorkerId {
    WorkerId::new(1, 2).unwrap()
}

fn own() -> ReplicaId {
    ReplicaId::new(worker(), 11)
}

fn remote() -> ReplicaId {
    ReplicaId::new(WorkerId::new(3, 0).unwrap(), 12)
}

fn options(path: &Path) -> Options {
    Options::small(path, worker(), vec![SPACE, OTHER_SPACE])
}

fn open(path: &Path) -> (Store, Recovered) {
    Store::open(&options(path)).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn row(slots: &[(ReplicaId, u64, u64)]) -> Row {
    slots.iter().map(|(id, added, subtracted)| (*id, Slot::of(*added, *subtracted))).collect()
}

/// Makes the records of one origin in one namespace, one after another.
struct Author {
    namespace: NamespaceId,
    origin: ReplicaId,
    mark: Mark,
}

impl Author {
    fn new(namespace: NamespaceId, origin: ReplicaId) -> Self {
        Self { namespace, origin, mark: Mark::default() }
    }

    /// The next single commit; each change is a key and its absolute total.
    fn write(&mut self, changes: &[(&str, u64)]) -> Record {
        self.write_many(1, changes)
    }

    /// `count` commits as one record, as if coalesced.
    fn write_many(&mut self, count: u64, changes: &[(&str, u64)]) -> Record {
        let changes: Vec<_> = changes.iter().map(|(key, added)| Change { key, slot: Slot::of(*added, 0) }).collect();
        let payload = Payload::encode(&changes);
        let after = self.mark.seq;
        self.mark = Mark { seq: after + count, hash: self.mark.hash.then(&payload.0) };
        let (namespace, origin, Mark { seq: upto, hash }) = (self.namespace, self.origin, self.mark);
        Record { namespace, origin, after, upto, hash, payload }
    }
}

fn commit(store: &Store, records: &[Record]) {
    store
        .commit(&Commit { number: 1, records: records.to_vec(), repaired: vec![], answered: vec![], forgotten: vec![] })
        .unwrap();
}

fn repair(store: &Store, repaired: Repaired) {
    store
        .commit(&Commit { number: 1, records: vec![], repaired: vec![repaired], answered: vec![], forgotten: vec![] })
        .unwrap();
}

/// The rows that are newer in the journal.
fn dirty(space: &RecoveredSpace) -> Vec<(Key, Row)> {
    let mut rows: Vec<_> = space.dirty.iter().map(|DirtyRow { key, row, .. }| (key.clone(), row.clone())).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows
}

fn checkpoint(store: &Store, rows: &[(&str, Row)], position: Option<VersionVector>) {
    let rows = rows.iter().map(|(text, row)| (SPACE, key(text), row.clone())).collect();
    let position = position.map(|vector| Position { vectors: vec![(SPACE, vector)], ..Position::default() });
    store.checkpoint(&CheckpointChunk { rows, leaves: vec![], census: vec![], ends_table: true, position }).unwrap();
}

fn vector(marks: &[(ReplicaId, Mark)]) -> VersionVector {
    marks.iter().copied().collect()
}

fn hash_of(record: &Record) -> Option<LogHash> {
    Some(record.hash)
}
