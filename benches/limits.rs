//! What a decision costs: `cargo bench --bench limits`, or `make bench`.
//!
//! Side by side in one run over a million keys, in an order that no cache foresees: every contender has its turn in each
//! round, so that whatever else the machine does meets all alike; the median of the rounds counts.

// A report: what it prints is its purpose, and it may fail loudly.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{Quota, RateLimiter};
use snowtide::clock::{self, Stopwatch};
use snowtide::identity::{Boot, Peer, WorkerId};
use snowtide::limits::{Algorithm, KeyHasher, Limits, Pace, Policy, Reading, Request, Room, Round, WhenFull};

const KEYS: u32 = 1_000_000;
const ROUNDS: usize = 15;
/// In each round, for each contender.
const TURNS: u32 = 200_000;
/// Decisions that a door brings at a time.
const BATCH: usize = 1_000;

/// What is measured: a name, and so many decisions of one thread.
struct Contender {
    name: &'static str,
    decide: Box<dyn Fn(u32)>,
    rounds: Vec<f64>,
}

fn main() {
    let mut contenders = contenders();
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let begun = clock::monotonic();
            (contender.decide)(TURNS);
            let each = begun.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS);
            // The first round warms up.
            if round > 0 {
                contender.rounds.push(each);
            }
        }
    }
    println!("| ns a decision over {KEYS} keys | median of {ROUNDS} rounds (lowest) |\n|---|---|");
    for contender in &mut contenders {
        contender.rounds.sort_by(f64::total_cmp);
        let rounds = &contender.rounds;
        println!("| {} | {:.1} ({:.1}) |", contender.name, rounds[rounds.len() / 2], rounds[0]);
    }
}

fn contenders() -> Vec<Contender> {
    let mut contenders = Vec::new();
    for (algorithm, single, batch) in [
        (Algorithm::Fixed, "snowtide: fixed", "snowtide: fixed, in rounds of 1 000"),
        (Algorithm::Sliding, "snowtide: sliding", "snowtide: sliding, in rounds of 1 000"),
        (Algorithm::Gcra, "snowtide: gcra", "snowtide: gcra, in rounds of 1 000"),
    ] {
        contenders.push(contender(single, one_by_one(algorithm)));
        contenders.push(contender(batch, in_rounds(algorithm)));
    }
    contenders.push(contender("governor, keyed", governor()));
    contenders
}

fn contender(name: &'static str, decide: impl Fn(u32) + 'static) -> Contender {
    Contender { name, decide: Box::new(decide), rounds: Vec::new() }
}

/// Names of keys, as clients send them.
fn names() -> Vec<String> {
    (0..KEYS).map(|key| format!("user-{key:07}")).collect()
}

/// Goes through all keys in an order that looks like none.
struct Order(AtomicU64);

impl Order {
    fn next(&self) -> usize {
        let at = self.0.fetch_add(1, Ordering::Relaxed);
        usize::try_from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % u64::from(KEYS)).unwrap()
    }
}

fn limits(algorithm: Algorithm) -> (Limits, Stopwatch) {
    let me = Peer { worker: WorkerId::new(0, 0).unwrap(), boot: Boot { counter: 1, nonce: 1 } };
    let before = resident_bytes();
    let room = Room { keys_max: KEYS * 5 / 4, shards: 64, when_full: WhenFull::Evict };
    let (limits, watch) = (Limits::new(me, room, Pace::default(), 3), Stopwatch::start());
    let weights = (0..3).map(|region| (WorkerId::new(region, 0).unwrap(), 1));
    let policy = Policy::new("per-user", algorithm, 3_000, 60_000).shared_by(weights);
    limits.tick(Reading { mono_ms: watch.elapsed_ms(), wall_ms: Some(clock::wall_ms()) });
    limits.replace(vec![policy], None, watch.elapsed_ms()).unwrap();
    let (hasher, policy, now) =
        (hasher(), limits.find("per-user").unwrap(), limits.moment(watch.elapsed_ms()).unwrap());
    for name in names() {
        limits.decide(now, Request { policy, key: hasher.hash("per-user", name.as_bytes()), cost: 1 }).unwrap();
    }
    assert_eq!(limits.fill().keys, u64::from(KEYS));
    let each = (resident_bytes() - before) as f64 / f64::from(KEYS);
    println!("{algorithm:?}: {each:.1} bytes a key are resident");
    (limits, watch)
}

fn hasher() -> KeyHasher {
    KeyHasher::new(std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(151)))
}

/// Reads the clock, hashes the key's name, decides.
fn one_by_one(algorithm: Algorithm) -> impl Fn(u32) {
    let ((limits, watch), names, order, hasher) = (limits(algorithm), names(), Order(AtomicU64::new(0)), hasher());
    let policy = limits.find("per-user").unwrap();
    move |turns| {
        for _ in 0..turns {
            let now = limits.moment(watch.elapsed_ms()).unwrap();
            let key = hasher.hash("per-user", names[order.next()].as_bytes());
            let _ = black_box(limits.decide(now, Request { policy, key, cost: 1 }));
        }
    }
}

fn in_rounds(algorithm: Algorithm) -> impl Fn(u32) {
    let ((limits, watch), names, order, hasher) = (limits(algorithm), names(), Order(AtomicU64::new(0)), hasher());
    let policy = limits.find("per-user").unwrap();
    move |turns| {
        let (mut round, mut requests) = (Round::default(), Vec::with_capacity(BATCH));
        for _ in 0..turns as usize / BATCH {
            let now = limits.moment(watch.elapsed_ms()).unwrap();
            requests.clear();
            requests.extend((0..BATCH).map(|_| {
                let key = hasher.hash("per-user", names[order.next()].as_bytes());
                Request { policy, key, cost: 1 }
            }));
            limits.decide_all(now, &mut round, &requests, |at, decided| _ = black_box((at, decided)));
        }
    }
}

fn governor() -> impl Fn(u32) {
    let quota = Quota::per_minute(NonZero::new(3_000).unwrap());
    let (limiter, names, order) = (RateLimiter::dashmap(quota), names(), Order(AtomicU64::new(0)));
    names.iter().for_each(|name| _ = limiter.check_key(name));
    move |turns| {
        for _ in 0..turns {
            let _ = black_box(limiter.check_key(&names[order.next()]));
        }
    }
}

/// What this process has in memory.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
