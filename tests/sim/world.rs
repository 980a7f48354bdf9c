//! The world: nodes, their disks, a network between them, clients, and what they were told.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use snowtide::replica::{
    Action, Effect, Event, JournalRead, Key, Message, Operation, Outcome, Replica, Settings, Ticket,
};

use super::disk::Disk;

const NAMESPACE: NamespaceId = NamespaceId(1);
const KEYS: usize = 12;

/// What may go wrong.
#[derive(Clone, Default)]
pub struct Faults {
    /// The share of messages that vanish.
    pub loss: f64,
    /// The share that arrive twice.
    pub duplication: f64,
    /// One-way cuts between pairs, for a while.
    pub partitions: bool,
    /// Processes die and start again; what was not synced is gone.
    pub crashes: bool,
    /// At a crash, the disk may come back as it was earlier, or empty.
    pub rollbacks: bool,
}

/// How often things happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub refused: u64,
    pub reads: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub partitions: u64,
    pub crashes: u64,
    pub rollbacks: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.reads += other.reads;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.partitions += other.partitions;
        self.crashes += other.crashes;
        self.rollbacks += other.rollbacks;
    }
}

/// What was asked of one counter: an outside ledger, kept apart from the code under test.
#[derive(Clone, Default)]
struct Entry {
    acknowledged: i128,
    attempted: i128,
    /// Acknowledged by a node whose disk was rolled back later: may be lost (see the promises).
    excused: i128,
}

struct Node {
    worker: WorkerId,
    disk: Disk,
    /// A copy from some time ago.
    snapshot: Disk,
    replica: Option<Replica>,
    boot: Boot,
    /// Asked and not answered.
    asked: BTreeMap<Ticket, (usize, i64)>,
    /// The highest value read of each key since the disk was last rolled back (G3).
    read: Vec<i128>,
    fenced: Option<String>,
}

/// Something that will happen.
enum Happening {
    /// A message arrives, if that boot is still running.
    Message {
        from: Peer,
        to: usize,
        message: Message,
    },
    /// A node's own event: its disk answers.
    Own {
        node: usize,
        boot: Boot,
        event: Event,
        write: Option<Write>,
    },
    Tick {
        node: usize,
        boot: Boot,
    },
    LinkUp {
        from: usize,
        to: usize,
    },
    Restart {
        node: usize,
    },
}

/// What becomes durable when the event beside it happens.
enum Write {
    Commit(snowtide::replica::Commit),
    Checkpoint(snowtide::replica::CheckpointChunk),
    Mint(ReplicaId),
}

pub struct World {
    rng: SmallRng,
    faults: Faults,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    nodes: Vec<Node>,
    cut: BTreeSet<(usize, usize)>,
    linked: BTreeSet<(usize, usize)>,
    ledger: Vec<Entry>,
    tickets: Ticket,
    tally: Tally,
    trace: u64,
    findings: Vec<String>,
    broken: bool,
}

impl World {
    pub fn new(seed: u64, nodes: u8, faults: Faults) -> Self {
        let nodes = (0..nodes)
            .map(|region| Node {
                worker: WorkerId::new(region, 0).unwrap(),
                disk: Disk::default(),
                snapshot: Disk::default(),
                replica: None,
                boot: Boot { counter: 0, nonce: 0 },
                asked: BTreeMap::new(),
                read: vec![0; KEYS],
                fenced: None,
            })
            .collect();
        let mut world = Self {
            rng: SmallRng::seed_from_u64(seed),
            faults,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            nodes,
            cut: BTreeSet::new(),
            linked: BTreeSet::new(),
            ledger: vec![Entry::default(); KEYS],
            tickets: 0,
            tally: Tally::default(),
            trace: 0,
            findings: Vec::new(),
            broken: true,
        };
        for node in 0..world.nodes.len() {
            world.start(node);
        }
        world
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// Runs clients and faults for so many milliseconds.
    pub fn break_things(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.random_client();
            self.random_fault();
            self.run_until(self.now + 10);
        }
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.broken = false;
        self.cut.clear();
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.link_soon(from, to);
            }
        }
    }

    /// Waits until all nodes hold the same state, at most so many milliseconds.
    pub fn converge(&mut self, ms: u64) -> Result<(), String> {
        let end = self.now + ms;
        while self.now < end {
            self.run_until(self.now + 100);
            let states: Vec<_> = (0..self.nodes.len()).map(|node| self.state(node)).collect();
            if states.iter().all(|state| state.is_some() && *state == states[0]) {
                return Ok(());
            }
        }
        let states: Vec<_> = (0..self.nodes.len()).map(|node| self.state(node).map(|(vector, _)| vector)).collect();
        let fenced: Vec<_> = self.nodes.iter().map(|node| &node.fenced).collect();
        Err(format!("no convergence within {ms} ms: {states:?}, fenced: {fenced:?}"))
    }

    /// The ledger against the state that all nodes agree on.
    pub fn check(&mut self) -> Result<(), String> {
        if let Some(finding) = self.findings.first() {
            return Err(finding.clone());
        }
        let (vector, rows) = self.state(0).ok_or("node 0 does not run")?;
        drop(vector);
        for (key, entry) in self.ledger.iter().enumerate() {
            let value = rows.get(&name(key)).map_or(0, snowtide::crdt::Row::value);
            if value < entry.acknowledged - entry.excused || value > entry.attempted {
                return Err(format!(
                    "counter {key} is {value}: {} was acknowledged ({} of it excused), {} attempted",
                    entry.acknowledged, entry.excused, entry.attempted
                ));
            }
        }
        Ok(())
    }

    /// What a node would find if it started now: its durable state, as all nodes must agree on it.
    fn state(&self, node: usize) -> Option<(String, BTreeMap<String, snowtide::crdt::Row>)> {
        let node = &self.nodes[node];
        node.replica.as_ref()?;
        let mut disk = node.disk.clone();
        let recovered = disk.recover(NAMESPACE, 0);
        let space = recovered.spaces.into_iter().next()?;
        let vector: Vec<_> = space.vector.iter().collect();
        let mut rows: BTreeMap<String, snowtide::crdt::Row> = BTreeMap::new();
        for key in 0..KEYS {
            rows.insert(name(key), disk.row(NAMESPACE, &name(key)));
        }
        rows.extend(space.dirty.into_iter().map(|(key, row)| (key.to_string(), row)));
        Some((format!("{vector:?}"), rows))
    }

    fn random_client(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        let key = self.rng.random_range(0..KEYS);
        let by = if self.rng.random_bool(0.3) { 0 } else { self.rng.random_range(1..1_000_000) };
        if self.nodes[node].replica.is_none() {
            return;
        }
        self.tickets += 1;
        self.nodes[node].asked.insert(self.tickets, (key, by));
        self.ledger[key].attempted += i128::from(by);
        let action = if by == 0 { Action::Get } else { Action::Increment(by) };
        let operation = Operation { namespace: NAMESPACE, key: Key::new(name(key)).unwrap(), action };
        let submit = Event::Submit { ticket: self.tickets, operations: vec![operation] };
        self.tell(node, submit);
    }

    fn random_fault(&mut self) {
        let (a, b) = (self.rng.random_range(0..self.nodes.len()), self.rng.random_range(0..self.nodes.len()));
        if self.faults.partitions && a != b && self.rng.random_bool(0.01) {
            if self.cut.insert((a, b)) {
                self.tally.partitions += 1;
                self.unlink(a, b);
            }
        } else if self.rng.random_bool(0.005) {
            let healed: Vec<_> = std::mem::take(&mut self.cut).into_iter().collect();
            healed.into_iter().for_each(|(from, to)| self.link_soon(from, to));
        }
        if self.rng.random_bool(0.01) {
            self.nodes[a].snapshot = self.nodes[a].disk.clone();
        }
        if self.faults.crashes && self.rng.random_bool(0.004) && self.nodes[a].replica.is_some() {
            self.crash(a);
        }
    }

    fn crash(&mut self, node: usize) {
        self.tally.crashes += 1;
        self.nodes[node].replica = None;
        // What was asked and not answered may or may not have happened: it stays attempted.
        self.nodes[node].asked.clear();
        for other in 0..self.nodes.len() {
            self.unlink(node, other);
            self.unlink(other, node);
        }
        if self.faults.rollbacks && self.rng.random_bool(0.5) {
            self.tally.rollbacks += 1;
            let old = if self.rng.random_bool(0.3) { Disk::default() } else { self.nodes[node].snapshot.clone() };
            self.excuse(node);
            self.nodes[node].disk = old.clone();
            self.nodes[node].snapshot = old;
            self.nodes[node].read = vec![0; KEYS];
        }
        let delay = self.rng.random_range(1..3_000);
        self.schedule(delay, Happening::Restart { node });
    }

    /// The disk of `node` is about to be lost: what no other disk holds of its log may be lost with it.
    fn excuse(&mut self, node: usize) {
        let mut joined: BTreeMap<usize, snowtide::crdt::Row> = BTreeMap::new();
        let mut with_lost = joined.clone();
        for (at, held) in self.nodes.iter().enumerate() {
            let mut disk = held.disk.clone();
            let dirty = disk.recover(NAMESPACE, 0).spaces.remove(0).dirty;
            let dirty: BTreeMap<String, _> = dirty.into_iter().map(|(key, row)| (key.to_string(), row)).collect();
            for key in 0..KEYS {
                let row = dirty.get(&name(key)).cloned().unwrap_or_else(|| disk.row(NAMESPACE, &name(key)));
                with_lost.entry(key).or_default().join(&row);
                if at != node {
                    joined.entry(key).or_default().join(&row);
                }
            }
        }
        for key in 0..KEYS {
            let lost = with_lost[&key].value() - joined[&key].value();
            self.ledger[key].excused += lost;
        }
    }

    fn start(&mut self, node: usize) {
        let nonce = self.rng.random();
        let recovered = self.nodes[node].disk.recover(NAMESPACE, nonce);
        let worker = self.nodes[node].worker;
        let others = self.nodes.iter().map(|node| node.worker).filter(|other| *other != worker);
        let settings = Settings {
            worker,
            peers: others.map(|other| (other, BTreeSet::from([NAMESPACE]))).collect(),
            hash_seed: self.rng.random(),
            commit_bytes_max: 4_096,
            gossip_interval_ms: 20,
            digest_interval_ms: 1_000,
            inflight_bytes_max: 16_384,
            fetch_timeout_ms: 2_000,
            proof_timeout_ms: 3_000,
            claim_wait_ms: 3_000,
            rows_max: 8,
            loading_rows_max: 1_000,
            checkpoint_interval_ms: 500,
            dirty_rows_max: 1_000,
            drain_timeout_ms: 5_000,
        };
        let boot = recovered.boot;
        self.nodes[node].boot = boot;
        self.nodes[node].fenced = None;
        self.nodes[node].replica = Some(Replica::new(settings, recovered, self.now));
        for other in 0..self.nodes.len() {
            self.link_soon(node, other);
            self.link_soon(other, node);
        }
        self.carry_out(node);
        self.schedule(1, Happening::Tick { node, boot });
    }

    fn link_soon(&mut self, from: usize, to: usize) {
        if from != to {
            let delay = self.rng.random_range(1..200);
            self.schedule(delay, Happening::LinkUp { from, to });
        }
    }

    fn unlink(&mut self, from: usize, to: usize) {
        if self.linked.remove(&(from, to)) {
            let peer = self.peer(to);
            self.tell(from, Event::PeerDown(peer));
        }
    }

    fn link(&mut self, from: usize, to: usize) {
        let running = self.nodes[from].replica.is_some() && self.nodes[to].replica.is_some();
        if running && !self.cut.contains(&(from, to)) && self.linked.insert((from, to)) {
            let (dialer, acceptor) = (self.peer(from), self.peer(to));
            self.tell(to, Event::PeerBoot(dialer));
            self.tell(from, Event::PeerUp { peer: acceptor, namespaces: BTreeSet::from([NAMESPACE]) });
        }
    }

    fn peer(&self, node: usize) -> Peer {
        Peer { worker: self.nodes[node].worker, boot: self.nodes[node].boot }
    }

    fn schedule(&mut self, delay: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((self.now + delay, self.order)));
        self.happenings.insert(self.order, happening);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, order))) = self.queue.peek().copied() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            if let Some(happening) = self.happenings.remove(&order) {
                self.happen(happening);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Message { from, to, message } => {
                self.tally.delivered += 1;
                self.tell(to, Event::Received { from, message });
            }
            Happening::Own { node, boot, event, write } => {
                if self.nodes[node].boot == boot && self.nodes[node].replica.is_some() {
                    self.write(node, write);
                    let event = self.answer(node, event);
                    self.tell(node, event);
                }
            }
            Happening::Tick { node, boot } => {
                if self.nodes[node].boot == boot && self.nodes[node].replica.is_some() {
                    self.tell(node, Event::Tick);
                    let deadline = self.nodes[node].replica.as_ref().map_or(0, Replica::deadline);
                    let delay = deadline.saturating_sub(self.now).clamp(1, 10);
                    self.schedule(delay, Happening::Tick { node, boot });
                }
            }
            Happening::LinkUp { from, to } => self.link(from, to),
            Happening::Restart { node } => self.start(node),
        }
    }

    fn write(&mut self, node: usize, write: Option<Write>) {
        let disk = &mut self.nodes[node].disk;
        match write {
            Some(Write::Commit(commit)) => disk.commit(&commit),
            Some(Write::Checkpoint(chunk)) => disk.checkpoint(&chunk),
            Some(Write::Mint(replica)) => disk.replica = Some(replica),
            None => {}
        }
    }

    /// Reads see the disk as it is when they are carried out.
    fn answer(&self, node: usize, event: Event) -> Event {
        let disk = &self.nodes[node].disk;
        match event {
            Event::Loaded { namespace, rows } => {
                let rows = rows.into_iter().map(|(key, _)| (key.clone(), disk.row(namespace, &key)));
                Event::Loaded { namespace, rows: rows.collect() }
            }
            Event::Journal(read) => {
                let records = disk.chain(read.namespace, read.origin, read.after, 4_096);
                Event::Journal(JournalRead { records, ..read })
            }
            Event::Hash { namespace, seq, .. } => {
                let replica = disk.replica.expect("only a minted replica asks");
                Event::Hash { namespace, seq, hash: disk.hash(namespace, replica, seq) }
            }
            other => other,
        }
    }

    fn tell(&mut self, node: usize, event: Event) {
        let now = self.now;
        self.note(&format!("{now} {node} {event:?}"));
        if let Some(replica) = &mut self.nodes[node].replica {
            replica.handle(now, event);
        }
        self.carry_out(node);
    }

    fn carry_out(&mut self, node: usize) {
        while let Some(effect) = self.nodes[node].replica.as_mut().and_then(Replica::poll) {
            self.note(&format!("{node} {effect:?}"));
            self.effect(node, effect);
        }
    }

    fn note(&mut self, line: &str) {
        if std::env::var_os("SIM_TRACE").is_some() {
            println!("{line}");
        }
        self.trace = xxhash_rust::xxh3::xxh3_64_with_seed(line.as_bytes(), self.trace);
    }

    fn own(&mut self, node: usize, event: Event, write: Option<Write>) {
        let delay = self.rng.random_range(1..15);
        let boot = self.nodes[node].boot;
        self.schedule(delay, Happening::Own { node, boot, event, write });
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Commit(commit) => {
                self.own(node, Event::Committed(commit.number), Some(Write::Commit(commit)));
            }
            Effect::Checkpoint(chunk) => self.own(node, Event::Checkpointed, Some(Write::Checkpoint(chunk))),
            Effect::Mint => {
                let replica = ReplicaId::new(self.nodes[node].worker, self.rng.random());
                self.own(node, Event::Minted(replica), Some(Write::Mint(replica)));
            }
            Effect::Load { namespace, keys } => {
                let rows = keys.into_iter().map(|key| (key, Default::default())).collect();
                self.own(node, Event::Loaded { namespace, rows }, None);
            }
            Effect::ReadJournal { to, namespace, origin, after, .. } => {
                let read = JournalRead { to, namespace, origin, after, records: Vec::new(), whole_from: None };
                self.own(node, Event::Journal(read), None);
            }
            Effect::FindHash { namespace, seq, .. } => self.own(node, Event::Hash { namespace, seq, hash: None }, None),
            Effect::Reply { ticket, answer } => self.reply(node, ticket, answer),
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::Fence(reason) => self.nodes[node].fenced = Some(reason),
            Effect::Serving(_)
            | Effect::ClaimIds { .. }
            | Effect::Witness { .. }
            | Effect::Notice(_)
            | Effect::Drained(_)
            | Effect::Status { .. } => {}
        }
    }

    fn send(&mut self, node: usize, to: WorkerId, message: Message) {
        let to = usize::from(to.region());
        if !self.linked.contains(&(node, to)) || self.broken && self.rng.random_bool(self.faults.loss) {
            self.tally.lost += 1;
            return;
        }
        let from = self.peer(node);
        let copies = if self.broken && self.rng.random_bool(self.faults.duplication) { 2 } else { 1 };
        self.tally.duplicated += copies - 1;
        for _ in 0..copies {
            // Different delays also reorder.
            let delay = self.rng.random_range(1..120);
            self.schedule(delay, Happening::Message { from, to, message: message.clone() });
        }
    }

    fn reply(&mut self, node: usize, ticket: Ticket, answer: Result<Vec<Outcome>, snowtide::replica::Refusal>) {
        let Some((key, by)) = self.nodes[node].asked.remove(&ticket) else {
            self.findings.push(format!("ticket {ticket} was answered twice"));
            return;
        };
        match answer.as_deref() {
            Ok([Outcome::Value(value)]) => {
                self.ledger[key].acknowledged += i128::from(by);
                self.tally.acknowledged += u64::from(by > 0);
                self.tally.reads += u64::from(by == 0);
                self.check_read(node, key, *value);
            }
            Ok(other) => self.findings.push(format!("ticket {ticket} was answered {other:?}")),
            Err(_) => {
                self.ledger[key].attempted -= i128::from(by);
                self.tally.refused += 1;
            }
        }
    }

    /// G2 and G3: no answer exceeds what was attempted, none goes backwards at one node.
    fn check_read(&mut self, node: usize, key: usize, value: i128) {
        if value > self.ledger[key].attempted {
            let attempted = self.ledger[key].attempted;
            self.findings.push(format!("node {node} answered {value} for counter {key}, {attempted} were attempted"));
        }
        let last = &mut self.nodes[node].read[key];
        if value < *last {
            self.findings.push(format!("node {node} answered {value} for counter {key} after {last}"));
        }
        *last = value.max(*last);
    }
}

fn name(key: usize) -> String {
    format!("counter-{key}")
}
