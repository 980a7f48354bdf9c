//! Rot: one flipped bit in one file of a directory that was not closed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::seq::IndexedRandom;
use snowtide::clock::Stopwatch;

use crate::Scale;
use crate::ledger::Ledger;
use crate::record;
use crate::shim::Recording;
use crate::table::{Tally, Verdict};
use crate::{cuts, workload};

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    let watch = Stopwatch::start();
    let folder = cuts::scratch();
    let recording = Recording::new(folder.path());
    let output = workload::run_and_abort(&recording, 2, 200);
    assert!(!output.status.success());
    let mut ledger = Ledger::default();
    record::read(&recording.record).iter().for_each(|entry| ledger.hear(entry));
    let data = workload::data_in(&recording.root);
    let kinds = kinds(&data);
    let mut tally = Tally { may_refuse: true, ..Tally::new("flipped bits") };
    let mut misnamed = Vec::new();
    let (mut random, count) = (scale.random(), scale.of(120, 1_200));
    for number in 0..count {
        let files = kinds.values().nth(number % kinds.len()).unwrap();
        let file = files.choose(&mut random).unwrap();
        let length = fs::metadata(data.join(file)).unwrap().len();
        let (at, bit) = (random.random_range(0..length), random.random_range(0..8));
        let scratch = cuts::scratch();
        copy(&data, scratch.path());
        flip(&scratch.path().join(file), at, bit);
        let place = format!("bit {bit} of byte {at} of {length} in {file}");
        let verdict = ledger.judge(scratch.path());
        if matches!(&verdict, Verdict::Refused(reason) if !reason.contains(file.as_str())) {
            misnamed.push(format!("{place}: {verdict:?}"));
        }
        tally.add(&place, verdict);
    }
    // RocksDB blames the manifest for what it reads first in a table.
    misnamed.iter().for_each(|refusal| println!("another file is named: {refusal}"));
    assert!(misnamed.len() * 10 <= count, "{} of {count} refusals name another file", misnamed.len());
    let list: Vec<String> = kinds.iter().map(|(kind, files)| format!("{kind} {}", files.len())).collect();
    tally.remarks = format!("{}; {} refusals name another file", list.join(", "), misnamed.len());
    tally.took = std::time::Duration::from_millis(watch.elapsed_ms());
    vec![tally]
}

/// The files by kind: what stands before or behind their numbers.
fn kinds(data: &Path) -> BTreeMap<String, Vec<String>> {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.metadata().unwrap().len() > 0 {
            let kind = name.trim_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '.').to_owned();
            kinds.entry(kind).or_default().push(name);
        }
    }
    kinds
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn flip(file: &PathBuf, at: u64, bit: u32) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}
