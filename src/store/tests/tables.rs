//! Tables of rows: several parts, of several namespaces, that are there at once or not at all.

use super::*;
use crate::merkle::{Leaf, Place, Sum};
use crate::replica::Census;

/// Rows of some leaves of a namespace, with a sum for each and a census.
fn part(store: &Store, namespace: NamespaceId, leaves: std::ops::Range<u16>, ends_table: bool) -> CheckpointChunk {
    let keys = (0u64..).map(|number| key(&format!("counter/{number}")));
    let mut found: Vec<(Place, Key)> = keys.map(|key| (store.hasher.place(&key), key)).take(20_000).collect();
    found.retain(|(place, _)| leaves.contains(&place.leaf().0));
    found.sort();
    let row = |(_, key): (Place, Key)| (namespace, key, row(&[(own(), 3, 1)]));
    let rows: Vec<_> = found.into_iter().map(row).collect();
    assert!(rows.len() > 10, "some leaves have rows");
    let sums = leaves.map(|leaf| (namespace, Leaf(leaf), Sum(u128::from(leaf) + 1))).collect();
    let census = vec![(namespace, Census { keys: rows.len() as u64, bytes: 1_000 })];
    CheckpointChunk { rows, leaves: sums, census, ends_table, position: None }
}

/// What is there of a namespace: rows of this part, leaves, the census.
fn found(store: &Store, part: &CheckpointChunk) -> (usize, usize, Option<u64>) {
    let (namespace, ..) = part.rows[0];
    let keys: Vec<Key> = part.rows.iter().map(|(_, key, _)| key.clone()).collect();
    let rows = store.load(namespace, &keys).unwrap();
    let leaves = crate::store::rows::leaves(&*store.medium, namespace).unwrap();
    let census = crate::store::rows::census(&*store.medium, namespace).unwrap();
    (rows.iter().filter(|(_, row)| !row.is_empty()).count(), leaves.len(), census.map(|census| census.keys))
}

#[test]
fn the_parts_of_a_table_are_there_once_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let parts = [
        part(&store, SPACE, 0..300, false),
        part(&store, SPACE, 300..700, false),
        part(&store, OTHER_SPACE, 0..500, false),
        part(&store, OTHER_SPACE, 500..900, true),
    ];
    for unfinished in &parts[..3] {
        store.checkpoint(unfinished).unwrap();
        assert!(parts.iter().all(|part| found(&store, part) == (0, 0, None)));
    }
    store.checkpoint(&parts[3]).unwrap();
    for (part, leaves, last) in [(&parts[0], 700, &parts[1]), (&parts[1], 700, &parts[1]), (&parts[2], 900, &parts[3])]
    {
        assert_eq!(found(&store, part), (part.rows.len(), leaves, Some(last.rows.len() as u64)));
    }
    // The next table replaces what is in it, and nothing else.
    let again = part(&store, SPACE, 100..400, true);
    store.checkpoint(&again).unwrap();
    assert_eq!(found(&store, &parts[1]), (parts[1].rows.len(), 700, Some(again.rows.len() as u64)));
}

#[test]
fn an_unfinished_table_is_gone_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let files = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let unfinished = part(&store, SPACE, 0..300, false);
    store.checkpoint(&unfinished).unwrap();
    assert!(files().iter().any(|name| name == "SNOWTIDE.table"));
    drop(store);
    let (store, _) = open(dir.path());
    assert!(!files().iter().any(|name| name == "SNOWTIDE.table"));
    assert_eq!(found(&store, &unfinished), (0, 0, None));
    let whole = CheckpointChunk { ends_table: true, ..unfinished };
    store.checkpoint(&whole).unwrap();
    assert!(!files().iter().any(|name| name == "SNOWTIDE.table"));
    drop(store);
    assert_eq!(found(&open(dir.path()).0, &whole), (whole.rows.len(), 300, Some(whole.rows.len() as u64)));
}

/// RocksDB gives up a table's name if the manifest cannot be synced; the disk may keep what the manifest says.
#[test]
fn a_table_that_the_manifest_names_and_that_lost_its_name_gets_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let whole = part(&store, SPACE, 0..300, true);
    store.checkpoint(&whole).unwrap();
    drop(store);
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let table = files.filter(|path| path.extension().is_some_and(|found| found == "sst")).max().unwrap();
    let unnamed = dir.path().join("SNOWTIDE.table");
    std::fs::rename(&table, &unnamed).unwrap();
    let (store, _) = open(dir.path());
    assert_eq!(found(&store, &whole), (whole.rows.len(), 300, Some(whole.rows.len() as u64)));
    drop(store);
    // Another file does not do, and is not taken for it.
    std::fs::rename(&table, dir.path().join("away")).unwrap();
    std::fs::write(&unnamed, "of something else").unwrap();
    let refused = Store::open(&options(dir.path())).err().unwrap().to_string();
    assert!(refused.contains("No such file") && !table.exists(), "{refused}");
}
