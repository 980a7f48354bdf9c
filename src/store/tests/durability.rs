//! What is synced, by RocksDB's own count of syncs.

use super::*;

/// How many syncs `act` takes.
fn syncs(store: &Store, act: impl FnOnce()) -> u64 {
    let before = store.medium.syncs();
    act();
    store.medium.syncs() - before
}

#[test]
fn a_commit_is_one_sync_however_many_records_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut authors = [own(), remote()].map(|origin| Author::new(SPACE, origin));
    for round in 1..=5 {
        let records = authors.each_mut().map(|author| author.write(&[("a", round)]));
        assert_eq!(syncs(&store, || commit(&store, &records)), 1);
    }
}

#[test]
fn replica_and_ceiling_are_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    assert_eq!(syncs(&store, || store.put_replica(own()).unwrap()), 1);
    assert_eq!(syncs(&store, || store.put_ceiling(7).unwrap()), 1);
}

#[test]
fn rows_of_a_checkpoint_go_past_the_log_and_its_position_is_synced_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let rows = [("a", row(&[(own(), 1, 0)]))];
    assert_eq!(syncs(&store, || checkpoint(&store, &rows, None)), 0);
    assert_eq!(syncs(&store, || checkpoint(&store, &rows, Some(VersionVector::default()))), 1);
}

#[test]
fn the_disk_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    assert!(store.look().free > 0);
}
