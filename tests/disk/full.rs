//! A file system that is full: a small one in memory, mounted where only the process under test sees it.

use std::path::Path;
use std::process::{Command, Output};

use snowtide::clock::Stopwatch;

use crate::Scale;
use crate::ledger::Ledger;
use crate::table::Tally;
use crate::{cuts, record, workload};

/// Mounts, runs the rest of its arguments, and copies what they leave to where it can be looked at.
const SCRIPT: &str = "mount -t tmpfs -o size=$1 none \"$2\" || exit 90; full=$2; copy=$3; shift 3; \"$@\"; code=$?; \
                      cp -a \"$full/.\" \"$copy\" || exit 91; exit $code";
const NOT_MOUNTED: i32 = 90;
/// Room for what RocksDB reserves at its start, 4 MiB of it for the manifest, and for some commits.
const ROOM_KIB: usize = 12_000;

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    let watch = Stopwatch::start();
    let mut tally = Tally::new("full disks");
    for number in 0..scale.of(3, 30) {
        let (mount, copy) = (cuts::scratch(), cuts::scratch());
        let folder = tempfile::tempdir().unwrap();
        let (record, kib) = (folder.path().join("record"), ROOM_KIB + number * 40);
        let output = inside(kib, mount.path(), copy.path(), &record);
        let said = String::from_utf8_lossy(&output.stderr);
        if matches!(output.status.code(), None | Some(NOT_MOUNTED | 1)) {
            println!("SKIPPED: full disks: this user may not mount: {said}");
            return vec![];
        }
        let mut ledger = Ledger::default();
        record::read(&record).iter().for_each(|entry| ledger.hear(entry));
        let place = format!("{kib} KiB");
        if output.status.code() != Some(workload::STORE_FAILED) || !said.contains("No space left on device") {
            tally.silent.push(format!("{place}: the process ended with {:?} and said {said:?}", output.status.code()));
        }
        assert!(ledger.acknowledged() > 0, "{said}");
        tally.add(&place, ledger.judge(&workload::data_in(copy.path())));
    }
    tally.took = std::time::Duration::from_millis(watch.elapsed_ms());
    vec![tally]
}

fn inside(kib: usize, mount: &Path, copy: &Path, record: &Path) -> Output {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", SCRIPT, "sh", &format!("{kib}k")]).arg(mount).arg(copy);
    command.arg(std::env::current_exe().unwrap()).arg("--child").arg(workload::data_in(mount)).arg(record);
    // More than fits.
    command.args(["1", "1000000", "close"]).output().unwrap()
}
