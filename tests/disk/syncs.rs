//! Syncs that fail, one in each run: the store must stop, say why, and have lost nothing that it acknowledged.

use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use snowtide::clock::Stopwatch;

use crate::Scale;
use crate::ledger::Ledger;
use crate::model::{self, CUTS, Disk, Lie};
use crate::record::{self, Entry};
use crate::shim::Recording;
use crate::table::{Tally, Verdict};
use crate::{cuts, workload};

/// A node works without this file; RocksDB only writes it, for people.
const UNIMPORTANT: &str = "OPTIONS-";
const COMMITS: usize = 400;

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    let watch = Stopwatch::start();
    let mut tally = Tally::new("failing syncs");
    let (mut harmless, count, mut random) = (0, scale.of(16, 200), scale.random());
    for number in 1..=count {
        // A few of the first 200, or all of them.
        let fail = number * 200 / count;
        let folder = cuts::scratch();
        let recording = Recording::new(folder.path());
        let output = workload::run(&recording, 1, COMMITS, Some(fail));
        let entries = record::read(&recording.record);
        let said = String::from_utf8_lossy(&output.stderr);
        let failed = entries.iter().find_map(|entry| match entry {
            Entry::SyncFails { path, .. } => Some(path.as_str()),
            _ => None,
        });
        let place = format!("sync {fail}, of {}", failed.unwrap_or("nothing"));
        match (failed, output.status.code()) {
            (None, _) => panic!("there are fewer than {fail} syncs: {said}"),
            (Some(_), Some(workload::STORE_FAILED)) if said.contains("Input/output error") => {}
            (Some(path), Some(0)) if meant(path, &entries).contains(UNIMPORTANT) => harmless += 1,
            (_, code) => tally.silent.push(format!("{place}: the process ended with {code:?} and said {said:?}")),
        }
        tally.add(&place, judge(&recording, &entries, &mut random));
    }
    tally.remarks = format!("{harmless} of a file that nobody needs ({UNIMPORTANT}…)");
    tally.took = std::time::Duration::from_millis(watch.elapsed_ms());
    vec![tally]
}

/// The file that the failing sync of `path` was for: of a directory, the one that got its name there last.
fn meant<'a>(path: &'a str, entries: &'a [Entry]) -> &'a str {
    if !Path::new(path).is_dir() {
        return path;
    }
    let before = entries.iter().take_while(|entry| !matches!(entry, Entry::SyncFails { .. }));
    let named = before.filter_map(|entry| match entry {
        Entry::Create { path, .. } | Entry::Rename { to: path, .. } => Some(path.as_str()),
        _ => None,
    });
    named.last().unwrap_or(path)
}

/// After the failure the process is started again, on what it can still read; or the power goes, and takes with it what
/// the failed sync should have written.
fn judge(recording: &Recording, entries: &[Entry], random: &mut StdRng) -> Verdict {
    let (mut disk, mut ledger) = (Disk::new(Lie::None), Ledger::default());
    for entry in entries {
        disk.replay(entry);
        ledger.hear(entry);
    }
    for cut in CUTS {
        let scratch = cuts::scratch();
        model::write(&disk.cut(cut, random.random()), &recording.root, scratch.path());
        match ledger.judge(&workload::data_in(scratch.path())) {
            Verdict::Fine => {}
            bad => return bad,
        }
    }
    ledger.judge(&workload::data_in(&recording.root))
}
