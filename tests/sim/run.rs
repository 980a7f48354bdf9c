//! Runs of seeds, on all cores, and what they came to.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// However slow the machine is.
const SEEDS_MIN: u64 = 30;

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

/// Seeds to run: those that `SIM_SEEDS=1000..2000` names, or fresh ones.
pub fn seeds(count: u64) -> Range<u64> {
    match std::env::var("SIM_SEEDS").ok() {
        None => {
            // Short enough to be typed again.
            let base = u64::from(getrandom::u32().expect("the system has randomness"));
            base..base + count
        }
        Some(asked) => {
            let range = asked.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            let (from, to) =
                range.unwrap_or_else(|| panic!("SIM_SEEDS is a range such as 7..8, this one is {asked:?}"));
            from..to
        }
    }
}

/// For how long fresh seeds are run: `SIM_SECONDS`, or so many seconds. Named seeds are all run.
pub fn seconds(usual: u64) -> Option<Duration> {
    let asked = std::env::var("SIM_SECONDS").ok().map(|asked| asked.parse().expect("SIM_SECONDS is a number"));
    (!named()).then(|| Duration::from_secs(asked.unwrap_or(usual)))
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

/// Runs seeds on all cores, as many as can be begun within `limit`, if there is one; panics with the first that fails, after it has been run once more with its trace kept.
pub fn many(scenario: &str, seeds: Range<u64>, faults: Option<&Faults>, limit: Option<Duration>) -> Tally {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (total, findings) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let began = Stopwatch::start();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let late = limit.is_some_and(|limit| {
                        Duration::from_millis(began.elapsed_ms()) > limit && number >= seeds.start + SEEDS_MIN
                    });
                    if number >= seeds.end || late {
                        break;
                    }
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
    let end = next.into_inner().min(seeds.end);
    println!("{scenario}: seeds {}..{end} in {took:.1} s on {threads} threads\n{}", seeds.start, total.describe(took));
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
