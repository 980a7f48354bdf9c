//! What proves a start, and what does not (I3).

use std::collections::{BTreeMap, BTreeSet};

use snowtide_protocol::Key;

use super::durability_tests::{FAST, SAFE, own, peer, settings};
use super::*;
use crate::crdt::{LogHash, Mark, Row, Slot};
use crate::identity::{Boot, Peer};

fn replica_of(worker: WorkerId) -> ReplicaId {
    ReplicaId::new(worker, 5)
}

fn effects(replica: &mut Replica) -> Vec<Effect> {
    std::iter::from_fn(|| replica.poll()).collect()
}

fn happen(replica: &mut Replica, event: Event) -> Vec<Effect> {
    replica.handle(5_000, event);
    effects(replica)
}

/// One that has just started under an incarnation of before and is linked with its peer.
fn starting() -> Replica {
    let boot = Boot { counter: 2, nonce: 1 };
    let recovered = Recovered { replica: Some(replica_of(own())), ..Recovered::of_new_directory(boot, [SAFE, FAST]) };
    let mut replica = Replica::new(settings(), recovered, 4_900);
    happen(&mut replica, Event::PeerUp { peer: peer(), namespaces: BTreeSet::from([SAFE]) });
    replica
}

/// The peer answers that it holds nothing.
fn answer(namespaces: &[NamespaceId], nodes: &[WorkerId]) -> Event {
    let proof = Proof {
        replica: replica_of(own()),
        boot: Boot { counter: 2, nonce: 1 },
        marks: namespaces.iter().map(|namespace| (*namespace, Mark::default())).collect(),
        reach: Vec::new(),
        ceiling: 0,
        nodes: nodes.to_vec(),
    };
    Event::Received { from: peer(), message: Message::Proof(proof) }
}

fn unproven(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Notice(Notice::Unproven { reason, .. }) => Some(reason.as_str()),
        _ => None,
    })
}

#[test]
fn a_peer_proves_a_start_only_if_it_tells_of_every_namespace_and_names_nobody_who_was_not_asked() {
    let stranger = WorkerId::new(9, 0).unwrap();
    let seen = happen(&mut starting(), answer(&[SAFE, FAST], &[own(), peer().worker]));
    assert!(seen.iter().any(|effect| matches!(effect, Effect::Serving(_))), "{seen:?}");
    for (namespaces, nodes, why) in [
        (&[SAFE][..], vec![], "define it differently"),
        (&[][..], vec![], "define it differently"),
        (&[SAFE, FAST][..], vec![own(), stranger], "does not know or ask"),
    ] {
        let seen = happen(&mut starting(), answer(namespaces, &nodes));
        assert!(unproven(&seen).is_some_and(|reason| reason.contains(why)), "{seen:?}");
        assert!(seen.iter().any(|effect| matches!(effect, Effect::Mint)));
    }
}

fn proof(effects: &[Effect]) -> Option<Proof> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message::Proof(proof), .. } => Some(proof.clone()),
        _ => None,
    })
}

/// The peer's next boot is linked, and asks what is held of it.
fn restart_and_ask(replica: &mut Replica, namespaces: &[NamespaceId]) -> Vec<Effect> {
    let next = Peer { boot: Boot { counter: 2, nonce: 8 }, ..peer() };
    let mut seen = happen(replica, Event::PeerUp { peer: next, namespaces: namespaces.iter().copied().collect() });
    let message = Message::ProofRequest { replica: replica_of(peer().worker), boot: next.boot };
    seen.extend(happen(replica, Event::Received { from: next, message }));
    seen
}

#[test]
fn an_answer_tells_of_what_is_exchanged_and_of_the_nodes_that_may_know_more() {
    let (third, elsewhere) = (WorkerId::new(3, 0).unwrap(), WorkerId::new(4, 0).unwrap());
    let other = NamespaceId(3);
    let peers = BTreeMap::from([
        (peer().worker, BTreeSet::from([SAFE, FAST])),
        (third, BTreeSet::from([FAST, other])),
        (elsewhere, BTreeSet::from([other])),
    ]);
    let recovered = Recovered::of_new_directory(Boot { counter: 1, nonce: 1 }, [SAFE, FAST, other]);
    let mut replica = Replica::new(Settings { peers, ..settings() }, recovered, 4_900);
    happen(&mut replica, Event::Minted(replica_of(own())));
    let told = proof(&restart_and_ask(&mut replica, &[SAFE])).unwrap();
    assert_eq!(told.marks, [(SAFE, Mark::default())]);
    assert_eq!(told.nodes, [peer().worker, third]);
}

#[test]
fn a_delta_of_an_earlier_boot_that_waits_for_its_rows_is_gone_before_the_answer() {
    let recovered = Recovered::of_new_directory(Boot { counter: 1, nonce: 1 }, [SAFE, FAST]);
    let mut replica = Replica::new(settings(), recovered, 4_900);
    happen(&mut replica, Event::Minted(replica_of(own())));
    happen(&mut replica, Event::PeerUp { peer: peer(), namespaces: BTreeSet::from([SAFE, FAST]) });
    let payload = Payload::encode(&[Change { key: "k", slot: Slot::of(3, 0) }]);
    let (origin, hash) = (replica_of(peer().worker), LogHash(7));
    let record = Record { namespace: SAFE, origin, after: 0, upto: 1, hash, payload };
    let seen = happen(&mut replica, Event::Received { from: peer(), message: Message::Delta(record) });
    assert!(seen.iter().any(|effect| matches!(effect, Effect::Disk(Job::Load { .. }))), "{seen:?}");
    let told = proof(&restart_and_ask(&mut replica, &[SAFE, FAST])).unwrap();
    assert_eq!(told.marks, [(SAFE, Mark::default()), (FAST, Mark::default())]);
    let rows = vec![(Key::new("k").unwrap(), Row::default())];
    let seen = happen(&mut replica, Event::Loaded { namespace: SAFE, rows });
    assert!(!seen.iter().any(|effect| matches!(effect, Effect::Disk(Job::Commit(_)))), "{seen:?}");
}
