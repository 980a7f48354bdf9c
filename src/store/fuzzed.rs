//! What a fuzzer tries on the store: bytes from a disk.

use std::fmt::Debug;

use snowtide_protocol::Key;

use crate::crdt::{LogHash, Mark, Row, Slot, VersionVector};
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::{Place, Sum};
use crate::replica::{Change, Payload, Record, Repaired, RepairedRow, coalesce};

use super::error::Malformed;
use super::format::{
    JournalKey, RowsKey, census_key, decode_rows_key, leaf_key, repaired_key, row_key, seal, seal_record,
    seal_repaired, unseal, unseal_record, unseal_repaired,
};
use super::wal::fuzzed::record;
use super::{meta, wal};

/// A journal record: its key, then its value.
pub(crate) fn journal(bytes: &[u8]) {
    let Some((key, value)) = bytes.split_at_checked(JournalKey::BYTES) else { return };
    let Ok(record) = JournalKey::decode(key).and_then(|key| unseal_record(key, value)) else { return };
    let again = unseal_record(JournalKey::of(&record), &seal_record(&record)).ok();
    assert_eq!(again.as_ref(), Some(&record));
    if record.changes().is_ok() {
        assert!(coalesce(record.after, std::slice::from_ref(&record)).is_some());
    }
}

pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let record = |changes: &[Change<'_>]| {
        let (namespace, origin) = (NamespaceId(7), ReplicaId(9));
        let record =
            Record { namespace, origin, after: 4, upto: 5, hash: LogHash(6), payload: Payload::encode(changes) };
        [JournalKey::of(&record).encode().as_slice(), &seal_record(&record)].concat()
    };
    let slot = Slot::of(300, u64::MAX);
    vec![record(&[]), record(&[Change { key: "visits", slot }, Change { key: "likes/42", slot }])]
}

/// A row, a leaf, a record of the local kind or what `meta` holds: the first byte says which.
pub(crate) fn rows(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => {
            if let Ok((namespace, key)) = decode_rows_key(bytes) {
                let again = match key {
                    RowsKey::Row(place, key) => row_key(namespace, place, &key),
                    RowsKey::Leaf(leaf) => leaf_key(namespace, leaf),
                    RowsKey::Census => census_key(namespace).to_vec(),
                };
                assert_eq!(again, bytes);
            }
        }
        1 => comes_back(bytes, unseal::<Row>, seal::<Row>),
        2 => comes_back(bytes, unseal::<Sum>, seal),
        3 => {
            let Some((key, value)) = bytes.split_at_checked(repaired_key(NamespaceId(0), 0).len()) else { return };
            if let Ok(record) = unseal_repaired(key, value) {
                let again =
                    unseal_repaired(&repaired_key(record.namespace, record.number), &seal_repaired(&record)).ok();
                assert_eq!(again, Some(record));
            }
        }
        4 => comes_back(bytes, unseal::<VersionVector>, seal),
        _ => comes_back(bytes, unseal::<meta::Identity>, seal),
    }
}

/// What is read must be what is written for it.
fn comes_back<T: PartialEq + Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Malformed>,
    write: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = read(bytes) {
        assert_eq!(read(&write(&value)).ok(), Some(value));
    }
}

pub(crate) fn rows_seeds() -> Vec<Vec<u8>> {
    let slot = Slot::of(1, 300);
    let row: Row = [(ReplicaId(1), slot), (ReplicaId(u64::MAX), slot)].into_iter().collect();
    let mark = Mark { seq: 5, hash: LogHash(6) };
    let vector: VersionVector = [(ReplicaId(3), mark)].into_iter().collect();
    let (key, repaired) = ("visits".to_owned(), Row::from_iter([(ReplicaId(1), slot)]));
    let rows = vec![RepairedRow { key, row: repaired }];
    let (reach, adopted) = (vec![(ReplicaId(2), 9)], vec![(ReplicaId(3), mark)]);
    let repaired = Repaired { namespace: NamespaceId(7), number: 1, rows, reach, adopted };
    let named = Key::new("likes/42").map(|key| row_key(NamespaceId(7), Place(11), &key)).unwrap_or_default();
    let record = [repaired_key(NamespaceId(7), 1).as_slice(), &seal_repaired(&repaired)].concat();
    let whole = [named, seal(&row), seal(&Sum(5)), record, seal(&vector)];
    (0u8..).zip(whole).map(|(kind, bytes)| [vec![kind], bytes].concat()).collect()
}

/// A write-ahead log, and what mends it.
pub(crate) fn wal(bytes: &[u8]) {
    wal::fuzzed::examine(bytes);
}

pub(crate) fn wal_seeds() -> Vec<Vec<u8>> {
    let whole = record(1, &[9; 40]);
    let parts = [record(2, &[1; 20]), record(3, &[2; 20]), record(4, &[3; 20])].concat();
    let mut torn = [whole.clone(), parts.clone()].concat();
    torn.truncate(torn.len().saturating_sub(3));
    // One bit away from being intact, of a kind that does not exist.
    let mut strange = record(77, &[5; 30]);
    strange.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    vec![whole.clone(), parts, torn, strange, record(5, &[4; 30]), [whole, vec![0; 64]].concat()]
}
