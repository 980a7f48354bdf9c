//! Real kills and real disk errors, in child processes: this test binary runs itself with one test selected.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use super::*;
use crate::store::StoreError;

/// Tells a child where its data is; without it, the children's tests do nothing.
const CHILD_DIR: &str = "SNOWTIDE_TEST_STORE_DIR";
const KILLS: u64 = 20;

fn child_dir() -> Option<String> {
    env::var(CHILD_DIR).ok()
}

/// A shell command that runs the named test of this file in `dir`.
fn spawn(shell: &str, test: &str, dir: &Path) -> (Child, impl Iterator<Item = (String, u64)> + use<>) {
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut child = Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    (child, reports(output))
}

/// What a child printed: lines of a word and a number. A line that the kill has cut off was not reported.
fn reports(output: ChildStdout) -> impl Iterator<Item = (String, u64)> {
    let mut reader = BufReader::new(output);
    std::iter::from_fn(move || {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
                return None;
            }
            if let Some((word, number)) = line.trim().split_once(' ')
                && let Ok(number) = number.parse()
            {
                return Some((word.to_owned(), number));
            }
        }
    })
}

/// Picks up where the last child was killed, and commits until it is killed too.
#[test]
fn child_that_commits_forever() {
    let Some(dir) = child_dir() else { return };
    let (store, recovered) = open(Path::new(&dir));
    if recovered.replica.is_none() {
        store.put_replica(own()).unwrap();
    }
    let mut ours = Author { namespace: SPACE, origin: own(), mark: recovered.spaces[0].vector.mark(own()) };
    thread::scope(|scope| {
        scope.spawn(|| {
            for ceiling in recovered.ceiling + 1.. {
                store.put_ceiling(ceiling).unwrap();
                println!("ceiling {ceiling}");
            }
        });
        for seq in ours.mark.seq + 1.. {
            // Records of many sizes, so that kills also hit a write in its middle.
            let filler = "x".repeat(usize::try_from(seq * 7919 % 500).unwrap() + 1);
            let changes: Vec<(&str, u64)> = vec![("total", seq), (&filler, seq)];
            commit(&store, &[ours.write(&changes)]);
            println!("committed {seq}");
            if seq % 16 == 0 {
                let total = row(&[(own(), seq, 0)]);
                let position = vector(&[(own(), ours.mark)]);
                checkpoint(&store, &[("total", total.clone())], None);
                checkpoint(&store, &[(&filler, total)], Some(position));
            }
        }
    });
}

#[test]
fn a_killed_process_has_lost_nothing_that_it_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (mut committed, mut ceiling) = (0, 0);
    for kill in 0..KILLS {
        let (mut child, mut reports) = spawn("exec \"$@\"", "child_that_commits_forever", dir.path());
        let mut wanted = kill * 13 % 40;
        let mut note = |(word, number): (String, u64)| match word.as_str() {
            "committed" => committed = number,
            _ => ceiling = number,
        };
        for report in reports.by_ref() {
            note(report);
            wanted = wanted.saturating_sub(1);
            if wanted == 0 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        reports.for_each(note);
        check_recovered(dir.path(), committed, ceiling);
    }
    assert!(committed > KILLS, "the children have worked");
}

#[test]
fn a_first_start_that_is_killed_can_be_repeated() {
    // Files in the order in which a first start makes them.
    for file in ["SNOWTIDE.new", "LOCK", "MANIFEST-000001", "CURRENT", "SNOWTIDE"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, _reports) = spawn("exec \"$@\"", "child_that_commits_forever", dir.path());
        let watch = crate::clock::Stopwatch::start();
        while !dir.path().join(file).exists() {
            // The next one replaces some of them at once.
            if file != "SNOWTIDE" && dir.path().join("SNOWTIDE").exists() {
                break;
            }
            assert!(watch.elapsed_ms() < 30_000, "{file} never appeared");
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        open(dir.path());
    }
}

fn check_recovered(dir: &Path, committed: u64, ceiling: u64) {
    let (store, recovered) = open(dir);
    let space = &recovered.spaces[0];
    let seq = space.vector.mark(own()).seq;
    assert!(seq >= committed, "commit {committed} was reported, and the log ends at {seq}");
    assert!(recovered.ceiling >= ceiling, "ceiling {ceiling} was reported, and {} recovered", recovered.ceiling);
    let dirty = space.dirty.iter().find(|dirty| dirty.key == key("total")).map(|dirty| dirty.row.clone());
    let total = dirty.unwrap_or_else(|| store.load(SPACE, &[key("total")]).unwrap().remove(0).1);
    assert_eq!(total.slot(own()).totals().0, seq);
    let journal = store.read_journal(SPACE, own(), 0, usize::MAX).unwrap();
    assert_eq!(u64::try_from(journal.records.len()).unwrap(), seq, "the whole journal is there");
}

/// Commits until the file-size limit that its parent has set makes a write fail.
#[test]
fn child_that_meets_a_full_disk() {
    let Some(dir) = child_dir() else { return };
    let (store, recovered) = open(Path::new(&dir));
    store.put_replica(own()).unwrap();
    let mut ours = Author { namespace: SPACE, origin: own(), mark: recovered.spaces[0].vector.mark(own()) };
    let filler = "x".repeat(500);
    let failure = loop {
        let record = ours.write(&[(&filler, ours.mark.seq)]);
        match store.commit(&Commit {
            number: record.upto,
            records: vec![record.clone()],
            repaired: vec![],
            answered: vec![],
            forgotten: vec![],
        }) {
            Ok(()) => println!("committed {}", record.upto),
            Err(error) => break error,
        }
    };
    let cause = poison(failure);
    assert!(cause.contains("File too large"), "{cause}");
    let again = Commit {
        number: 1,
        records: vec![ours.write(&[("a", 1)])],
        repaired: vec![],
        answered: vec![],
        forgotten: vec![],
    };
    assert_eq!(poison(store.commit(&again).unwrap_err()), cause);
    assert_eq!(poison(store.put_ceiling(1).unwrap_err()), cause);
    assert_eq!(poison(store.put_replica(own()).unwrap_err()), cause);
    assert_eq!(
        poison(
            store
                .checkpoint(&CheckpointChunk {
                    rows: vec![],
                    leaves: vec![],
                    census: vec![],
                    ends_table: true,
                    position: None
                })
                .unwrap_err()
        ),
        cause
    );
    assert_eq!(poison(store.load(SPACE, &[key("a")]).unwrap_err()), cause);
    assert_eq!(poison(store.read_journal(SPACE, own(), 0, 1).unwrap_err()), cause);
    assert_eq!(poison(store.find_hash(SPACE, own(), 1).unwrap_err()), cause);
    assert_eq!(poison(store.health().unwrap_err()), cause);
    println!("poisoned 1");
}

fn poison(error: StoreError) -> String {
    match error {
        StoreError::Poisoned { cause } => cause.to_string(),
        other => panic!("not poisoned: {other}"),
    }
}

#[test]
fn a_failed_write_poisons_and_loses_nothing_that_was_reported() {
    let dir = tempfile::tempdir().unwrap();
    // Ignoring the signal turns the limit into an error of the write, as a full disk is one.
    let shell = "trap '' XFSZ; ulimit -f 256; exec \"$@\"";
    let (mut child, reports) = spawn(shell, "child_that_meets_a_full_disk", dir.path());
    let reports: Vec<(String, u64)> = reports.collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(reports.last(), Some(&("poisoned".to_owned(), 1)));
    let committed = reports.iter().rev().find(|(word, _)| word == "committed").unwrap().1;
    let (_, recovered) = open(dir.path());
    assert!(recovered.spaces[0].vector.mark(own()).seq >= committed);
}
