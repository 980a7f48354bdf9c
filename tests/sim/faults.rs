//! What may go wrong, how often, and how often it did.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A message vanishes.
    Loss,
    /// A message arrives twice.
    Duplication,
    /// A message is overtaken by later ones.
    Reordering,
    /// A message takes seconds.
    Delay,
    /// One node does not reach another, which may still reach it.
    OneWayCut,
    /// The nodes fall into two groups.
    Split,
    /// Each node reaches only its two neighbours.
    Ring,
    /// `kill -9`: what was written is there, synced or not.
    Kill,
    /// What was written and not synced is lost, from some point on.
    PowerCut,
    /// A power cut in the middle of a write, of which a part reached the disk.
    TornTail,
    /// A sync reports an error: the node has to stop.
    FailedSync,
    /// A write finds no room: the node has to stop.
    DiskFull,
    /// The disk takes seconds for what takes it milliseconds.
    SlowDisk,
    /// Little room is left on the disk for a while.
    DiskLow,
    /// A node comes back with an empty disk.
    Wipe,
    /// A node comes back with an older state of its disk.
    Rollback,
    /// A copy of a node's disk is started beside it.
    Clone,
    /// The same, and nearly all ways to the node lead to the copy.
    Twin,
    /// A process stands still for a while, then finds everything that has come meanwhile.
    Pause,
    /// A clock begins to run slower or faster.
    Drift,
    /// A wall clock jumps, by milliseconds to years, either way.
    Jump,
    /// A node is shut down in order, and started again.
    Shutdown,
    /// An operator has a node refuse new work for a while.
    Drain,
    /// A node starts with a configuration that does not name one of its namespaces, and later with it again.
    Reconfigure,
    /// A node starts with a map of the cluster that lacks one of the other nodes, and later with the whole one.
    OldMap,
    /// A node is heard by one other alone, then comes back with an older disk.
    Estranged,
    /// A client does not wait for its answer.
    Leave,
    /// Somebody with a node's certificate says what is not so. One seed has one such node.
    Rogue,
}

/// Kinds that befall single messages: their rate is a chance for each. (That of `Leave` is one for each request.)
const PER_MESSAGE: [Fault; 4] = [Fault::Loss, Fault::Duplication, Fault::Reordering, Fault::Delay];
/// All other kinds that begin by themselves: their rate is one of events a simulated minute in the whole cluster.
const EVENTS: [Fault; 17] = [
    Fault::OneWayCut,
    Fault::Split,
    Fault::Ring,
    Fault::Kill,
    Fault::PowerCut,
    Fault::FailedSync,
    Fault::DiskFull,
    Fault::SlowDisk,
    Fault::DiskLow,
    Fault::Wipe,
    Fault::Rollback,
    Fault::Clone,
    Fault::Pause,
    Fault::Drift,
    Fault::Jump,
    Fault::Shutdown,
    Fault::Drain,
];

/// As those. They came later, so the swarm draws them from a stream of their own.
const LATER: [Fault; 3] = [Fault::Reconfigure, Fault::OldMap, Fault::Twin];
/// Those that only a scenario of their own has.
const APART: [Fault; 1] = [Fault::Estranged];
/// Tells that stream from the world's.
const LATER_STREAM: u64 = 0x6C61_7465_7200;

/// Which faults happen, and how often.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rates: BTreeMap<Fault, f64>,
    /// How state travels, if not in both ways.
    pub only: Option<Way>,
}

/// How state travels from node to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Deltas, from journals that go back to the beginning.
    Gossip,
    /// Trees that are compared.
    Repair,
}

impl Faults {
    pub fn none() -> Self {
        Self::default()
    }

    /// `rate` is a chance for messages, and events a simulated minute for everything else.
    pub fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.rates.insert(fault, rate);
        self
    }

    /// State travels in this way alone.
    pub fn only(self, way: Way) -> Self {
        Self { only: Some(way), ..self }
    }

    /// Everything at once.
    pub fn all() -> Self {
        let messages = PER_MESSAGE.into_iter().map(|fault| (fault, 0.02));
        let rates = messages.chain(EVENTS.into_iter().map(|fault| (fault, 0.3))).collect();
        Self { rates, only: None }
    }

    /// A choice of faults: some bugs need many of one kind, and others hide where there are too many kinds.
    pub fn swarm(rng: &mut SmallRng) -> Self {
        let mut faults = Self::none();
        for fault in PER_MESSAGE {
            if rng.random_bool(0.5) {
                faults = faults.with(fault, *[0.002, 0.02, 0.2].choose(rng).unwrap_or(&0.0));
            }
        }
        for fault in EVENTS {
            if rng.random_bool(0.4) {
                faults = faults.with(fault, *[0.1, 0.4, 1.5].choose(rng).unwrap_or(&0.0));
            }
        }
        faults
    }

    /// The generator of what came to a seed later.
    pub fn later(seed: u64) -> SmallRng {
        SmallRng::seed_from_u64(seed ^ LATER_STREAM)
    }

    /// The same choice, with some of what came later. Odd seeds are what they were: all that had failed by then are odd.
    pub fn with_later(mut self, seed: u64, rng: &mut SmallRng) -> Self {
        if !seed.is_multiple_of(2) {
            return self;
        }
        for fault in LATER.into_iter().chain([Fault::Rogue]) {
            if rng.random_bool(0.4) {
                let rates = if fault == Fault::Rogue { [2.0, 20.0, 90.0] } else { [0.1, 0.4, 1.5] };
                self = self.with(fault, *rates.choose(rng).unwrap_or(&0.0));
            }
        }
        if rng.random_bool(0.5) { self.with(Fault::Leave, 0.3) } else { self }
    }

    /// The faults that are wanted at all. A tail is torn by a power cut that meets a write under way, which is too rare to
    /// be demanded of a short scenario.
    pub fn wanted(&self) -> impl Iterator<Item = Fault> {
        self.rates.keys().copied()
    }

    pub fn chance(&self, fault: Fault) -> f64 {
        self.rates.get(&fault).copied().unwrap_or(0.0)
    }

    /// Milliseconds to the next event, and its kind; `None` if none is wanted.
    pub fn next(&self, rng: &mut SmallRng) -> Option<(u64, Fault)> {
        let events = || EVENTS.iter().chain(&LATER).chain(&APART).map(|fault| (*fault, self.chance(*fault)));
        let total: f64 = events().map(|(_, rate)| rate).sum();
        if total <= 0.0 {
            return None;
        }
        let mut dice = rng.random_range(0.0..total);
        let chosen = events().find(|(_, rate)| {
            dice -= rate;
            dice < 0.0
        });
        let mean_ms = 60_000.0 / total;
        let wait = mean_ms * -rng.random_range(f64::EPSILON..1.0).ln();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // minutes, never negative
        chosen.map(|(fault, _)| (wait as u64 + 1, fault))
    }
}
