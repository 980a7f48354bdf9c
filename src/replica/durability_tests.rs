//! What an answer waits for: the sync, or with durability `interval` nothing; and what everything else waits for (I1).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytesize::ByteSize;
use snowtide_protocol::{Ack, Action, Key};

use super::*;
use crate::crdt::{LogHash, Mark, Row, Slot, VersionVector};
use crate::identity::{Boot, Peer};

pub(super) const SAFE: NamespaceId = NamespaceId(1);
pub(super) const FAST: NamespaceId = NamespaceId(2);
/// `commit.interval`, as it is declared.
const INTERVAL_MS: u64 = 100;

pub(super) fn own() -> WorkerId {
    WorkerId::new(1, 0).unwrap()
}

pub(super) fn peer() -> Peer {
    Peer { worker: WorkerId::new(2, 0).unwrap(), boot: Boot { counter: 1, nonce: 7 } }
}

pub(super) fn settings() -> Settings {
    let mut settings = Settings {
        peers: BTreeMap::from([(peer().worker, BTreeSet::from([SAFE, FAST]))]),
        unsynced: BTreeSet::from([FAST]),
        ..Settings::small(own())
    };
    settings.tuning.commit.bytes_max = ByteSize(4_096);
    settings.tuning.gossip.inflight_bytes_max = ByteSize(16_384);
    settings.tuning.repair.scrub_interval = Duration::from_millis(60_000_000);
    settings
}

/// A replica that serves, and what it wanted done since it was last asked.
pub(super) struct Bench {
    pub(super) replica: Replica,
    now: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_reach(&[])
    }

    /// Earlier, repair brought it slots that go so far.
    fn with_reach(reach: &[(ReplicaId, u64)]) -> Self {
        Self::recovered(reach, Vec::new())
    }

    pub(super) fn recovered(reach: &[(ReplicaId, u64)], answered: Vec<Answered>) -> Self {
        let space = |namespace| RecoveredSpace { reach: reach.to_vec(), ..RecoveredSpace::empty(namespace) };
        let boot = Boot { counter: 1, nonce: 1 };
        let spaces = vec![space(SAFE), space(FAST)];
        Self::start(settings(), Recovered { spaces, answered, ..Recovered::of_new_directory(boot, []) })
    }

    pub(super) fn start(settings: Settings, recovered: Recovered) -> Self {
        let mut bench = Self { replica: Replica::new(settings, recovered, 0), now: 0 };
        assert!(bench.effects().iter().any(|effect| matches!(effect, Effect::Mint)));
        bench.happen(Event::Minted(ReplicaId::new(own(), 5)));
        bench.happen(Event::PeerUp { peer: peer(), namespaces: BTreeSet::from([SAFE, FAST]) });
        // Now it knows that the peer has nothing, and pushes to it.
        let digest =
            Digest { vectors: [SAFE, FAST].map(|space| (space, VersionVector::default())).into(), ..Digest::default() };
        bench.happen(Event::Received { from: peer(), message: Message::Digest(digest) });
        bench
    }

    /// Everything that the replica wants done; rows are loaded at once, as new ones.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.replica.poll() {
            if let Effect::Disk(Job::Load { namespace, keys }) = effect {
                let rows = keys.into_iter().map(|key| (key, Row::default())).collect();
                self.replica.handle(self.now, Event::Loaded { namespace, rows });
            } else {
                effects.push(effect);
            }
        }
        effects
    }

    pub(super) fn happen(&mut self, event: Event) -> Vec<Effect> {
        self.replica.handle(self.now, event);
        self.effects()
    }

    pub(super) fn pass(&mut self, ms: u64) -> Vec<Effect> {
        self.now += ms;
        self.happen(Event::Tick)
    }

    fn submit(&mut self, ticket: Ticket, namespace: NamespaceId, key: &str, action: Action) -> Vec<Effect> {
        let key = Key::new(key).unwrap();
        self.happen(Event::Submit { ticket, operations: vec![Operation { namespace, key, action }], terms: None })
    }

    pub(super) fn submit_on(&mut self, ticket: Ticket, action: Action, terms: Terms) -> Vec<Effect> {
        let operations = vec![Operation { namespace: FAST, key: Key::new("k").unwrap(), action }];
        self.happen(Event::Submit { ticket, operations, terms: Some(Box::new(terms)) })
    }

    pub(super) fn add(&mut self, ticket: Ticket, namespace: NamespaceId, by: i64) -> Vec<Effect> {
        self.submit(ticket, namespace, "k", Action::Increment(by))
    }
}

fn replies(effects: &[Effect]) -> Vec<(Ticket, i128)> {
    let reply = |effect: &Effect| match effect {
        Effect::Reply { ticket, answer: Ok(outcomes), .. } => match outcomes[..] {
            [Outcome::Value(value)] => Some((*ticket, value)),
            _ => panic!("{outcomes:?}"),
        },
        _ => None,
    };
    effects.iter().filter_map(reply).collect()
}

/// What an answer tells beyond its value: the seqs that its token names, if it has one, and who holds the write.
fn receipt(effects: &[Effect], asked: Ticket) -> Option<(Option<Vec<u64>>, Vec<u8>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { ticket, receipt: Some(receipt), .. } if *ticket == asked => {
            let seqs = |token: &Token| token.iter().map(|(.., seq)| seq).collect();
            Some((receipt.token.as_ref().map(seqs), receipt.acknowledged_by.iter().copied().collect()))
        }
        _ => None,
    })
}

/// The commit that was asked for: its number, and the namespaces in it.
fn commit(effects: &[Effect]) -> Option<(u64, Vec<NamespaceId>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Disk(Job::Commit(commit)) => {
            Some((commit.number, commit.records.iter().map(|record| record.namespace).collect()))
        }
        _ => None,
    })
}

/// How much of the fast namespace's log has left this node.
fn told(effects: &[Effect]) -> u64 {
    let seq = |effect: &Effect| match effect {
        Effect::Send { message: Message::Delta(record), .. } if record.namespace == FAST => record.upto,
        Effect::Send { message: Message::Digest(Digest { vectors, .. }) | Message::Ack(vectors), .. } => {
            let marks = vectors.iter().filter(|(namespace, _)| *namespace == FAST);
            marks.flat_map(|(_, vector)| vector.iter().map(|(_, mark)| mark.seq)).max().unwrap_or(0)
        }
        _ => 0,
    };
    effects.iter().map(seq).max().unwrap_or(0)
}

#[test]
fn a_synced_namespace_answers_after_its_commit_and_closes_it_at_once() {
    let mut bench = Bench::new();
    let asked = bench.add(1, SAFE, 3);
    assert_eq!((replies(&asked), commit(&asked)), (vec![], Some((1, vec![SAFE]))));
    assert_eq!(replies(&bench.happen(Event::Committed(1))), [(1, 3)]);
}

#[test]
fn an_interval_namespace_answers_at_once_and_its_commit_waits_for_more() {
    let mut bench = Bench::new();
    let asked = bench.add(1, FAST, 3);
    assert_eq!((replies(&asked), commit(&asked)), (vec![(1, 3)], None));
    assert_eq!(bench.replica.deadline(), INTERVAL_MS, "it asks to be woken");
    assert_eq!(replies(&bench.submit(2, FAST, "k", Action::Get)), [(2, 3)], "reads do not wait either");
    bench.now = INTERVAL_MS - 1;
    let asked = bench.add(3, FAST, 4);
    assert_eq!((replies(&asked), commit(&asked)), (vec![(3, 7)], None), "the first change began the interval");
    assert_eq!(commit(&bench.pass(1)), Some((1, vec![FAST])), "one sync for both");
    let asked = bench.add(4, FAST, 1);
    assert_eq!((replies(&asked), commit(&asked)), (vec![(4, 8)], None), "nor do they wait for the one being synced");
    assert_eq!(commit(&bench.happen(Event::Committed(1))), None, "the next interval has only begun");
    assert_eq!(commit(&bench.pass(INTERVAL_MS)), Some((2, vec![FAST])));
}

#[test]
fn nothing_but_answers_leaves_before_the_sync() {
    let mut bench = Bench::new();
    let mut sent = bench.add(1, FAST, 3);
    sent.extend(bench.pass(INTERVAL_MS));
    // A digest is due, and so is every push.
    sent.extend(bench.pass(2_000));
    let digests = sent.iter().filter(|effect| matches!(effect, Effect::Send { message: Message::Digest(_), .. }));
    assert!(digests.count() > 0);
    assert_eq!((commit(&sent), told(&sent)), (Some((1, vec![FAST])), 0));
    let mut sent = bench.happen(Event::Committed(1));
    sent.extend(bench.pass(2_000));
    assert_eq!(told(&sent), 1);
}

#[test]
fn tokens_and_acknowledgements_wait_for_the_sync_of_what_answers_do_not() {
    let token = || Terms { wants_token: true, ..Terms::default() };
    let ack = Terms { ack: Ack::Regions(2), ack_wait_ms: 60_000, ..Terms::default() };
    let mut bench = Bench::new();
    assert_eq!(replies(&bench.add(1, FAST, 3)), [(1, 3)]);
    let asked = bench.submit_on(2, Action::Get, token());
    assert_eq!(
        (replies(&asked), commit(&asked)),
        (vec![], Some((1, vec![FAST]))),
        "a read that shows what is not synced"
    );
    for (ticket, action, terms) in
        [(3, Action::Increment(4), token()), (4, Action::Increment(5), ack), (5, Action::Get, token())]
    {
        assert_eq!(replies(&bench.submit_on(ticket, action, terms)), []);
    }
    assert_eq!(
        replies(&bench.submit(6, FAST, "k", Action::Get)),
        [(6, 12)],
        "whoever asks for neither waits for nothing"
    );
    let synced = bench.happen(Event::Committed(1));
    assert_eq!((replies(&synced), receipt(&synced, 2)), (vec![(2, 3)], Some((Some(vec![1]), vec![]))));
    assert_eq!(commit(&synced), Some((2, vec![FAST])), "answers wait for it");
    let mut synced = bench.happen(Event::Committed(2));
    assert_eq!(replies(&synced), [(3, 7), (5, 12)], "the acknowledgement of the other region is missing");
    assert_eq!(
        (receipt(&synced, 3), receipt(&synced, 5)),
        (Some((Some(vec![2]), vec![1])), Some((Some(vec![2]), vec![])))
    );
    synced.extend(bench.pass(20));
    assert_eq!(told(&synced), 2);
    let replica = bench.replica.id().unwrap();
    let mark = synced.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Delta(record), .. } => Some(record.mark()),
        _ => None,
    });
    let mut vector = VersionVector::default();
    vector.advance(replica, mark.unwrap());
    let acked = bench.happen(Event::Received { from: peer(), message: Message::Ack(vec![(FAST, vector)]) });
    assert_eq!((replies(&acked), receipt(&acked, 4)), (vec![(4, 12)], Some((None, vec![1, 2]))));
}

#[test]
fn a_token_told_in_passing_is_left_out_where_it_would_wait() {
    let terms = || Terms { wants_token: true, in_passing: true, ..Terms::default() };
    let mut bench = Bench::new();
    let asked = bench.submit_on(1, Action::Increment(3), terms());
    assert_eq!((replies(&asked), receipt(&asked, 1), commit(&asked)), (vec![(1, 3)], None, None));
    let operations = vec![Operation { namespace: SAFE, key: Key::new("k").unwrap(), action: Action::Increment(1) }];
    let asked = bench.happen(Event::Submit { ticket: 2, operations, terms: Some(Box::new(terms())) });
    assert_eq!(replies(&asked), []);
    let synced = bench.happen(Event::Committed(1));
    assert_eq!((replies(&synced), receipt(&synced, 2)), (vec![(2, 1)], Some((Some(vec![1]), vec![1]))));
}

#[test]
fn whoever_waits_for_a_sync_takes_the_rest_along() {
    let mut bench = Bench::new();
    assert_eq!(commit(&bench.add(1, FAST, 3)), None);
    let asked = bench.add(2, SAFE, 5);
    assert_eq!((replies(&asked), commit(&asked)), (vec![], Some((1, vec![SAFE, FAST]))));
    assert_eq!(replies(&bench.happen(Event::Committed(1))), [(2, 5)]);
    // A batch of both waits for the part that is to be synced.
    let both = [SAFE, FAST].map(|namespace| Operation {
        namespace,
        key: Key::new("k").unwrap(),
        action: Action::Increment(1),
    });
    let asked = bench.happen(Event::Submit { ticket: 3, operations: both.into(), terms: None });
    assert!(replies(&asked).is_empty() && commit(&asked).is_some());
}

#[test]
fn a_full_commit_and_a_drain_wait_for_no_interval() {
    let mut bench = Bench::new();
    let closed = (0..4_096)
        .find_map(|number| commit(&bench.submit(number, FAST, &format!("key-{number}"), Action::Increment(1))));
    assert_eq!(closed, Some((1, vec![FAST])), "commit.bytes_max bounds it");
    bench.happen(Event::Committed(1));
    assert_eq!(commit(&bench.add(9_999, FAST, 1)), None);
    assert_eq!(commit(&bench.happen(Event::Drain)), Some((2, vec![FAST])));
}

/// An incarnation of the peer, whose log and history are asked about.
fn incarnation() -> ReplicaId {
    ReplicaId::new(peer().worker, 9)
}

fn asks_for_proof() -> Event {
    let message = Message::ProofRequest { replica: incarnation(), boot: peer().boot };
    Event::Received { from: peer(), message }
}

fn proof(effects: &[Effect]) -> Option<&Proof> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Proof(proof), .. } => Some(proof),
        _ => None,
    })
}

#[test]
fn a_proof_waits_for_the_sync_of_what_its_asker_had_sent() {
    let mut bench = Bench::new();
    let change = Change { key: "k", slot: Slot::of(3, 0) };
    let (payload, hash) = (Payload::encode(&[change]), LogHash(77));
    let record = Record { namespace: SAFE, origin: incarnation(), after: 0, upto: 1, hash, payload };
    let came = bench.happen(Event::Received { from: peer(), message: Message::Delta(record) });
    assert_eq!(commit(&came), Some((1, vec![SAFE])));
    let mut sent = bench.happen(asks_for_proof());
    sent.extend(bench.pass(2_000));
    assert!(proof(&sent).is_none(), "a proof of what a crash could still take away");
    let synced = bench.happen(Event::Committed(1));
    let marks = &proof(&synced).unwrap().marks;
    assert_eq!(marks[..], [(SAFE, Mark { seq: 1, hash }), (FAST, Mark::default())]);
}

#[test]
fn a_proof_tells_of_slots_that_are_ahead_of_the_vector() {
    let told = Bench::with_reach(&[(incarnation(), 9)]).happen(asks_for_proof());
    assert_eq!(proof(&told).unwrap().reach, [(SAFE, 9), (FAST, 9)]);
    let told = Bench::with_reach(&[(ReplicaId::new(peer().worker, 8), 9)]).happen(asks_for_proof());
    assert_eq!(proof(&told).unwrap().reach, [], "another incarnation's");
}

#[test]
fn a_node_that_was_fenced_is_fenced_at_its_next_start() {
    let recovered = Recovered {
        fence: Some("a copy is running".to_owned()),
        ..Recovered::of_new_directory(Boot { counter: 2, nonce: 1 }, [SAFE, FAST])
    };
    let mut bench = Bench::start(settings(), recovered);
    let effects = bench.add(1, SAFE, 3);
    let fenced = |effect: &Effect| matches!(effect, Effect::Reply { answer: Err(Refusal::Fenced(_)), .. });
    assert!(effects.iter().any(fenced), "{effects:?}");
}
