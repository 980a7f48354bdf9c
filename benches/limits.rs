//! What a decision costs: `cargo bench --bench limits`, or `make bench`.
//!
//! Side by side in one run over a million keys, in an order that no cache foresees: every contender has its turn in each
//! round, so that whatever else the machine does meets all alike; the median of the rounds counts. Words choose contenders.

// A report: what it prints is its purpose, and it may fail loudly.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::cell::Cell;
use std::hint::black_box;
use std::num::NonZero;

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
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut contenders = Vec::new();
    let mut add = |name: &'static str, contender: &dyn Fn() -> Box<dyn Fn(u32)>| {
        if words.iter().all(|word| name.contains(word.as_str())) {
            contenders.push(Contender { name, decide: contender(), rounds: Vec::new() });
        }
    };
    for (algorithm, single, batch) in [
        (Algorithm::Fixed, "snowtide: fixed", "snowtide: fixed, in rounds of 1 000"),
        (Algorithm::Sliding, "snowtide: sliding", "snowtide: sliding, in rounds of 1 000"),
        (Algorithm::Gcra, "snowtide: gcra", "snowtide: gcra, in rounds of 1 000"),
    ] {
        add(single, &|| Box::new(one_by_one(algorithm)));
        add(batch, &|| Box::new(in_rounds(algorithm)));
    }
    add("governor, keyed", &|| Box::new(governor()));
    contenders
}

/// The name of a key, as a client sends it.
type Name = [u8; 12];

/// Made where it is needed: what has just come from a client is in a processor's cache.
fn name(key: u32) -> Name {
    let mut name = *b"user-0000000";
    let mut rest = key;
    for digit in name.iter_mut().rev().take(7) {
        *digit = b'0' + u8::try_from(rest % 10).unwrap();
        rest /= 10;
    }
    name
}

/// Goes through all keys in an order that looks like none.
#[derive(Default)]
struct Order(Cell<u64>);

impl Order {
    fn next(&self) -> Name {
        let at = self.0.replace(self.0.get() + 1);
        name(u32::try_from(at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % u64::from(KEYS)).unwrap())
    }
}

fn limits(algorithm: Algorithm) -> (Limits, Stopwatch) {
    let me = Peer { worker: WorkerId::new(0, 0).unwrap(), boot: Boot { counter: 1, nonce: 1 } };
    let before = resident_bytes();
    let room = Room { keys_max: KEYS + KEYS / 32, shards: 64, when_full: WhenFull::Evict };
    let (limits, watch) = (Limits::new(me, room, Pace::default(), 3), Stopwatch::start());
    let weights = (0..3).map(|region| (WorkerId::new(region, 0).unwrap(), 1));
    let policy = Policy::new("per-user", algorithm, 3_000, 60_000).shared_by(weights);
    limits.tick(Reading { mono_ms: watch.elapsed_ms(), wall_ms: Some(clock::wall_ms()) });
    limits.replace(vec![policy], None, watch.elapsed_ms()).unwrap();
    let (hasher, policy, now) =
        (hasher(), limits.find("per-user").unwrap(), limits.moment(watch.elapsed_ms()).unwrap());
    for key in 0..KEYS {
        limits.decide(now, Request { policy, key: hasher.hash("per-user", &name(key)), cost: 1 }).unwrap();
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
    let ((limits, watch), order, hasher) = (limits(algorithm), Order::default(), hasher());
    let policy = limits.find("per-user").unwrap();
    move |turns| {
        for _ in 0..turns {
            let now = limits.moment(watch.elapsed_ms()).unwrap();
            let key = hasher.hash("per-user", &order.next());
            let _ = black_box(limits.decide(now, Request { policy, key, cost: 1 }));
        }
    }
}

fn in_rounds(algorithm: Algorithm) -> impl Fn(u32) {
    let ((limits, watch), order, hasher) = (limits(algorithm), Order::default(), hasher());
    let policy = limits.find("per-user").unwrap();
    move |turns| {
        let (mut round, mut requests) = (Round::default(), Vec::with_capacity(BATCH));
        for _ in 0..turns as usize / BATCH {
            let now = limits.moment(watch.elapsed_ms()).unwrap();
            requests.clear();
            requests.extend((0..BATCH).map(|_| {
                let key = hasher.hash("per-user", &order.next());
                Request { policy, key, cost: 1 }
            }));
            limits.decide_all(now, &mut round, &requests, |at, decided| _ = black_box((at, decided)));
        }
    }
}

fn governor() -> impl Fn(u32) {
    let quota = Quota::per_minute(NonZero::new(3_000).unwrap());
    let (limiter, order) = (RateLimiter::<Name, _, _>::dashmap(quota), Order::default());
    (0..KEYS).for_each(|key| _ = limiter.check_key(&name(key)));
    move |turns| {
        for _ in 0..turns {
            let _ = black_box(limiter.check_key(&order.next()));
        }
    }
}

/// What this process has in memory.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
