//! A process that uses the store as the engine does: commits, checkpoints, ceilings and incarnations at once.
//!
//! What it writes follows from numbers alone, so that what must be there can be computed from how far each log has come.
//! Before it does something it notes in the record that it will, and afterwards that it is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use snowtide::crdt::{Mark, Row, Slot, VersionVector};
use snowtide::identity::{NamespaceId, ReplicaId, WorkerId};
use snowtide::merkle::{Hasher, SECRET_BYTES};
use snowtide::replica::{Change, CheckpointChunk, Commit, DirtyRow, Payload, Position, Record, Recovered};
use snowtide::store::{Memory, OPEN_FILES_MAX, Options, Store, StoreError};
use snowtide_protocol::Key;

use crate::record::Notes;
use crate::shim::Recording;

pub(crate) const SPACE: NamespaceId = NamespaceId(7);
/// Where in the recorded directory the data is.
const DATA: &str = "a/data";
/// Small, so that a short run switches write-ahead logs, flushes and compacts many times.
const MEMTABLE_BYTES: usize = 600 << 10;
/// Rows in one part of a checkpoint.
const PART_ROWS: usize = 40;
/// Exit code of a child that the store has told of a failure.
pub(crate) const STORE_FAILED: i32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Attempted,
    Acknowledged,
}

pub(crate) fn parse_note(text: &str) -> (Fate, &str, u64) {
    let mut words = text.split(' ');
    let fate = if words.next() == Some("did") { Fate::Acknowledged } else { Fate::Attempted };
    (fate, words.next().unwrap(), words.next().unwrap().parse().unwrap())
}

pub(crate) fn log_name(origin: ReplicaId) -> String {
    format!("log:{}", origin.0)
}

pub(crate) fn origin_of(name: &str) -> Option<ReplicaId> {
    name.strip_prefix("log:").map(|number| ReplicaId(number.parse().unwrap()))
}

fn worker() -> WorkerId {
    WorkerId::new(1, 2).unwrap()
}

fn own(incarnation: u64) -> ReplicaId {
    ReplicaId::new(worker(), incarnation)
}

pub(crate) fn incarnation(replica: ReplicaId) -> u64 {
    replica.0 - own(0).0
}

fn remote() -> ReplicaId {
    ReplicaId::new(WorkerId::new(3, 0).unwrap(), 1)
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn hasher() -> Hasher {
    Hasher::new([7; SECRET_BYTES])
}

pub(crate) fn options(directory: &Path) -> Options {
    Options {
        path: directory.to_path_buf(),
        cluster_id: "test".into(),
        layout: "any".into(),
        hasher: hasher(),
        secret: "test".into(),
        worker: worker(),
        namespaces: vec![SPACE],
        boot_nonce: 99,
        memory: Memory { cache: 8 << 20, memtables: MEMTABLE_BYTES, open_files: OPEN_FILES_MAX },
    }
}

/// The counters that commit `seq` of `origin` changes, each to the total `seq`: a few, sometimes many, rarely so many
/// that the record takes several blocks of the write-ahead log.
pub(crate) fn keys(origin: ReplicaId, seq: u64) -> Vec<String> {
    let mut keys = vec!["total".to_owned(), format!("key/{}", seq * 7919 % 97)];
    let filler = match seq {
        seq if seq % 61 == 0 => 400,
        seq if seq % 7 == 0 => 30,
        _ => 0,
    };
    let length = usize::try_from(seq * 31 % 400).unwrap();
    keys.extend((0..filler).map(|number| format!("filler/{}/{number}/{}", seq % 3, "x".repeat(length % 300))));
    if origin == remote() {
        keys.retain(|key| key != "total");
    }
    keys
}

/// Makes the records of one origin, one after another.
struct Author {
    origin: ReplicaId,
    mark: Mark,
}

impl Author {
    /// The next `count` commits as one record.
    fn write(&mut self, count: u64) -> Record {
        let after = self.mark.seq;
        let mut slots = BTreeMap::new();
        for seq in after + 1..=after + count {
            slots.extend(keys(self.origin, seq).into_iter().map(|key| (key, Slot::of(seq, 0))));
        }
        let changes: Vec<_> = slots.iter().map(|(key, slot)| Change { key, slot: *slot }).collect();
        let payload = Payload::encode(&changes);
        self.mark = Mark { seq: after + count, hash: self.mark.hash.then(&payload.0) };
        let Mark { seq: upto, hash } = self.mark;
        Record { namespace: SPACE, origin: self.origin, after, upto, hash, payload }
    }
}

/// What has been committed, for checkpoints.
#[derive(Default)]
struct State {
    rows: BTreeMap<String, Row>,
    dirty: Vec<String>,
    vector: VersionVector,
}

impl State {
    fn recovered(store: &Store, recovered: &Recovered) -> Self {
        let space = &recovered.spaces[0];
        let mut state = Self { vector: space.vector.clone(), ..Self::default() };
        for (origin, mark) in space.vector.iter() {
            (1..=mark.seq).flat_map(|seq| keys(origin, seq)).for_each(|key| {
                state.rows.entry(key).or_default();
            });
        }
        let keys: Vec<Key> = state.rows.keys().map(|text| key(text)).collect();
        let loaded = store.load(SPACE, &keys).unwrap();
        state.rows = loaded.into_iter().map(|(key, row)| (key.to_string(), row)).collect();
        for DirtyRow { key, row, .. } in &space.dirty {
            state.rows.insert(key.to_string(), row.clone());
            state.dirty.push(key.to_string());
        }
        state
    }

    fn committed(&mut self, record: &Record) {
        for Change { key, slot } in record.changes().unwrap() {
            self.rows.entry(key.to_owned()).or_default().join_slot(record.origin, slot);
            self.dirty.push(key.to_owned());
        }
        self.vector.advance(record.origin, record.mark());
    }
}

/// Runs the workload in a process of its own, recorded; `boots` starts with `commits` each.
pub(crate) fn run(recording: &Recording, boots: usize, commits: usize, fail: Option<usize>) -> Output {
    spawn(recording, boots, commits, "close", fail)
}

/// The same, but the process ends in the middle of its work.
pub(crate) fn run_and_abort(recording: &Recording, boots: usize, commits: usize) -> Output {
    spawn(recording, boots, commits, "abort", None)
}

fn spawn(recording: &Recording, boots: usize, commits: usize, end: &str, fail: Option<usize>) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .arg("--child")
        .arg(data_in(&recording.root))
        .arg(&recording.record)
        .args([&boots.to_string(), &commits.to_string(), end])
        .envs(recording.environment(fail))
        .output()
        .unwrap()
}

/// Where the workload's data is, below a recorded directory or a copy of one.
pub(crate) fn data_in(root: &Path) -> PathBuf {
    root.join(DATA)
}

/// The process: arguments are the data directory, the record, the number of starts, commits in each, and how it ends.
pub(crate) fn child(arguments: &[String]) {
    let [data, record, boots, commits, end] = arguments else { panic!("{arguments:?}") };
    let notes = Notes::open(Path::new(record));
    let boots: usize = boots.parse().unwrap();
    for number in 1..=boots {
        let abort = end == "abort" && number == boots;
        if let Err(error) = boot(Path::new(data), &notes, commits.parse().unwrap(), abort) {
            eprintln!("{error}");
            std::process::exit(STORE_FAILED);
        }
    }
}

fn boot(data: &Path, notes: &Notes, commits: u64, abort: bool) -> Result<(), Box<dyn std::error::Error>> {
    let (store, recovered) = Store::open(&options(data))?;
    let number = recovered.boot.counter;
    let state = Mutex::new(State::recovered(&store, &recovered));
    promise(notes, "replica", number, || store.put_replica(own(number)))?;
    let over = AtomicBool::new(false);
    let vector = recovered.spaces[0].vector.clone();
    let mut authors = [own(number), remote()].map(|origin| Author { origin, mark: vector.mark(origin) });
    thread::scope(|scope| {
        let ceilings = scope.spawn(|| keep_ceilings(&store, notes, recovered.ceiling, &over));
        let checkpoints = scope.spawn(|| keep_checkpoints(&store, &state, &over));
        scope.spawn(|| keep_watch(&store, &over));
        let outcome = (1..=commits).try_for_each(|round| commit(&store, notes, &mut authors, round, &state));
        if abort {
            std::process::abort();
        }
        over.store(true, Ordering::Relaxed);
        let others = [ceilings.join().unwrap(), checkpoints.join().unwrap()];
        outcome.and(others.into_iter().collect::<Result<(), StoreError>>())
    })?;
    Ok(())
}

/// As a node does: RocksDB's background work may fail while a write waits for it.
fn keep_watch(store: &Store, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Err(error) = store.health() {
            eprintln!("{error}");
            std::process::exit(STORE_FAILED);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Notes that something will be done, does it, and notes that it is done.
fn promise(
    notes: &Notes,
    name: &str,
    number: u64,
    act: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    notes.write(&format!("will {name} {number}"));
    act()?;
    notes.write(&format!("did {name} {number}"));
    Ok(())
}

fn commit(
    store: &Store,
    notes: &Notes,
    authors: &mut [Author; 2],
    round: u64,
    state: &Mutex<State>,
) -> Result<(), StoreError> {
    let [own, remote] = authors;
    let mut records = vec![own.write(1)];
    if round.is_multiple_of(5) {
        records.push(remote.write(round % 3 + 1));
    }
    for record in &records {
        notes.write(&format!("will {} {}", log_name(record.origin), record.upto));
    }
    store.commit(&Commit {
        number: round,
        records: records.clone(),
        repaired: vec![],
        answered: vec![],
        forgotten: vec![],
    })?;
    for record in &records {
        notes.write(&format!("did {} {}", log_name(record.origin), record.upto));
    }
    records.iter().for_each(|record| state.lock().unwrap().committed(record));
    Ok(())
}

fn keep_ceilings(store: &Store, notes: &Notes, from: u64, over: &AtomicBool) -> Result<(), StoreError> {
    for ceiling in from + 1.. {
        promise(notes, "ceiling", ceiling, || store.put_ceiling(ceiling))?;
        thread::yield_now();
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Each once, and as they stand on disk.
fn in_order(mut dirty: Vec<String>) -> Vec<String> {
    let hasher = hasher();
    dirty.sort_by_cached_key(|text| (hasher.place(text), text.clone()));
    dirty.dedup();
    dirty
}

fn keep_checkpoints(store: &Store, state: &Mutex<State>, over: &AtomicBool) -> Result<(), StoreError> {
    while !over.load(Ordering::Relaxed) {
        let (dirty, position) = {
            let mut state = state.lock().unwrap();
            (in_order(std::mem::take(&mut state.dirty)), state.vector.clone())
        };
        let parts: Vec<&[String]> = dirty.chunks(PART_ROWS).collect();
        for (number, part) in parts.iter().enumerate() {
            // Rows that have changed since are written with their later values, as the engine does.
            let row = |text: &String| (SPACE, key(text), state.lock().unwrap().rows[text].clone());
            let vectors = vec![(SPACE, position.clone())];
            let position = (number + 1 == parts.len()).then_some(Position { vectors, ..Position::default() });
            store.checkpoint(&CheckpointChunk {
                rows: part.iter().map(row).collect(),
                leaves: vec![],
                census: vec![],
                // Each third part ends a table, and so does the last.
                ends_table: number % 3 == 2 || position.is_some(),
                position,
            })?;
        }
        store.health()?;
        thread::yield_now();
    }
    Ok(())
}
