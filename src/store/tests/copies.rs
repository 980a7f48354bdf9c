//! Checks, backups, restores and compactions.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::store::{Report, backup, check, compact, restore};

/// A directory with commits of two origins, some of them checkpointed, closed.
fn closed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    store.put_ceiling(77).unwrap();
    let (mut ours, mut theirs) = (Author::new(SPACE, own()), Author::new(SPACE, remote()));
    for total in 1..=20 {
        commit(&store, &[ours.write(&[("a", total), ("b", total)])]);
    }
    checkpoint(&store, &[("a", row(&[(own(), 20, 0)]))], None);
    checkpoint(&store, &[("b", row(&[(own(), 20, 0)]))], Some(vector(&[(own(), ours.mark)])));
    commit(&store, &[theirs.write_many(5, &[("a", 3)]), ours.write(&[("a", 30)])]);
    dir
}

fn look(dir: &Path) -> Report {
    check(dir, &mut |_, _| {}).unwrap()
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn is_a_copy(copy: &Path) {
    let report = look(copy);
    assert_eq!(report.damages, Vec::<String>::new());
    assert_eq!((report.replica, report.boots, report.ceiling), (None, 1, 77));
    let (store, recovered) = open(copy);
    assert_eq!(recovered.replica, None, "the next start mints");
    let space = &recovered.spaces[0];
    assert_eq!([own(), remote()].map(|origin| space.vector.mark(origin).seq), [21, 5]);
    let expected = row(&[(own(), 30, 0), (remote(), 3, 0)]);
    assert_eq!(dirty(space), [(key("a"), expected)], "our old slots are there, as somebody's");
    assert_eq!(store.load(SPACE, &[key("b")]).unwrap()[0].1, row(&[(own(), 20, 0)]));
}

#[test]
fn a_check_finds_everything_and_changes_nothing() {
    let dir = closed();
    let before = contents(dir.path());
    let report = look(dir.path());
    assert_eq!(contents(dir.path()), before);
    assert_eq!(report.damages, Vec::<String>::new());
    assert!(report.owner.starts_with("cluster test, worker 1/2, IDs 41/5/5/12"), "{}", report.owner);
    assert_eq!((report.replica, report.boots, report.ceiling), (Some(own()), 1, 77));
    let entries = |name| report.families.iter().find(|found| found.family == name).unwrap().entries;
    assert_eq!((entries("journal"), entries("rows")), (22, 2));
    let logs: Vec<_> = report.logs.iter().map(|log| (log.origin, log.records, log.after, log.upto)).collect();
    assert_eq!(logs, [(own(), 21, 0, 21), (remote(), 1, 0, 5)]);
}

#[test]
fn a_check_names_the_file_of_each_kind_that_is_damaged() {
    let flushed = closed();
    // A second start writes what the log held into tables, and closes its manifest.
    drop(open(flushed.path()));
    for (extension, dir) in [("log", closed()), ("sst", flushed)] {
        let path = contents(dir.path())
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|found| found == extension))
            .max_by_key(|(_, bytes)| bytes.len())
            .unwrap()
            .0;
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        let damages = look(dir.path()).damages;
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(damages.iter().any(|damage| damage.contains(name)), "{name}: {damages:?}");
    }
}

#[test]
fn a_check_finds_a_hole_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut theirs = Author::new(SPACE, remote());
    let records: Vec<Record> = (1..=3).map(|total| theirs.write(&[("a", total)])).collect();
    commit(&store, &[records[0].clone(), records[2].clone()]);
    drop(store);
    let damages = look(dir.path()).damages;
    assert!(damages[0].contains("has a hole: commit 2 is missing"));
}

#[test]
fn a_backup_and_what_is_restored_from_it_are_somebody_else() {
    let (dir, copies) = (closed(), tempfile::tempdir().unwrap());
    let (kept, restored) = (copies.path().join("backup"), copies.path().join("restored"));
    backup(dir.path(), &kept).unwrap();
    assert_eq!(look(dir.path()).replica, Some(own()), "the original stays what it is");
    let before = contents(&kept);
    let (mut done, mut all) = (0, 0);
    restore(&kept, &restored, &mut |so_far, of| (done, all) = (so_far, of)).unwrap();
    assert_eq!(contents(&kept), before, "a backup is only read");
    assert!(done == all && all > 0);
    is_a_copy(&restored);
    is_a_copy(&kept);
}

#[test]
fn nothing_is_copied_over_something_or_from_nothing() {
    let (dir, empty) = (closed(), tempfile::tempdir().unwrap());
    let there = backup(dir.path(), empty.path()).unwrap_err().to_string();
    assert!(there.contains("it exists already; name a directory that does not exist yet"), "{there}");
    let nothing = restore(empty.path(), &dir.path().join("x"), &mut |_, _| {}).unwrap_err().to_string();
    assert!(nothing.contains("there is no node's data in it"), "{nothing}");
    let nowhere = check(&empty.path().join("absent"), &mut |_, _| {}).unwrap_err().to_string();
    assert!(nowhere.contains("cannot open the directory: No such file"), "{nowhere}");
}

#[test]
fn a_directory_in_use_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    for message in [
        check(dir.path(), &mut |_, _| {}).unwrap_err().to_string(),
        backup(dir.path(), &dir.path().join("copy")).unwrap_err().to_string(),
        restore(dir.path(), &dir.path().join("copy"), &mut |_, _| {}).unwrap_err().to_string(),
    ] {
        assert!(message.contains("another process is using it"), "{message}");
    }
}

#[test]
fn a_compaction_leaves_everything_as_it_was_and_no_more_than_that() {
    let dir = closed();
    let (mut before, mut families) = (look(dir.path()), Vec::new());
    let done = compact(dir.path(), &mut |family| families.push(family)).unwrap();
    assert!(done.after > 0 && families.contains(&"rows") && families.contains(&"journal"), "{done:?} {families:?}");
    let after = look(dir.path());
    assert_eq!(after.damages, Vec::<String>::new());
    before.remarks.clone_from(&after.remarks);
    assert_eq!(format!("{after:?}"), format!("{before:?}"), "the same incarnation, boots, rows and logs");
    let again = compact(dir.path(), &mut |_| {}).unwrap();
    assert!(again.after <= done.after, "{again:?} after {done:?}");
}

#[test]
fn a_directory_in_use_is_not_compacted() {
    let dir = closed();
    let (_store, _) = open(dir.path());
    let refused = compact(dir.path(), &mut |_| {}).unwrap_err().to_string();
    assert!(refused.contains("another process is using it"), "{refused}");
}
