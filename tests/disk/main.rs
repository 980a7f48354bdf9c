//! Real disks: power cuts, kills, failing syncs, full file systems and flipped bits, against the real store and binary.
//!
//! One table at the end says how many of each there were, and how many lost something, changed something in silence, or
//! kept a node from starting. `make test` runs a small number of each, `make soak` (`--soak`) the full one. The parts
//! run one after the other; words on the command line choose among them.
//!
//! Whatever is drawn follows from one seed: the same in each `make test`, a fresh one with `--soak`. The seed of a part is
//! printed, and `DISK_SEED=number` takes it again. Threads still write in an order of their own, so a cut that fails keeps
//! the record of its run, and `DISK_REPLAY=folder` cuts that one again ([`cuts`]).
//!
//! `kill -9` keeps the page cache, so it cannot see a missing sync. Here a preloaded library ([`shim`]) records every
//! operation on the data directory; a model of a disk ([`model`]) replays the record up to any point and keeps only
//! what was synced by then, and any part of the rest. So one run of a workload can be cut thousands of times.

// What it prints is its report, and nothing where something must be is what a test is for.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod cuts;
mod denied;
mod flips;
mod full;
mod kills;
mod ledger;
mod minting;
mod model;
mod node;
#[allow(dead_code, unused_imports)] // there is more in them than is needed here
mod processes;
mod record;
mod scarce;
mod shim;
mod syncs;
mod table;
mod workload;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rand::SeedableRng;
use rand::rngs::StdRng;
use table::Tally;

/// What `make test` draws with.
const SEED: u64 = 1;

/// How much of everything: (make test, make soak); and what is drawn.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    soak: bool,
    pub(crate) seed: u64,
}

impl Scale {
    /// `DISK_SEED` says which seed, or chance where it may.
    fn new(soak: bool) -> Self {
        let named = std::env::var("DISK_SEED").ok();
        let seed = match named {
            Some(seed) => seed.parse().unwrap_or_else(|_| panic!("DISK_SEED={seed} is no number")),
            None if soak => rand::random(),
            None => SEED,
        };
        Self { soak, seed }
    }

    pub(crate) fn is_soak(self) -> bool {
        self.soak
    }

    pub(crate) fn of(self, test: usize, soak: usize) -> usize {
        if self.soak { soak } else { test }
    }

    /// What a part draws from.
    pub(crate) fn random(self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}

/// What the parts that talk to nodes run on.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Set where mounts are this process's own, and end with it.
const MOUNTS: &str = "SNOWTIDE_OWN_MOUNTS";

/// Whether file systems can be mounted.
pub(crate) fn may_mount() -> bool {
    std::env::var_os(MOUNTS).is_some()
}

/// Goes on in a process whose mounts nobody else sees, if this user may have one.
fn leave_mounts() {
    let own = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", command]);
        unshare
    };
    if !may_mount() && own("true").output().is_ok_and(|tried| tried.status.success()) {
        let mut again = own(&std::env::current_exe().unwrap().to_string_lossy());
        // It returns only if it could not.
        let error = again.args(std::env::args_os().skip(1)).env(MOUNTS, "1").exec();
        println!("mounts are shared: {error}");
    }
}

type Part = (&'static str, fn(Scale) -> Vec<Tally>);

const PARTS: [Part; 9] = [
    ("cuts", cuts::run),
    ("node", node::run),
    ("kills", kills::run),
    ("syncs", syncs::run),
    ("full", full::run),
    ("scarce", scarce::run),
    ("denied", denied::run),
    ("flips", flips::run),
    ("minting", minting::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--child", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        workload::child(rest);
        return ExitCode::SUCCESS;
    }
    leave_mounts();
    let scale = Scale::new(arguments.iter().any(|argument| argument == "--soak"));
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut tallies = Vec::new();
    for (name, part) in PARTS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            println!("{name}, DISK_SEED={} …", scale.seed);
            let harms = part(scale);
            println!("{}", table::render(&harms));
            tallies.extend(harms);
        }
    }
    shim::clean();
    println!("{}", table::render(&tallies));
    if tallies.iter().all(Tally::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
