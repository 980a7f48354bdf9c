//! The nodes and the time: happenings happen, one after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide::identity::{Boot, Peer};
use snowtide::limits::{Limits, Message, Pace, PolicyId, Reading, Room, WhenFull};

use super::ledger::Ledger;
use super::network::Stream;
use super::plan::{PRESENCE_MS, Plan, TICK_MS, Version, worker};
use super::report::Tally;
use super::trouble::Trouble;

/// The true time at which a run begins.
const BEGIN_MS: u64 = 1_800_000_000_000;

/// What happens at some moment.
#[derive(Debug)]
pub enum Happening {
    Tick {
        node: usize,
        boot: u64,
    },
    Start(usize),
    Connect {
        from: usize,
        to: usize,
    },
    Arrive {
        from: usize,
        to: usize,
        id: u64,
        message: Message,
    },
    Close {
        from: usize,
        to: usize,
        id: u64,
    },
    End {
        from: usize,
        to: usize,
        id: u64,
    },
    Ask(usize),
    /// A client asks one node.
    Request {
        demand: usize,
        node: usize,
        cost: u64,
    },
    Flood,
    Trouble(Trouble),
}

#[derive(Debug)]
pub struct Node {
    pub index: usize,
    /// `None` while it is down.
    pub limits: Option<Arc<Limits>>,
    pub boot: u64,
    booted_ms: u64,
    pub offset_ms: i64,
    /// Does not believe its clock until then.
    pub doubts_until_ms: u64,
    pub paused_until_ms: u64,
    /// The version of each policy that it has.
    pub versions: Vec<usize>,
    /// What its door has looked up.
    pub ids: BTreeMap<usize, PolicyId>,
}

pub struct World {
    pub now: u64,
    pub rng: SmallRng,
    pub plan: Plan,
    pub nodes: Vec<Node>,
    /// From each node to each other.
    pub streams: Vec<Vec<Stream>>,
    pub ids: u64,
    /// All declarations of each policy so far.
    pub versions: Vec<Vec<Version>>,
    pub ledger: Ledger,
    pub tally: Tally,
    pub findings: Vec<String>,
    pub lines: Option<Vec<String>>,
    /// Nothing begins to go wrong any more.
    pub is_healing: bool,
    /// No more demand.
    pub is_still: bool,
    pub flooded: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    count: u64,
}

impl Node {
    pub fn peer(&self) -> Peer {
        let nonce = self.boot.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.index as u64) << 40;
        Peer { worker: worker(self.index as u8), boot: Boot { counter: self.boot, nonce } }
    }
}

impl World {
    pub fn new(seed: u64, plan: impl FnOnce(&mut SmallRng) -> Plan, keep_lines: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let plan = plan(&mut rng);
        let node = |index: usize| Node {
            index,
            limits: None,
            boot: 0,
            booted_ms: 0,
            offset_ms: plan.offsets_ms[index],
            doubts_until_ms: 0,
            paused_until_ms: 0,
            versions: vec![0; plan.policies.len()],
            ids: BTreeMap::new(),
        };
        let mut world = Self {
            now: 0,
            nodes: (0..plan.nodes).map(node).collect(),
            streams: vec![vec![Stream::default(); plan.nodes]; plan.nodes],
            ids: 0,
            versions: plan.policies.iter().map(|version| vec![version.clone()]).collect(),
            ledger: Ledger::new(&plan),
            tally: Tally::default(),
            findings: Vec::new(),
            lines: keep_lines.then(Vec::new),
            is_healing: false,
            is_still: false,
            flooded: 0,
            happenings: BTreeMap::new(),
            count: 0,
            rng,
            plan,
        };
        (0..world.plan.nodes).for_each(|node| world.start(node));
        (0..world.plan.demands.len()).for_each(|demand| world.at(1_000, Happening::Ask(demand)));
        world.plan_trouble();
        world.disturb(0);
        if world.plan.flood > 0 {
            world.at(5_000, Happening::Flood);
        }
        world
    }

    pub fn at(&mut self, when: u64, happening: Happening) {
        self.count += 1;
        self.happenings.insert((when.max(self.now), self.count), happening);
    }

    /// Lets everything happen until then, or until something is found.
    pub fn run_until(&mut self, end_ms: u64) {
        while let Some(entry) = self.happenings.first_entry() {
            let (when, _) = *entry.key();
            if when > end_ms || !self.findings.is_empty() {
                break;
            }
            let happening = entry.remove();
            self.now = when;
            self.happen(happening);
        }
        self.now = self.now.max(end_ms);
    }

    fn happen(&mut self, happening: Happening) {
        // What comes to a process that stands still waits for it, in order.
        if let Some(until_ms) = self.whose(&happening).map(|node| self.nodes[node].paused_until_ms)
            && until_ms > self.now
        {
            return self.at(until_ms, happening);
        }
        match happening {
            Happening::Tick { node, boot } => self.tick(node, boot),
            Happening::Start(node) => self.start(node),
            Happening::Connect { from, to } => self.connect(from, to),
            Happening::Arrive { from, to, id, message } => self.arrive(from, to, id, message),
            Happening::Close { from, to, id } => self.close(from, to, id),
            Happening::End { from, to, id } => self.end(from, to, id),
            Happening::Ask(demand) => self.ask(demand),
            Happening::Request { demand, node, cost } => self.request(demand, node, cost),
            Happening::Flood => self.flood(),
            Happening::Trouble(trouble) => self.trouble(trouble),
        }
    }

    fn whose(&self, happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Tick { node, .. } | Happening::Request { node, .. } => Some(*node),
            Happening::Arrive { to, .. } | Happening::End { to, .. } => Some(*to),
            Happening::Close { from, .. } | Happening::Connect { from, .. } => Some(*from),
            _ => None,
        }
    }

    pub fn mono_ms(&self, node: usize) -> u64 {
        self.now - self.nodes[node].booted_ms + 7
    }

    pub fn wall_ms(&self, node: usize) -> u64 {
        (BEGIN_MS + self.now).saturating_add_signed(self.nodes[node].offset_ms)
    }

    /// The true time, as a clock would show it.
    pub fn true_ms(&self) -> u64 {
        BEGIN_MS + self.now
    }

    fn tick(&mut self, node: usize, boot: u64) {
        let held = &self.nodes[node];
        let Some(limits) = held.limits.clone().filter(|_| held.boot == boot) else { return };
        let believes = self.now >= held.doubts_until_ms;
        let reading = Reading { mono_ms: self.mono_ms(node), wall_ms: believes.then(|| self.wall_ms(node)) };
        limits.tick(reading);
        self.drain(node);
        self.at(self.now + TICK_MS, Happening::Tick { node, boot });
    }

    pub fn start(&mut self, node: usize) {
        let policies = self.policies_of(node);
        let room = Room { keys_max: self.plan.keys_max, shards: 4, when_full: WhenFull::Evict };
        let pace = Pace { presence_ms: PRESENCE_MS, ..Pace::default() };
        let held = &mut self.nodes[node];
        if held.limits.is_some() {
            return;
        }
        (held.boot, held.booted_ms) = (held.boot + 1, self.now);
        held.ids.clear();
        let limits = Limits::new(held.peer(), room, pace, self.plan.nodes);
        held.limits = Some(Arc::new(limits));
        let boot = held.boot;
        self.note(|| format!("node {node} starts, boot {boot}"));
        self.give(node, policies);
        let phase = self.rng.random_range(0..TICK_MS);
        self.at(self.now + phase, Happening::Tick { node, boot });
        for other in (0..self.plan.nodes).filter(|other| *other != node) {
            self.connect_soon(node, other);
            self.connect_soon(other, node);
        }
    }

    pub fn kill(&mut self, node: usize) {
        self.note(|| format!("node {node} is killed"));
        self.nodes[node].limits = None;
        for other in (0..self.plan.nodes).filter(|other| *other != node) {
            self.break_stream(node, other, false);
            self.break_stream(other, node, false);
        }
    }

    /// Gives a node the policies that it has.
    pub fn give(&mut self, node: usize, policies: Vec<snowtide::limits::Policy>) {
        let mono_ms = self.mono_ms(node);
        if let Some(limits) = self.nodes[node].limits.clone() {
            let template = self.plan.policies[0].template(self.plan.given_max);
            limits.replace(policies, Some(template), mono_ms).expect("the policies make sense");
            self.drain(node);
        }
    }

    pub fn policies_of(&self, node: usize) -> Vec<snowtide::limits::Policy> {
        let versions = self.nodes[node].versions.iter().zip(&self.versions).map(|(version, all)| &all[*version]);
        versions.filter(|version| !version.is_given).map(Version::policy).collect()
    }

    /// From now until the nodes have come to terms with it, they may see each other differently.
    pub fn disturb(&mut self, lasting_ms: u64) {
        let settled_ms = self.now + lasting_ms + PRESENCE_MS + 300 + 5 * self.plan.delay_ms();
        self.ledger.disturbed.push((self.now, settled_ms));
    }

    pub fn finding(&mut self, text: String) {
        let now = self.now;
        self.note(|| text.clone());
        self.findings.push(format!("at {}.{:03} s: {text}", now / 1_000, now % 1_000));
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>7}.{:03} {}", self.now / 1_000, self.now % 1_000, line()));
        }
    }
}
