//! One socket for peers and clients.

use std::sync::mpsc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::peer::fixture::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// Calls as someone without a certificate.
async fn call(authority: &tempfile::TempDir, to: SocketAddr, protocol: &[u8]) -> Connection {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.path().join("ca.pem")).unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client(LOOPBACK.parse().unwrap()).unwrap();
    endpoint.connect_with(config, to, "localhost").unwrap().await.unwrap()
}

fn closed_as(error: &quinn::ConnectionError, close: Close) -> bool {
    matches!(error, quinn::ConnectionError::ApplicationClosed(end) if end.error_code == close.code())
}

#[test]
fn an_address_in_use_is_named() {
    let authority = authority();
    let station = Station::new(&authority, NORTH);
    let credentials = Credentials::load(authority.path(), NORTH, 0).unwrap();
    let _context = station.runtime.enter();
    let error = Endpoint::bind(&quic(), &limits(), &credentials, &[station.address]).unwrap_err();
    assert!(matches!(error, BindError::InUse { address } if address == station.address), "{error}");
}

#[test]
fn clients_need_no_certificate_and_go_to_their_door() {
    let authority = authority();
    let station = Station::new(&authority, NORTH);
    let map = map(&[(NORTH, station.address)]);
    let (at_the_door, door) = mpsc::channel();
    let node = station.serve(
        map,
        1,
        |_| {},
        move |connection| {
            let at_the_door = at_the_door.clone();
            Box::pin(async move {
                at_the_door.send(connection.remote_address()).unwrap();
                connection.closed().await;
            })
        },
    );
    let client = node.station.runtime.block_on(call(&authority, node.station.address, CLIENT_ALPN));
    door.recv_timeout(DEADLINE).unwrap();
    drop(client);
}

#[test]
fn a_peer_without_a_certificate_is_sent_away() {
    let authority = authority();
    let station = Station::new(&authority, NORTH);
    let map = map(&[(NORTH, station.address)]);
    let node = station.join(map, 1);
    let end = node.station.runtime.block_on(async {
        let connection = call(&authority, node.station.address, PEER_ALPN).await;
        timeout(DEADLINE, connection.closed()).await.unwrap()
    });
    assert!(closed_as(&end, Close::Refused), "{end}");
}

#[test]
fn clients_keep_no_peer_out() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let north = north.join(map.clone(), 1);
    let (address, runtime) = (north.station.address, &north.station.runtime);
    let held: Vec<Connection> =
        (0..quic().connections_max + 1).map(|_| runtime.block_on(call(&authority, address, CLIENT_ALPN))).collect();

    let south = south.join(map, 1);
    south.wait_up(north.identity);
    assert!(held.iter().all(|connection| connection.close_reason().is_none()));
}

#[test]
fn whoever_has_shown_a_certificate_is_judged_by_those_that_are_believed_now() {
    let (ours, next) = (authority(), authority());
    let (north, south) = (Station::new(&ours, NORTH), Station::new(&ours, SOUTH));
    let map = map(&[(NORTH, north.address), (SOUTH, south.address)]);
    let node = north.join(map, 1);
    let address = node.station.address;
    let name = tls::node_name(NORTH, 0);
    let runtime = &node.station.runtime;
    // A peer that has said nothing yet, and so has no place, and a client that has shown nothing.
    let silent = south.runtime.block_on(async { south.endpoint.dial(address, &name).unwrap().await.unwrap() });
    let client = runtime.block_on(call(&ours, address, CLIENT_ALPN));
    let renewed = Credentials::load(next.path(), NORTH, 0).unwrap();
    let context = runtime.enter();
    node.station.endpoint.renew(node.station.endpoint.renewal(renewed).unwrap());
    drop(context);
    let end = runtime.block_on(async { timeout(DEADLINE, silent.closed()).await.unwrap() });
    assert!(closed_as(&end, Close::Refused), "{end}");
    assert!(client.close_reason().is_none());
    assert!(south.runtime.block_on(async { south.endpoint.dial(address, &name).unwrap().await }).is_err());
    runtime.block_on(call(&next, address, CLIENT_ALPN));
}

/// Makes the certificate of a region end in so many seconds.
fn shorten(authority: &tempfile::TempDir, region: &str, seconds: u64) {
    let read = |name: &str| std::fs::read_to_string(authority.path().join(name)).unwrap();
    let signer = rcgen::KeyPair::from_pem(&read("authority/ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("authority/ca.pem"), signer).unwrap();
    let mut params = rcgen::CertificateParams::new([tls::node_name(region, 0)]).unwrap();
    let end = i64::try_from(clock::wall_ms() / 1_000 + seconds).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(end).unwrap();
    params.use_authority_key_identifier_extension = true;
    let key = rcgen::KeyPair::from_pem(&read(&tls::key_file(region, 0))).unwrap();
    let signed = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(authority.path().join(tls::certificate_file(region, 0)), signed.pem()).unwrap();
}

#[test]
fn a_certificate_that_was_shown_is_believed_until_it_ends() {
    let authority = authority();
    let (north, south) = (Station::new(&authority, NORTH), Station::new(&authority, SOUTH));
    // On a slow machine a certificate may end before it was shown.
    let shown = (0..8).find_map(|doubled| {
        shorten(&authority, SOUTH, 1 << doubled);
        let credentials = Credentials::load(authority.path(), SOUTH, 0).ok()?;
        let _context = south.runtime.enter();
        south.endpoint.renew(south.endpoint.renewal(credentials).unwrap());
        let calling = south.runtime.spawn({
            let (endpoint, address, name) = (south.endpoint.clone(), north.address, tls::node_name(NORTH, 0));
            async move { endpoint.dial(address, &name).unwrap().await }
        });
        let accepting = async { north.endpoint.quinn().accept().await.unwrap().await };
        let accepted = north.runtime.block_on(accepting).ok()?;
        Some((accepted, south.runtime.block_on(calling).unwrap()))
    });
    let (accepted, _calling) = shown.unwrap();
    let judging = north.endpoint.distrust(&accepted, None);
    let why = north.runtime.block_on(async { timeout(DEADLINE, judging).await.unwrap() });
    assert!(why.contains("expired"), "{why}");
}

#[test]
fn a_handshake_that_ended_under_former_credentials_is_judged_at_once() {
    let (ours, next) = (authority(), authority());
    let (north, south) = (Station::new(&ours, NORTH), Station::new(&ours, SOUTH));
    let name = tls::node_name(NORTH, 0);
    let accepting = async { north.endpoint.quinn().accept().await.unwrap().await.unwrap() };
    let calling = south.runtime.spawn({
        let (endpoint, address) = (south.endpoint.clone(), north.address);
        async move { endpoint.dial(address, &name).unwrap().await.unwrap() }
    });
    let accepted = north.runtime.block_on(accepting);
    let _calling = south.runtime.block_on(calling).unwrap();
    let distrust = |within| {
        let judging = north.endpoint.distrust(&accepted, None);
        north.runtime.block_on(async { timeout(within, judging).await })
    };
    assert!(distrust(Duration::from_millis(1)).is_err(), "it is believed as long as nothing has changed");
    let renewed = Credentials::load(next.path(), NORTH, 0).unwrap();
    north.endpoint.renew(north.endpoint.renewal(renewed).unwrap());
    let why = distrust(DEADLINE).unwrap();
    assert!(why.contains("certificate"), "{why}");
}
