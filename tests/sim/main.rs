//! The simulator: the real replica, several of them, in virtual time, over a network and disks that fail.
//!
//! One seed is one run. A failing seed is printed with what it found; running it again does the same again:
//! `SIM_SEEDS=7..8 SIM_TRACE=1 cargo test --release --test sim crashes -- --nocapture`.

// A test binary: what is public here is public to its own modules, and what it prints is its report.
#![allow(unreachable_pub, clippy::print_stdout, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod disk;
mod world;

use std::ops::Range;

use world::{Faults, World};

/// Seeds per scenario; each is a few thousand operations. `SIM_SEEDS=1000..2000` runs others.
fn seeds() -> Range<u64> {
    let asked = std::env::var("SIM_SEEDS").ok();
    let range = asked.as_deref().and_then(|asked| asked.split_once("..")).map(|(from, to)| (from.parse(), to.parse()));
    match range {
        None => 0..40,
        Some((Ok(from), Ok(to))) => from..to,
        Some(_) => panic!("SIM_SEEDS is a range such as 1000..2000, this one is {asked:?}"),
    }
}

fn run(scenario: &str, faults: &Faults) {
    let mut total = world::Tally::default();
    for seed in seeds() {
        let mut world = World::new(seed, 3, faults.clone());
        world.break_things(20_000);
        world.heal();
        if let Err(finding) = world.converge(60_000) {
            panic!("{scenario}: seed {seed}: {finding}");
        }
        if let Err(finding) = world.check() {
            panic!("{scenario}: seed {seed}: {finding}");
        }
        total.add(world.tally());
    }
    println!("{scenario}: seeds {:?}, {total:?}", seeds());
    assert!(total.acknowledged > 0, "{scenario}: nothing was acknowledged");
    for (fault, wanted, fired) in [
        ("loss", faults.loss > 0.0, total.lost),
        ("duplication", faults.duplication > 0.0, total.duplicated),
        ("partitions", faults.partitions, total.partitions),
        ("crashes", faults.crashes, total.crashes),
        ("rollbacks", faults.rollbacks, total.rollbacks),
    ] {
        assert!(!wanted || fired > 0, "{scenario}: no {fault} happened");
    }
}

#[test]
fn calm() {
    run("calm", &Faults::default());
}

#[test]
fn a_network_that_loses_repeats_and_reorders() {
    run("network", &Faults { loss: 0.1, duplication: 0.1, ..Faults::default() });
}

#[test]
fn partitions_of_any_shape() {
    run("partitions", &Faults { loss: 0.02, partitions: true, ..Faults::default() });
}

#[test]
fn crashes_that_lose_what_was_not_synced() {
    run("crashes", &Faults { loss: 0.02, partitions: true, crashes: true, ..Faults::default() });
}

#[test]
fn disks_that_are_rolled_back_or_wiped() {
    run("rollbacks", &Faults { loss: 0.02, crashes: true, rollbacks: true, ..Faults::default() });
}

#[test]
fn a_run_repeats_itself_exactly() {
    let faults = Faults { loss: 0.1, duplication: 0.1, partitions: true, crashes: true, rollbacks: true };
    let trace = |seed| {
        let mut world = World::new(seed, 3, faults.clone());
        world.break_things(10_000);
        world.heal();
        let _ = world.converge(60_000);
        world.trace_hash()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
