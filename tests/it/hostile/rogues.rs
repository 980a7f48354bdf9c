//! What the holder of one node's certificate may say of others: nobody stops for it, and everything that it fills has a bound
//! (G5, I6).

use snowtide::crdt::{LogHash, Mark, Slot, VersionVector};
use snowtide::identity::{Boot, NamespaceId, Peer, ReplicaId};
use snowtide::replica::{Change, Digest, Heartbeat, Message, Payload, Record, Seal, Sighting};

use super::rogue::{Rogue, worker};
use crate::clones::{stage, swift};
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, SOUTH, WEST, ensure, eventually, http};

/// us-east and ap-south serve; in the place of eu-west stands a rogue.
async fn infiltrated() -> (Bed, Rogue) {
    let mut bed = Bed::prepare(swift);
    for region in [EAST, SOUTH] {
        bed.start_node(region).await;
    }
    let rogue = Rogue::start(&bed);
    (bed, rogue)
}

/// Both true nodes count, mint and agree.
async fn both_serve(bed: &mut Bed, key: &str) {
    for region in [EAST, SOUTH] {
        assert_eq!(stage(bed.http(region)).await.unwrap(), "ready", "{}", bed.log(region));
        bed.serves(region).await;
        bed.client(region).await.increment(NAMESPACE, key, 1_000_003).await.unwrap();
    }
    bed.counted(&[EAST, SOUTH], key, 2_000_006).await;
}

/// What a counter of a node with this label says.
async fn metric(bed: &Bed, region: &str, name: &str) -> f64 {
    let text = http::get(bed.http(region), "/metrics").await.unwrap().body;
    let line = text.lines().find(|line| line.starts_with(name) && line.contains("peer=\"eu-west/0\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn no_peer_fences_another_node_by_what_it_makes_up() {
    let (mut bed, rogue) = infiltrated().await;
    let invented = Boot { counter: 0, nonce: 0 };
    for beat in 1..100 {
        let of = |region| Heartbeat { peer: Peer { worker: worker(region), boot: invented }, beat };
        let by = |region| Peer { worker: worker(region), boot: invented };
        let sightings = [
            Sighting { by: by(EAST), of: Boot { counter: 1, nonce: beat }, seal: Seal::default() },
            Sighting { by: by(SOUTH), of: Boot { counter: 1, nonce: beat }, seal: Seal(vec![1; 200]) },
        ];
        let digest = Digest { live: vec![of(EAST), of(SOUTH)], sightings: sightings.into(), ..Digest::default() };
        rogue.say(EAST, Message::Digest(digest)).await;
    }
    bed.logged(EAST, &["WARN", "a peer's claim about a node is not believed", "has not said so"]).await;
    assert!(metric(&bed, EAST, "snowtide_peer_claims_refused_total").await >= 1.0);
    both_serve(&mut bed, "unfenced").await;
    for region in [EAST, SOUTH] {
        assert_eq!(bed.lines(region, &["duplicate worker"]), Vec::<String>::new());
    }
    rogue.stop().await;
}

/// The incarnation under which a node counts.
async fn replica(bed: &Bed, region: &str) -> Option<String> {
    let told = http::get(bed.http(region), "/v1/cluster").await.ok()?.json();
    told["node"]["replica"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_log_that_a_node_never_wrote_raises_a_counter_and_stops_nobody() {
    let (mut bed, rogue) = infiltrated().await;
    bed.client(EAST).await.increment(NAMESPACE, "absurd", 4).await.unwrap();
    bed.counted(&[SOUTH], "absurd", 4).await;
    let before = replica(&bed, EAST).await.unwrap();
    let origin = ReplicaId(u64::from_str_radix(&before, 16).unwrap());
    let payload = Payload::encode(&[Change { key: "absurd", slot: Slot::of(u64::MAX, 0) }]);
    let forged = Record { upto: 1_000, ..record(NamespaceId::of(NAMESPACE), origin, payload) };
    rogue.say(SOUTH, Message::Delta(forged)).await;
    bed.logged(EAST, &["ERROR", "a fork"]).await;
    eventually(DEADLINE, "us-east counts under another incarnation", async || {
        ensure(replica(&bed, EAST).await.is_some_and(|replica| replica != before), || "not yet".to_owned())
    })
    .await;
    both_serve(&mut bed, "unharmed").await;
    bed.counted(&[EAST, SOUTH], "absurd", u64::MAX.into()).await;
    rogue.stop().await;
}

#[tokio::test]
async fn no_peer_ends_the_ids_of_another_node_by_a_ceiling() {
    let (mut bed, rogue) = infiltrated().await;
    // Beyond what an ID can carry; and within that, but years beyond every clock.
    for ceiling in [u64::MAX, (1 << 41) - 1] {
        let ceilings = [EAST, SOUTH, WEST].map(|region| (worker(region), ceiling)).into();
        rogue.say(EAST, Message::Digest(Digest { ceilings, ..Digest::default() })).await;
    }
    bed.logged(EAST, &["WARN", "a peer's claim about a node is not believed", "an ID ceiling of"]).await;
    // It asks us-east how far its IDs had come.
    bed.cluster.kill(SOUTH).await.unwrap();
    bed.start_node(SOUTH).await;
    both_serve(&mut bed, "minting").await;
    rogue.stop().await;
}

#[tokio::test]
async fn what_a_peer_can_have_others_remember_is_bounded_and_leaves_room_for_the_true_nodes() {
    let (mut bed, rogue) = infiltrated().await;
    let namespace = NamespaceId::of(NAMESPACE);
    let mark = Mark { seq: 1, hash: LogHash(1) };
    let vector = |origins: u64| -> VersionVector {
        (0..origins).map(|random| (ReplicaId::new(worker(SOUTH), random), mark)).collect()
    };
    let oversize = [
        Digest { vectors: vec![(namespace, VersionVector::default()); 1_001], ..Digest::default() },
        Digest { vectors: vec![(namespace, vector(32_769))], ..Digest::default() },
        Digest { ceilings: vec![(worker(SOUTH), 1); 1_025], ..Digest::default() },
        Digest { live: vec![Heartbeat { peer: rogue.identity, beat: 1 }; 4_097], ..Digest::default() },
    ];
    for digest in oversize {
        rogue.say(EAST, Message::Digest(digest)).await;
    }
    // Logs of incarnations of ap-south that never were.
    let payload = Payload::encode(&[Change { key: "invented", slot: Slot::of(1, 0) }]);
    for random in 0..1_500 {
        let origin = ReplicaId::new(worker(SOUTH), random);
        let record = record(namespace, origin, payload.clone());
        rogue.say(EAST, Message::Delta(record)).await;
    }
    bed.logged(EAST, &["WARN", "a peer's message was ignored", "more than 1000 namespaces"]).await;
    bed.logged(EAST, &["WARN", "a peer's message was ignored", "another origin"]).await;
    eventually(DEADLINE, "they are counted", async || {
        let ignored = metric(&bed, EAST, "snowtide_peer_messages_ignored_total").await;
        ensure(ignored >= 400.0, || format!("{ignored} so far"))
    })
    .await;
    assert!(bed.lines(EAST, &["WARN", "a peer's message was ignored"]).len() <= 32);
    // ap-south makes a new incarnation, of which us-east hears from itself; the other has room as well.
    bed.cluster.kill(SOUTH).await.unwrap();
    bed.start_node(SOUTH).await;
    both_serve(&mut bed, "true").await;
    rogue.stop().await;
}

fn record(namespace: NamespaceId, origin: ReplicaId, payload: Payload) -> Record {
    Record { namespace, origin, after: 0, upto: 1, hash: LogHash(1), payload }
}
