//! Chains, holes and hashes.

use super::*;
use crate::store::JournalSlice;

fn read(store: &Store, after: u64) -> JournalSlice {
    store.read_journal(SPACE, remote(), after, usize::MAX).unwrap()
}

fn slice(records: &[Record]) -> JournalSlice {
    JournalSlice { records: records.to_vec(), whole_from: None }
}

#[test]
fn records_chain_from_where_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut author = Author::new(SPACE, remote());
    let records: Vec<Record> = (1..=5).map(|total| author.write(&[("a", total)])).collect();
    commit(&store, &records);
    assert_eq!(read(&store, 0), slice(&records));
    assert_eq!(read(&store, 3), slice(&records[3..]));
    assert_eq!(read(&store, 5), JournalSlice::default());
    assert_eq!(read(&store, u64::MAX), JournalSlice::default());
}

#[test]
fn a_coalesced_record_serves_whoever_stands_inside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut author = Author::new(SPACE, remote());
    let records = [author.write_many(5, &[("a", 5)]), author.write_many(4, &[("a", 9)])];
    commit(&store, &records);
    assert_eq!(read(&store, 0), slice(&records));
    assert_eq!(read(&store, 4), slice(&records));
    assert_eq!(read(&store, 5), slice(&records[1..]));
    assert_eq!(read(&store, 7), slice(&records[1..]));
}

#[test]
fn records_that_overlap_still_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut author = Author::new(SPACE, remote());
    let first = author.write_many(5, &[("a", 5)]);
    let second = Record { after: 3, ..author.write_many(4, &[("a", 9)]) };
    commit(&store, &[first.clone(), second.clone()]);
    assert_eq!(read(&store, 0), slice(&[first, second.clone()]));
    assert_eq!(read(&store, 6), slice(&[second]));
}

#[test]
fn a_journal_that_does_not_reach_back_says_from_where_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut author = Author::new(SPACE, remote());
    let mut records: Vec<Record> = (1..=6).map(|total| author.write(&[("a", total)])).collect();
    records.remove(2);
    commit(&store, &records);
    assert_eq!(read(&store, 0), slice(&records[..2]), "what comes before a hole is of use");
    assert_eq!(read(&store, 2), JournalSlice { records: vec![], whole_from: Some(3) });
    assert_eq!(read(&store, 3), slice(&records[2..]));
}

#[test]
fn bytes_bound_a_slice_but_never_empty_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut author = Author::new(SPACE, remote());
    let records: Vec<Record> = (1..=5).map(|total| author.write(&[("a", total)])).collect();
    commit(&store, &records);
    let weight = records[0].weight();
    let count = |bytes| store.read_journal(SPACE, remote(), 0, bytes).unwrap().records.len();
    assert_eq!([count(0), count(weight), count(weight + 1), count(3 * weight)], [1, 1, 2, 3]);
}

#[test]
fn logs_do_not_run_into_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let next = ReplicaId(remote().0 + 1);
    let here = Author::new(SPACE, remote()).write(&[("a", 1)]);
    let neighbour = Author::new(SPACE, next).write_many(9, &[("a", 2)]);
    let elsewhere = Author::new(OTHER_SPACE, remote()).write(&[("a", 3)]);
    commit(&store, &[here.clone(), neighbour, elsewhere.clone()]);
    assert_eq!(read(&store, 0), slice(&[here]));
    assert_eq!(store.read_journal(OTHER_SPACE, remote(), 0, 1).unwrap(), slice(&[elsewhere]));
    assert_eq!(store.read_journal(OTHER_SPACE, next, 0, 1).unwrap(), JournalSlice::default());
}

#[test]
fn a_hash_is_found_only_where_a_record_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut author = Author::new(SPACE, remote());
    let records = [author.write(&[("a", 1)]), author.write_many(3, &[("a", 4)])];
    commit(&store, &records);
    let hash = |seq| store.find_hash(SPACE, remote(), seq).unwrap();
    assert_eq!([hash(0), hash(1), hash(3), hash(4)], [None, hash_of(&records[0]), None, hash_of(&records[1])]);
}
