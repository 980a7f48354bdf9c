//! Links between real endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide_dev::relay::{Relay, Way};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::fixture::*;
use super::hello::{HELLO_BYTES_MAX, Hello, HelloReply, Refusal, Space, VERSIONS};
use super::messages::Outgoing;
use super::*;
use super::{compressed, frame};
use crate::config::Namespace;
use crate::config::address::Address;
use crate::crdt::VersionVector;
use crate::engine::Recorded;
use crate::identity::{NamespaceId, Peer};
use crate::quic::Close;
use crate::replica::{Digest, Event, Proof, Seal, Sighting};

const DEADLINE: Duration = Duration::from_secs(60);

/// Two nodes that know each other.
fn pair(change_south: impl FnOnce(&mut LinksConfig)) -> (Member, Member) {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    (north.join(map.clone(), 1), south.join_as(map, 1, change_south))
}

#[test]
fn two_nodes_link_and_exchange_messages_both_ways() {
    let (north, south) = pair(|_| {});
    let both = [NamespaceId::of("everywhere")];
    assert_eq!(north.wait_up(south.identity), both);
    assert_eq!(south.wait_up(north.identity), both);
    north.tell(&south);
    south.tell(&north);
    assert_eq!(south.wait_message(north.identity), Message::Leaving);
    assert_eq!(north.wait_message(south.identity), Message::Leaving);
    until("both are up", || north.state(SOUTH) == LinkState::Up && south.state(NORTH) == LinkState::Up);
}

#[test]
fn messages_keep_their_order() {
    let (north, south) = pair(|_| {});
    north.wait_up(south.identity);
    let request = |after| Message::Request { namespace: NamespaceId(1), origin: ReplicaId(2), after };
    for after in 0..50 {
        north.links.send(worker(SOUTH), request(after));
    }
    for after in 0..50 {
        assert_eq!(south.wait_message(north.identity), request(after));
    }
}

#[test]
fn a_namespace_with_other_regions_is_refused_but_not_the_link() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let with = |regions: &[&str]| {
        let regions = regions.iter().map(|&name| name.to_owned()).collect();
        let namespace = Namespace { regions, ..Namespace::default() };
        move |config: &mut LinksConfig| {
            config.local.namespaces.insert("differs".into(), namespace);
        }
    };
    let north = north.join_as(map.clone(), 1, with(&[NORTH, SOUTH, WEST]));
    let south = south.join_as(map, 1, with(&[NORTH, SOUTH]));
    assert_eq!(north.wait_up(south.identity), [NamespaceId::of("everywhere")]);
    assert_eq!(south.wait_up(north.identity), [NamespaceId::of("everywhere")]);
}

#[test]
fn nodes_that_share_no_namespace_do_not_dial_each_other() {
    let alone = Namespace { regions: vec![SOUTH.into()], ..Namespace::default() };
    let (north, south) = pair(|config| config.local.namespaces = [("everywhere".to_owned(), alone)].into());
    assert_eq!(south.links.states(), []);
    assert_eq!(north.wait_up(south.identity), [], "the link stands, but nothing is exchanged");
}

#[test]
fn another_cluster_is_refused_on_both_sides() {
    let (north, south) = pair(|config| config.local.cluster = "other".into());
    north.wait_refused(SOUTH, "another cluster");
    south.wait_refused(NORTH, "another cluster");
}

#[test]
fn another_id_layout_is_refused_on_both_sides() {
    let (north, south) = pair(|config| config.local.layout = "41/4/6/12".into());
    north.wait_refused(SOUTH, "another ID layout");
    south.wait_refused(NORTH, "another ID layout");
}

/// `localhost` stands for IPv6 too where the system says so; nobody listens there, so the next address is tried.
#[test]
fn a_peer_is_found_by_its_name() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let mut named = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    for node in named.regions.iter_mut().flat_map(|region| &mut region.nodes) {
        node.quic = Address::parse(&format!("localhost:{}", node.quic.port())).unwrap();
    }
    let (north, south) = (north.join(named.clone(), 1), south.join(named, 1));
    until("north has a link", || north.state(SOUTH) == LinkState::Up);
    until("south has a link", || south.state(NORTH) == LinkState::Up);
    assert!(north.links.know("127.0.0.1".parse().unwrap()) && !north.links.know("192.0.2.1".parse().unwrap()));
}

#[test]
fn a_name_that_stands_for_nothing_is_told_and_looked_up_again() {
    let authority = authority();
    let north = Station::new(&authority, NORTH);
    let mut nowhere = map(&[(NORTH, north.address), (SOUTH, LOOPBACK.parse().unwrap())]);
    nowhere.regions[1].nodes[0].quic = Address::parse("nobody.invalid:7400").unwrap();
    let north = north.join(nowhere, 1);
    let told = || match north.state(SOUTH) {
        LinkState::Down(reason) => reason.contains("nobody.invalid cannot be looked up"),
        _ => false,
    };
    until("the name is told", told);
}

/// A socket of one kind calls peers of the other kind from one beside it.
#[test]
fn a_peer_with_ipv6_is_called_by_one_that_listens_on_ipv4() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return; // there is no IPv6 here
    }
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::at(&authority, SOUTH, "[::1]:0".parse().unwrap()));
    let both = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let (north, south) = (north.join(both.clone(), 1), south.join(both, 1));
    until("north has a link", || north.state(SOUTH) == LinkState::Up);
    until("south has a link", || south.state(NORTH) == LinkState::Up);
}

#[test]
fn another_cluster_secret_is_refused_on_both_sides() {
    let (north, south) = pair(|config| config.local.secret = "fedcba9876543210".into());
    north.wait_refused(SOUTH, "another cluster.secret");
    south.wait_refused(NORTH, "another cluster.secret");
}

#[test]
fn a_node_with_the_data_of_another_is_refused_on_both_sides() {
    let (north, south) = pair(|config| config.local.replica = Some(ReplicaId::new(worker(WEST), 7)));
    north.wait_refused(SOUTH, "has data of node");
    south.wait_refused(NORTH, "has data of node");
}

#[test]
fn a_node_outside_the_map_is_refused() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let both = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let alone = map(&[(NORTH, north.address)]);
    let _north = north.join(alone, 1);
    let south = south.join(both, 1);
    south.wait_refused(NORTH, "not in the refuser's map");
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (ours, theirs) = (authority(), authority());
    let (north, south) = (Station::new(&ours, NORTH), Station::new(&theirs, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let (north, south) = (north.join(map.clone(), 1), south.join(map, 1));
    north.wait_refused(SOUTH, "certificate");
    south.wait_refused(NORTH, "certificate");
}

#[test]
fn a_dialer_does_not_speak_to_a_node_with_the_certificate_of_another() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let south_as_west = map(&[(NORTH, north.address), (WEST, south.address)]);
    let at_south = map(&[(SOUTH, south.address)]);
    let (north, _south) = (north.join(south_as_west, 1), south.join(at_south, 1));
    north.wait_refused(WEST, "certificate");
}

/// Speaks the protocol by hand, with a valid certificate.
struct Rogue {
    station: Station,
    to: SocketAddr,
    certified: String,
}

impl Rogue {
    fn new(authority: &tempfile::TempDir, region: &'static str, to: &Station) -> Self {
        let certified = crate::tls::node_name(NORTH, 0);
        Self { station: Station::new(authority, region), to: to.address, certified }
    }

    async fn call(&self) -> Connection {
        self.station.endpoint.dial(self.to, &self.certified).unwrap().await.unwrap()
    }

    async fn greet(&self, connection: &Connection, hello: &Hello) -> HelloReply {
        let (mut to, mut from) = connection.open_bi().await.unwrap();
        let mut bytes = Vec::new();
        frame::append(hello, HELLO_BYTES_MAX, &mut bytes).unwrap();
        to.write_all(&bytes).await.unwrap();
        frame::read(&mut from, HELLO_BYTES_MAX, &mut bytes).await.unwrap().unwrap()
    }

    /// Greets properly, then sends these bytes where frames belong, and waits for the connection's end.
    fn misbehave(&self, bytes: &[u8]) -> ConnectionError {
        let compressed = self.station.runtime.block_on(async {
            let mut writer = compressed::writer(Vec::new());
            writer.write_all(bytes).await.unwrap();
            writer.flush().await.unwrap();
            writer.into_inner()
        });
        self.babble(&compressed)
    }

    /// The same with bytes where compressed ones belong.
    fn babble(&self, bytes: &[u8]) -> ConnectionError {
        self.station.runtime.block_on(async {
            let connection = self.call().await;
            let reply = self.greet(&connection, &hello(SOUTH, NORTH)).await;
            assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            timeout(DEADLINE, connection.closed()).await.unwrap()
        })
    }
}

fn hello(from: &str, to: &str) -> Hello {
    let regions = [NORTH, SOUTH, WEST].map(str::to_owned).into();
    let (name, id, durability) = ("everywhere".to_owned(), NamespaceId::of("everywhere"), "fsync".to_owned());
    Hello {
        cluster: "test".into(),
        versions: VERSIONS,
        layout: "41/5/5/12".into(),
        secret: "0123456789abcdef".into(),
        region: from.into(),
        worker: worker(from),
        replica: None,
        boot: boot(1),
        namespaces: vec![Space { name, id, regions, durability }],
        to: worker(to),
    }
}

fn closed_as(error: &ConnectionError, close: Close) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(end) if end.error_code == close.code())
}

/// North at work, and a rogue with the certificate of south.
fn north_and_a_rogue() -> (Member, Rogue) {
    let authority = authority();
    let north = Station::new(&authority, NORTH);
    let rogue = Rogue::new(&authority, SOUTH, &north);
    let nowhere = Station::new(&authority, WEST).address;
    let map = map(&[(NORTH, north.address), (SOUTH, rogue.station.address), (WEST, nowhere)]);
    (north.join(map, 1), rogue)
}

#[test]
fn each_wrong_greeting_is_refused_with_its_reason() {
    type Case = (fn(&mut Hello), fn(&Refusal) -> bool);
    let cases: [Case; 10] = [
        (|hello| hello.cluster = "x".into(), |refusal| matches!(refusal, Refusal::Cluster { .. })),
        (|hello| hello.layout = "x".into(), |refusal| matches!(refusal, Refusal::Layout { .. })),
        (|hello| hello.secret = "x".into(), |refusal| matches!(refusal, Refusal::Secret { .. })),
        (
            |hello| hello.versions = (VERSIONS.1 + 1, VERSIONS.1 + 5),
            |refusal| matches!(refusal, Refusal::Version { .. }),
        ),
        (|hello| hello.versions = (1, 0), |refusal| matches!(refusal, Refusal::Version { .. })),
        (|hello| hello.worker = WorkerId::new(31, 31).unwrap(), |refusal| matches!(refusal, Refusal::UnknownWorker(_))),
        (|hello| hello.region = "x".into(), |refusal| matches!(refusal, Refusal::Region { .. })),
        (
            |hello| (hello.worker, hello.region) = (worker(NORTH), NORTH.into()),
            |refusal| matches!(refusal, Refusal::Itself(_)),
        ),
        (|hello| hello.to = worker(WEST), |refusal| matches!(refusal, Refusal::Misdirected { .. })),
        (
            |hello| (hello.worker, hello.region) = (worker(WEST), WEST.into()),
            |refusal| matches!(refusal, Refusal::Certificate(_)),
        ),
    ];
    let (_north, rogue) = north_and_a_rogue();
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut hello = hello(SOUTH, NORTH);
        change(&mut hello);
        let reply = rogue.station.runtime.block_on(async { rogue.greet(&rogue.call().await, &hello).await });
        assert!(matches!(&reply, HelloReply::Refused(refusal) if expected(refusal)), "case {number}: {reply:?}");
    }
}

#[test]
fn a_dialer_judges_the_answer_by_the_same_rules() {
    // The rogue answers as an acceptor would, but for another cluster.
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let ours = hello(NORTH, SOUTH);
    let certificate = certificate_of(&authority, SOUTH);
    for change in [
        (|hello| hello.cluster = "x".into()) as fn(&mut Hello),
        |hello| hello.layout = "x".into(),
        |hello| hello.secret = "x".into(),
        |hello| hello.versions = (1, 1),
        |hello| hello.to = worker(WEST),
        |hello| hello.worker = worker(NORTH),
    ] {
        let mut theirs = hello(SOUTH, NORTH);
        assert!(hello::examine(&ours, &theirs, &map, &certificate).is_ok());
        change(&mut theirs);
        assert!(hello::examine(&ours, &theirs, &map, &certificate).is_err(), "{theirs:?}");
    }
}

fn certificate_of(authority: &tempfile::TempDir, region: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(authority.path().join(crate::tls::certificate_file(region, 0))).unwrap()
}

fn framed(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    Outgoing::new(FRAME_BYTES_MAX).append(message, &mut frame).unwrap();
    frame
}

/// A digest, as a rogue with the certificate of south may send it.
fn tell(rogue: &Rogue, digest: &Digest) {
    let mut frame = framed(&Message::Digest(digest.clone()));
    // A frame that is none ends the link, once the digest is read.
    frame.extend([1, 0, 0, 0, 0xff]);
    let end = rogue.misbehave(&frame);
    assert!(closed_as(&end, Close::Malformed), "{end}");
}

#[test]
fn ceilings_that_no_clock_bears_out_are_taken_out_of_what_a_peer_says() {
    let (north, rogue) = north_and_a_rogue();
    let ceilings = vec![(worker(WEST), u64::MAX), (worker(SOUTH), CEILING_MAX), (worker(NORTH), CEILING_MAX + 1)];
    tell(&rogue, &Digest { ceilings, ..Digest::default() });
    let from = Peer { worker: worker(SOUTH), boot: boot(1) };
    let Message::Digest(told) = north.wait_message(from) else { panic!("it was a digest") };
    assert_eq!(told.ceilings, [(worker(SOUTH), CEILING_MAX)]);

    let proof = Proof {
        replica: ReplicaId(1),
        boot: boot(1),
        marks: Vec::new(),
        reach: Vec::new(),
        ceiling: u64::MAX,
        nodes: Vec::new(),
    };
    let mut frame = framed(&Message::Proof(proof));
    frame.extend([1, 0, 0, 0, 0xff]);
    rogue.misbehave(&frame);
    let Message::Proof(told) = north.wait_message(from) else { panic!("it was a proof") };
    assert_eq!(told.ceiling, 0);
}

#[test]
fn what_a_boot_says_of_another_counts_with_its_own_signature_only() {
    let (north, rogue) = north_and_a_rogue();
    let by_south = |seal| Sighting { by: Peer { worker: worker(SOUTH), boot: boot(7) }, of: boot(9), seal };
    let by_north = |seal| Sighting { by: Peer { worker: worker(NORTH), boot: boot(0) }, of: boot(1), seal };
    let credentials = rogue.station.credentials.clone();
    let sealed = |by: Peer, of| seal::sealed(&credentials, "test", by, of, UNBOUND);
    let good = by_south(sealed(by_south(Seal::default()).by, boot(9)));
    let sightings = vec![
        good.clone(),
        by_south(Seal::default()),
        by_south(Seal(vec![7; 100])),
        Sighting { of: boot(8), ..good.clone() },
        // With another node's key, which the rogue has not got.
        by_north(good.seal.clone()),
        by_north(sealed(by_north(Seal::default()).by, boot(1))),
        Sighting { by: Peer { worker: WorkerId::new(9, 9).unwrap(), boot: boot(7) }, ..good.clone() },
    ];
    tell(&rogue, &Digest { sightings, ..Digest::default() });
    let from = Peer { worker: worker(SOUTH), boot: boot(1) };
    let Message::Digest(told) = north.wait_message(from) else { panic!("it was a digest") };
    assert_eq!(told.sightings, std::slice::from_ref(&good));

    // What was checked under former credentials is not believed for that.
    north.links.renew(Credentials::load(authority().path(), NORTH, 0).unwrap());
    tell(&rogue, &Digest { sightings: vec![good], ..Digest::default() });
    let Message::Digest(told) = north.wait_message(from) else { panic!("it was a digest") };
    assert_eq!(told.sightings, []);
}

#[test]
fn a_refuser_alone_cannot_say_that_we_are_a_duplicate() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let credentials = south.credentials.clone();
    let endpoint = south.endpoint.quinn().clone();
    // South answers each greeting of north with a claim about another boot of north, under its own signature.
    south.runtime.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else { continue };
            let Ok((mut to, mut from)) = connection.accept_bi().await else { continue };
            let Ok(Some(hello)) = frame::read::<Hello>(&mut from, HELLO_BYTES_MAX, &mut Vec::new()).await else {
                continue;
            };
            let by = Peer { worker: hello.worker, boot: boot(0) };
            let seal = seal::sealed(&credentials, "test", by, hello.boot, seal::binding(&connection).unwrap());
            let refusal = Refusal::Duplicate { worker: hello.worker, live: by.boot, refused: hello.boot, seal };
            let mut bytes = Vec::new();
            frame::append(&HelloReply::Refused(refusal), HELLO_BYTES_MAX, &mut bytes).unwrap();
            let _ = to.write_all(&bytes).await;
            let _ = to.finish();
            let _ = connection.closed().await;
        }
    });
    let north = north.join(map, 1);
    north.wait_refused(SOUTH, "which shows no proof of this");
    north.links.0.engine.notify(Event::Hold(false));
    let fenced = north.wait("anything", |arrival| match arrival {
        Recorded::Event(Event::Rival(_)) => Some(true),
        Recorded::Event(Event::Hold(_)) => Some(false),
        _ => None,
    });
    assert!(!fenced, "it fenced itself by what a peer said");
}

#[test]
fn a_malformed_greeting_is_refused() {
    let (_north, rogue) = north_and_a_rogue();
    for greeting in [&[3, 0, 0, 0, 9, 9, 9][..], &u32::MAX.to_le_bytes()] {
        let end = rogue.station.runtime.block_on(async {
            let connection = rogue.call().await;
            let (mut to, _from) = connection.open_bi().await.unwrap();
            to.write_all(greeting).await.unwrap();
            timeout(DEADLINE, connection.closed()).await.unwrap()
        });
        assert!(closed_as(&end, Close::Malformed), "{end}");
    }
}

#[test]
fn garbage_and_oversize_frames_end_the_link_and_nothing_else() {
    let (north, rogue) = north_and_a_rogue();
    let end = rogue.misbehave(&[5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(closed_as(&end, Close::Malformed), "{end}");
    // Only the length is sent, so an answer shows that nothing was waited for.
    let end = rogue.babble(b"not compressed at all");
    assert!(closed_as(&end, Close::Malformed), "{end}");
    // A frame of zstd (magic number, descriptor) that wants a window of 512 MiB.
    let end = rogue.babble(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 19 << 3, 0, 0, 0]);
    assert!(closed_as(&end, Close::Malformed), "{end}");

    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    let end = rogue.misbehave(&too_long.to_le_bytes());
    assert!(closed_as(&end, Close::Malformed), "{end}");

    let mut good = framed(&Message::Leaving);
    good.extend([1, 0, 0, 0, 0xff]);
    let end = rogue.misbehave(&good);
    assert!(closed_as(&end, Close::Malformed), "{end}");
    let from = Peer { worker: worker(SOUTH), boot: boot(1) };
    assert_eq!(north.wait_message(from), Message::Leaving, "what came before the garbage counts");
}

#[test]
fn a_restarted_node_takes_the_place_of_its_former_boot() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let (north, south) = (north.join(map.clone(), 1), south.join(map.clone(), 1));
    let former = south.identity;
    north.wait_up(former);
    south.tell(&north);
    north.wait_message(former);

    let address = south.station.address;
    drop(south); // its runtime goes with it, and nothing is said to north
    let south = Station::at(&authority, SOUTH, address).join(map, 2);
    north.wait_down(former);
    north.wait_up(south.identity);
    south.wait_up(north.identity);
    south.tell(&north);
    assert_eq!(north.wait_message(south.identity), Message::Leaving);
}

#[test]
fn a_restarted_node_resets_the_links_of_its_predecessor() {
    let authority = authority();
    let hour = Duration::from_secs(3600);
    let patient = |region, address| Station::patient(&authority, region, address, hour);
    let anywhere: SocketAddr = LOOPBACK.parse().unwrap();
    let (north, south) = (patient(NORTH, anywhere), patient(SOUTH, anywhere));
    let map_of_both = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let (north, south) = (north.join(map_of_both.clone(), 1), south.join(map_of_both, 1));
    let former = south.identity;
    north.wait_up(former);

    let address = south.station.address;
    drop(south);
    // It does not know north any more, so it does not call; and no timeout strikes within the hour.
    let south = patient(SOUTH, address).join(map(&[(SOUTH, address)]), 2);
    until("north notices", || {
        north.links.send(worker(SOUTH), Message::Leaving);
        north.state(SOUTH) != LinkState::Up
    });
    north.wait_down(former);
    drop(south);
}

#[test]
fn a_live_duplicate_is_refused_and_fences_itself() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let known = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let (north, south) = (north.join(known.clone(), 1), south.join(known, 5));
    south.tell(&north);
    north.wait_message(south.identity);

    // One copy with a later boot, one with an earlier one: whoever was first stays.
    for counter in [6, 4] {
        let clone = Station::new(&authority, SOUTH);
        let map = map(&[(NORTH, north.station.address), (SOUTH, clone.address)]);
        let clone = clone.join(map, counter);
        let reason = clone.wait("a fence", |arrival| match arrival {
            Recorded::Event(Event::Rival(reason)) => Some(reason),
            _ => None,
        });
        assert!(reason.contains("duplicate worker"), "{reason}");
        clone.wait_refused(NORTH, "duplicate worker");
    }
    south.tell(&north);
    assert_eq!(north.wait_message(south.identity), Message::Leaving);
}

#[test]
fn a_cut_takes_links_down_and_healing_brings_them_back() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let paths: Vec<Relay> = {
        let _context = north.runtime.enter();
        [north.address, south.address].into_iter().map(|address| Relay::start(address, 1).unwrap()).collect()
    };
    let map_of = |own: &str| {
        let address = |region, station: &Station, path: &Relay| {
            (region, if own == region { station.address } else { path.address() })
        };
        map(&[address(NORTH, &north, &paths[0]), address(SOUTH, &south, &paths[1])])
    };
    let (north_map, south_map) = (map_of(NORTH), map_of(SOUTH));
    let (north, south) = (north.join(north_map, 1), south.join(south_map, 1));
    north.wait_up(south.identity);
    south.wait_up(north.identity);

    for path in &paths {
        path.cut(Way::Both, true);
    }
    north.wait_down(south.identity);
    south.wait_down(north.identity);
    for path in &paths {
        path.cut(Way::Both, false);
    }
    north.wait_up(south.identity);
    south.wait_up(north.identity);
    north.tell(&south);
    south.tell(&north);
    assert!(paths.iter().all(|path| path.passed().cut > 0));
}

#[test]
fn peers_measure_each_others_clocks_and_forget_them_with_the_link() {
    let (north, south) = pair(|_| {});
    let of_south = || north.clocks.heard.lock().unwrap().get(&worker(SOUTH)).copied();
    until("north knows that south's clock is right", || {
        of_south().is_some_and(|(offset, believed)| believed && offset.us.unsigned_abs() <= offset.uncertainty_us)
    });
    // Half an hour, and a year back: the step is seen, though the window is full of exchanges from before it.
    for ahead_us in [1_800_000_000, -31_536_000_000_000] {
        south.clocks.ahead_us.store(ahead_us, std::sync::atomic::Ordering::Relaxed);
        until("north sees how far south's clock is off, and that south does not believe it", || {
            of_south()
                .is_some_and(|(offset, believed)| !believed && offset.us.abs_diff(ahead_us) <= offset.uncertainty_us)
        });
    }
    south.links.stop();
    until("north forgets it", || of_south().is_none());
}

#[test]
fn a_full_queue_drops_and_counts_and_never_blocks() {
    let (north, south) = pair(|_| {});
    north.wait_up(south.identity);
    // South's engine takes nothing, so its link runs out of room, then the connection, then our queue.
    // Each different, and of numbers that do not compress.
    let mut random = SmallRng::seed_from_u64(1);
    let mut large = || {
        let entries = (0..40_000).map(|_| (NamespaceId(random.random()), VersionVector::default()));
        Message::Ack(entries.collect())
    };
    let first = large();
    north.links.send(worker(SOUTH), first.clone());
    until("a drop", || {
        north.links.send(worker(SOUTH), large());
        north.tally(worker(SOUTH)).dropped > 0
    });
    assert_eq!(south.wait_message(north.identity), first, "once it is handled, there is room again");
}

#[test]
fn messages_for_a_link_that_is_down_are_dropped_and_counted() {
    let authority = authority();
    let north = Station::new(&authority, NORTH);
    let nowhere = Station::new(&authority, SOUTH).address;
    let map = map(&[(NORTH, north.address), (SOUTH, nowhere)]);
    let north = north.join(map, 1);
    north.links.send(worker(SOUTH), Message::Leaving);
    assert_eq!(north.tally(worker(SOUTH)).dropped, 1);
    north.links.send(worker(WEST), Message::Leaving);
}

#[test]
fn a_message_longer_than_a_frame_is_dropped_and_the_link_goes_on() {
    let (north, south) = pair(|_| {});
    north.wait_up(south.identity);
    let entry = (NamespaceId(u32::MAX), VersionVector::default());
    north.links.send(worker(SOUTH), Message::Ack(vec![entry; FRAME_BYTES_MAX / 4]));
    until("the drop is counted", || north.tally(worker(SOUTH)).dropped == 1);
    north.tell(&south);
    assert_eq!(south.wait_message(north.identity), Message::Leaving);
}

#[test]
fn stopping_takes_all_links_down_at_once() {
    let (north, south) = pair(|_| {});
    north.wait_up(south.identity);
    south.wait_up(north.identity);
    south.links.stop();
    south.station.runtime.block_on(south.station.endpoint.close("shutting down"));
    north.wait_down(south.identity);
    south.wait_down(north.identity);
}

#[test]
fn a_new_incarnation_is_told_at_the_next_greeting() {
    let (north, _south) = pair(|_| {});
    let replica = ReplicaId::new(worker(NORTH), 3);
    north.links.set_replica(replica);
    let shared: &Arc<Shared> = &north.links.0;
    assert_eq!(shared.greeting.to(worker(SOUTH)).replica, Some(replica));
}
