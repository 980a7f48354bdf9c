//! Runs of seeds, on all cores, and what they came to.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use snowtide::clock::Stopwatch;

use super::faults::Faults;
use super::report::Tally;
use super::trace::Trace;
use super::world::World;

/// A run breaks things and heals this often.
const EPOCHS: u64 = 3;
/// For so long each time.
const EPOCH_MS: u64 = 240_000;

/// How a seed came out.
pub struct Run {
    pub tally: Tally,
    pub trace: Trace,
    pub finding: Option<String>,
}

/// One seed, from beginning to end; without `faults`, the seed chooses some.
pub fn seed(seed: u64, faults: Option<&Faults>, keep_lines: bool) -> Run {
    let mut world = World::new(seed, faults.cloned(), Trace::keeping_lines(keep_lines));
    let finding = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let finding = finding.unwrap_or_else(|panic| Some(format!("a process panicked: {}", words(&*panic))));
    world.tally.traces = world.trace.hash();
    Run { tally: world.tally, trace: world.trace, finding }
}

fn live(world: &mut World) -> Option<String> {
    (0..EPOCHS).find_map(|_| {
        world.break_things(EPOCH_MS);
        world.findings.first().cloned().or_else(|| world.converge().err())
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

/// Seeds that are always run.
const LISTED: &str = include_str!("seeds.txt");

/// Seeds to run: those that `SIM_SEEDS=1000..2000` names; `fresh` ones, if `SIM_SECONDS` says for how long; or else the same
/// each time, which are those that the list has and the first `spread` numbers.
pub fn seeds(scenario: &str, spread: u64, fresh: u64) -> Vec<u64> {
    if let Ok(asked) = std::env::var("SIM_SEEDS") {
        let range = asked.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
        return range.unwrap_or_else(|| panic!("SIM_SEEDS is a range such as 7..8, this one is {asked:?}")).collect();
    }
    if seconds().is_some() {
        // Short enough to be typed again.
        let base = u64::from(getrandom::u32().expect("the system has randomness"));
        return (base..base + fresh).collect();
    }
    let mut seeds = listed(scenario);
    seeds.extend((0..spread).filter(|seed| !listed(scenario).contains(seed)));
    seeds
}

fn listed(scenario: &str) -> Vec<u64> {
    let lines = LISTED.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let entries = lines.filter(|line| !line.is_empty()).map(|line| {
        let entry = line.split_once(' ').and_then(|(of, seed)| Some((of, seed.trim().parse().ok()?)));
        entry.unwrap_or_else(|| panic!("seeds.txt has a scenario and a seed in each line, and not {line:?}"))
    });
    entries.filter(|(of, _)| *of == scenario).map(|(_, seed)| seed).collect()
}

/// For how long fresh seeds are run.
fn seconds() -> Option<Duration> {
    let asked = std::env::var("SIM_SECONDS").ok()?;
    Some(Duration::from_secs(asked.parse().expect("SIM_SECONDS is a number")))
}

fn named() -> bool {
    std::env::var_os("SIM_SEEDS").is_some()
}

/// Panics unless every fault that is wanted has happened; a few seeds that somebody named need not have them all.
pub fn expect_all(scenario: &str, total: &Tally, faults: &Faults) {
    if let Some(complaint) = total.complaint(faults).filter(|_| !named()) {
        panic!("{scenario}: {complaint}");
    }
}

/// Runs seeds on all cores; of fresh ones, as many as can be begun in time, and at least the first `least`. Panics with the
/// first that fails, after it has been run once more with its trace kept.
pub fn many(scenario: &str, seeds: &[u64], faults: Option<&Faults>, least: u64) -> Tally {
    let limit = seconds().filter(|_| !named());
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (total, findings) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let began = Stopwatch::start();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let late = limit.is_some_and(|limit| {
                        Duration::from_millis(began.elapsed_ms()) > limit && index as u64 >= least
                    });
                    let Some(number) = seeds.get(index).copied().filter(|_| !late) else { break };
                    let run = seed(number, faults, false);
                    total.lock().unwrap().add(&run.tally);
                    if let Some(finding) = run.finding {
                        failed.store(true, Ordering::Relaxed);
                        findings.lock().unwrap().push((number, finding, run.trace.hash()));
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    let took = Duration::from_millis(began.elapsed_ms()).as_secs_f64();
    let first = seeds.first().copied().unwrap_or_default();
    let described = total.describe(took);
    println!("{scenario}: {} seeds from {first} on in {took:.1} s on {threads} threads\n{described}", total.seeds);
    if let Some((number, finding, hash)) = findings.into_inner().unwrap().into_iter().min() {
        panic!("{}", retell(scenario, number, faults, &finding, hash));
    }
    total
}

/// Runs a failed seed again and writes down what happened.
fn retell(scenario: &str, number: u64, faults: Option<&Faults>, finding: &str, hash: u64) -> String {
    let again = seed(number, faults, true);
    let same = again.trace.hash() == hash && again.finding.as_deref() == Some(finding);
    let path = std::env::temp_dir().join(format!("snowtide-sim-{scenario}-{number}.txt"));
    let lines: Vec<String> = again.trace.lines().into();
    if std::env::var_os("SIM_TRACE").is_some() {
        lines.iter().for_each(|line| println!("{line}"));
    }
    let written = std::fs::write(&path, lines.join("\n"));
    let place = written.map_or_else(|error| error.to_string(), |()| path.display().to_string());
    format!(
        "{scenario}: seed {number}: {finding}\ntrace hash {hash:016x}, {}; the trace is in {place}\nagain: \
         SIM_SEEDS={number}..{} SIM_TRACE=1 cargo test --release --test sim {scenario} -- --nocapture",
        if same { "the same when run again" } else { "NOT the same when run again" },
        number + 1
    )
}
