//! What an ID costs: `cargo bench --bench ids`, or `make bench`.
//!
//! Side by side in one run: every contender has its turn in each round, so that whatever else the machine does meets
//! all alike; the median of the rounds counts. Sequences are made wide enough that no format's limit (4 096 IDs a
//! millisecond, 244 ns an ID) hides what the code costs.

// A report: what it prints is its purpose, and it may fail loudly.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferroid::define_snowflake_id;
use ferroid::generator::{AtomicSnowflakeGenerator, LockSnowflakeGenerator};
use ferroid::time::{MonotonicClock, TimeSource};
use snowtide::clock::{self, Stopwatch};
use snowtide::config::Config;
use snowtide::identity::WorkerId;
use snowtide::ids::{CeilingStore, IdSource};
use snowtide::snowflake::{Bits, Generator, Layout, Limits, Reading};
use snowtide_client::{Error, Ids, Prefetch, Source};
use snowtide_protocol::wire::IdRun;
use tokio::runtime::Runtime;

const ROUNDS: usize = 31;
/// In each round, for each thread.
const TURNS: u32 = 100_000;
const BATCH: u32 = 1_000;
const EPOCH_MS: u64 = 1_735_689_600_000;

define_snowflake_id!(Wide, u64, reserved: 1, timestamp: 39, machine_id: 2, sequence: 22);

/// What is measured: a name, IDs a turn, and a turn.
struct Contender {
    name: &'static str,
    ids: u32,
    /// Takes so many turns, from any thread.
    turns: Box<dyn Fn(u32) + Send + Sync>,
    alone: Vec<f64>,
    contended: Vec<f64>,
}

/// A disk that is as fast as memory: what is measured is the path of a request.
struct NoDisk;

impl CeilingStore for NoDisk {
    fn persist(&self, _ceiling: u64) -> Result<(), String> {
        Ok(())
    }
}

/// A node at no distance.
struct NoNode(u64);

impl Source for NoNode {
    async fn fetch(&mut self, count: u32) -> Result<Vec<IdRun>, Error> {
        let first = self.0;
        self.0 += u64::from(count);
        Ok(vec![IdRun { first, count }])
    }
}

/// The system's clock, read for each ID, as a node does it; ferroid's own clock is moved by a thread once a millisecond.
struct SystemClock;

impl TimeSource<u64> for SystemClock {
    fn current_millis(&self) -> u64 {
        clock::wall_ms() - EPOCH_MS
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut contenders = contenders(&runtime);
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let (alone, contended) = (measure(contender, 1), measure(contender, 2));
            // The first round warms up.
            if round > 0 {
                contender.alone.push(alone);
                contender.contended.push(contended);
            }
        }
    }
    println!("| ns an ID, median of {ROUNDS} rounds (lowest) | alone | two threads at once |");
    println!("|---|---|---|");
    for contender in &mut contenders {
        let (alone, contended) = (told(&mut contender.alone), told(&mut contender.contended));
        println!("| {} | {alone} | {contended} |", contender.name);
    }
}

fn contenders(runtime: &Runtime) -> Vec<Contender> {
    let source = source(runtime);
    let prefetched =
        runtime.block_on(async { Ids::from_source(NoNode(1), Prefetch::default().block(10_000)) }).unwrap();
    let generator = Arc::new(Mutex::new(generator()));
    let (lock, atomic) = (lock(), atomic());
    let by_system = LockSnowflakeGenerator::<Wide, _>::new(0, SystemClock);
    let monotonic = Mutex::new(ulid::Generator::new());
    let watch = Stopwatch::start();
    let by_mint = |count: u32| {
        let (source, handle) = (source.clone(), runtime.handle().clone());
        move |turns: u32| {
            handle.block_on(async {
                for _ in 0..turns {
                    black_box(source.mint(count).await.unwrap());
                }
            });
        }
    };
    let handle = runtime.handle().clone();
    let each = |turn: fn()| move |turns: u32| (0..turns).for_each(|_| turn());
    vec![
        contender("snowtide: the generator behind a lock, with both clocks", 1, {
            let generator = generator.clone();
            move |turns| allocate(&generator, &watch, 1, turns)
        }),
        contender("snowtide: the same, batches of 1 000", BATCH, move |turns| {
            allocate(&generator, &watch, BATCH, turns);
        }),
        contender("snowtide: a request to the node's source", 1, by_mint(1)),
        contender("snowtide: the same, batches of 1 000", BATCH, by_mint(BATCH)),
        contender("snowtide client: prefetched", 1, move |turns| {
            handle.block_on(async {
                for _ in 0..turns {
                    black_box(prefetched.next_id().await.unwrap());
                }
            });
        }),
        contender("ferroid: lock-based", 1, move |turns| {
            (0..turns).for_each(|_| _ = black_box(lock.try_next_id(|_| std::hint::spin_loop()).unwrap()));
        }),
        contender("ferroid: lock-based, with the system's clock", 1, move |turns| {
            (0..turns).for_each(|_| _ = black_box(by_system.try_next_id(|_| std::hint::spin_loop()).unwrap()));
        }),
        contender("ferroid: atomic", 1, move |turns| {
            (0..turns).for_each(|_| _ = black_box(atomic.next_id(|_| std::hint::spin_loop())));
        }),
        contender("uuid: version 7", 1, each(|| _ = black_box(uuid::Uuid::now_v7()))),
        contender("ulid: random", 1, each(|| _ = black_box(ulid::Ulid::generate()))),
        contender("ulid: monotonic, behind a lock", 1, move |turns| {
            (0..turns).for_each(|_| _ = black_box(monotonic.lock().unwrap().generate().unwrap()));
        }),
    ]
}

fn contender(name: &'static str, ids: u32, turns: impl Fn(u32) + Send + Sync + 'static) -> Contender {
    Contender { name, ids, turns: Box::new(turns), alone: Vec::new(), contended: Vec::new() }
}

fn layout() -> Layout {
    Layout::new(EPOCH_MS, Bits { time: 39, region: 1, node: 1, sequence: 22 }).unwrap()
}

fn source(runtime: &Runtime) -> IdSource {
    let _inside = runtime.enter();
    let worker = WorkerId::new(0, 0).unwrap();
    let source = IdSource::new(layout(), worker, &Config::default().ids, 0, Arc::new(NoDisk), |_| ()).unwrap();
    source.claim(0);
    source
}

/// With a ceiling that is never reached.
fn generator() -> Generator {
    let limits =
        Limits { max_backstep_ms: 1_000, max_leap_ms: 3_600_000, max_absence_ms: 3_600_000, probation_ms: 3_000 };
    let mut generator = Generator::new(layout(), WorkerId::new(0, 0).unwrap(), limits, 0).unwrap();
    generator.claim(Reading { wall_ms: clock::wall_ms(), mono_ms: 0 }, 0);
    generator.raise_ceiling(u64::MAX);
    generator
}

fn allocate(generator: &Mutex<Generator>, watch: &Stopwatch, count: u32, turns: u32) {
    let mut runs = Vec::with_capacity(4);
    for _ in 0..turns {
        runs.clear();
        let mut generator = generator.lock().unwrap();
        let now = Reading { wall_ms: clock::wall_ms(), mono_ms: watch.elapsed_ms() };
        black_box(generator.allocate(now, now.wall_ms, count, &mut runs));
    }
}

fn lock() -> LockSnowflakeGenerator<Wide, MonotonicClock> {
    LockSnowflakeGenerator::new(0, MonotonicClock::with_epoch(Duration::from_millis(EPOCH_MS)))
}

fn atomic() -> AtomicSnowflakeGenerator<Wide, MonotonicClock> {
    AtomicSnowflakeGenerator::new(0, MonotonicClock::with_epoch(Duration::from_millis(EPOCH_MS)))
}

/// Nanoseconds an ID, over all threads.
fn measure(contender: &Contender, threads: u32) -> f64 {
    // As many IDs' worth of time for batches as for single ones would be over too soon to be measured.
    let turns = if contender.ids == 1 { TURNS } else { TURNS / 20 } / threads;
    let begun = clock::monotonic();
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| (contender.turns)(turns));
        }
        (contender.turns)(turns);
    });
    let ids = f64::from(turns) * f64::from(threads) * f64::from(contender.ids);
    begun.elapsed().as_secs_f64() * 1e9 / ids
}

fn told(rounds: &mut [f64]) -> String {
    rounds.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1})", rounds[rounds.len() / 2], rounds[0])
}
