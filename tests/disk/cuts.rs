//! Power cuts: one recorded run, cut at many places in every way. `DISK_REPLAY` names the folder of an earlier one, which is
//! kept where a cut of it has failed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use snowtide::clock::Stopwatch;
use tempfile::TempDir;

use crate::Scale;
use crate::ledger::Ledger;
use crate::model::{self, CUTS, Cut, Disk, Lie};
use crate::record::{self, Entry, Notes};
use crate::shim::Recording;
use crate::table::{Tally, Verdict};
use crate::workload;

/// Lies about syncs that must not go unnoticed.
const LIES: [(&str, Lie); 5] = [
    ("blind: no sync", Lie::Everything),
    ("blind: write-ahead log", Lie::Files(".log")),
    ("blind: tables", Lie::Files(".sst")),
    ("blind: manifest", Lie::Named("MANIFEST")),
    ("blind: directory", Lie::Directories),
];

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    let folder = tempfile::tempdir().unwrap();
    let recording = match std::env::var_os("DISK_REPLAY") {
        Some(kept) => Recording::kept(Path::new(&kept)),
        None => record_anew(folder.path(), scale),
    };
    let entries = record::read(&recording.record);
    let cutter = Cutter { root: recording.root.clone(), entries, seed: scale.seed };
    let mut tallies = vec![cutter.cut("power cuts", Lie::None, scale.of(100, 1_200))];
    tallies.push(cutter.cut_again(scale.of(3, 30), scale.of(10, 25)));
    for (what, lie) in LIES {
        let blind = cutter.cut(what, lie, scale.of(20, 60));
        tallies.push(Tally { must_fail: true, ..blind });
    }
    if !tallies.iter().all(Tally::is_good) {
        println!("to cut the same run again: DISK_REPLAY={}", recording.keep("cuts").display());
    }
    tallies
}

fn record_anew(folder: &Path, scale: Scale) -> Recording {
    let recording = Recording::new(folder);
    let (boots, commits) = (3, scale.of(250, 600));
    let output = workload::run(&recording, boots, commits, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_that_nothing_was_overlooked(&recording, &record::read(&recording.record));
    recording
}

fn check_that_nothing_was_overlooked(recording: &Recording, entries: &[Entry]) {
    let mut disk = Disk::new(Lie::None);
    entries.iter().for_each(|entry| disk.replay(entry));
    model::compare(&disk.cut(Cut::Everything, 0), &recording.root);
}

/// Cuts one record.
struct Cutter {
    root: PathBuf,
    entries: Vec<Entry>,
    seed: u64,
}

impl Cutter {
    fn cut(&self, what: &'static str, lie: Lie, count: usize) -> Tally {
        let watch = Stopwatch::start();
        let mut tally = Tally::new(what);
        let mut ledger = Ledger::default();
        self.cut_after(0, lie, count, &mut ledger, &mut tally);
        let (syncs, namings) = (self.count(|entry| matches!(entry, Entry::SyncEnds { .. })), self.count(is_naming));
        tally.remarks = format!(
            "{} operations, {syncs} syncs, {namings} names changed, {} acknowledged",
            self.entries.len(),
            ledger.acknowledged()
        );
        tally.took = Duration::from_millis(watch.elapsed_ms());
        tally
    }

    /// Cuts somewhere behind the first entries; the ledger hears what comes before the last cut.
    fn cut_after(&self, first: usize, lie: Lie, count: usize, ledger: &mut Ledger, tally: &mut Tally) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let (mut disk, mut at) = (Disk::new(lie), 0);
        for place in self.places(first, count, &mut random) {
            for entry in &self.entries[at..place] {
                disk.replay(entry);
                ledger.hear(entry);
            }
            at = place;
            let cut = *CUTS.choose(&mut random).unwrap();
            let scratch = scratch();
            model::write(&disk.cut(cut, random.random()), &self.root, scratch.path());
            let verdict = judge(ledger, &workload::data_in(scratch.path()));
            tally.add(&format!("entry {place} of {}, {cut:?}, seed {}", self.entries.len(), self.seed), verdict);
        }
    }

    /// Cuts the power once, starts on what is left, and cuts it again: soon, while that start recovers.
    fn cut_again(&self, times: usize, count: usize) -> Tally {
        let watch = Stopwatch::start();
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut tally = Tally::new("power cuts in recovery");
        for _ in 0..times {
            let (mut disk, mut ledger) = (Disk::new(Lie::None), Ledger::default());
            for entry in &self.entries[..random.random_range(0..self.entries.len())] {
                disk.replay(entry);
                ledger.hear(entry);
            }
            let folder = scratch();
            let recording = Recording::new(folder.path());
            let cut = *CUTS.choose(&mut random).unwrap();
            model::write(&disk.cut(cut, random.random()), &self.root, &recording.root);
            let first = Notes::open(&recording.record).write_base(&recording.root);
            let output = workload::run(&recording, 1, 4, None);
            assert!(output.status.success(), "{cut:?}: {}", String::from_utf8_lossy(&output.stderr));
            let entries = record::read(&recording.record);
            check_that_nothing_was_overlooked(&recording, &entries);
            let again = Self { root: recording.root, entries, seed: random.random() };
            again.cut_after(first, Lie::None, count, &mut ledger, &mut tally);
        }
        tally.remarks = format!("{times} starts");
        tally.took = Duration::from_millis(watch.elapsed_ms());
        tally
    }

    fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.entries.iter().filter(|entry| wanted(entry)).count()
    }

    /// Half of them anywhere, half close behind a change of names, which are rare and where the most can go wrong.
    fn places(&self, first: usize, count: usize, random: &mut StdRng) -> Vec<usize> {
        let namings: Vec<usize> = (first..self.entries.len()).filter(|at| is_naming(&self.entries[*at])).collect();
        let end = self.entries.len();
        let mut place = |number: usize| {
            if number.is_multiple_of(2) {
                random.random_range(first..=end)
            } else {
                (namings.choose(random).unwrap() + random.random_range(0..12)).min(end)
            }
        };
        let mut places: Vec<usize> = (0..count).map(&mut place).collect();
        places.sort_unstable();
        places
    }
}

fn is_naming(entry: &Entry) -> bool {
    matches!(entry, Entry::Create { .. } | Entry::Rename { .. } | Entry::Remove { .. } | Entry::MakeDirectory { .. })
}

/// The data must be right at the first start, and after it at the second.
fn judge(ledger: &Ledger, data: &Path) -> Verdict {
    match ledger.judge(data) {
        Verdict::Fine => ledger.judge(data),
        bad => bad,
    }
}

/// In memory where there is a file system for that: what is tested has been decided already.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
