//! The simulator: the real replica over the real store, several of them, in virtual time, over a network, disks and
//! clocks that fail.
//!
//! One seed is one run. A failing seed is printed with what it found and where its trace is; running it again does the
//! same again: `SIM_SEEDS=7..8 SIM_TRACE=1 cargo test --release --test sim swarm -- --nocapture`.
//!
//! # How it is made
//! `world` holds the nodes and the time; it lets happenings happen, one after another. `node` is a process over a
//! `disk`, `effects` carries out what a replica asks for, as `src/engine` does. `network` is `src/peer`, `ids` is
//! `src/ids`. `clients` ask, `repeats` again and `listing` page by page; an `operator` takes nodes out of service, as
//! `src/node` does it. `trouble` breaks things, a `rogue` lies to nodes, `healing` ends all trouble and demands convergence.
//! `faults` says what may go wrong, `report` how often it did.
//!
//! # How to add a checker
//! One promise, one file in `checkers/`, with nothing of the code under test in it but its types. Add it to `Checkers`
//! and tell it what it has to know: answers to clients pass through `clients::reply` and `listing::listed`, every value in
//! them through `clients::judge_value`, messages through `World::send`, starts through `World::start`, lost disks through
//! `Checkers::disk_lost`. What it returns goes to `World::findings`, which ends the run. Excuse only what `ARCHITECTURE.md`
//! excuses, and count how often.

// A test binary: what is public here is public to its own modules, and what it prints is its report.
#![allow(unreachable_pub, clippy::print_stdout, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod checkers;
mod clients;
mod clock;
mod cluster;
mod disk;
mod disk_tests;
mod effects;
mod estranged;
mod faults;
mod healing;
mod ids;
mod listing;
mod network;
mod node;
mod operator;
mod repeats;
mod report;
mod rogue;
mod run;
mod trace;
mod trouble;
mod world;

use faults::{Fault, Faults, Way};

/// The allocator of the program that ships: replicas allocate much, and this one is the faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of the swarm that `make test` runs beside those that are listed.
const SWARM: u64 = 40;
/// More fresh ones than can be begun in any time.
const FRESH: u64 = 1_000_000;

/// Runs a scenario over some seeds; every fault that it wants has to happen.
fn scenario(name: &str, seeds: u64, faults: &Faults) {
    let total = run::many(name, &run::seeds(name, seeds, seeds), Some(faults), seeds);
    run::expect_all(name, &total, faults);
}

#[test]
fn calm() {
    scenario("calm", 4, &Faults::none());
}

#[test]
fn network() {
    let faults = Faults::none().with(Fault::Loss, 0.1).with(Fault::Duplication, 0.1).with(Fault::Reordering, 0.1);
    scenario("network", 4, &faults.with(Fault::Delay, 0.02));
}

#[test]
fn partitions() {
    let faults = Faults::none().with(Fault::OneWayCut, 1.0).with(Fault::Split, 1.0).with(Fault::Ring, 1.0);
    scenario("partitions", 4, &faults.with(Fault::Loss, 0.02).with(Fault::Leave, 0.3));
}

#[test]
fn crashes() {
    let faults = Faults::none().with(Fault::Kill, 1.0).with(Fault::PowerCut, 2.0).with(Fault::Shutdown, 0.5);
    scenario("crashes", 6, &faults.with(Fault::OneWayCut, 0.5).with(Fault::Pause, 0.5).with(Fault::Drain, 0.5));
}

#[test]
fn failing_disks() {
    let faults = Faults::none()
        .with(Fault::FailedSync, 1.0)
        .with(Fault::DiskFull, 1.0)
        .with(Fault::DiskLow, 0.5)
        .with(Fault::SlowDisk, 0.5);
    scenario("failing_disks", 6, &faults.with(Fault::PowerCut, 1.0));
}

#[test]
fn lost_disks() {
    let faults = Faults::none().with(Fault::Wipe, 0.5).with(Fault::Rollback, 1.0).with(Fault::Kill, 0.5);
    // What an earlier boot sent arrives late, and is synced late.
    let faults = faults.with(Fault::Delay, 0.02).with(Fault::SlowDisk, 0.5);
    scenario("lost_disks", 6, &faults.with(Fault::Split, 0.3).with(Fault::Drain, 0.5));
}

#[test]
fn clocks() {
    scenario("clocks", 6, &Faults::none().with(Fault::Jump, 2.0).with(Fault::Drift, 0.5).with(Fault::PowerCut, 1.0));
}

#[test]
fn twins() {
    // Two processes write under one replica id, each beyond the reach of some of those that hear the other; when one learns
    // of it, much of what it wrote is on its way to the disk.
    let faults = Faults::none().with(Fault::Twin, 2.0).with(Fault::Split, 1.5).with(Fault::Kill, 0.3);
    let faults = faults.with(Fault::OneWayCut, 1.0).with(Fault::Loss, 0.02);
    scenario("twins", 8, &faults.with(Fault::SlowDisk, 1.5));
}

#[test]
fn clones() {
    scenario("clones", 6, &Faults::none().with(Fault::Clone, 0.5).with(Fault::Kill, 0.3).with(Fault::Loss, 0.02));
}

/// Faults that leave state to be caught up with.
fn setbacks() -> Faults {
    Faults::none().with(Fault::Loss, 0.05).with(Fault::Split, 0.5).with(Fault::PowerCut, 0.5)
}

#[test]
fn gossip_alone() {
    // No disk is lost: journals go back only as far as some peer may still need them.
    scenario("gossip_alone", 6, &setbacks().only(Way::Gossip));
}

#[test]
fn repair_alone() {
    scenario("repair_alone", 6, &setbacks().with(Fault::Wipe, 0.3).with(Fault::Rollback, 0.3).only(Way::Repair));
}

#[test]
fn configurations() {
    // Whatever a disk holds of a namespace that the configuration does not name is there when it is named again.
    let faults = Faults::none().with(Fault::Reconfigure, 2.0).with(Fault::Kill, 0.3).with(Fault::PowerCut, 0.3);
    scenario("configurations", 6, &faults.with(Fault::Loss, 0.05).with(Fault::Split, 0.5).with(Fault::SlowDisk, 0.3));
}

#[test]
fn maps() {
    // A disk goes back to an older state under a node that is told of other peers and namespaces than the others have.
    let faults = Faults::none().with(Fault::OldMap, 2.0).with(Fault::Reconfigure, 1.0).with(Fault::Rollback, 2.0);
    scenario("maps", 8, &faults.with(Fault::Split, 0.5).with(Fault::Kill, 0.3).with(Fault::SlowDisk, 0.3));
}

#[test]
fn estranged() {
    // What one peer alone was told, nobody else can tell of a disk that went back.
    let faults = Faults::none().with(Fault::Estranged, 3.0).with(Fault::Delay, 0.02).with(Fault::Kill, 0.3);
    scenario("estranged", 8, &faults);
}

#[test]
fn rogues() {
    // What somebody says in the name of a node loses nothing and ends nobody, whatever else goes wrong.
    let faults = Faults::none().with(Fault::Rogue, 60.0).with(Fault::Kill, 0.7).with(Fault::Rollback, 0.2);
    scenario("rogues", 8, &faults.with(Fault::Split, 0.3).with(Fault::Wipe, 0.1).with(Fault::Loss, 0.01));
}

/// Each seed with a choice of faults of its own.
#[test]
fn swarm() {
    let total = run::many("swarm", &run::seeds("swarm", SWARM, FRESH), None, SWARM);
    run::expect_all("swarm", &total, &Faults::all());
}

#[test]
fn a_run_repeats_itself_exactly() {
    let hash = |seed| run::seed(seed, Some(&Faults::all()), false).trace.hash();
    assert_eq!(hash(7), hash(7));
    assert_eq!(hash(7), run::seed(7, Some(&Faults::all()), true).trace.hash(), "being watched changes nothing");
    assert_ne!(hash(7), hash(8));
}
