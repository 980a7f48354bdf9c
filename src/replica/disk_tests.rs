//! What a replica does while its disk has little room, and what quotas refuse.

use snowtide_protocol::{Action, Key};

use super::census::Quota;
use super::disk::{Disk, Headroom};
use super::durability_tests::{Bench, SAFE, peer, settings};
use super::effect::{Effect, Job};
use super::event::{Event, Recovered, RecoveredSpace, Ticket};
use super::message::Message;
use super::operation::{Operation, Outcome, Refusal};
use super::record::{Change, Payload, Record};
use super::{Replica, Settings};
use crate::crdt::{LogHash, Row, Slot};
use crate::identity::{Boot, ReplicaId};

fn disk(headroom: Headroom) -> Event {
    Event::Disk(Disk { headroom, free_bytes: 1, needed_bytes: 2 })
}

fn submit(bench: &mut Bench, ticket: Ticket, operations: &[(&str, Action)]) -> Vec<Effect> {
    let operations = operations.iter().map(|(key, action)| Operation {
        namespace: SAFE,
        key: Key::new(*key).unwrap(),
        action: *action,
    });
    bench.happen(Event::Submit { ticket, operations: operations.collect(), terms: None })
}

fn answer(effects: &[Effect]) -> Option<Result<Vec<Outcome>, Refusal>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    })
}

fn writes(effects: &[Effect]) -> usize {
    effects
        .iter()
        .filter(|effect| {
            matches!(effect, Effect::Mint | Effect::Disk(Job::Commit(_) | Job::Checkpoint(_) | Job::Truncate { .. }))
        })
        .count()
}

/// A delta of the peer that makes these counters.
fn delta(keys: &[&str]) -> Event {
    let keys: Vec<Key> = keys.iter().map(|key| Key::new(*key).unwrap()).collect();
    let slot = Slot::of(1, 0);
    let changes: Vec<Change<'_>> = keys.iter().map(|key| Change { key, slot }).collect();
    let payload = Payload::encode(&changes);
    let origin = ReplicaId::new(peer().worker, 77);
    let hash = LogHash::default().then(&payload.0);
    let record = Record { namespace: SAFE, origin, after: 0, upto: 1, hash, payload };
    Event::Received { from: peer(), message: Message::Delta(record) }
}

#[test]
fn a_disk_that_is_low_takes_nothing_new_and_ends_what_was_begun() {
    let mut bench = Bench::new();
    let begun = submit(&mut bench, 1, &[("k", Action::Increment(1))]);
    assert_eq!(writes(&begun), 1);
    bench.happen(disk(Headroom::Low));
    let refused = submit(&mut bench, 2, &[("k", Action::Increment(1))]);
    assert_eq!((answer(&refused), writes(&refused)), (Some(Err(Refusal::DiskLow)), 0));
    assert_eq!(writes(&bench.happen(delta(&["a"]))), 0, "a delta is dropped");
    assert_eq!(answer(&bench.happen(Event::Committed(1))), Some(Ok(vec![Outcome::Value(1)])));
    assert_eq!(answer(&submit(&mut bench, 3, &[("k", Action::Get)])), Some(Ok(vec![Outcome::Value(1)])));
    assert!(writes(&bench.pass(20_000)) > 0, "a checkpoint makes room");
    bench.happen(disk(Headroom::Ample));
    assert_eq!(writes(&submit(&mut bench, 4, &[("k", Action::Increment(1))])), 1);
}

#[test]
fn a_full_disk_is_not_written_to() {
    let mut bench = Bench::new();
    submit(&mut bench, 1, &[("k", Action::Increment(1))]);
    bench.happen(Event::Committed(1));
    bench.happen(disk(Headroom::None));
    let mut effects = submit(&mut bench, 2, &[("k", Action::Increment(1))]);
    effects.extend(bench.happen(delta(&["a"])));
    for _ in 0..100 {
        effects.extend(bench.pass(1_000));
    }
    assert_eq!(writes(&effects), 0);
    assert_eq!(answer(&submit(&mut bench, 3, &[("k", Action::Get)])), Some(Ok(vec![Outcome::Value(1)])));
    bench.happen(disk(Headroom::Ample));
    assert!(writes(&bench.pass(20_000)) > 0);
}

#[test]
fn a_replica_that_only_reads_answers_from_what_was_recovered_and_asks_for_nothing_else() {
    let space = RecoveredSpace {
        dirty: vec![super::DirtyRow {
            key: Key::new("k").unwrap(),
            stored: Row::default(),
            row: [(ReplicaId(5), Slot::of(7, 2))].into_iter().collect(),
        }],
        ..RecoveredSpace::empty(SAFE)
    };
    let boot = Boot { counter: 1, nonce: 1 };
    let recovered = Recovered { spaces: vec![space], ..Recovered::of_new_directory(boot, []) };
    let full = Disk { headroom: Headroom::None, ..Disk::default() };
    let mut replica = Replica::reading(settings(), recovered, full, 0);
    assert!(replica.poll().is_none());
    assert_eq!(replica.deadline(), u64::MAX);
    let mut ask = |ticket, action| {
        let operations = vec![Operation { namespace: SAFE, key: Key::new("k").unwrap(), action }];
        replica.handle(1_000_000, Event::Submit { ticket, operations, terms: None });
        let effects: Vec<Effect> = std::iter::from_fn(|| replica.poll()).collect();
        assert_eq!(effects.len(), 1);
        answer(&effects)
    };
    assert_eq!(ask(1, Action::Get), Some(Ok(vec![Outcome::Value(5)])));
    assert_eq!(ask(2, Action::Increment(1)), Some(Err(Refusal::DiskLow)));
}

fn with_quota(quota: Quota) -> Bench {
    let settings = Settings { quotas: [(SAFE, quota)].into(), ..settings() };
    let boot = Boot { counter: 1, nonce: 1 };
    Bench::start(settings, Recovered::of_new_directory(boot, [SAFE]))
}

#[test]
fn at_the_quota_new_counters_are_refused_and_others_go_on() {
    let mut bench = with_quota(Quota { keys_max: Some(2), bytes_max: None });
    // What is gathered and what is being synced counts as well.
    submit(&mut bench, 1, &[("a", Action::Increment(1))]);
    submit(&mut bench, 2, &[("b", Action::Increment(1)), ("c", Action::Increment(1)), ("a", Action::Increment(1))]);
    bench.happen(Event::Committed(1));
    let outcomes = vec![Outcome::Value(1), Outcome::QuotaExceeded, Outcome::Value(2)];
    assert_eq!(answer(&bench.happen(Event::Committed(2))), Some(Ok(outcomes)));
    let more =
        [("d", Action::Increment(-1)), ("d", Action::Get), ("b", Action::Increment(5)), ("e", Action::Increment(0))];
    submit(&mut bench, 3, &more);
    let outcomes = vec![Outcome::QuotaExceeded, Outcome::Value(0), Outcome::Value(6), Outcome::Value(0)];
    assert_eq!(answer(&bench.happen(Event::Committed(3))), Some(Ok(outcomes)));
}

#[test]
fn what_peers_bring_is_taken_beyond_the_quota_and_counts() {
    let mut bench = with_quota(Quota { keys_max: Some(2), bytes_max: None });
    bench.happen(delta(&["a", "b", "c"]));
    bench.happen(Event::Committed(1));
    assert_eq!(answer(&submit(&mut bench, 1, &[("d", Action::Increment(1))])), Some(Ok(vec![Outcome::QuotaExceeded])));
    submit(&mut bench, 2, &[("c", Action::Increment(1))]);
    assert_eq!(answer(&bench.happen(Event::Committed(2))), Some(Ok(vec![Outcome::Value(2)])));
}

#[test]
fn bytes_are_those_of_keys_and_a_little_each() {
    let mut bench = with_quota(Quota { keys_max: None, bytes_max: Some(140) });
    submit(
        &mut bench,
        1,
        &[("aaaa", Action::Increment(1)), ("bbbbbbbbb", Action::Increment(1)), ("bbbb", Action::Increment(1))],
    );
    let outcomes = vec![Outcome::Value(1), Outcome::QuotaExceeded, Outcome::Value(1)];
    assert_eq!(answer(&bench.happen(Event::Committed(1))), Some(Ok(outcomes)));
}
