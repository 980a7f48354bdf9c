//! Taking a node out of service: what it refuses meanwhile, and when another region holds all that it ever had.

use std::collections::BTreeSet;

use super::durability_tests::{Bench, FAST, SAFE, own, peer, settings};
use super::*;
use crate::crdt::{LogHash, Mark, VersionVector};
use crate::identity::Boot;

fn vector(marks: &[(ReplicaId, u64)]) -> VersionVector {
    marks.iter().map(|(origin, seq)| (*origin, Mark { seq: *seq, hash: LogHash(9) })).collect()
}

/// The peer tells how far it is.
fn told(bench: &mut Bench, vectors: Vec<(NamespaceId, VersionVector)>) {
    let digest = Digest { vectors, ..Digest::default() };
    bench.happen(Event::Received { from: peer(), message: Message::Digest(digest) });
}

fn status(bench: &mut Bench) -> Status {
    let effects = bench.happen(Event::Inspect(99));
    let status = effects.into_iter().find_map(|effect| match effect {
        Effect::Status { status, .. } => Some(*status),
        _ => None,
    });
    status.unwrap()
}

#[test]
fn a_node_that_is_held_back_refuses_and_owes_nothing_once_its_commits_are_synced() {
    let mut bench = Bench::new();
    bench.add(1, SAFE, 3);
    bench.happen(Event::Hold(true));
    assert!(!status(&mut bench).idle, "what it took is on its way to the disk");
    let refused = bench.add(2, SAFE, 4);
    let draining = |effect: &Effect| matches!(effect, Effect::Reply { answer: Err(Refusal::Draining), .. });
    assert!(refused.iter().any(draining), "{refused:?}");
    bench.happen(Event::Committed(1));
    let now = status(&mut bench);
    assert!(now.idle && now.held_by.is_none(), "{now:?}");
    told(&mut bench, vec![(SAFE, vector(&[(ReplicaId::new(own(), 5), 1)]))]);
    assert_eq!(status(&mut bench).held_by, Some(peer().worker.region()));
    bench.happen(Event::Hold(false));
    assert!(!bench.add(3, SAFE, 1).iter().any(draining), "it serves again");
}

#[test]
fn what_an_earlier_incarnation_counted_has_to_be_held_as_well() {
    let before = ReplicaId::new(own(), 4);
    let space = |namespace| RecoveredSpace { vector: vector(&[(before, 7)]), ..RecoveredSpace::empty(namespace) };
    let recovered = Recovered {
        spaces: vec![space(SAFE), RecoveredSpace::empty(FAST)],
        ..Recovered::of_new_directory(Boot { counter: 2, nonce: 1 }, [])
    };
    let mut bench = Bench::start(settings(), recovered);
    assert_eq!(status(&mut bench).held_by, None, "the new incarnation has counted nothing, the old one has");
    told(&mut bench, vec![(SAFE, vector(&[(before, 6)]))]);
    assert_eq!(status(&mut bench).held_by, None);
    told(&mut bench, vec![(SAFE, vector(&[(before, 7)]))]);
    assert_eq!(status(&mut bench).held_by, Some(peer().worker.region()));
}

#[test]
fn a_region_that_lacks_a_namespace_of_others_does_not_hold_everything() {
    let third = WorkerId::new(3, 0).unwrap();
    let mut settings = settings();
    settings.peers = [(peer().worker, BTreeSet::from([SAFE])), (third, BTreeSet::from([SAFE, FAST]))].into();
    let log = ReplicaId::new(own(), 4);
    let space = |namespace| RecoveredSpace { vector: vector(&[(log, 1)]), ..RecoveredSpace::empty(namespace) };
    let recovered = Recovered {
        spaces: vec![space(SAFE), space(FAST)],
        ..Recovered::of_new_directory(Boot { counter: 2, nonce: 1 }, [])
    };
    let mut bench = Bench::start(settings.clone(), recovered.clone());
    told(&mut bench, vec![(SAFE, vector(&[(log, 1)]))]);
    assert_eq!(status(&mut bench).held_by, None, "the third region alone may hold the other namespace");

    settings.peers = [(peer().worker, BTreeSet::from([SAFE])), (third, BTreeSet::from([SAFE]))].into();
    let mut bench = Bench::start(settings, recovered);
    told(&mut bench, vec![(SAFE, vector(&[(log, 1)]))]);
    assert_eq!(status(&mut bench).held_by, Some(peer().worker.region()), "nobody else is to hold it");
}

#[test]
fn nobody_is_said_to_hold_what_is_on_the_disk_and_not_configured() {
    let log = ReplicaId::new(own(), 4);
    let space = |namespace| RecoveredSpace { vector: vector(&[(log, 1)]), ..RecoveredSpace::empty(namespace) };
    let recovered = Recovered {
        spaces: vec![space(SAFE), RecoveredSpace::empty(FAST)],
        unconfigured: vec![NamespaceId(99)],
        ..Recovered::of_new_directory(Boot { counter: 2, nonce: 1 }, [])
    };
    let mut bench = Bench::start(settings(), recovered);
    told(&mut bench, vec![(SAFE, vector(&[(log, 1)]))]);
    assert_eq!(status(&mut bench).held_by, None);
}
