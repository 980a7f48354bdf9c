//! What a start finds.

use super::*;
use crate::identity::Boot;
use crate::merkle::{Leaf, Place, Sum};
use crate::replica::{Census, LoadLeaves, RepairedRow};
use crate::store::OpenRefusal;

#[test]
fn a_new_directory_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (_, recovered) = open(&dir.path().join("new"));
    assert_eq!((recovered.replica, recovered.ceiling), (None, 0));
    assert_eq!(recovered.boot, Boot { counter: 1, nonce: 99 });
    let namespaces: Vec<_> = recovered.spaces.iter().map(|space| space.namespace).collect();
    assert_eq!(namespaces, [SPACE, OTHER_SPACE]);
    assert!(recovered.spaces.iter().all(|space| space.dirty.is_empty() && space.vector.iter().next().is_none()));
}

#[test]
fn replica_ceiling_and_boots_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    store.put_ceiling(5000).unwrap();
    let seen = [(WorkerId::new(2, 1).unwrap(), 4000), (WorkerId::new(31, 31).unwrap(), u64::MAX)];
    store.put_peer_ceilings(&seen).unwrap();
    drop(store);
    let (store, recovered) = open(dir.path());
    assert_eq!((recovered.replica, recovered.ceiling, recovered.boot.counter), (Some(own()), 5000, 2));
    assert_eq!(recovered.peer_ceilings, seen);
    drop(store);
    assert_eq!(open(dir.path()).1.boot.counter, 3);
}

#[test]
fn commits_are_replayed_into_whole_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    let (mut ours, mut theirs) = (Author::new(SPACE, own()), Author::new(SPACE, remote()));
    commit(&store, &[ours.write(&[("a", 1), ("b", 5)]), theirs.write_many(10, &[("a", 100)])]);
    commit(&store, &[ours.write(&[("a", 3)]), Author::new(OTHER_SPACE, own()).write(&[("c", 9)])]);
    assert_eq!(store.load(SPACE, &[key("a")]).unwrap(), [(key("a"), Row::default())], "no checkpoint yet");
    drop(store);

    let (_, recovered) = open(dir.path());
    let [space, other] = &recovered.spaces[..] else { panic!("two namespaces") };
    assert_eq!(space.vector, vector(&[(own(), ours.mark), (remote(), theirs.mark)]));
    let rows = [(key("a"), row(&[(own(), 3, 0), (remote(), 100, 0)])), (key("b"), row(&[(own(), 5, 0)]))];
    assert_eq!(dirty(space), rows);
    assert_eq!(dirty(other), [(key("c"), row(&[(own(), 9, 0)]))]);
}

#[test]
fn a_checkpoint_ends_the_replay_and_its_rows_come_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    let mut ours = Author::new(SPACE, own());
    commit(&store, &[ours.write(&[("a", 1), ("b", 5)])]);
    let position = vector(&[(own(), ours.mark), (remote(), Mark { seq: 4, hash: LogHash(4) })]);
    let whole = row(&[(own(), 1, 0), (remote(), 40, 2)]);
    checkpoint(&store, &[("a", whole.clone())], None);
    checkpoint(&store, &[("b", row(&[(own(), 5, 0)]))], Some(position.clone()));
    let rows = store.load(SPACE, &[key("none"), key("b"), key("a")]).unwrap();
    let expected = [(key("none"), Row::default()), (key("b"), row(&[(own(), 5, 0)])), (key("a"), whole)];
    assert_eq!(rows, expected);
    drop(store);

    let (store, recovered) = open(dir.path());
    assert_eq!(recovered.spaces[0].vector, position);
    assert_eq!(dirty(&recovered.spaces[0]), []);
    commit(&store, &[ours.write(&[("a", 8)])]);
    drop(store);

    let (_, recovered) = open(dir.path());
    assert_eq!(dirty(&recovered.spaces[0]), [(key("a"), row(&[(own(), 8, 0), (remote(), 40, 2)]))]);
    assert_eq!(recovered.spaces[0].vector.mark(own()), ours.mark);
}

#[test]
fn rows_ahead_of_their_position_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    let mut ours = Author::new(SPACE, own());
    commit(&store, &[ours.write(&[("a", 1)])]);
    commit(&store, &[ours.write(&[("a", 2), ("b", 1)])]);
    checkpoint(&store, &[("a", row(&[(own(), 2, 0)]))], None);
    drop(store);
    for _ in 0..2 {
        let (_, recovered) = open(dir.path());
        let rows = [(key("a"), row(&[(own(), 2, 0)])), (key("b"), row(&[(own(), 1, 0)]))];
        assert_eq!(dirty(&recovered.spaces[0]), rows);
        assert_eq!(recovered.spaces[0].vector.mark(own()), ours.mark);
    }
}

#[test]
fn a_log_that_begins_inside_the_checkpoint_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut theirs = Author::new(SPACE, remote());
    commit(&store, &[theirs.write_many(5, &[("a", 5)])]);
    let inside = Mark { seq: 3, hash: LogHash(3) };
    checkpoint(&store, &[("a", row(&[(remote(), 4, 0)]))], Some(vector(&[(remote(), inside)])));
    drop(store);
    let (_, recovered) = open(dir.path());
    assert_eq!(dirty(&recovered.spaces[0]), [(key("a"), row(&[(remote(), 5, 0)]))]);
    assert_eq!(recovered.spaces[0].vector.mark(remote()), theirs.mark);
}

/// Every entry of a namespace, byte by byte.
fn entries(store: &Store, namespace: NamespaceId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    for family in crate::store::namespaces::FAMILIES {
        let mut cursor = store.medium.cursor(family).unwrap();
        cursor.seek(&namespace.0.to_be_bytes());
        while let Some((key, value)) =
            cursor.item().unwrap().filter(|(key, _)| key.starts_with(&namespace.0.to_be_bytes()))
        {
            found.push((key.to_vec(), value.to_vec()));
            cursor.advance();
        }
    }
    found
}

fn repaired_row(number: u64, namespace: NamespaceId, key: &str, added: u64, adopted: &[(ReplicaId, Mark)]) -> Repaired {
    let rows = vec![RepairedRow { key: key.into(), row: Row::from_iter([(remote(), Slot::of(added, 0))]) }];
    Repaired { namespace, number, rows, reach: vec![(remote(), 90)], adopted: adopted.to_vec() }
}

#[test]
fn a_namespace_that_is_not_configured_keeps_everything_through_starts_commits_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    let (mut ours, mut theirs) = (Author::new(SPACE, own()), Author::new(OTHER_SPACE, remote()));
    commit(&store, &[theirs.write(&[("a", 1)])]);
    let folded = CheckpointChunk {
        rows: vec![(OTHER_SPACE, key("a"), row(&[(remote(), 1, 0)]))],
        leaves: vec![(OTHER_SPACE, Leaf(3), Sum(5))],
        census: vec![(OTHER_SPACE, Census { keys: 1, bytes: 65 })],
        ends_table: true,
        position: Some(Position {
            vectors: vec![(OTHER_SPACE, vector(&[(remote(), theirs.mark)]))],
            ..Position::default()
        }),
    };
    store.checkpoint(&folded).unwrap();
    commit(&store, &[theirs.write(&[("b", 2)]), Author::new(OTHER_SPACE, own()).write(&[("d", 4)])]);
    repair(&store, repaired_row(1, OTHER_SPACE, "c", 3, &[]));
    repair(&store, repaired_row(2, SPACE, "c", 3, &[]));
    theirs.write_many(7, &[]);
    repair(&store, repaired_row(3, OTHER_SPACE, "e", 5, &[(remote(), theirs.mark)]));
    drop(store);
    let (store, before) = open(dir.path());
    let (kept, before) = (entries(&store, OTHER_SPACE), before.spaces[1].clone());
    assert_eq!((kept.len(), dirty(&before).len()), (8, 4));
    drop(store);

    let narrow = Options { namespaces: vec![SPACE], ..options(dir.path()) };
    for _ in 0..3 {
        let (store, recovered) = Store::open(&narrow).unwrap();
        assert_eq!(recovered.spaces.len(), 1);
        commit(&store, &[ours.write(&[("a", ours.mark.seq + 1)])]);
        repair(&store, repaired_row(recovered.repaired + 1, SPACE, "f", 1, &[]));
        let vectors = vec![(SPACE, vector(&[(own(), ours.mark)]))];
        let position = Position { vectors, repaired: recovered.repaired + 1, ..Position::default() };
        store
            .checkpoint(&CheckpointChunk {
                rows: vec![],
                leaves: vec![],
                census: vec![],
                ends_table: true,
                position: Some(position),
            })
            .unwrap();
        store.truncate(SPACE, &[(own(), 0..ours.mark.seq)]).unwrap();
        assert_eq!(entries(&store, OTHER_SPACE), kept);
    }
    let (_, after) = open(dir.path());
    assert_eq!(dirty(&after.spaces[0]), [], "a checkpoint covers it");
    let after = &after.spaces[1];
    assert_eq!((dirty(after), &after.vector, &after.reach), (dirty(&before), &before.vector, &before.reach));
    assert_eq!((&after.position, &after.leaves), (&before.position, &before.leaves));
}

#[test]
fn what_a_namespace_has_by_repair_alone_is_named_when_it_is_not_configured() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    repair(&store, repaired_row(1, OTHER_SPACE, "c", 3, &[]));
    let held = crate::store::namespaces::unconfigured(&*store.medium, &[SPACE]).unwrap();
    assert_eq!(held, [OTHER_SPACE]);
}

/// Commits `records`, and returns why the next start refuses.
fn refused(records: &[Record]) -> OpenRefusal {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    commit(&store, records);
    drop(store);
    Store::open(&options(dir.path())).err().unwrap().refusal
}

#[test]
fn a_hole_in_a_log_is_a_refusal_that_names_it() {
    for origin in [own(), remote()] {
        let mut author = Author::new(SPACE, origin);
        let mut records: Vec<Record> = (1..=4).map(|total| author.write(&[("a", total)])).collect();
        records.remove(2);
        let message = refused(&records).to_string();
        let expected =
            format!("the journal of replica {origin} in namespace 00000007 has a hole: commit 3 is missing. ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("start with an empty one"), "{message}");
    }
}

#[test]
fn an_own_log_whose_hashes_do_not_follow_is_a_refusal() {
    let mut author = Author::new(SPACE, own());
    let first = author.write(&[("a", 1)]);
    let second = Record { hash: LogHash(1), ..author.write(&[("a", 2)]) };
    let message = refused(&[first, second]).to_string();
    assert!(message.contains("journal record 2 of replica"), "{message}");
    assert!(message.contains("its running hash does not follow from the record before"), "{message}");
}

#[test]
fn an_own_log_holds_single_commits() {
    let message = refused(&[Author::new(SPACE, own()).write_many(2, &[("a", 1)])]).to_string();
    assert!(message.contains("our own log holds single commits, and this one covers 0 to 2"), "{message}");
}

#[test]
fn a_payload_that_does_not_decode_is_a_refusal() {
    for payload in [&b"\xff\xff"[..], b"\x01\x00\x00\x00", b""] {
        let record = Author::new(SPACE, remote()).write(&[]);
        let message = refused(&[Record { payload: Payload(payload.into()), ..record }]).to_string();
        assert!(message.contains("is damaged: journal record 1 of replica"), "{message}");
    }
}

#[test]
fn what_repair_brought_is_found_again_until_a_checkpoint_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut theirs = Author::new(SPACE, remote());
    let (store, recovered) = open(dir.path());
    assert_eq!(recovered.repaired, 0);
    commit(&store, &[theirs.write(&[("a", 1)])]);
    // Commits 2 to 9 came by repair, as a row; from there on the log goes on.
    theirs.write_many(8, &[]);
    let rows = vec![RepairedRow { key: "a".into(), row: Row::from_iter([(remote(), Slot::of(5, 0))]) }];
    repair(&store, Repaired { namespace: SPACE, number: 1, rows, reach: vec![], adopted: vec![] });
    repair(
        &store,
        Repaired { namespace: SPACE, number: 2, rows: vec![], reach: vec![], adopted: vec![(remote(), theirs.mark)] },
    );
    commit(&store, &[theirs.write(&[("b", 7)])]);
    drop(store);
    let (store, recovered) = open(dir.path());
    let rows = [(key("a"), row(&[(remote(), 5, 0)])), (key("b"), row(&[(remote(), 7, 0)]))];
    assert_eq!((recovered.repaired, dirty(&recovered.spaces[0])), (2, rows.to_vec()));
    assert_eq!(recovered.spaces[0].vector, vector(&[(remote(), theirs.mark)]));
    let rows = rows.iter().map(|(key, row)| (SPACE, key.clone(), row.clone())).collect();
    let position =
        Position { vectors: vec![(SPACE, vector(&[(remote(), theirs.mark)]))], repaired: 2, ..Position::default() };
    store
        .checkpoint(&CheckpointChunk {
            rows,
            leaves: vec![],
            census: vec![],
            ends_table: true,
            position: Some(position),
        })
        .unwrap();
    drop(store);
    let (_, recovered) = open(dir.path());
    assert_eq!((recovered.repaired, dirty(&recovered.spaces[0])), (2, vec![]), "numbers are never used twice");
}

#[test]
fn a_hole_that_repair_did_not_close_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut theirs = Author::new(SPACE, remote());
    let (store, _) = open(dir.path());
    theirs.write_many(4, &[]);
    let adopted = theirs.mark;
    theirs.write(&[("lost", 1)]);
    commit(&store, &[theirs.write(&[("b", 7)])]);
    repair(
        &store,
        Repaired { namespace: SPACE, number: 1, rows: vec![], reach: vec![], adopted: vec![(remote(), adopted)] },
    );
    drop(store);
    let refusal = Store::open(&options(dir.path())).err().unwrap().to_string();
    assert!(refusal.contains("commit 5 is missing"), "{refusal}");
}

#[test]
fn a_truncated_log_goes_on_from_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut ours = Author::new(SPACE, own());
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    let records: Vec<Record> = (1..=5).map(|total| ours.write(&[("a", total)])).collect();
    commit(&store, &records);
    let position = vector(&[(own(), records[3].mark())]);
    checkpoint(&store, &[("a", row(&[(own(), 4, 0)]))], Some(position));
    store.truncate(SPACE, &[(own(), 0..4)]).unwrap();
    assert_eq!(store.find_hash(SPACE, own(), 3).unwrap(), None);
    assert_eq!(store.find_hash(SPACE, own(), 4).unwrap(), hash_of(&records[3]), "the last one stays");
    assert_eq!(store.read_journal(SPACE, own(), 1, 1 << 20).unwrap().whole_from, Some(3));
    drop(store);
    let (_, recovered) = open(dir.path());
    assert_eq!(dirty(&recovered.spaces[0]), [(key("a"), row(&[(own(), 5, 0)]))]);
    assert_eq!(recovered.spaces[0].vector, vector(&[(own(), ours.mark)]));
}

#[test]
fn a_leaf_is_read_by_place_and_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let hasher = options(dir.path()).hasher;
    let mut keys: Vec<Key> = (0..500).map(|number| key(&format!("key-{number}"))).collect();
    keys.sort_by_key(|key| hasher.place(key));
    let rows: Vec<_> = keys.iter().map(|key| (SPACE, key.clone(), row(&[(own(), 3, 1)]))).collect();
    store
        .checkpoint(&CheckpointChunk { rows, leaves: vec![], census: vec![], ends_table: true, position: None })
        .unwrap();
    let leaves: Vec<Leaf> = (0..=u16::MAX).map(Leaf).collect();
    let load = |leaves: Vec<Leaf>, from, rows_max| {
        let asked = LoadLeaves { ticket: 1, namespace: SPACE, leaves, from, upto: Place(u64::MAX), rows_max };
        store.load_leaves(&asked).unwrap()
    };
    let first = load(leaves.clone(), Place(0), 200);
    assert_eq!((first.rows.len(), first.covered), (200, hasher.place(&keys[199])));
    let rest = load(leaves, Place(first.covered.0 + 1), 1_000);
    assert_eq!(rest.covered, Place(u64::MAX));
    let found: Vec<Key> = first.rows.into_iter().chain(rest.rows).map(|(key, _)| key).collect();
    assert_eq!(found, keys);
    let leaf = hasher.place(&keys[0]).leaf();
    let here = keys.iter().filter(|key| hasher.place(key).leaf() == leaf);
    let sum = here.map(|key| hasher.row(key, &row(&[(own(), 3, 1)]))).fold(Sum::default(), Sum::plus);
    assert_eq!(store.sum_leaf(SPACE, leaf).unwrap(), sum);
    assert_eq!(store.sum_leaf(OTHER_SPACE, leaf).unwrap(), Sum::default());
    let of_one = load(vec![leaf], Place(0), 1_000);
    assert!(of_one.rows.iter().all(|(key, _)| hasher.place(key).leaf() == leaf) && !of_one.rows.is_empty());
}

#[test]
fn a_fence_and_a_quarantine_outlast_restarts_until_they_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let reopened = || open(dir.path());
    let (store, recovered) = reopened();
    assert_eq!((recovered.fence, recovered.before_quarantine), (None, None));
    store.put_ceiling(70).unwrap();
    store.put_quarantine(900, 70).unwrap();
    store.put_fence("a copy is running").unwrap();
    drop(store);
    for _ in 0..2 {
        let (_, recovered) = reopened();
        assert_eq!(recovered.fence.as_deref(), Some("a copy is running"));
        assert_eq!((recovered.ceiling, recovered.before_quarantine), (900, Some(70)));
    }
    let (store, _) = reopened();
    store.clear_fence().unwrap();
    store.put_ceiling(901).unwrap();
    drop(store);
    let (_, recovered) = reopened();
    assert_eq!((recovered.fence, recovered.before_quarantine), (None, None), "IDs have gone on above it");
}
