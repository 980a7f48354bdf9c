//! The model of limits: several nodes in virtual time, a network that cuts and holds back, clients that know the edges of
//! windows, and the books of somebody who sees all. It holds every admission to the table in `src/limits/mod.rs`.
//!
//! One seed is one run, and a seed that fails is run once more, with what happened written down. `plan` says what a seed
//! runs, `world` has nodes and time, `network` the streams, `clients` ask, `trouble` breaks and heals, `ledger` judges.

// A test binary: what is public here is public to its own modules, and what it prints is its report.
#![allow(unreachable_pub, clippy::print_stdout, clippy::unwrap_used, clippy::needless_pass_by_value)]
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // node numbers, and figures for people

mod clients;
mod ledger;
mod network;
mod plan;
mod report;
mod run;
mod trouble;
mod world;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use snowtide::limits::Algorithm;

use plan::{Pattern, Plan, Version};
use run::scenario;
use trouble::Fault;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn calm() {
    scenario("calm", 20, Plan::draw, &[]);
}

#[test]
fn cuts() {
    let draw = |rng: &mut SmallRng| {
        let plan = Plan::draw(rng).with(Fault::OneWayCut, 0.5).with(Fault::Halves, 0.3).with(Fault::Star, 0.2);
        plan.with(Fault::Chain, 0.2).with(Fault::Bridge, 0.2)
    };
    let wanted = [Fault::OneWayCut, Fault::Halves, Fault::Star, Fault::Chain, Fault::Bridge];
    scenario("cuts", 20, draw, &wanted);
}

#[test]
fn flaps() {
    let draw =
        |rng: &mut SmallRng| Plan::draw(rng).with(Fault::Flaps, 2.0).with(Fault::Drop, 2.0).with(Fault::Hold, 2.0);
    scenario("flaps", 20, draw, &[Fault::Flaps, Fault::Drop, Fault::Hold]);
}

#[test]
fn lags() {
    let draw = |rng: &mut SmallRng| Plan::draw(rng).with(Fault::Lag, 2.0).with(Fault::Drop, 0.3);
    scenario("lags", 20, draw, &[Fault::Lag, Fault::Drop]);
}

#[test]
fn restarts() {
    let draw = |rng: &mut SmallRng| Plan::draw(rng).with(Fault::Kill, 1.0).with(Fault::CrashLoop, 0.5);
    scenario("restarts", 20, draw, &[Fault::Kill, Fault::CrashLoop]);
}

#[test]
fn pauses() {
    scenario("pauses", 20, |rng| Plan::draw(rng).with(Fault::Pause, 2.0), &[Fault::Pause]);
}

#[test]
fn rollouts() {
    let draw =
        |rng: &mut SmallRng| Plan::draw(rng).with(Fault::Rollout, 0.5).with(Fault::Shares, 0.5).with(Fault::Map, 0.5);
    scenario("rollouts", 20, draw, &[Fault::Rollout, Fault::Shares, Fault::Map]);
}

#[test]
fn clocks() {
    let draw = |rng: &mut SmallRng| {
        let mut plan = Plan::draw(rng).with(Fault::Step, 1.0).with(Fault::Leap, 0.3).with(Fault::Doubt, 0.5);
        let widest = *[20, 500, 10_000, 3_600_000].choose(rng).unwrap();
        plan.offsets_ms.iter_mut().for_each(|offset_ms| *offset_ms = rng.random_range(-widest..=widest));
        plan
    };
    scenario("clocks", 20, draw, &[Fault::Step, Fault::Leap, Fault::Doubt]);
}

#[test]
fn claims() {
    scenario("claims", 20, |rng| Plan::draw(rng).with(Fault::Claim, 4.0), &[Fault::Claim]);
}

/// Policies come with requests, on nodes that cuts and restarts keep from each other.
#[test]
fn given() {
    let draw = |rng: &mut SmallRng| {
        let plan = Plan::draw(rng).given(rng);
        plan.with(Fault::Kill, 0.5).with(Fault::Halves, 0.3).with(Fault::OneWayCut, 0.3)
    };
    let total = scenario("given", 20, draw, &[Fault::Kill, Fault::Halves, Fault::OneWayCut]);
    assert!(total.given > 0, "no policy came with a request");
}

/// The same, and clients make up more policies than there may be.
#[test]
fn inventions() {
    let draw = |rng: &mut SmallRng| {
        let mut plan = Plan::draw(rng).given(rng).with(Fault::Invent, 1.0).with(Fault::Kill, 0.2);
        (plan.given_max, plan.duration_ms) = (rng.random_range(4..16), 480_000);
        let seldom = plan.demands.iter_mut().filter(|_| rng.random_bool(0.5)).collect::<Vec<_>>();
        seldom.into_iter().for_each(|demand| demand.pattern = Pattern::Seldom(rng.random_range(1.0..4.0)));
        plan
    };
    let total = scenario("inventions", 16, draw, &[Fault::Invent, Fault::Kill]);
    assert!(total.refused > 0 && total.changed > 0, "there was room for all policies, or none has ever gone");
}

/// Every node uses a unit less than is told, again and again, for a thousand windows.
#[test]
fn silence() {
    let draw = |rng: &mut SmallRng| {
        let mut plan = Plan::draw(rng);
        plan.duration_ms = 1_000_000;
        plan.policies.iter_mut().for_each(|policy| policy.window_ms = 1_000);
        plan.demands.iter_mut().for_each(|demand| demand.pattern = Pattern::Quiet(rng.random_range(1..40)));
        // Large enough that there is something between nothing and what is told.
        let gcra = &mut plan.policies[2];
        (gcra.limit, gcra.burst) = (gcra.sum() * 200, gcra.sum() * 100);
        plan.demands[4].pattern = Pattern::Quiet(0);
        plan.demands[0].pattern = Pattern::Steady(2.0);
        plan.demands[2].pattern = Pattern::Waves(2.0);
        plan
    };
    scenario("silence", 6, draw, &[]);
}

/// One region makes up more keys than there is room for; those of other policies keep their bounds.
#[test]
fn floods() {
    let draw = |rng: &mut SmallRng| {
        let mut plan = Plan::draw(rng);
        let flood = Version { name: "flood", algorithm: Algorithm::Fixed, ..plan.policies[0].clone() };
        plan.policies.push(Version { window_ms: 30_000, ..flood });
        (plan.keys_max, plan.flood, plan.duration_ms) = (512, rng.random_range(200..3_000), 60_000);
        plan
    };
    let total = scenario("floods", 8, draw, &[]);
    assert!(total.evicted > 0, "the flood filled no table");
}

/// Everything may go wrong, each seed with a choice of its own.
#[test]
fn swarm() {
    let draw = |rng: &mut SmallRng| {
        let mut plan = Plan::draw(rng);
        for fault in Fault::ALL {
            if rng.random_bool(0.3) {
                plan = plan.with(fault, rng.random_range(0.1..1.5));
            }
        }
        if rng.random_bool(0.3) { plan.given(rng) } else { plan }
    };
    scenario("swarm", 60, draw, &Fault::ALL);
}
