//! Requests that are repeated (G6).

use std::time::Duration;

use snowtide_protocol::{Action, Key};

use super::durability_tests::{Bench, settings};
use super::*;
use crate::identity::Boot;
use crate::section::{Bytes, Milliseconds};

/// Long enough for anything in these tests.
const LATER: u64 = 100_000;

/// As time passes for a node that runs: in small steps.
fn live(bench: &mut Bench, ms: u64) {
    for _ in 0..ms / 1_000 {
        bench.pass(1_000);
    }
    bench.pass(ms % 1_000);
}

fn key(id: u128, request: u128) -> Terms {
    Terms { request_id: Some(RequestId { caller: Caller(1), id, turn: Turn::Only(request) }), ..Terms::default() }
}

fn turn(session: u128, number: u64) -> Terms {
    Terms {
        request_id: Some(RequestId { caller: Caller(1), id: session, turn: Turn::Next { number, content: 1 } }),
        ..Terms::default()
    }
}

/// The value told, and whether it was told before; or why none.
fn told(effects: &[Effect]) -> Option<Result<(i128, bool), Refusal>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { answer: Err(refusal), .. } => Some(Err(refusal.clone())),
        Effect::Reply { answer: Ok(outcomes), receipt, .. } => match outcomes[..] {
            [Outcome::Value(value)] => Some(Ok((value, receipt.as_ref().unwrap().repeated))),
            _ => panic!("{outcomes:?}"),
        },
        _ => None,
    })
}

fn commit_of(effects: &[Effect]) -> Option<Commit> {
    effects.iter().find_map(|effect| match effect {
        Effect::Disk(Job::Commit(commit)) => Some(commit.clone()),
        _ => None,
    })
}

fn ask(bench: &mut Bench, terms: Terms) -> Vec<Effect> {
    bench.submit_on(1, Action::Increment(5), terms)
}

/// Asks and has the commit synced; what it held, and the answer.
fn carried_out(bench: &mut Bench, terms: Terms) -> (Commit, Result<(i128, bool), Refusal>) {
    let asked = ask(bench, terms);
    assert_eq!(told(&asked), None, "before the sync");
    let commit = commit_of(&asked).unwrap();
    let synced = bench.happen(Event::Committed(commit.number));
    (commit, told(&synced).unwrap())
}

#[test]
fn a_repeated_request_counts_once_and_gets_the_same_answer() {
    let mut bench = Bench::new();
    let asked = ask(&mut bench, key(1, 7));
    let commit = commit_of(&asked).unwrap();
    assert_eq!(commit.answered.len(), 1, "in the commit that holds its writes");
    assert_eq!(told(&ask(&mut bench, key(1, 7))), Some(Err(Refusal::UnderWay)));
    assert_eq!(told(&bench.happen(Event::Committed(commit.number))), Some(Ok((5, false))));
    assert_eq!(carried_out(&mut bench, key(2, 7)).1, Ok((10, false)), "another key");
    for _ in 0..3 {
        let again = ask(&mut bench, key(1, 7));
        assert_eq!(told(&again), Some(Ok((5, true))));
        assert!(commit_of(&again).is_none());
    }
    assert_eq!(told(&ask(&mut bench, key(1, 8))), Some(Err(Refusal::AnotherRequest)));
    assert_eq!(told(&ask(&mut bench, turn(1, 8))), Some(Err(Refusal::AnotherRequest)));
}

#[test]
fn a_session_keeps_its_last_answer() {
    let mut bench = Bench::new();
    assert_eq!(carried_out(&mut bench, turn(9, 4)).1, Ok((5, false)));
    assert_eq!(carried_out(&mut bench, turn(9, 5)).1, Ok((10, false)));
    assert_eq!(told(&ask(&mut bench, turn(9, 5))), Some(Ok((10, true))));
    assert_eq!(told(&ask(&mut bench, turn(9, 4))), Some(Err(Refusal::Outdated)));
    assert_eq!(carried_out(&mut bench, turn(9, 9)).1, Ok((15, false)));
}

#[test]
fn what_comes_again_is_carried_out_only_where_it_cannot_have_been_before() {
    let idle = settings().tuning.idempotency.session_idle.ms();
    let again = |incarnation, number, age_ms| Terms { again: Some(age_ms), incarnation, ..turn(9, number) };
    let mut bench = Bench::new();
    let (own, other) = (bench.replica.id(), Some(ReplicaId::new(settings().worker, 1)));
    assert!(own.is_some() && own != other);
    for (terms, refusal) in [
        (again(None, 4, 0), Refusal::Outdated),
        (again(other, 4, 0), Refusal::AnotherIncarnation),
        (Terms { incarnation: other, ..turn(9, 4) }, Refusal::AnotherIncarnation),
        (again(own, 4, idle / 2 + 1), Refusal::Outdated),
        (again(own, 4, u64::MAX), Refusal::Outdated),
    ] {
        assert_eq!(told(&ask(&mut bench, terms)), Some(Err(refusal)));
    }
    assert_eq!(carried_out(&mut bench, again(own, 4, idle / 2)).1, Ok((5, false)));
    // What is remembered is told, whoever says what of himself.
    for (incarnation, age_ms) in [(None, u64::MAX), (other, 0), (own, 0)] {
        assert_eq!(told(&ask(&mut bench, again(incarnation, 4, age_ms))), Some(Ok((5, true))));
    }
    assert_eq!(told(&ask(&mut bench, again(other, 5, 0))), Some(Err(Refusal::AnotherIncarnation)));
    assert_eq!(told(&ask(&mut bench, again(None, 5, 0))), Some(Err(Refusal::Outdated)));
    assert_eq!(carried_out(&mut bench, again(own, 5, u64::MAX)).1, Ok((10, false)), "the one before is remembered");
}

#[test]
fn a_session_is_forgotten_soon_and_a_key_is_kept_for_long() {
    let mut settings = settings();
    settings.tuning.idempotency.session_idle = Duration::from_secs(10);
    let mut bench =
        Bench::start(settings, Recovered::of_new_directory(Boot { counter: 1, nonce: 1 }, [NamespaceId(2)]));
    assert_eq!(carried_out(&mut bench, turn(9, 1)).1, Ok((5, false)));
    assert_eq!(carried_out(&mut bench, key(1, 7)).1, Ok((10, false)));
    live(&mut bench, 9_000);
    assert_eq!(told(&ask(&mut bench, turn(9, 1))), Some(Ok((5, true))));
    live(&mut bench, 2_000);
    let own = bench.replica.id();
    let late = Terms { incarnation: own, again: Some(11_000), ..turn(9, 1) };
    assert_eq!(told(&ask(&mut bench, late)), Some(Err(Refusal::Outdated)), "and is not carried out twice");
    assert_eq!(told(&ask(&mut bench, key(1, 7))), Some(Ok((10, true))));
    let (commit, answer) = carried_out(&mut bench, turn(9, 2));
    assert_eq!((answer, commit.forgotten), (Ok((15, false)), vec![9]));
}

#[test]
fn what_was_answered_is_known_after_a_crash() {
    let (commit, _) = carried_out(&mut Bench::new(), key(1, 7));
    let mut bench = Bench::recovered(&[], commit.answered);
    assert_eq!(told(&ask(&mut bench, key(1, 7))), Some(Ok((5, true))));
    assert_eq!(told(&ask(&mut bench, key(1, 8))), Some(Err(Refusal::AnotherRequest)));
}

#[test]
fn a_request_that_is_refused_leaves_its_name_free() {
    let mut bench = Bench::new();
    let mut after = Token::default();
    after.raise(NamespaceId(2), ReplicaId::new(settings().worker, 77), 1);
    let early = Terms { after: after.clone(), ..key(1, 7) };
    assert!(matches!(told(&ask(&mut bench, early)), Some(Err(Refusal::TokenNotHeld(_)))));
    let waiting = Terms { after, wait_ms: 50, ..key(1, 7) };
    assert_eq!(told(&ask(&mut bench, waiting)), None);
    assert!(matches!(told(&bench.pass(51)), Some(Err(Refusal::TokenNotHeld(_)))));
    assert_eq!(carried_out(&mut bench, key(1, 7)).1, Ok((5, false)));
}

#[test]
fn names_are_forgotten_a_while_after_their_last_use_and_only_then() {
    let retention = settings().tuning.idempotency.retention.ms();
    let mut bench = Bench::new();
    assert_eq!(carried_out(&mut bench, turn(9, 1)).1, Ok((5, false)));
    assert_eq!(carried_out(&mut bench, key(1, 7)).1, Ok((10, false)));
    live(&mut bench, retention - 10);
    assert_eq!(carried_out(&mut bench, turn(9, 2)).1, Ok((15, false)));
    live(&mut bench, 20);
    assert_eq!(told(&ask(&mut bench, turn(9, 2))), Some(Ok((15, true))), "it was used again");
    let (next, answer) = carried_out(&mut bench, key(1, 7));
    assert_eq!((answer, next.forgotten), (Ok((20, false)), vec![1]), "and is on disk again after that");
    live(&mut bench, LATER);
    let mut forgotten = carried_out(&mut bench, key(5, 0)).0.forgotten;
    forgotten.sort_unstable();
    assert_eq!(forgotten, [1, 9]);
}

#[test]
fn time_goes_on_where_it_was_at_a_start() {
    let retention = settings().tuning.idempotency.retention.ms();
    let mut bench = Bench::new();
    live(&mut bench, LATER);
    let (commit, _) = carried_out(&mut bench, key(1, 7));
    let mut bench = Bench::recovered(&[], commit.answered);
    live(&mut bench, retention - 1);
    assert_eq!(told(&ask(&mut bench, key(1, 7))), Some(Ok((5, true))));
    live(&mut bench, 10);
    assert_eq!(carried_out(&mut bench, key(1, 7)).1, Ok((5, false)));
}

#[test]
fn no_name_goes_for_want_of_room() {
    let mut bench = Bench::new();
    let mut known = 0;
    let refusal = loop {
        let asked = ask(&mut bench, key(known, 7));
        if let Some(refused) = told(&asked) {
            break refused;
        }
        bench.happen(Event::Committed(commit_of(&asked).unwrap().number));
        known += 1;
    };
    assert_eq!(refusal, Err(Refusal::TooManyNames));
    assert!(known >= 4, "{known}");
    assert_eq!(told(&ask(&mut bench, key(0, 7))), Some(Ok((5, true))));
    assert!(told(&ask(&mut bench, Terms::default())).is_none(), "others are not refused");
}

#[test]
fn a_known_session_needs_room_for_a_larger_answer() {
    let mut bench = Bench::new();
    let ask_for = |bench: &mut Bench, number, operations: usize| {
        let one = Operation { namespace: NamespaceId(2), key: Key::new("k").unwrap(), action: Action::Increment(1) };
        let terms = Some(Box::new(turn(9, number)));
        bench.happen(Event::Submit { ticket: 1, operations: vec![one; operations], terms })
    };
    let outcome = size_of::<Outcome>();
    // Alone, a caller has three quarters.
    let most = settings().tuning.idempotency.bytes_max.bytes() * 3 / 4 / outcome;
    carried_out(&mut bench, turn(9, 1)).1.unwrap();
    for _ in 0..2 {
        assert_eq!(told(&ask_for(&mut bench, 2, most)), Some(Err(Refusal::TooManyNames)));
    }
    assert_eq!(told(&ask(&mut bench, turn(9, 1))), Some(Ok((5, true))), "still known");
    assert_eq!(carried_out(&mut bench, turn(9, 3)).1, Ok((10, false)), "and goes on with what has room");
    for (at, operations) in (4..).zip([most / 2, 1, most / 2, 1, most / 2]) {
        let asked = ask_for(&mut bench, at, operations);
        let commit = commit_of(&asked).expect("let in, because each answer takes the place of the last");
        bench.happen(Event::Committed(commit.number));
    }
}

#[test]
fn a_turn_that_comes_with_another_request_is_refused_and_counts_nothing() {
    let mut bench = Bench::new();
    assert_eq!(carried_out(&mut bench, turn(1, 1)).1, Ok((5, false)));
    let other = Terms {
        request_id: Some(RequestId { caller: Caller(1), id: 1, turn: Turn::Next { number: 1, content: 2 } }),
        ..Terms::default()
    };
    assert_eq!(told(&ask(&mut bench, other)), Some(Err(Refusal::AnotherRequest)));
    assert_eq!(told(&ask(&mut bench, turn(1, 1))), Some(Ok((5, true))));
    assert_eq!(carried_out(&mut bench, turn(1, 2)).1, Ok((10, false)));
}
