//! The code under the lock, run in every order in which its threads can come, but for a bound on interruptions: two that
//! mint, the keeper of the ceiling, and one that fences or drains. Tests only.
//!
//! The model checker (loom) tries the orders of lock operations. It is shown to see a broken lock, too.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::sync::{Mutex, MutexGuard};
use loom::thread;

use super::Order;
use super::guarded::{Guarded, Lock};
use crate::identity::WorkerId;
use crate::snowflake::{Bits, Generator, Layout, Limits, Reading, Run, Verdict};

const EPOCH_MS: u64 = 1_000_000;
const START_MS: u64 = EPOCH_MS + 10_000;
/// How often a thread may be interrupted where it could go on. Nearly every fault of this kind shows with fewer (Musuvathi
/// and Qadeer, "Iterative Context Bounding for Systematic Testing of Multithreaded Programs", 2007); all orders are too many.
const PREEMPTIONS_MAX: usize = 3;
/// Asked for in each attempt: more than a millisecond has, so that orders are served in parts.
const COUNT: u32 = 3;

fn layout() -> Layout {
    Layout::new(EPOCH_MS, Bits { time: 60, region: 1, node: 1, sequence: 1 }).unwrap()
}

/// A generator whose durable ceiling is a few milliseconds ahead: enough for one order, not for all.
fn generator(ceiling: u64) -> Generator {
    let limits = Limits { max_backstep_ms: 40, max_leap_ms: 60_000, max_absence_ms: 60_000, probation_ms: 50 };
    let mut generator = Generator::new(layout(), WorkerId::new(1, 1).unwrap(), limits, 0).unwrap();
    generator.claim(Reading { wall_ms: START_MS, mono_ms: 0 }, 0);
    generator.raise_ceiling(ceiling);
    generator
}

impl Lock for Mutex<Generator> {
    fn lock(&self) -> impl DerefMut<Target = Generator> {
        Self::lock(self).unwrap()
    }
}

/// Takes the generator out and puts it back, but lets others in between: what a lock must not do.
struct Torn(Mutex<Generator>);

struct TornGuard<'a> {
    lock: &'a Torn,
    copy: Generator,
}

impl Lock for Torn {
    fn lock(&self) -> impl DerefMut<Target = Generator> {
        let guard: MutexGuard<'_, Generator> = self.0.lock().unwrap();
        TornGuard { lock: self, copy: guard.clone() }
    }
}

impl Deref for TornGuard<'_> {
    type Target = Generator;
    fn deref(&self) -> &Generator {
        &self.copy
    }
}

impl DerefMut for TornGuard<'_> {
    fn deref_mut(&mut self) -> &mut Generator {
        &mut self.copy
    }
}

impl Drop for TornGuard<'_> {
    fn drop(&mut self) {
        *self.lock.0.lock().unwrap() = self.copy.clone();
    }
}

/// How IDs come to their end in a model.
#[derive(Clone, Copy, Debug)]
enum End {
    Fence,
    Drain,
}

/// What the threads of one run share.
struct Stage<L> {
    guarded: Guarded<L>,
    /// The highest ceiling on disk; it is there before the generator hears of it.
    durable: AtomicU64,
    /// Readings so far: the clock moves by half a millisecond with each.
    readings: AtomicU64,
    /// The end has come, and the call that brought it has returned.
    ended: loom::sync::atomic::AtomicBool,
    seen: Seen,
}

/// What happened in any of the runs.
#[derive(Default)]
struct Tally {
    runs: AtomicU64,
    issued: AtomicU64,
    needed_ceiling: AtomicU64,
    refused: AtomicU64,
}

type Seen = Arc<Tally>;

impl<L: Lock + 'static> Stage<L> {
    fn read(&self) -> Reading {
        let passed = self.readings.fetch_add(1, Ordering::Relaxed) / 2;
        Reading { wall_ms: START_MS + passed, mono_ms: passed }
    }

    /// Two orders, one after the other; the IDs of both.
    fn mint(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let ended = self.ended.load(Ordering::Acquire);
            let mut order = Order { since_unix_ms: Some(START_MS), left: COUNT, runs: Vec::new() };
            let (verdict, _due) = self.guarded.attempt(|| self.read(), &mut order);
            let durable = self.durable.load(Ordering::Relaxed);
            let new: Vec<u64> = order.runs.iter().flat_map(numbers).collect();
            assert_eq!(new.len() as u64 + u64::from(order.left), u64::from(COUNT));
            assert!(!ended || new.is_empty(), "IDs after the end");
            for id in &new {
                assert!(layout().decode(*id).unwrap().timestamp_ms <= durable, "an ID above the durable ceiling");
            }
            self.seen.issued.fetch_add(new.len() as u64, Ordering::Relaxed);
            match verdict {
                Verdict::NeedsCeiling => self.seen.needed_ceiling.fetch_add(1, Ordering::Relaxed),
                Verdict::Fenced | Verdict::Draining => self.seen.refused.fetch_add(1, Ordering::Relaxed),
                Verdict::Done | Verdict::Wait { .. } => 0,
                other => panic!("{other:?}"),
            };
            ids.extend(new);
        }
        assert!(ids.is_sorted_by(|a, b| a < b), "one thread's IDs increase");
        ids
    }

    /// As the keeper does it: ask, write, tell.
    fn keep(&self) {
        if let Some(ceiling) = self.guarded.next_ceiling(|| self.read(), true) {
            assert!(ceiling > self.durable.swap(ceiling, Ordering::Relaxed), "ceilings rise");
            self.guarded.raise_ceiling(ceiling);
        }
    }

    fn end(&self, end: End) {
        match end {
            End::Fence => self.guarded.fence(|| ()),
            End::Drain => self.guarded.drain(),
        }
        self.ended.store(true, Ordering::Release);
    }
}

fn numbers(run: &Run) -> impl Iterator<Item = u64> + use<> {
    let Run { first, count } = *run;
    (0..u64::from(count)).map(move |offset| first + offset)
}

/// Runs every order of the threads, and checks each.
fn explore<L: Lock + Send + Sync + 'static>(end: End, lock: impl Fn(Generator) -> L + Send + Sync + 'static) -> Seen {
    let seen = Seen::default();
    let told = seen.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let ceiling = START_MS - EPOCH_MS + 1;
        let stage = Arc::new(Stage {
            guarded: Guarded::new(lock(generator(ceiling))),
            durable: AtomicU64::new(ceiling),
            readings: AtomicU64::new(0),
            ended: loom::sync::atomic::AtomicBool::new(false),
            seen: seen.clone(),
        });
        let minters = [0, 1].map(|_| {
            let stage = stage.clone();
            thread::spawn(move || stage.mint())
        });
        let keeper = {
            let stage = stage.clone();
            thread::spawn(move || stage.keep())
        };
        // A thread of its own, begun last: what is not interrupted runs in the order in which it began.
        let ender = {
            let stage = stage.clone();
            thread::spawn(move || stage.end(end))
        };
        let mut all: Vec<u64> = minters.into_iter().flat_map(|minter| minter.join().unwrap()).collect();
        keeper.join().unwrap();
        ender.join().unwrap();
        let issued = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), issued, "an ID came twice");
        let mut order = Order { since_unix_ms: Some(START_MS), left: 1, runs: Vec::new() };
        let (verdict, due) = stage.guarded.attempt(|| stage.read(), &mut order);
        assert!(
            matches!(verdict, Verdict::Fenced | Verdict::Draining) && !due && order.runs.is_empty(),
            "an ID came after the end"
        );
        stage.seen.runs.fetch_add(1, Ordering::Relaxed);
    });
    told
}

#[test]
fn in_every_order_ids_are_unique_below_the_ceiling_and_none_come_after_the_end() {
    for end in [End::Fence, End::Drain] {
        let seen = explore(end, Mutex::new);
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        println!(
            "{end:?}: {} orders, {} ids, {} times a ceiling was missing, {} orders refused",
            count(&seen.runs),
            count(&seen.issued),
            count(&seen.needed_ceiling),
            count(&seen.refused)
        );
        for number in [&seen.runs, &seen.issued, &seen.needed_ceiling, &seen.refused] {
            assert!(count(number) > 10, "the orders show all that can happen");
        }
    }
}

#[test]
#[should_panic(expected = "an ID came")]
fn a_lock_that_lets_others_in_between_is_found() {
    explore(End::Drain, |generator| Torn(Mutex::new(generator)));
}
