//! I1, durable before visible: until the disk has reported a commit, nothing of it is answered, read, sent or announced.
//!
//! The replica is pure, so the test is the disk: it decides when a commit is synced, and looks at everything that leaves
//! before. That the store then really syncs is counted in its own tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytesize::ByteSize;
use snowtide::crdt::Row;
use snowtide::identity::{Boot, NamespaceId, Peer, ReplicaId, WorkerId};
use snowtide::merkle::Hasher;
use snowtide::replica::tuning::Tuning;
use snowtide::replica::{
    Change, Digest, Effect, Event, Job, Message, Operation, Outcome, Payload, Pieces, ROW_BYTES, Record, Recovered,
    Replica, Settings,
};
use snowtide_protocol::{Action, Key};

pub(crate) const NAMESPACE: NamespaceId = NamespaceId(7);
/// Longer than every interval of the settings, so that whatever may be sent is sent.
pub(crate) const LONG_MS: u64 = 10_000;

struct Bench {
    replica: Replica,
    now: u64,
    peer: Peer,
}

pub(crate) fn worker(region: u8) -> WorkerId {
    WorkerId::new(region, 0).unwrap()
}

pub(crate) fn settings(peer: WorkerId) -> Settings {
    let ms = Duration::from_millis;
    let mut tuning: Tuning = toml::from_str(&snowtide::config::default_file()).unwrap();
    tuning.commit.bytes_max = ByteSize(1 << 20);
    tuning.gossip.inflight_bytes_max = ByteSize(1 << 20);
    tuning.memory.loading_rows_max = 1_000;
    tuning.checkpoint.interval = ms(500);
    tuning.checkpoint.dirty_rows_max = 1_000;
    tuning.repair.session_max = ms(60_000);
    tuning.repair.scrub_interval = ms(60_000);
    tuning.hints.max_age = ms(60_000);
    tuning.hints.max_bytes = ByteSize(1 << 30);
    tuning.idempotency.retention = ms(60_000);
    tuning.idempotency.session_idle = ms(60_000);
    tuning.idempotency.bytes_max = ByteSize(1 << 20);
    tuning.drain.checkpoint = ms(1_000);
    Settings {
        worker: worker(0),
        peers: BTreeMap::from([(peer, BTreeSet::from([NAMESPACE]))]),
        hasher: Hasher::new([7; 192]),
        unsynced: BTreeSet::new(),
        quotas: BTreeMap::new(),
        rows_bytes_max: 1_000 * ROW_BYTES,
        tuning,
        pieces: Pieces::default(),
        claim_wait: ms(3_000),
        quarantine: ms(4_000),
        boot_silent_after: ms(8_000),
        waiting_max: 100,
    }
}

fn operation(action: Action) -> Operation {
    Operation { namespace: NAMESPACE, key: Key::new("likes").unwrap(), action }
}

fn is_commit(effect: &Effect) -> bool {
    matches!(effect, Effect::Disk(Job::Commit(_)))
}

impl Bench {
    /// A fresh node that serves and is linked with one peer.
    fn new() -> Self {
        let peer = Peer { worker: worker(1), boot: Boot { counter: 1, nonce: 11 } };
        let boot = Boot { counter: 1, nonce: 22 };
        let recovered = Recovered::of_new_directory(boot, [NAMESPACE]);
        let mut bench = Self { replica: Replica::new(settings(peer.worker), recovered, 0), now: 0, peer };
        assert!(bench.effects().iter().any(|effect| matches!(effect, Effect::Mint)));
        let mut started = bench.tell(Event::Minted(ReplicaId::new(worker(0), 5)));
        started.extend(bench.tell(Event::PeerBoot(peer)));
        started.extend(bench.tell(Event::PeerUp { peer, namespaces: BTreeSet::from([NAMESPACE]) }));
        // Pushing to a peer begins once it has said what it holds.
        let vectors = vec![(NAMESPACE, Default::default())];
        let digest = Message::Digest(Digest { vectors, ..Digest::default() });
        started.extend(bench.tell(Event::Received { from: peer, message: digest }));
        started.extend(bench.later());
        assert!(started.iter().any(|effect| matches!(effect, Effect::Serving(_))), "{started:?}");
        bench
    }

    fn handle(&mut self, event: Event) {
        self.replica.handle(self.now, event);
    }

    /// Everything that leaves now. Rows come from an empty disk at once.
    fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.replica.poll() {
            if let Effect::Disk(Job::Load { namespace, keys }) = effect {
                let rows = keys.into_iter().map(|key| (key, Row::default())).collect();
                self.handle(Event::Loaded { namespace, rows });
            } else {
                effects.push(effect);
            }
        }
        effects
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.handle(event);
        self.effects()
    }

    /// Lets every timer run out, twice.
    fn later(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..2 {
            self.now += LONG_MS;
            effects.extend(self.tell(Event::Tick));
        }
        effects
    }

    fn submit(&mut self, ticket: u64, action: Action) -> Vec<Effect> {
        self.tell(Event::Submit { ticket, operations: vec![operation(action)], terms: None })
    }
}

/// What of `origin`'s log an effect shows to anyone outside: at which seq, by which way.
fn shown(effect: &Effect, origin: ReplicaId) -> Option<(u64, &'static str)> {
    match effect {
        Effect::Send { message: Message::Delta(record), .. } if record.origin == origin => {
            Some((record.upto, "a delta"))
        }
        Effect::Send { message: Message::Digest(digest), .. } => digest
            .vectors
            .iter()
            .map(|(_, vector)| vector.mark(origin).seq)
            .find(|seq| *seq > 0)
            .map(|seq| (seq, "a digest")),
        Effect::Send { message: Message::Ack(vectors), .. } => {
            vectors.iter().map(|(_, vector)| vector.mark(origin).seq).find(|seq| *seq > 0).map(|seq| (seq, "an ack"))
        }
        Effect::Disk(Job::Checkpoint(chunk)) => (!chunk.rows.is_empty()).then_some((0, "a checkpoint")),
        _ => None,
    }
}

fn assert_unseen(effects: &[Effect], origin: ReplicaId) {
    for effect in effects {
        assert!(!matches!(effect, Effect::Reply { .. }), "answered before the sync: {effect:?}");
        assert_eq!(shown(effect, origin), None, "visible before the sync: {effect:?}");
    }
}

fn answers(effects: &[Effect]) -> Vec<(u64, i128)> {
    let answer = |effect: &Effect| match effect {
        Effect::Reply { ticket, answer, .. } => match answer.as_deref() {
            Ok([Outcome::Value(value)]) => Some((*ticket, *value)),
            other => panic!("{other:?}"),
        },
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

#[test]
fn nothing_of_a_commit_is_visible_before_it_is_synced_and_all_of_it_after() {
    let mut bench = Bench::new();
    let own = bench.replica.id().unwrap();
    let mut before = bench.submit(1, Action::Increment(1_000_003));
    assert_eq!(before.iter().filter(|effect| is_commit(effect)).count(), 1, "{before:?}");
    before.extend(bench.submit(2, Action::Get));
    before.extend(bench.later());
    assert_unseen(&before, own);

    let mut after = bench.tell(Event::Committed(1));
    assert_eq!(answers(&after), [(1, 1_000_003), (2, 1_000_003)], "both answers, in order");
    after.extend(bench.later());
    for way in ["a delta", "a digest", "a checkpoint"] {
        assert!(
            after.iter().any(|effect| shown(effect, own).is_some_and(|(_, shown)| shown == way)),
            "{way}: {after:?}"
        );
    }
}

#[test]
fn what_comes_while_a_commit_is_synced_waits_for_the_next_one() {
    let mut bench = Bench::new();
    let own = bench.replica.id().unwrap();
    bench.submit(1, Action::Increment(10));
    let mut waiting = bench.submit(2, Action::Increment(100));
    waiting.extend(bench.submit(3, Action::Get));
    waiting.extend(bench.later());
    assert!(!waiting.iter().any(is_commit), "one commit at a time: {waiting:?}");
    assert_unseen(&waiting, own);

    let mut first = bench.tell(Event::Committed(1));
    assert_eq!(first.iter().filter(|effect| is_commit(effect)).count(), 1, "{first:?}");
    first.extend(bench.later());
    assert_eq!(answers(&first), [(1, 10)], "only what the first commit held");
    assert!(first.iter().filter_map(|effect| shown(effect, own)).all(|(seq, _)| seq <= 1), "{first:?}");

    let second = bench.tell(Event::Committed(2));
    assert_eq!(answers(&second), [(2, 110), (3, 110)]);
}

#[test]
fn a_peers_records_are_acknowledged_relayed_and_read_only_once_they_are_synced() {
    let mut bench = Bench::new();
    let origin = ReplicaId::new(worker(1), 9);
    let slot = snowtide::crdt::Slot::of(1_000_033, 0);
    let payload = Payload::encode(&[Change { key: "likes", slot }]);
    let hash = snowtide::crdt::LogHash::default().then(&payload.0);
    let record = Record { namespace: NAMESPACE, origin, after: 0, upto: 1, hash, payload };
    let from = bench.peer;
    let mut before = bench.tell(Event::Received { from, message: Message::Delta(record) });
    assert_eq!(before.iter().filter(|effect| is_commit(effect)).count(), 1, "{before:?}");
    before.extend(bench.later());
    assert_unseen(&before, origin);
    let read = bench.submit(1, Action::Get);
    assert!(answers(&read).iter().all(|(_, value)| *value == 0), "a value that is not synced was read: {read:?}");

    let mut after = bench.tell(Event::Committed(1));
    after.extend(bench.later());
    for way in ["an ack", "a digest"] {
        assert!(after.iter().any(|effect| shown(effect, origin) == Some((1, way))), "{way}: {after:?}");
    }
    assert_eq!(answers(&bench.submit(2, Action::Get)), [(2, 1_000_033)]);
}
