//! Who gets a delta from whom, across regions.

use std::collections::BTreeSet;

use snowtide_protocol::{Action, Key};

use super::durability_tests::settings;
use super::*;
use crate::crdt::{LogHash, Mark, Row, Slot};
use crate::identity::{Boot, Peer};
use crate::section::Bytes;

const SPACE: NamespaceId = NamespaceId(1);

fn worker(region: u8, node: u8) -> WorkerId {
    WorkerId::new(region, node).unwrap()
}

fn peer(region: u8, node: u8) -> Peer {
    Peer { worker: worker(region, node), boot: Boot { counter: 1, nonce: u64::from(region * 8 + node) } }
}

/// Node 1/0 with a neighbour 1/1, and three nodes in region 2. All are linked and have told that they hold nothing.
struct Bench {
    replica: Replica,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let peers = [peer(1, 1), peer(2, 0), peer(2, 1), peer(2, 2)];
        let shared = peers.iter().map(|peer| (peer.worker, BTreeSet::from([SPACE])));
        let settings = Settings { peers: shared.collect(), unsynced: BTreeSet::new(), ..settings() };
        let recovered = Recovered::of_new_directory(Boot { counter: 1, nonce: 1 }, [SPACE]);
        let mut bench = Self { replica: Replica::new(settings, recovered, 0), now: 0 };
        bench.happen(Event::Minted(ReplicaId::new(worker(1, 0), 5)));
        peers.iter().for_each(|peer| bench.link(*peer));
        bench
    }

    fn link(&mut self, peer: Peer) {
        self.happen(Event::PeerUp { peer, namespaces: BTreeSet::from([SPACE]) });
        self.hear(peer, &[]);
    }

    /// A digest.
    fn hear(&mut self, from: Peer, marks: &[(ReplicaId, u64)]) -> Vec<Effect> {
        let mark = |(origin, seq): &(ReplicaId, u64)| (*origin, Mark { seq: *seq, hash: LogHash(u128::from(*seq)) });
        let vectors = vec![(SPACE, marks.iter().map(mark).collect())];
        let replica = Some(ReplicaId::new(from.worker, 9));
        self.happen(Event::Received {
            from,
            message: Message::Digest(Digest { replica, vectors, ..Digest::default() }),
        })
    }

    fn happen(&mut self, event: Event) -> Vec<Effect> {
        self.replica.handle(self.now, event);
        self.effects()
    }

    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        self.now += ms;
        self.happen(Event::Tick)
    }

    /// Rows are loaded at once, as new ones.
    fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.replica.poll() {
            match effect {
                Effect::Disk(Job::Load { namespace, keys }) => {
                    let rows = keys.into_iter().map(|key| (key, Row::default())).collect();
                    self.replica.handle(self.now, Event::Loaded { namespace, rows });
                }
                effect => effects.push(effect),
            }
        }
        effects
    }

    /// Counts once and has it synced and pushed; whom the delta goes to.
    fn count(&mut self) -> Vec<WorkerId> {
        let operations =
            vec![Operation { namespace: SPACE, key: Key::new("k").unwrap(), action: Action::Increment(1) }];
        let commit = commit(&self.happen(Event::Submit { ticket: 0, operations, terms: None }));
        self.happen(Event::Committed(commit.unwrap()));
        deltas(&self.pass(20))
    }
}

fn commit(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Disk(Job::Commit(commit)) => Some(commit.number),
        _ => None,
    })
}

fn deltas(effects: &[Effect]) -> Vec<WorkerId> {
    let delta = |effect: &Effect| match effect {
        Effect::Send { to, message: Message::Delta(_) } => Some(*to),
        _ => None,
    };
    effects.iter().filter_map(delta).collect()
}

/// Whether the journal is read for that node.
fn read_for(worker: WorkerId, effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Disk(Job::ReadJournal { to, .. }) if *to == worker))
}

fn requests(effects: &[Effect]) -> Vec<WorkerId> {
    let request = |effect: &Effect| match effect {
        Effect::Send { to, message: Message::Request { .. } } => Some(*to),
        _ => None,
    };
    effects.iter().filter_map(request).collect()
}

/// Commit `upto` of a node, in which the counter stands at `upto`.
fn record(origin: ReplicaId, upto: u64) -> Record {
    let payload = Payload::encode(&[Change { key: "k", slot: Slot::of(upto, 0) }]);
    Record { namespace: SPACE, origin, after: upto - 1, upto, hash: LogHash(u128::from(upto)), payload }
}

#[test]
fn a_commit_goes_to_our_whole_region_and_to_one_node_of_another() {
    let mut bench = Bench::new();
    let first = bench.count();
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.contains(&worker(1, 1)));
    let taker = *first.iter().find(|worker| worker.region() == 2).unwrap();

    let taking = peer(2, taker.node());
    let next = deltas(&bench.happen(Event::PeerDown(taking)));
    assert!(matches!(next[..], [other] if other.region() == 2 && other != taker), "at once, and all of it: {next:?}");
    bench.link(taking);
    let last = bench.count();
    assert!(last.contains(&taker), "the same node again: {last:?}");
    assert_eq!(last.iter().filter(|worker| worker.region() == 2).count(), 1);
}

#[test]
fn a_node_that_does_not_acknowledge_is_passed_over() {
    let mut bench = Bench::new();
    let taker = *bench.count().iter().find(|worker| worker.region() == 2).unwrap();
    bench.pass(2_100);
    let later = bench.count();
    assert!(!later.contains(&taker) && later.iter().any(|worker| worker.region() == 2), "{later:?}");
}

#[test]
fn what_was_sent_and_is_still_missing_long_after_is_sent_again() {
    let mut bench = Bench::new();
    let neighbour = peer(1, 1);
    assert!(bench.count().contains(&neighbour.worker));
    let mut again = |ms| {
        let mut effects = bench.pass(ms);
        effects.extend(bench.hear(neighbour, &[]));
        effects.extend(bench.pass(20));
        read_for(neighbour.worker, &effects) || deltas(&effects).contains(&neighbour.worker)
    };
    assert!(!again(100), "it may be on its way");
    assert!(again(60_000), "it was lost: nobody but us may have it");
}

#[test]
fn what_comes_from_another_region_is_handed_on_after_its_sync() {
    let mut bench = Bench::new();
    let origin = ReplicaId::new(worker(2, 2), 9);
    let arrived = bench.happen(Event::Received { from: peer(2, 2), message: Message::Delta(record(origin, 1)) });
    assert_eq!(deltas(&arrived), [], "before the sync");
    let synced = bench.happen(Event::Committed(commit(&arrived).unwrap()));
    assert_eq!(deltas(&synced), [worker(1, 1)], "to our region alone");

    // What our own region has sent is not handed back to it.
    let arrived = bench.happen(Event::Received { from: peer(1, 1), message: Message::Delta(record(origin, 2)) });
    assert_eq!(deltas(&bench.happen(Event::Committed(commit(&arrived).unwrap()))), []);

    // Nor what the neighbour is known to hold.
    bench.hear(peer(1, 1), &[(origin, 3)]);
    let arrived = bench.happen(Event::Received { from: peer(2, 2), message: Message::Delta(record(origin, 3)) });
    assert_eq!(deltas(&bench.happen(Event::Committed(commit(&arrived).unwrap()))), []);
}

#[test]
fn what_is_handed_on_is_bounded_until_it_is_acknowledged() {
    let mut bench = Bench::new();
    let origin = ReplicaId::new(worker(2, 2), 9);
    let mut handed = 0;
    for upto in 1..=1_000 {
        let arrived = bench.happen(Event::Received { from: peer(2, 2), message: Message::Delta(record(origin, upto)) });
        handed += deltas(&bench.happen(Event::Committed(commit(&arrived).unwrap()))).len();
    }
    let bound = settings().tuning.gossip.inflight_bytes_max.bytes() / record(origin, 1_000).weight();
    assert!((bound - 1..=bound + bound / 4).contains(&handed), "{handed} of about {bound}");
    bench.hear(peer(1, 1), &[(origin, 1_000)]);
    let arrived = bench.happen(Event::Received { from: peer(2, 2), message: Message::Delta(record(origin, 1_001)) });
    assert_eq!(deltas(&bench.happen(Event::Committed(commit(&arrived).unwrap()))), [worker(1, 1)]);
}

#[test]
fn an_origin_elsewhere_is_asked_only_if_nobody_hands_its_log_on() {
    let mut bench = Bench::new();
    let origin = ReplicaId::new(worker(2, 2), 9);
    bench.pass(5_000);
    assert_eq!(requests(&bench.hear(peer(2, 2), &[(origin, 4)])), [], "it may be on its way");
    bench.pass(1_000);
    assert_eq!(requests(&bench.hear(peer(2, 2), &[(origin, 5)])), [worker(2, 2)], "it was told before");
}
