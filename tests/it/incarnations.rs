//! What dead slots cost: a node that gave up its incarnation a thousand times, as the pure replica.

use std::collections::BTreeMap;
use std::time::Duration;

use snowtide::clock;
use snowtide::codec;
use snowtide::crdt::{Row, Slot, VersionVector};
use snowtide::identity::{Boot, Peer, ReplicaId};
use snowtide::merkle::{Leaf, Sum};
use snowtide::replica::{Effect, Event, Job, Message, Operation, Outcome, Recovered, RecoveredSpace, Replica};
use snowtide_protocol::{Action, Key};

use crate::order::{LONG_MS, NAMESPACE, settings, worker};

const INCARNATIONS: u64 = 1_000;
/// Counters that every incarnation changes.
const KEYS: u64 = 16;
/// What all slots take, and more.
const ROOM_BYTES: usize = 4 << 20;
/// Reads that are timed.
const READS: u32 = 20_000;

/// What outlives an incarnation: rows and leaves as of its last checkpoint, and the vector that they reach.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<Key, Row>,
    leaves: BTreeMap<Leaf, Sum>,
    vector: VersionVector,
}

/// One incarnation at work.
struct Life<'a> {
    replica: Replica,
    disk: &'a mut Disk,
    now: u64,
    answers: Vec<i128>,
    digest_bytes: usize,
}

impl<'a> Life<'a> {
    /// A start that could not be proven, or found its directory wiped: everything is there, but nothing is ours.
    fn begin(disk: &'a mut Disk, number: u64) -> Self {
        let peer = Peer { worker: worker(1), boot: Boot { counter: 1, nonce: 11 } };
        let space = RecoveredSpace {
            vector: disk.vector.clone(),
            position: disk.vector.clone(),
            leaves: disk.leaves.clone().into_iter().collect(),
            ..RecoveredSpace::empty(NAMESPACE)
        };
        let boot = Boot { counter: number, nonce: number };
        let recovered = Recovered { spaces: vec![space], ..Recovered::of_new_directory(boot, []) };
        let mut settings = settings(peer.worker);
        settings.tuning.checkpoint.interval = Duration::from_millis(LONG_MS / 2);
        settings.rows_bytes_max = ROOM_BYTES;
        let replica = Replica::new(settings, recovered, 0);
        let mut life = Self { replica, disk, now: 0, answers: Vec::new(), digest_bytes: 0 };
        // Real ones have 54 random bits; a multiplicative hash spreads as well, and is the same in every run.
        life.tell(Event::Minted(ReplicaId::new(worker(0), number.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
        life.tell(Event::PeerBoot(peer));
        life.tell(Event::PeerUp { peer, namespaces: [NAMESPACE].into() });
        life
    }

    fn tell(&mut self, event: Event) {
        self.replica.handle(self.now, event);
        while let Some(effect) = self.replica.poll() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let done = match effect {
            Effect::Disk(Job::Commit(commit)) => Event::Committed(commit.number),
            Effect::Disk(Job::Load { namespace, keys }) => {
                let held = |key: Key| (key.clone(), self.disk.rows.get(&key).cloned().unwrap_or_default());
                Event::Loaded { namespace, rows: keys.into_iter().map(held).collect() }
            }
            Effect::Disk(Job::Checkpoint(chunk)) => {
                self.disk.rows.extend(chunk.rows.into_iter().map(|(_, key, row)| (key, row)));
                self.disk.leaves.extend(chunk.leaves.into_iter().map(|(_, leaf, sum)| (leaf, sum)));
                if let Some(position) = chunk.position {
                    self.disk.vector = position.vectors.into_iter().map(|(_, vector)| vector).next().unwrap();
                }
                Event::Checkpointed
            }
            Effect::Reply { answer, .. } => {
                let values = answer.unwrap().into_iter().map(|outcome| match outcome {
                    Outcome::Value(value) => value,
                    other => panic!("{other:?}"),
                });
                return self.answers.extend(values);
            }
            Effect::Send { message: message @ Message::Digest(_), .. } => {
                self.digest_bytes = codec::encode(&message).len();
                return;
            }
            _ => return,
        };
        self.replica.handle(self.now, done);
    }

    fn ask(&mut self, key: u64, action: Action) {
        let key = Key::new(format!("key-{key}")).unwrap();
        let operations = vec![Operation { namespace: NAMESPACE, key, action }];
        self.tell(Event::Submit { ticket: 0, operations, terms: None });
    }

    /// Lets a checkpoint and a digest pass.
    fn rest(&mut self) {
        for _ in 0..4 {
            self.now += LONG_MS;
            self.tell(Event::Tick);
        }
    }

    /// Of one read, on average.
    fn time_reads(&mut self) -> Duration {
        let begun = clock::monotonic();
        for read in 0..READS {
            self.ask(u64::from(read) % KEYS, Action::Get);
        }
        begun.elapsed() / READS
    }
}

/// What one row and one digest come to.
#[derive(Debug)]
struct Figures {
    slots: usize,
    memory_bytes: usize,
    disk_bytes: usize,
    digest_bytes: usize,
    read: Duration,
}

fn measure(disk: &mut Disk, number: u64, by: i64) -> Figures {
    let mut life = Life::begin(disk, number);
    (0..KEYS).for_each(|key| life.ask(key, Action::Increment(by)));
    life.rest();
    let read = life.time_reads();
    let digest_bytes = life.digest_bytes;
    let row = &disk.rows[&Key::new("key-0").unwrap()];
    Figures {
        slots: row.slots().len(),
        memory_bytes: size_of_val(row.slots()),
        disk_bytes: codec::encode(row.slots()).len() + 1,
        digest_bytes,
        read,
    }
}

#[test]
fn a_thousand_incarnations_cost_a_slot_each_and_lose_nothing() {
    let mut disk = Disk::default();
    let mut sum = 0;
    let mut first = None;
    for number in 1..INCARNATIONS {
        // As large as totals grow in practice, and each another.
        let by = 1_000_000 + i64::try_from(number).unwrap();
        sum += i128::from(by);
        if number == 1 {
            first = Some(measure(&mut disk, number, by));
            continue;
        }
        let mut life = Life::begin(&mut disk, number);
        (0..KEYS).for_each(|key| life.ask(key, Action::Increment(by)));
        assert!(life.answers.iter().all(|value| *value == sum), "incarnation {number}: {:?}", life.answers);
        life.rest();
    }
    let last = measure(&mut disk, INCARNATIONS, 1_000_000);
    sum += 1_000_000;
    let first = first.unwrap();
    for row in disk.rows.values() {
        assert_eq!((row.value(), row.slots().len()), (sum, usize::try_from(INCARNATIONS).unwrap()));
    }
    println!("incarnation 1: {first:?}\nincarnation {INCARNATIONS}: {last:?}");
    let ratio = last.read.as_nanos() as f64 / first.read.as_nanos() as f64;
    println!("a read takes {ratio:.1} times as long");
    // What ARCHITECTURE.md says of them.
    assert_eq!((size_of::<(ReplicaId, Slot)>(), last.memory_bytes), (24, last.slots * 24));
    assert!(last.disk_bytes <= last.slots * 20, "{last:?}");
    let growth = (last.digest_bytes - first.digest_bytes) / usize::try_from(INCARNATIONS - 1).unwrap();
    assert!(growth <= 32, "{growth} bytes of a digest for each incarnation");
}
