//! Removing a namespace.

use super::*;
use crate::merkle::{Leaf, Sum};
use crate::replica::RepairedRow;
use crate::store::{Medium, Purge};

fn both() -> [NamespaceId; 2] {
    ["kept", "gone"].map(NamespaceId::of)
}

/// A directory with something of everything in two namespaces.
fn filled(path: &Path) -> Options {
    let [kept, gone] = both();
    let options = Options { namespaces: vec![kept, gone], ..options(path) };
    let (store, _) = Store::open(&options).unwrap();
    store.put_names(["kept", "gone"]).unwrap();
    store.put_replica(own()).unwrap();
    for (number, namespace) in (1..).zip([kept, gone]) {
        let word = if namespace == gone { "gone" } else { "kept" };
        let mut author = Author::new(namespace, own());
        commit(&store, &[author.write(&[(&format!("a-row-that-is-{word}"), 1)])]);
        let rows = vec![(namespace, key(&format!("a-row-that-is-{word}")), row(&[(own(), 1, 0)]))];
        let position = Position { vectors: vec![(namespace, vector(&[(own(), author.mark)]))], ..Position::default() };
        let leaves = vec![(namespace, Leaf(3), Sum(number.into()))];
        store
            .checkpoint(&CheckpointChunk { rows, leaves, census: vec![], ends_table: true, position: Some(position) })
            .unwrap();
        commit(&store, &[author.write(&[(&format!("a-record-that-is-{word}"), 1)])]);
        let rows = vec![RepairedRow { key: format!("repaired-{word}"), row: Row::default() }];
        repair(&store, Repaired { namespace, number, rows, reach: vec![(remote(), 9)], adopted: vec![] });
    }
    options
}

/// Everything that a namespace has in the families.
fn entries(medium: &dyn Medium, namespace: NamespaceId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let prefix = namespace.0.to_be_bytes();
    let mut found = Vec::new();
    for family in crate::store::namespaces::FAMILIES {
        let mut cursor = medium.cursor(family).unwrap();
        cursor.seek(&prefix);
        while let Some((key, value)) = cursor.item().unwrap().filter(|(key, _)| key.starts_with(&prefix)) {
            found.push((key.to_vec(), value.to_vec()));
            cursor.advance();
        }
    }
    found
}

/// Whether some file of data holds these bytes.
fn is_written(path: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let data = files.filter(|file| file.extension().is_some_and(|found| found == "sst" || found == "log"));
    let mut texts = data.map(|file| std::fs::read(file).unwrap());
    texts.any(|text| text.windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn a_namespace_goes_with_the_replica_id_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let options = filled(dir.path());
    let [kept, gone] = both();
    let (store, _) = Store::open(&options).unwrap();
    let before = entries(&*store.medium, kept);
    assert!(!entries(&*store.medium, gone).is_empty());
    drop(store);
    assert!(is_written(dir.path(), b"that-is-gone"));

    let prepared = Purge::prepare(dir.path(), "gone").unwrap();
    let holding = prepared.holding();
    assert_eq!((holding.rows, holding.records, holding.replica), (1, 2, Some(own())));
    drop(prepared);
    assert!(!entries(&*Store::open(&options).unwrap().0.medium, gone).is_empty(), "nothing has happened yet");
    assert_eq!(Purge::prepare(dir.path(), "gone").unwrap().run(&mut |_| {}).unwrap(), holding);
    for word in [&b"that-is-gone"[..], b"repaired-gone"] {
        assert!(!is_written(dir.path(), word), "{}", word.escape_ascii());
    }
    assert!(is_written(dir.path(), b"that-is-kept"));

    let refusal = Purge::prepare(dir.path(), "gone").err().unwrap().to_string();
    assert!(refusal.ends_with(r#"it holds nothing of a namespace "gone"; it holds kept"#), "{refusal}");
    let (store, recovered) = Store::open(&options).unwrap();
    assert_eq!(entries(&*store.medium, kept), before);
    assert_eq!((recovered.replica, entries(&*store.medium, gone)), (None, vec![]));
    let space = recovered.spaces.iter().find(|space| space.namespace == gone).unwrap();
    assert!(space.dirty.is_empty() && space.vector.iter().next().is_none() && space.reach.is_empty());
}

#[test]
fn a_namespace_that_is_not_there_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for name in ["", "Gone", "gone "] {
        let refusal = Purge::prepare(dir.path(), name).err().unwrap().to_string();
        let held = ["; it holds kept, gone", "; it holds gone, kept"];
        assert!(held.iter().any(|held| refusal.ends_with(held)), "{refusal}");
    }
    let elsewhere = dir.path().join("nothing");
    assert!(Purge::prepare(&elsewhere, "gone").is_err() && !elsewhere.exists());
}
