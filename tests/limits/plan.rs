//! What one seed runs: nodes, policies, ways between nodes, demand, and what may go wrong.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use snowtide::identity::WorkerId;
use snowtide::limits::{Algorithm, Given, Mode, Policy, Template};

use super::trouble::Fault;

/// The presence time of all nodes.
pub const PRESENCE_MS: u64 = 1_000;
/// The time between two ticks of a node.
pub const TICK_MS: u64 = 20;

/// One declaration of a policy. Limits are multiples of the sum of weights, so that shares are exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub name: &'static str,
    pub algorithm: Algorithm,
    pub mode: Mode,
    /// It comes with requests, and is not declared.
    pub is_given: bool,
    pub window_ms: u64,
    pub limit: u64,
    pub burst: u64,
    /// By node; `None` is not on the map.
    pub weights: Vec<Option<u32>>,
}

/// How clients ask for a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// At random, so many times the limit, of all nodes.
    Steady(f64),
    /// The same, of one node.
    Lopsided(f64, usize),
    /// As much as there is just before windows end and just after they begin, of all nodes.
    Edges,
    /// Of all nodes, so little at a time that it is not told, so many times a window; zero is whenever it has drained.
    Quiet(u64),
    /// Like `Steady`, in floods of a tenth of a window with pauses between them.
    Waves(f64),
    /// Like `Steady`, for some seconds, with pauses of minutes between them.
    Seldom(f64),
    /// Like `Steady`, of one node after another, each for a part of a window: what one leaves, the next one asks for.
    Tour(f64),
}

/// One key, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub policy: usize,
    pub key: u32,
    pub pattern: Pattern,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub nodes: usize,
    pub policies: Vec<Version>,
    pub demands: Vec<Demand>,
    /// What there is, in parts of the greatest cost.
    pub pieces: u64,
    /// The longest way from each node to each other.
    pub way_ms: u64,
    /// How far each node's clock is from the truth.
    pub offsets_ms: Vec<i64>,
    /// What may go wrong, and how often in a simulated minute.
    pub faults: BTreeMap<Fault, f64>,
    pub duration_ms: u64,
    pub keys_max: u32,
    /// New keys a second that one region makes up under the policy `flood`.
    pub flood: u64,
    /// Policies that a node takes from requests.
    pub given_max: usize,
}

impl Version {
    fn new(name: &'static str, algorithm: Algorithm, window_ms: u64, unit: u64, weights: &[u32]) -> Self {
        let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let weights = weights.iter().map(|w| Some(*w)).collect();
        let (limit, burst) = (sum * unit, sum * unit.div_ceil(2));
        Self { name, algorithm, mode: Mode::Shared, is_given: false, window_ms, limit, burst, weights }
    }

    pub fn policy(&self) -> Policy {
        if self.is_given {
            return self.template(0).policy(self.given());
        }
        let base = Policy::new(self.name, self.algorithm, self.limit, self.window_ms);
        Policy { mode: self.mode, burst: self.burst, weights: self.workers(), ..base }
    }

    /// The numbers that requests bring.
    pub fn given(&self) -> Given {
        match self.algorithm {
            Algorithm::Fixed => Given::fixed(self.limit, self.window_ms),
            Algorithm::Sliding => Given::sliding(self.limit, self.window_ms),
            Algorithm::Gcra => Given::gcra(self.limit, self.window_ms, self.burst),
        }
    }

    /// What nodes know of such policies beforehand.
    pub fn template(&self, policies_max: usize) -> Template {
        Template { mode: self.mode, weights: self.workers(), policies_max }
    }

    fn workers(&self) -> BTreeMap<WorkerId, u32> {
        (0u8..).zip(&self.weights).filter_map(|(node, w)| Some((worker(node), (*w)?))).collect()
    }

    pub fn sum(&self) -> u64 {
        self.weights.iter().flatten().map(|w| u64::from(*w)).sum()
    }

    /// What a node may admit by itself, in a window and at once.
    pub fn share(&self, node: usize) -> (u64, u64) {
        let weight = u64::from(self.weights[node].unwrap_or(0));
        (self.limit / self.sum() * weight, self.burst / self.sum() * weight)
    }

    /// By the formula, on paper.
    pub fn threshold(&self) -> u64 {
        let others = self.weights.iter().flatten().count().max(2) as u64 - 1;
        let whole = if self.algorithm == Algorithm::Gcra { self.limit.min(self.burst) } else { self.limit };
        (whole / 20 / others).max(1)
    }
}

/// Each node is a region.
pub fn worker(node: u8) -> WorkerId {
    WorkerId::new(node, 0).expect("fewer than 32 nodes")
}

impl Plan {
    /// A plan with no faults; `rng` draws the rest.
    pub fn draw(rng: &mut SmallRng) -> Self {
        let plan = Self::draw_any(rng);
        if rng.random_bool(0.4) { plan.at_leisure(rng) } else { plan }
    }

    /// Windows so long, and demand so even, that little is on its way at any time: bounds are narrow then, whatever breaks.
    fn at_leisure(mut self, rng: &mut SmallRng) -> Self {
        let unit = *[100, 1_000].choose(rng).expect("not empty");
        (self.pieces, self.duration_ms) = (100, 360_000);
        for policy in &mut self.policies {
            policy.window_ms = *[30_000, 60_000, 60_000].choose(rng).expect("not empty");
            (policy.limit, policy.burst) = (policy.sum() * unit, policy.sum() * unit / 2);
        }
        for demand in &mut self.demands {
            let times = *[1.5, 2.0, 3.0].choose(rng).expect("not empty");
            demand.pattern = match rng.random_range(0..5) {
                0 => Pattern::Steady(times),
                1 => Pattern::Lopsided(times, rng.random_range(0..self.nodes)),
                _ => Pattern::Tour(times),
            };
        }
        self
    }

    fn draw_any(rng: &mut SmallRng) -> Self {
        let nodes = *[2, 3, 3, 3, 4, 5].choose(rng).expect("not empty");
        let weights: Vec<u32> =
            (0..nodes).map(|_| if rng.random_bool(0.7) { 1 } else { rng.random_range(1..4) }).collect();
        let mut policies = Vec::new();
        for (name, algorithm) in
            [("fixed", Algorithm::Fixed), ("sliding", Algorithm::Sliding), ("gcra", Algorithm::Gcra)]
        {
            let window_ms = *[1_000, 2_000, 5_000, 10_000, 20_000, 30_000].choose(rng).expect("not empty");
            let unit = *[1, 3, 10, 30, 100].choose(rng).expect("not empty");
            policies.push(Version::new(name, algorithm, window_ms, unit, &weights));
        }
        let split = Version { mode: Mode::Split, name: "split", ..policies[0].clone() };
        policies.push(split);
        let demands = (0..policies.len()).flat_map(|policy| (0..2).map(move |key| (policy, key)));
        let demands = demands.map(|(policy, key)| Demand { policy, key, pattern: pattern(rng, nodes) }).collect();
        Self {
            nodes,
            policies,
            demands,
            pieces: 20,
            way_ms: *[2, 20, 80, 150].choose(rng).expect("not empty"),
            offsets_ms: (0..nodes).map(|_| rng.random_range(-20..=20)).collect(),
            faults: BTreeMap::new(),
            duration_ms: 240_000,
            keys_max: 4_096,
            flood: 0,
            given_max: 64,
        }
    }

    /// Some of the policies come with requests.
    pub fn given(mut self, rng: &mut SmallRng) -> Self {
        let shared = self.policies.iter_mut().filter(|policy| policy.mode == Mode::Shared);
        shared.for_each(|policy| policy.is_given = rng.random_bool(0.7));
        self
    }

    pub fn with(mut self, fault: Fault, a_minute: f64) -> Self {
        self.faults.insert(fault, a_minute);
        self
    }

    /// How long it takes until the others know what one of them admitted.
    pub fn delay_ms(&self) -> u64 {
        // Decisions at the very millisecond of a tick may come after it.
        TICK_MS + self.way_ms + 2
    }
}

fn pattern(rng: &mut SmallRng, nodes: usize) -> Pattern {
    let times = *[0.5, 1.0, 2.0, 4.0, 10.0].choose(rng).expect("not empty");
    match rng.random_range(0..8) {
        0..3 => Pattern::Steady(times),
        3 => Pattern::Lopsided(times, rng.random_range(0..nodes)),
        4 => Pattern::Edges,
        5 => Pattern::Quiet(rng.random_range(1..30)),
        _ => Pattern::Waves(times),
    }
}
