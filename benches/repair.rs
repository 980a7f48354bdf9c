//! What repair costs: `cargo bench --bench repair`, or `make bench`.
//!
//! Two replicas over real stores, joined by queues instead of a network. First a million rows with so many differences;
//! then a load without any. Bytes are those of the messages as they are encoded for the wire; round trips are counted
//! as if every message of one turn travelled at once.

// A report: what it prints is its purpose, and it may fail loudly.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytesize::ByteSize;
use snowtide::clock::Stopwatch;
use snowtide::codec;
use snowtide::crdt::{LogHash, Mark, Row, Slot, VersionVector};
use snowtide::identity::{NamespaceId, Peer, ReplicaId, WorkerId};
use snowtide::merkle::{Hasher, Leaf, Sum};
use snowtide::replica::tuning::Tuning;
use snowtide::replica::{
    CheckpointChunk, Effect, Event, Job, Message, Notice, Operation, Pieces, Position, Replica, Settings,
};
use snowtide::store::{MEMTABLE_BYTES_MAX, Memory, OPEN_FILES_MAX, Options, Store};
use snowtide_protocol::{Action, Key};

const NAMESPACE: NamespaceId = NamespaceId(7);
const ROWS: usize = 1_000_000;
const CHUNK: usize = 20_000;
const ORIGINS: [ReplicaId; 3] = [ReplicaId(1 << 54), ReplicaId(2 << 54), ReplicaId(3 << 54)];

fn main() {
    println!("| rows | differing | repair bytes | of that, rows | round trips | seconds |");
    println!("|---|---|---|---|---|---|");
    for differing in [0, 1, 100, 10_000] {
        repair(differing);
    }
    under_load();
}

fn hasher() -> Hasher {
    Hasher::new(std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(151)))
}

fn worker(region: u8) -> WorkerId {
    WorkerId::new(region, 0).unwrap()
}

/// One node without a network and without threads.
struct Node {
    worker: WorkerId,
    peer: WorkerId,
    replica: Replica,
    store: Store,
    inbox: VecDeque<Message>,
    sessions: u64,
    rows: u64,
    _dir: tempfile::TempDir,
}

/// What travelled.
#[derive(Default)]
struct Traffic {
    repair: usize,
    rows: usize,
    gossip: usize,
}

impl Node {
    /// A node whose rows are all there, except that the first `lagging` of them stand one behind.
    fn new(region: u8, rows: usize, lagging: usize, repair_interval_ms: u64) -> Self {
        let (own, other) = (worker(region), worker(1 - region));
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            path: dir.path().into(),
            cluster_id: "bench".into(),
            layout: "bench".into(),
            hasher: hasher(),
            secret: "bench".into(),
            worker: own,
            namespaces: vec![NAMESPACE],
            boot_nonce: 1,
            memory: Memory { cache: 64 << 20, memtables: MEMTABLE_BYTES_MAX, open_files: OPEN_FILES_MAX },
        };
        let (store, _) = Store::open(&options).unwrap();
        fill(&store, rows, lagging);
        drop(store);
        let (store, recovered) = Store::open(&options).unwrap();
        let mut settings = settings(own, other);
        settings.tuning.repair.interval = Duration::from_millis(repair_interval_ms);
        let replica = Replica::new(settings, recovered, 0);
        Self { worker: own, peer: other, replica, store, inbox: VecDeque::new(), sessions: 0, rows: 0, _dir: dir }
    }

    fn happen(&mut self, now: u64, event: Event, traffic: &mut Traffic, out: &mut Vec<Message>) {
        self.replica.handle(now, event);
        while let Some(effect) = self.replica.poll() {
            if let Some(event) = self.carry_out(effect, traffic, out) {
                self.replica.handle(now, event);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, traffic: &mut Traffic, out: &mut Vec<Message>) -> Option<Event> {
        match effect {
            Effect::Disk(job) => Some(job.run(&self.store).unwrap()),
            Effect::Mint => Some(Job::Mint(ReplicaId::new(self.worker, 99)).run(&self.store).unwrap()),
            Effect::Notice(Notice::Repaired { rows, .. }) => {
                self.sessions += 1;
                self.rows += rows;
                None
            }
            Effect::Send { message, .. } => {
                let bytes = codec::encode(&message).len();
                match &message {
                    Message::Repair { step, .. } => {
                        traffic.repair += bytes;
                        if let snowtide::replica::RepairStep::Differing { rows, .. } = step {
                            traffic.rows += codec::encode(rows).len();
                        }
                    }
                    Message::Delta(_) | Message::Ack(_) => traffic.gossip += bytes,
                    _ => {}
                }
                out.push(message);
                None
            }
            _ => None,
        }
    }
}

fn fill(store: &Store, rows: usize, lagging: usize) {
    let hasher = hasher();
    let mut leaves: BTreeMap<Leaf, Sum> = BTreeMap::new();
    for first in (0..rows).step_by(CHUNK) {
        let numbers = first..(first + CHUNK).min(rows);
        let chunk: Vec<_> = numbers.map(|number| (NAMESPACE, key(number), row(number, number < lagging))).collect();
        for (_, key, row) in &chunk {
            let sum = leaves.entry(hasher.place(key).leaf()).or_default();
            *sum = sum.plus(hasher.row(key, row));
        }
        let touched = chunk.iter().map(|(_, key, _)| hasher.place(key).leaf()).collect::<BTreeSet<_>>();
        let leaves = touched.into_iter().map(|leaf| (NAMESPACE, leaf, leaves[&leaf])).collect();
        store
            .checkpoint(&CheckpointChunk { rows: chunk, leaves, census: vec![], ends_table: true, position: None })
            .unwrap();
    }
    let marks = ORIGINS.map(|origin| (origin, Mark { seq: 1_000, hash: LogHash(1) }));
    let position =
        Position { vectors: vec![(NAMESPACE, marks.into_iter().collect::<VersionVector>())], ..Position::default() };
    store
        .checkpoint(&CheckpointChunk {
            rows: vec![],
            leaves: vec![],
            census: vec![],
            ends_table: true,
            position: Some(position),
        })
        .unwrap();
}

fn key(number: usize) -> Key {
    Key::new(format!("article/{number:08}/views")).unwrap()
}

fn row(number: usize, lagging: bool) -> Row {
    let slot = |added: u64| Slot::of(added - u64::from(lagging), 0);
    ORIGINS.iter().map(|origin| (*origin, slot(number as u64 + 1_000))).collect()
}

fn settings(own: WorkerId, peer: WorkerId) -> Settings {
    let ms = Duration::from_millis;
    let mut tuning: Tuning = toml::from_str(&snowtide::config::default_file()).unwrap();
    tuning.memory.loading_rows_max = 100_000;
    tuning.checkpoint.interval = ms(5_000);
    tuning.checkpoint.dirty_rows_max = 1_000_000;
    tuning.idempotency.retention = ms(60_000);
    tuning.idempotency.session_idle = ms(60_000);
    tuning.idempotency.bytes_max = ByteSize(1 << 20);
    tuning.drain.checkpoint = ms(1_000);
    Settings {
        worker: own,
        peers: BTreeMap::from([(peer, BTreeSet::from([NAMESPACE]))]),
        hasher: hasher(),
        unsynced: BTreeSet::new(),
        quotas: BTreeMap::new(),
        rows_bytes_max: 512 << 20,
        tuning,
        pieces: Pieces::default(),
        claim_wait: ms(3_000),
        quarantine: ms(4_000),
        boot_silent_after: ms(14_000),
        waiting_max: 100,
    }
}

/// Two nodes, linked both ways.
struct Pair {
    nodes: [Node; 2],
    now: u64,
    traffic: Traffic,
}

impl Pair {
    fn new(rows: usize, lagging: usize, intervals_ms: [u64; 2]) -> Self {
        let [first, second] = intervals_ms;
        let nodes = [Node::new(0, rows, lagging, first), Node::new(1, rows, 0, second)];
        let mut pair = Self { nodes, now: 0, traffic: Traffic::default() };
        pair.turn();
        let boot = snowtide::identity::Boot { counter: 2, nonce: 1 };
        for at in 0..2 {
            let peer = Peer { worker: pair.nodes[at].peer, boot };
            pair.tell(at, Event::PeerBoot(peer));
            pair.tell(at, Event::PeerUp { peer, namespaces: BTreeSet::from([NAMESPACE]) });
        }
        for _ in 0..10 {
            pair.turn();
        }
        pair.traffic = Traffic::default();
        pair
    }

    fn tell(&mut self, at: usize, event: Event) {
        let mut out = Vec::new();
        self.nodes[at].happen(self.now, event, &mut self.traffic, &mut out);
        self.nodes[1 - at].inbox.extend(out);
    }

    /// Delivers what is on the way in both directions; true if there was something.
    fn turn(&mut self) -> bool {
        self.tell(0, Event::Tick);
        self.tell(1, Event::Tick);
        let arrived = [0, 1].map(|at| std::mem::take(&mut self.nodes[at].inbox));
        let busy = arrived.iter().any(|inbox| !inbox.is_empty());
        for (at, inbox) in arrived.into_iter().enumerate() {
            let from = Peer { worker: self.nodes[at].peer, boot: snowtide::identity::Boot { counter: 2, nonce: 1 } };
            for message in inbox {
                self.tell(at, Event::Received { from, message });
            }
        }
        busy
    }
}

fn repair(differing: usize) {
    // Only node 0 has anything to fetch.
    let mut pair = Pair::new(ROWS, differing, [60_000, u64::MAX]);
    pair.now = 60_000;
    let mut turns = 0;
    let watch = Stopwatch::start();
    while pair.turn() {
        turns += 1;
    }
    let seconds = watch.elapsed_ms() as f64 / 1_000.0;
    assert_eq!(pair.nodes[0].rows, differing as u64, "every differing row came");
    let Traffic { repair, rows, .. } = pair.traffic;
    println!("| {ROWS} | {differing} | {repair} | {rows} | {} | {seconds:.3} |", turns / 2);
}

/// 100 000 increments a second at each of two nodes for 130 seconds of their time, in which each compares
/// twice; nothing is ever lost.
fn under_load() {
    const KEYS: usize = 100_000;
    const STEP_MS: u64 = 5;
    const STEPS: u64 = 130 * 1_000 / STEP_MS;
    let mut pair = Pair::new(KEYS, 0, [60_000; 2]);
    let mut number = 0;
    for step in 0..STEPS {
        pair.now += STEP_MS;
        for at in 0..2 {
            let operations = (0..500).map(|_| {
                number = (number + 7_919) % KEYS;
                Operation { namespace: NAMESPACE, key: key(number), action: Action::Increment(1) }
            });
            let operations = operations.collect();
            pair.tell(at, Event::Submit { ticket: step, operations, terms: None });
        }
        pair.turn();
    }
    let Traffic { repair, gossip, .. } = pair.traffic;
    println!();
    println!(
        "Under 100 000 increments a second at each node, without a true difference, for 130 s: gossip {gossip} \
         bytes, repair {repair} bytes, {:.3} %",
        repair as f64 * 100.0 / gossip as f64
    );
}
