//! The world: nodes, a network between them, clients, faults, and the time that all of them share.
//!
//! Nothing happens between two happenings, so time jumps from one to the next. Everything that is random comes from one
//! generator: one seed is one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use snowtide::identity::{Peer, WorkerId};
use snowtide::replica::{Event, Message, Replica, Settings, Sieve, Ticket};
use snowtide::store::Store;

use super::checkers::Checkers;
use super::checkers::ledger::Rows;
use super::checkers::state;
use super::cluster::{self, WIDE_CHANCE, WIDE_KEYS, store_options};
use super::estranged::Estranged;
use super::faults::{Fault, Faults};
use super::ids::Minting;
use super::listing;
use super::network::{Network, WAITING_MAX};
use super::node::{LANES, Lane, Node, Process};
use super::repeats::Repeats;
use super::report::Tally;
use super::rogue::Rogue;
use super::trace::Trace;

/// Something that will happen. What names a `start` is void once that process has ended.
pub enum Happening {
    /// A message arrives.
    Message {
        from: Peer,
        to: usize,
        start: u32,
        message: Box<Message>,
    },
    /// The disk is done with the first job of a lane.
    Done {
        node: usize,
        start: u32,
        lane: Lane,
    },
    /// What the disk has read reaches the replica.
    Read {
        node: usize,
        start: u32,
        event: Box<Event>,
    },
    Tick {
        node: usize,
        start: u32,
    },
    Dial {
        from: usize,
        start: u32,
        worker: WorkerId,
    },
    /// A dialer notices that its link is dead.
    LinkLost {
        from: usize,
        start: u32,
        peer: Peer,
    },
    /// A request for IDs is tried again.
    Mint {
        node: usize,
        start: u32,
        since: u64,
        left: u32,
        tries: u32,
    },
    /// A process ends by itself.
    Exit {
        node: usize,
        start: u32,
    },
    /// An operator restarts a node that has fenced itself.
    Operator {
        node: usize,
        start: u32,
    },
    /// An operator looks how far the drain of a node is.
    Look {
        node: usize,
        start: u32,
    },
    Restart {
        node: usize,
    },
    Resume {
        node: usize,
        start: u32,
    },
    DiskRoom {
        node: usize,
        start: u32,
    },
    /// A copy of a node is found and taken away.
    Retire {
        node: usize,
    },
    Mend {
        pairs: Vec<(usize, usize)>,
    },
    /// A node that one other alone has heard comes back with an older disk.
    Estranged(Box<Estranged>),
    WholeMap {
        node: usize,
    },
    Client,
    /// Void once another epoch has begun.
    Trouble {
        fault: Fault,
        epoch: u64,
    },
    /// A client waits no longer.
    Leave {
        node: usize,
        start: u32,
        ticket: Ticket,
    },
    /// A rogue says something. Void once another epoch has begun.
    Lie {
        epoch: u64,
    },
}

struct Entry {
    at: Reverse<(u64, u64)>,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

pub struct World {
    pub rng: SmallRng,
    pub faults: Faults,
    pub now: u64,
    order: u64,
    queue: BinaryHeap<Entry>,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub settings: Settings,
    /// Milliseconds between two clients, on average.
    client_gap_ms: u64,
    /// Counters in each namespace.
    pub keys: usize,
    pub tickets: u64,
    pub checkers: Checkers,
    pub repeats: Repeats,
    pub walks: Vec<listing::Client>,
    pub tally: Tally,
    pub trace: Trace,
    pub rogue: Option<Rogue>,
    /// What each node thinks of what comes over each link, where there is a rogue.
    pub sieves: BTreeMap<(usize, Peer), Sieve>,
    pub findings: Vec<String>,
    /// Faults happen.
    pub broken: bool,
    /// Times that trouble has begun.
    pub epoch: u64,
    /// Clients ask.
    pub clients: bool,
    /// What every answer has to agree with, while nothing changes.
    pub expected: Option<Rows>,
    /// All hold the same and nothing changes: trees have to agree.
    pub still: bool,
}

impl World {
    pub fn new(seed: u64, faults: Option<Faults>, trace: Trace) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut later = Faults::later(seed);
        let faults = faults.unwrap_or_else(|| Faults::swarm(&mut rng).with_later(seed, &mut later));
        let nodes = cluster::nodes(&mut rng);
        let client_gap_ms = [100, 1_000, 2_000, 5_000].choose(&mut rng).copied().unwrap_or(1_000);
        let wide = rng.random_bool(WIDE_CHANCE);
        let keys = if wide { WIDE_KEYS } else { 12 };
        let rogue = Rogue::new(later, &faults, nodes.len(), keys);
        let mut world = Self {
            settings: cluster::settings(&mut rng, wide, faults.only),
            rng,
            faults,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            nodes,
            network: Network::default(),
            client_gap_ms,
            keys,
            tickets: 0,
            checkers: Checkers::default(),
            repeats: Repeats::default(),
            walks: Vec::new(),
            tally: Tally { seeds: 1, ..Tally::default() },
            trace,
            rogue,
            sieves: BTreeMap::new(),
            findings: Vec::new(),
            broken: true,
            epoch: 0,
            clients: true,
            expected: None,
            still: false,
        };
        (0..world.nodes.len()).for_each(|node| world.start(node));
        world.schedule(1, Happening::Client);
        world
    }

    /// Runs clients and faults for so many milliseconds, or until a checker objects.
    pub fn break_things(&mut self, ms: u64) {
        (self.broken, self.clients) = (true, true);
        self.epoch += 1;
        self.next_trouble();
        self.next_lie();
        self.run_until(self.now + ms);
    }

    pub fn schedule(&mut self, delay: u64, happening: Happening) {
        self.schedule_at(self.now + delay, happening);
    }

    pub fn schedule_at(&mut self, at: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Entry { at: Reverse((at, self.order)), happening });
    }

    pub fn run_until(&mut self, end: u64) {
        let began = self.now;
        while self.findings.is_empty() && self.queue.peek().is_some_and(|entry| entry.at.0.0 <= end) {
            let Some(Entry { at: Reverse((at, _)), happening }) = self.queue.pop() else { break };
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
        let living = self.nodes.iter().filter(|node| !node.retired).count() as u64;
        self.tally.node_ms += (end - began) * living;
    }

    pub fn happen(&mut self, happening: Happening) {
        let Some(happening) = self.stash(happening) else { return };
        match happening {
            Happening::Message { from, to, start, mut message } if self.nodes[to].runs(start) => {
                self.tally.messages += 1;
                self.sift(from, to, &mut message);
                self.tell(to, Event::Received { from, message: *message });
            }
            Happening::Done { node, start, lane } if self.nodes[node].runs(start) => self.done(node, lane),
            Happening::Read { node, start, event } if self.nodes[node].runs(start) => self.tell(node, *event),
            Happening::Tick { node, start } if self.nodes[node].runs(start) => self.tick(node),
            Happening::Dial { from, start, worker } if self.nodes[from].runs(start) => self.dial(from, worker),
            Happening::LinkLost { from, start, peer } if self.nodes[from].runs(start) => self.link_lost(from, peer),
            Happening::Mint { node, start, since, left, tries } if self.nodes[node].runs(start) => {
                self.mint(node, since, left, tries);
            }
            Happening::Exit { node, start } if self.nodes[node].runs(start) => self.exit(node),
            Happening::Operator { node, start } if self.nodes[node].runs(start) => self.restart_fenced(node),
            Happening::Resume { node, start } if self.nodes[node].runs(start) => self.resume(node),
            Happening::DiskRoom { node, start } if self.nodes[node].runs(start) => {
                self.tell(node, Event::Disk(snowtide::replica::Disk::default()));
            }
            Happening::Look { node, start } if self.nodes[node].runs(start) => self.look(node),
            Happening::Leave { node, start, ticket } if self.nodes[node].runs(start) => self.leave(node, ticket),
            Happening::Restart { node } => self.start(node),
            Happening::Retire { node } => self.retire(node),
            Happening::Mend { pairs } => self.mend(&pairs),
            Happening::Estranged(estranged) => self.go_back(*estranged),
            Happening::WholeMap { node } => self.map_all(node),
            Happening::Client => {
                if self.clients {
                    self.client();
                }
                let gap = self.rng.random_range(1..2 * self.client_gap_ms);
                self.schedule(gap, Happening::Client);
            }
            Happening::Trouble { fault, epoch } if self.broken && epoch == self.epoch => {
                self.trouble(fault);
                self.next_trouble();
            }
            Happening::Lie { epoch } if self.broken && epoch == self.epoch => {
                self.lie();
                self.next_lie();
            }
            _ => {}
        }
    }

    /// What comes for a process that stands still waits for it, as far as there is room.
    fn stash(&mut self, happening: Happening) -> Option<Happening> {
        let node = match &happening {
            Happening::Message { to: node, .. }
            | Happening::Done { node, .. }
            | Happening::Read { node, .. }
            | Happening::Tick { node, .. }
            | Happening::Dial { from: node, .. }
            | Happening::LinkLost { from: node, .. }
            | Happening::DiskRoom { node, .. }
            | Happening::Mint { node, .. }
            | Happening::Look { node, .. }
            | Happening::Leave { node, .. }
            | Happening::Exit { node, .. } => *node,
            _ => return Some(happening),
        };
        let Some(stash) = self.nodes[node].process.as_mut().and_then(|process| process.stash.as_mut()) else {
            return Some(happening);
        };
        if stash.len() < WAITING_MAX || !matches!(happening, Happening::Message { .. }) {
            stash.push(happening);
        }
        None
    }

    /// A process starts on the node's disk.
    pub fn start(&mut self, at: usize) {
        if self.nodes[at].process.is_some() || self.nodes[at].retired {
            return;
        }
        let nonce = self.rng.random();
        let node = &mut self.nodes[at];
        node.disk.reopen();
        self.findings.extend(node.judge_kept());
        let options = store_options(node, node.served(), nonce);
        let opened = Store::recover(Box::new(node.disk.clone()), !node.disk.is_established(), &options);
        let (store, recovered) = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                self.findings.push(format!("node {at} does not start: {refusal}"));
                return;
            }
        };
        node.disk.establish();
        node.starts += 1;
        let (worker, boot, ceiling) = (node.worker, recovered.boot, recovered.ceiling);
        self.trace.note(self.now, [4, at as u64, nonce], || format!("node {at} ({worker}) starts: {recovered:?}"));
        match state::found(&self.nodes[at]) {
            Ok(found) => {
                self.checkers.durable.started(at, &found);
                self.checkers.tokens.started(at, &found);
            }
            Err(refused) => self.findings.push(refused),
        }
        self.checkers.doors.started(at);
        self.checkers.vouching.started(at);
        let finding = self.checkers.ids.started(at, worker, ceiling);
        self.findings.extend(finding);
        let settings = self.settings_of(at);
        self.nodes[at].process = Some(Process {
            replica: Replica::new(settings, recovered, 0),
            store,
            boot,
            born: self.now,
            lanes: Default::default(),
            busy_until: [0; LANES.len()],
            read_at: 0,
            committing: VecDeque::new(),
            asked: BTreeMap::new(),
            minting: Minting::new(worker, ceiling),
            tick_at: u64::MAX,
            serving: None,
            fenced: None,
            incarnations: 0,
            drained: false,
            leaving: false,
            stash: None,
        });
        self.carry_out(at);
        self.dial_all(at);
    }

    /// The cluster's settings as this node has them.
    fn settings_of(&mut self, at: usize) -> Settings {
        let worker = self.nodes[at].worker;
        let others = (0..self.nodes.len()).filter(|other| self.nodes[*other].worker != worker);
        let peers = others.map(|other| (self.nodes[other].worker, self.configured(at, other)));
        let peers = peers.filter(|(_, shared)| !shared.is_empty()).collect();
        Settings { worker, peers, ..self.settings.clone() }
    }

    /// An event, and everything that follows from it at once.
    pub fn tell(&mut self, node: usize, event: Event) {
        self.handle(node, event);
        self.carry_out(node);
    }

    /// An event alone: what follows is to be carried out after more of them.
    pub fn handle(&mut self, node: usize, event: Event) {
        let mono = self.nodes[node].mono(self.now);
        if let Some(process) = &mut self.nodes[node].process {
            self.trace.event(self.now, node, &event);
            let told = match &event {
                Event::Received { from, message: Message::Proof(proof) } if proof.boot == process.boot => {
                    Some((*from, proof.ceiling))
                }
                _ => None,
            };
            process.replica.handle(mono, event);
            if let Some((from, ceiling)) = told {
                self.heard_ceiling(node, from, ceiling);
            }
        }
    }

    fn tick(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process
            && process.tick_at <= self.now
        {
            process.tick_at = u64::MAX;
            self.tell(node, Event::Tick);
        }
    }

    /// Makes sure that a tick comes when the replica wants one.
    pub fn arm(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(process) = &mut node.process else { return };
        let due = node.clock.at(process.born, process.replica.deadline()).max(self.now + 1);
        if due < process.tick_at {
            process.tick_at = due;
            let start = node.starts;
            self.schedule_at(due, Happening::Tick { node: at, start });
        }
    }
}
