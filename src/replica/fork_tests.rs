//! Two histories under one replica id: told once, never forgotten, brought together by repair; and what becomes of the
//! incarnation that it happens to.

use snowtide_protocol::Action;

use super::durability_tests::{Bench, FAST, SAFE, peer};
use super::*;
use crate::crdt::{LogHash, Mark, Slot};
use crate::identity::Boot;

/// Of a node that is neither ours nor the peer's.
fn third() -> ReplicaId {
    ReplicaId::new(WorkerId::new(3, 0).unwrap(), 9)
}

fn at(seq: u64, hash: u128) -> Mark {
    Mark { seq, hash: LogHash(hash) }
}

fn delta(after: u64, upto: u64, hash: u128) -> Event {
    let payload = Payload::encode(&[Change { key: "k", slot: Slot::of(upto, 0) }]);
    let record = Record { namespace: SAFE, origin: third(), after, upto, hash: LogHash(hash), payload };
    Event::Received { from: peer(), message: Message::Delta(record) }
}

fn digest(origin: ReplicaId, mark: Mark) -> Event {
    let vectors = vec![(SAFE, [(origin, mark)].into_iter().collect())];
    Event::Received { from: peer(), message: Message::Digest(Digest { vectors, ..Digest::default() }) }
}

fn forks(effects: &[Effect]) -> Vec<(ReplicaId, u64)> {
    let fork = |effect: &Effect| match effect {
        Effect::Notice(Notice::Fork { origin, seq, .. }) => Some((*origin, *seq)),
        _ => None,
    };
    effects.iter().filter_map(fork).collect()
}

fn commits(effects: &[Effect]) -> Vec<Commit> {
    let commit = |effect: &Effect| match effect {
        Effect::Disk(Job::Commit(commit)) => Some(commit.clone()),
        _ => None,
    };
    effects.iter().filter_map(commit).collect()
}

fn adopted(effects: &[Effect]) -> Vec<(ReplicaId, Mark)> {
    commits(effects).iter().flat_map(|commit| &commit.repaired).flat_map(|held| held.adopted.clone()).collect()
}

fn answers(effects: &[Effect]) -> Vec<Result<Vec<Outcome>, Refusal>> {
    let answer = |effect: &Effect| match effect {
        Effect::Reply { answer, .. } => Some(answer.clone()),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

fn told(effects: &[Effect], origin: ReplicaId) -> Option<Mark> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Digest(digest), .. } => {
            digest.vectors.iter().find(|(namespace, _)| *namespace == SAFE).map(|(_, vector)| vector.mark(origin))
        }
        _ => None,
    })
}

fn mints(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Mint)).count()
}

/// Has everything synced that is to be.
fn sync(bench: &mut Bench, mut effects: Vec<Effect>) -> Vec<Effect> {
    let mut all = Vec::new();
    while let Some(number) = commits(&effects).first().map(|commit| commit.number) {
        all.append(&mut effects);
        effects = bench.happen(Event::Committed(number));
    }
    all.extend(effects);
    all
}

/// One that holds commit 3 of the third node.
fn holder() -> Bench {
    let mut bench = Bench::new();
    // Nothing that is asked from now on is overdue.
    bench.pass(5_000);
    let came = bench.happen(delta(0, 3, 33));
    sync(&mut bench, came);
    bench
}

#[test]
fn a_fork_is_told_once_written_down_and_told_on() {
    for mark in [at(3, 34), at(7, 77).forked(), at(1, 11).forked()] {
        let mut bench = holder();
        let seen = bench.happen(digest(third(), mark));
        assert_eq!(forks(&seen), [(third(), 3)], "{mark:?}");
        assert_eq!(adopted(&seen), [(third(), at(3, 33).forked())]);
        let told_so_far = bench.pass(1_000);
        assert_eq!(told(&told_so_far, third()), Some(at(3, 33)), "I1: nothing is told before it is synced");
        sync(&mut bench, seen);
        assert_eq!(told(&bench.pass(1_000), third()), Some(at(3, 33).forked()));
        assert!(forks(&bench.happen(digest(third(), mark))).is_empty());
    }
}

#[test]
fn what_agrees_or_cannot_be_compared_is_no_fork() {
    for mark in [at(3, 33), at(2, 22), at(4, 44)] {
        assert!(forks(&holder().happen(digest(third(), mark))).is_empty(), "{mark:?}");
    }
    let unknown = ReplicaId::new(WorkerId::new(4, 0).unwrap(), 1);
    assert!(forks(&holder().happen(digest(unknown, at(3, 1).forked()))).is_empty());
}

#[test]
fn a_log_that_has_forked_goes_on_by_repair_alone() {
    let mut bench = holder();
    let seen = bench.happen(digest(third(), at(3, 34)));
    sync(&mut bench, seen);
    assert!(commits(&bench.happen(delta(3, 4, 44))).is_empty());
    bench.pass(2_000);
    let seen = bench.happen(digest(third(), at(5, 55)));
    let asks = |effect: &Effect| matches!(effect, Effect::Send { message: Message::Request { .. }, .. });
    assert!(!seen.iter().any(asks));
    let session = seen.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Repair { session, step: RepairStep::Compare { .. }, .. }, .. } => {
            Some(*session)
        }
        _ => None,
    });
    let vector = [(third(), at(5, 55))].into_iter().collect();
    let step = RepairStep::Compared { vector, children: None };
    let message = Message::Repair { namespace: SAFE, session: session.unwrap(), step };
    let seen = bench.happen(Event::Received { from: peer(), message });
    assert_eq!(adopted(&seen), [(third(), at(5, 55).forked())]);
}

#[test]
fn who_sees_its_own_log_forked_goes_on_under_another_id_and_vouches_for_nothing_in_hand() {
    for (mine, theirs) in [(0, at(1, 1)), (2, at(2, 2)), (2, at(1, 1)), (2, at(1, 1).forked())] {
        let mut bench = Bench::new();
        let former = bench.replica.id().unwrap();
        for ticket in 0..mine {
            let came = bench.add(ticket, SAFE, 1);
            sync(&mut bench, came);
        }
        let in_hand = bench.add(8, SAFE, 1);
        let seen = bench.happen(digest(former, theirs));
        assert_eq!(forks(&seen).len(), 1, "{theirs:?}");
        assert_eq!(mints(&seen), 1);
        let synced = sync(&mut bench, in_hand);
        assert_eq!(answers(&synced), [Err(Refusal::Uncertain)]);
        let next = ReplicaId::new(former.worker(), 6);
        let seen = bench.happen(Event::Minted(next));
        assert!(forks(&seen).is_empty());
        assert_eq!(adopted(&seen), [(former, at(mine + 1, u128::MAX))]);
        sync(&mut bench, seen);
        let came = bench.add(9, SAFE, 1);
        let synced = sync(&mut bench, came);
        assert!(matches!(answers(&synced)[..], [Ok(_)]), "{synced:?}");
    }
}

#[test]
fn what_peers_say_of_our_log_makes_no_incarnation_for_ever() {
    let mut bench = Bench::new();
    let mut made = 0;
    for number in 0..100 {
        let current = bench.replica.id().unwrap();
        let mut seen = bench.happen(digest(current, at(9, 9)));
        seen.extend(bench.pass(60_000));
        let minted = mints(&seen);
        sync(&mut bench, seen);
        if minted > 0 {
            made += minted;
            let seen = bench.happen(Event::Minted(ReplicaId::new(current.worker(), 100 + number)));
            sync(&mut bench, seen);
        }
    }
    assert_eq!(made, 16);
    let came = bench.add(1, SAFE, 1);
    let synced = sync(&mut bench, came);
    assert!(matches!(answers(&synced)[..], [Ok(_)]), "it goes on: {synced:?}");
}

#[test]
fn a_rival_leaves_what_is_in_hand_uncertain_also_for_who_repeats_it() {
    let mut bench = Bench::new();
    let once = RequestId { caller: Caller(1), id: 7, turn: Turn::Only(1) };
    let terms = || Terms { request_id: Some(once), ..Terms::default() };
    let in_hand = bench.submit_on(1, Action::Increment(1), terms());
    bench.happen(Event::Rival("a twin".to_owned()));
    let synced = sync(&mut bench, in_hand);
    assert_eq!(answers(&synced), [Err(Refusal::Uncertain)]);
    let remembered: Vec<Answered> = commits(&synced).into_iter().flat_map(|commit| commit.answered).collect();
    assert!(remembered.last().unwrap().outcomes.is_empty());
    let mut bench = Bench::recovered(&[], vec![remembered.last().unwrap().clone()]);
    assert_eq!(answers(&bench.submit_on(2, Action::Increment(1), terms())), [Err(Refusal::Outdated)]);
}

#[test]
fn a_start_under_a_replica_id_that_has_forked_is_unproven() {
    let replica = ReplicaId::new(durability_tests::own(), 5);
    let vector = [(replica, at(3, 3).forked())].into_iter().collect();
    let spaces = vec![RecoveredSpace { vector, ..RecoveredSpace::empty(SAFE) }, RecoveredSpace::empty(FAST)];
    let boot = Boot { counter: 2, nonce: 1 };
    let recovered = Recovered { replica: Some(replica), spaces, ..Recovered::of_new_directory(boot, []) };
    // It insists that an incarnation is made.
    Bench::start(durability_tests::settings(), recovered);
}
