//! No room for one kind of what a node writes, from one moment on, though the file system tells of much: as with a quota, or a
//! disk that somebody else has just filled. Nobody who asks waits for ever: the node ends, says why, and has lost nothing
//! that it acknowledged; while there is still no room it starts for reads; and with room it takes writes by itself.
//!
//! A node's threads have names, so that room can be denied to each apart ([`crate::shim`]).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use snowtide::clock::Stopwatch;
use snowtide::control::{Answer, Order, tell};
use snowtide_client::{Connection, Error};
use snowtide_dev::{Ending, Options};

use crate::Scale;
use crate::processes::harness::{DEADLINE, EAST, eventually};
use crate::scarce::Ground;
use crate::shim::Recording;
use crate::table::{Tally, Verdict};

/// What is written, and the beginning of the name of the thread that does.
const KINDS: [(&str, &str); 5] = [
    ("a commit", "engine"),
    ("a checkpoint", "checkpoint"),
    ("a flush", "rocksdb:high"),
    ("a compaction", "rocksdb:low"),
    ("an ID ceiling", "tokio"),
];
/// What the system says to it.
const ERRORS: [Errno; 2] = [Errno::ENOSPC, Errno::EDQUOT];
const MIB: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// All of them.
const EVERYBODY: &str = "";

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    // Each takes a node through four starts.
    if !scale.is_soak() {
        println!("only in a soak");
        return vec![];
    }
    if !crate::may_mount() {
        println!("SKIPPED: threads without room: this user may not mount");
        return vec![];
    }
    crate::runtime().block_on(async {
        let watch = Stopwatch::start();
        let mut tally = Tally::new("room denied to a thread");
        for (kind, thread) in KINDS {
            for error in ERRORS {
                let place = format!("{kind}, {error}");
                for verdict in deny(thread, error).await {
                    tally.add(&place, verdict);
                }
            }
        }
        tally.took = Duration::from_millis(watch.elapsed_ms());
        vec![tally]
    })
}

/// Tells the shim who gets no room.
struct Denial(PathBuf);

impl Denial {
    fn of(&self, error: Errno, thread: &str) {
        let written = self.0.with_extension("new");
        fs::write(&written, format!("{} {thread}", error as i32)).unwrap();
        fs::rename(written, &self.0).unwrap();
    }

    fn end(&self) {
        fs::remove_file(&self.0).unwrap();
    }
}

async fn deny(thread: &str, error: Errno) -> Vec<Verdict> {
    let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let denial = Denial(aside.path().join("denial"));
    let recording = Recording { root: Ground::data_in(&dir), record: aside.path().join("record") };
    let mut env = recording.environment(None);
    env.push(("DISK_DENY".to_owned(), denial.0.to_str().unwrap().to_owned()));
    // On a small file system little is gathered in memory, so that the load soon flushes and compacts.
    let config = aside.path().join("config.toml");
    fs::write(&config, filter("info")).unwrap();
    let change = |options: Options| Options {
        env,
        config_file: Some(config.clone()),
        ..options.set("checkpoint.interval", "200ms").set("disk.min_free", "1MiB")
    };
    let mut ground = Ground::prepare(dir, MIB, change);
    ground.cluster.start_all(|_| {}).await.unwrap();
    ground.count(4).await;
    // The node may end at once, and takes no connections then.
    let (minter, loaders) = (ground.client().await, ground.loaders().await);
    denial.of(error, thread);
    let minted = tokio::spawn(mint(minter));
    ground.fill_by(loaders).await;
    minted.await.unwrap();
    let mut verdicts = vec![ended(&mut ground, error).await];
    denial.of(error, EVERYBODY);
    ground.cluster.start_node(EAST).await.unwrap();
    verdicts.push(ground.judge("started without room").await);
    fs::write(&config, filter("warn")).unwrap();
    verdicts.push(reloads(&ground, &["log.filter"]).await);
    verdicts.push(match tell(&ground.data, Order::Drain).await.unwrap() {
        Answer::Refused(_) => Verdict::Fine,
        other => Verdict::Silent(format!("told to drain without room: {other:?}")),
    });
    ground.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    verdicts.push(ground.judge("told to reload without room").await);
    verdicts.push(match ground.cluster.terminate(EAST).await.unwrap() {
        Ending::Drained => Verdict::Fine,
        other => Verdict::Silent(format!("SIGTERM without room: {other:?}")),
    });
    ground.cluster.start_node(EAST).await.unwrap();
    fs::write(&config, filter("info")).unwrap();
    verdicts.push(reloads(&ground, &["log.filter"]).await);
    denial.end();
    ground.until_writes().await;
    // What was taken up without room is in force with it.
    verdicts.push(reloads(&ground, &[]).await);
    verdicts.push(ground.judge("with room").await);
    verdicts
}

fn filter(level: &str) -> String {
    format!("[log]\nfilter = \"{level}\"\n")
}

/// The operator is heard, and these keys are new.
async fn reloads(ground: &Ground, keys: &[&str]) -> Verdict {
    let answer = tell(&ground.data, Order::Reload).await;
    let wanted = Answer::Reloaded { changed: keys.iter().map(|&key| key.to_owned()).collect(), restart: vec![] };
    if matches!(&answer, Ok(answer) if *answer == wanted) {
        Verdict::Fine
    } else {
        Verdict::Silent(format!("told to reload: {answer:?}"))
    }
}

/// Takes IDs until the node has ended.
async fn mint(client: Connection) {
    while matches!(client.ids(1_000).await, Ok(_) | Err(Error::Refused { .. })) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// The node has ended by itself, and said why.
async fn ended(ground: &mut Ground, error: Errno) -> Verdict {
    let end = eventually(DEADLINE, "the node ends by itself", async || match ground.cluster.check() {
        Ok(()) => Err("it lives"),
        Err(end) => Ok(end.to_string()),
    })
    .await;
    let log = fs::read_to_string(ground.cluster.folder().log_file(EAST)).unwrap();
    // In the system's words, which are not `Errno`'s.
    let words = std::io::Error::from(error).to_string();
    let words = words.split(" (os error").next().unwrap();
    if end.contains("exit status: 1") && log.contains(words) {
        Verdict::Fine
    } else {
        Verdict::Silent(format!("it ended with {end}, and said {log}"))
    }
}
