//! Directories that are not opened, each with its message.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::store::database::Database;
use crate::store::format::FORMAT;
use crate::store::medium::{Batch, Family, Medium};
use crate::store::tuning::Memory;

fn refusal(options: &Options) -> String {
    Store::open(options).err().unwrap().to_string()
}

/// A directory with one commit in it.
fn established() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    commit(&store, &[Author::new(SPACE, own()).write(&[("a", 1)])]);
    dir
}

/// Overwrites one record behind the store's back.
fn tamper(dir: &Path, family: Family, key: &[u8], value: &[u8]) {
    let database = Database::open(dir, false, Memory::OFFLINE).unwrap();
    let mut batch = Batch::default();
    batch.put(family, key, value.to_vec());
    database.write_synced(batch).unwrap();
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn a_directory_of_another_cluster_worker_layout_or_secret_is_refused() {
    let dir = established();
    let ours = options(dir.path());
    let cluster = Options { cluster_id: "production".into(), ..ours.clone() };
    let worker = Options { worker: WorkerId::new(4, 0).unwrap(), ..ours.clone() };
    let layout = Options { layout: "42/4/5/12 since 2025-01-01T00:00:00Z".into(), ..ours.clone() };
    let secret = Options { secret: "fedcba9876543210".into(), ..ours.clone() };
    let messages = [refusal(&cluster), refusal(&worker), refusal(&layout), refusal(&secret)];
    let expected = [
        "it belongs to cluster test, and the configuration says cluster production; correct the configuration",
        "it belongs to worker (region/node) 1/2, and the configuration says worker (region/node) 4/0; correct",
        "it belongs to ID layout 41/5/5/12 since 2025-01-01T00:00:00Z, and the configuration says ID layout 42/4/5/12",
        "it belongs to cluster secret (fingerprint) 0123456789abcdef, and the configuration says cluster secret \
         (fingerprint) fedcba9876543210; correct",
    ];
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.starts_with(&format!("data directory {}: {expected}", dir.path().display())), "{message}");
    }
    Store::open(&ours).unwrap();
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    let message = refusal(&options(dir.path()));
    assert!(message.contains("another process is using it; each node needs a directory of its own"), "{message}");
}

#[test]
fn a_newer_directory_is_refused_with_both_versions() {
    let dir = established();
    tamper(dir.path(), Family::Meta, b"format", &[FORMAT + 2]);
    let message = refusal(&options(dir.path()));
    assert!(
        message.contains("it is in format 5, and this program knows formats up to 3; start the newer"),
        "{message}"
    );
}

#[test]
fn a_newer_record_is_refused_with_both_versions() {
    let dir = established();
    tamper(dir.path(), Family::Meta, b"ceiling", &[7, 1]);
    let message = refusal(&options(dir.path()));
    assert!(message.contains("it is in format 7, and this program knows formats up to 3"), "{message}");
}

#[test]
fn records_of_meta_get_a_verdict_whatever_is_in_them() {
    let keys: [&[u8]; 6] = [b"format", b"identity", b"boot", b"replica", b"ceiling", b"position/\0\0\0\x07"];
    for key in keys {
        for value in [&b""[..], b"\0", b"\x01\xfd", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            let dir = established();
            tamper(dir.path(), Family::Meta, key, value);
            let message = refusal(&options(dir.path()));
            assert!(message.contains("it is damaged: "), "{:?} = {value:?}: {message}", key.escape_ascii().to_string());
        }
    }
}

#[test]
fn journal_keys_get_a_verdict_whatever_is_in_them() {
    for key in [&b"\0\0\0\x07"[..], b"\0\0\0\x07\0\0\0\0\0\0\0\x01", b"\0", &[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9]]
    {
        let dir = established();
        tamper(dir.path(), Family::Journal, key, b"");
        let message = refusal(&options(dir.path()));
        assert!(message.contains("it is damaged: a journal key on disk is not valid"), "{key:?}: {message}");
    }
}

#[test]
fn a_replica_id_of_another_worker_is_refused() {
    let dir = established();
    tamper(dir.path(), Family::Meta, b"replica", &crate::store::format::seal(&remote()));
    let message = refusal(&options(dir.path()));
    assert!(message.contains("is an incarnation of worker 3/0, not of 1/2"), "{message}");
}

#[test]
fn another_rocksdb_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(rocksdb::DB::open_default(dir.path()).unwrap());
    let before = fs::read_dir(dir.path()).unwrap().count();
    let message = refusal(&options(dir.path()));
    assert!(message.contains("it is not empty and no Snowtide node made it (it holds "), "{message}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
}

#[test]
fn a_lost_file_is_noticed_and_not_replaced() {
    for name in ["CURRENT", "MANIFEST"] {
        let dir = established();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(name) {
                fs::remove_file(path).unwrap();
            }
        }
        let message = refusal(&options(dir.path()));
        assert!(message.contains("it is damaged: ") && message.contains(name), "{message}");
        assert!(message.contains("Keep a copy of the directory"), "{message}");
        assert!(!files(dir.path(), "log").is_empty(), "the write-ahead log is still there");
    }
}

#[test]
fn a_flipped_bit_in_the_write_ahead_log_refuses_the_start_and_names_the_file() {
    let dir = established();
    let log = files(dir.path(), "log").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    let message = refusal(&options(dir.path()));
    assert!(message.contains("it is damaged: ") && message.contains("is corrupt at byte"), "{message}");
    assert!(message.contains(log.file_name().unwrap().to_str().unwrap()), "{message}");
}

/// RocksDB alone would read such a manifest for ever.
#[test]
fn a_flipped_bit_in_the_kind_of_any_record_of_the_manifest_refuses_the_start_and_names_the_file() {
    const HEADER_BYTES: usize = 7;
    let dir = established();
    let current = fs::read_to_string(dir.path().join("CURRENT")).unwrap();
    let manifest = dir.path().join(current.trim_end());
    let whole = fs::read(&manifest).unwrap();
    let (mut at, mut refused) = (0, 0);
    while let Some(header) = whole.get(at..at + HEADER_BYTES) {
        let mut broken = whole.clone();
        broken[at + HEADER_BYTES - 1] ^= 4;
        fs::write(&manifest, broken).unwrap();
        let message = refusal(&options(dir.path()));
        assert!(message.contains(&format!("{} is corrupt at byte {at}", current.trim_end())), "{message}");
        refused += 1;
        at += HEADER_BYTES + usize::from(u16::from_le_bytes([header[4], header[5]]));
    }
    assert!(refused > 5, "{refused} records");
    fs::write(&manifest, whole).unwrap();
    open(dir.path());
}

#[test]
fn a_cut_tail_of_the_write_ahead_log_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_replica(own()).unwrap();
    let mut ours = Author::new(SPACE, own());
    commit(&store, &[ours.write(&[("a", 1)])]);
    let reported = ours.mark;
    commit(&store, &[ours.write(&[("a", 2)])]);
    drop(store);
    let log = files(dir.path(), "log").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    assert_eq!(open(dir.path()).1.spaces[0].vector.mark(own()), reported);
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let message = refusal(&options(Path::new("/proc/snowtide")));
    assert!(message.contains("cannot create the directory: ") && message.contains("may write there"), "{message}");
}
