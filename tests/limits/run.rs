//! Runs of seeds, on all cores, and what they came to. `SIM_SEEDS=7..8` names some, `SIM_SECONDS=60` takes fresh ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::rngs::SmallRng;
use snowtide::clock::Stopwatch;
use snowtide::limits::{Algorithm, Listed, Mode, Request};

use super::clients::key;
use super::plan::Plan;
use super::report::Tally;
use super::trouble::Fault;
use super::world::World;

/// More fresh seeds than can be begun in any time.
const FRESH: u64 = 1_000_000;

type Draw = fn(&mut SmallRng) -> Plan;

/// How a seed came out.
struct Run {
    tally: Tally,
    finding: Option<String>,
    lines: Vec<String>,
}

fn seed(seed: u64, draw: Draw, keep_lines: bool) -> Run {
    let mut world = World::new(seed, draw, keep_lines);
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let panicked = lived.err().map(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("a node panicked: {}", text.unwrap_or("without a word"))
    });
    world.tally.seeds = 1;
    world.tally.cluster_ms = world.now;
    world.tally.node_ms = world.now * world.plan.nodes as u64;
    let finding = panicked.or_else(|| world.findings.first().cloned());
    Run { tally: world.tally, finding, lines: world.lines.unwrap_or_default() }
}

/// Breaks things, heals them, demands that all count together again, and that nothing is denied without need.
fn live(world: &mut World) {
    let windows_ms = world.plan.policies.iter().map(|policy| policy.window_ms).max().unwrap_or(0);
    let restarts = [Fault::Kill, Fault::CrashLoop];
    world.ledger.restarts_only = world.plan.faults.keys().all(|fault| restarts.contains(fault));
    world.run_until(world.plan.duration_ms);
    world.heal();
    world.run_until(world.plan.duration_ms + 12_000 + 5 * windows_ms);
    if world.findings.is_empty() {
        demand_that_all_count_together(world);
    }
    world.is_still = true;
    world.run_until(world.now + 4 * windows_ms);
    if world.findings.is_empty() {
        demand_that_nothing_is_remembered(world);
        let (plan, versions) = (world.plan.clone(), world.versions.clone());
        if let Err(text) = world.ledger.judge(&plan, &versions, &mut world.tally) {
            world.finding(text);
        }
    }
    for node in &world.nodes {
        world.tally.evicted += node.limits.as_ref().map_or(0, |limits| limits.fill().evicted);
    }
}

fn demand_that_all_count_together(world: &mut World) {
    let lists: Vec<_> = (0..world.plan.nodes)
        .filter_map(|node| Some((node, world.nodes[node].limits.clone()?.list(world.mono_ms(node)))))
        .collect();
    for version in world.plan.policies.clone() {
        let name = version.policy().name;
        let on = |list: &[Listed]| list.iter().find(|listed| listed.policy.name == name).cloned();
        // A policy that nobody asked for is on no node. After many were made up, it may be on some.
        let is_used = lists.iter().any(|(_, list)| on(list).is_some_and(|listed| listed.usage.decisions > 0));
        let is_shared = version.mode == Mode::Shared && world.plan.flood == 0 && is_used;
        if !is_shared || (version.is_given && world.plan.faults.contains_key(&Fault::Invent)) {
            continue;
        }
        for (node, list) in &lists {
            let side = on(list).map_or(0, |listed| listed.side.len());
            if side as usize != world.plan.nodes {
                let parted = on(list).map(|listed| listed.parted);
                world.finding(format!(
                    "node {node} counts with {side} nodes under {name} long after all has healed: {parted:?}"
                ));
            }
        }
    }
}

/// Long after the last demand, every node gives what there is of every key.
fn demand_that_nothing_is_remembered(world: &mut World) {
    for demand in world.plan.demands.clone() {
        let version = world.plan.policies[demand.policy].clone();
        for node in 0..world.plan.nodes {
            let Some((limits, now)) = world.decider(node) else { continue };
            let Some(policy) = limits.list(now.mono_ms).into_iter().find(|of| of.policy.name == version.policy().name)
            else {
                continue;
            };
            let request = Request { policy: policy.id, key: key(demand.policy, demand.key), cost: 0 };
            let Ok(decision) = limits.decide(now, request) else { continue };
            let whole = if version.algorithm == Algorithm::Gcra { version.burst } else { version.limit };
            let is_shared = version.mode == Mode::Shared && world.plan.flood == 0;
            let lacks = version.is_given && world.plan.faults.contains_key(&Fault::Invent);
            let due = if is_shared && !lacks { whole } else { 0 };
            if decision.remaining < due {
                let remaining = decision.remaining;
                world.finding(format!(
                    "{} key {}: node {node} has {remaining} of {due} long after the last demand",
                    version.name, demand.key
                ));
            }
        }
    }
}

/// Runs a scenario over the first `many` seeds, or those that are asked for; every wanted fault has to happen.
pub fn scenario(name: &str, many: u64, draw: Draw, wanted: &[Fault]) -> Tally {
    let seconds = std::env::var("SIM_SECONDS").ok().map(|text| text.parse::<u64>().expect("SIM_SECONDS is a number"));
    let asked = std::env::var("SIM_SEEDS").ok();
    let range = asked.as_ref().map(|text| {
        let (from, to) = text.split_once("..").expect("SIM_SEEDS is a range such as 7..8");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let fresh = u64::from(getrandom());
    let seeds = range.unwrap_or(if seconds.is_some() { fresh..fresh + FRESH } else { 0..many });
    let limit_ms = seconds.filter(|_| asked.is_none()).map(|seconds| seconds * 1_000);
    let began = Stopwatch::start();
    let (total, findings) = all(seeds.clone(), draw, &|| limit_ms.is_some_and(|limit| began.elapsed_ms() > limit));
    let took = began.elapsed_ms() as f64 / 1_000.0;
    println!("{name}: {} seeds from {} on in {took:.1} s\n{}", total.seeds, seeds.start, total.describe());
    if let Some((number, finding)) = findings.into_iter().min() {
        panic!("{}", retell(name, number, draw, &finding));
    }
    if let Some(complaint) = total.complaint(wanted).filter(|_| asked.is_none()) {
        panic!("{name}: {complaint}");
    }
    total
}

fn getrandom() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}

/// As many of the seeds as there is time for, until one fails.
fn all(seeds: std::ops::Range<u64>, draw: Draw, late: &(dyn Fn() -> bool + Sync)) -> (Tally, Vec<(u64, String)>) {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (total, findings) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) && !late() {
                    let index = next.fetch_add(1, Ordering::Relaxed) as u64;
                    let number = seeds.start + index;
                    if number >= seeds.end {
                        break;
                    }
                    let run = seed(number, draw, false);
                    total.lock().unwrap().add(&run.tally);
                    if let Some(finding) = run.finding {
                        failed.store(true, Ordering::Relaxed);
                        findings.lock().unwrap().push((number, finding));
                    }
                }
            });
        }
    });
    (total.into_inner().unwrap(), findings.into_inner().unwrap())
}

/// Runs a failed seed again and writes down what happened.
fn retell(name: &str, number: u64, draw: Draw, finding: &str) -> String {
    let again = seed(number, draw, true);
    let same = if again.finding.as_deref() == Some(finding) { "the same" } else { "NOT the same" };
    let path = std::env::temp_dir().join(format!("snowtide-limits-{name}-{number}.txt"));
    let written = std::fs::write(&path, again.lines.join("\n"));
    let place = written.map_or_else(|error| error.to_string(), |()| path.display().to_string());
    format!(
        "{name}: seed {number}: {finding}\n{same} when run again; what happened is in {place}\nagain: SIM_SEEDS={number}..{} \
         cargo test --release --test limits {name} -- --nocapture",
        number + 1
    )
}
