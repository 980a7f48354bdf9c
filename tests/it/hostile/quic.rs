//! The QUIC door for clients.

use quinn::RecvStream;
use snowtide::codec;
use snowtide_client::{Batch, ConnectError, Connection, Error, InvalidArgument};
use snowtide_dev::Options;
use snowtide_dev::certificates::{Folders, Holder, certificates};
use snowtide_protocol::wire::{
    ALPN, Ask, BATCH_OPERATIONS_MAX, Greeting, Hello, RequestHead, Response, VERSION, close,
};
use snowtide_protocol::{Code, frame};

use crate::harness::quic::{Caller, call};
use crate::harness::{Bed, EAST, NAMESPACE, WEST};

const NAME: &str = "node-0.us-east.snowtide";

async fn node() -> Bed {
    Bed::start(|options| Options { regions: Some(1), ..options.set("api.request_bytes_max", "64KiB") }).await
}

async fn rogue(bed: &Bed) -> Caller {
    call(bed.quic(EAST), NAME, &bed.cluster.folder().certs_dir(), None, ALPN).await.unwrap()
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&Hello { versions: (VERSION, VERSION), token: None }, &mut bytes);
    bytes
}

async fn read_frame(stream: &mut RecvStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.unwrap();
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Sends these bytes on a new stream, after a hello if asked for, and tells how the node hangs up.
async fn sends(bed: &Bed, greeted: bool, bytes: &[u8]) -> u64 {
    let caller = rogue(bed).await;
    let (mut send, _receive) = caller.connection.open_bi().await.unwrap();
    if greeted {
        send.write_all(&hello()).await.unwrap();
    }
    // If the node hangs up while we write, it has seen enough.
    let _ = send.write_all(bytes).await;
    caller.hung_up().await.0
}

#[tokio::test]
async fn frames_that_are_too_long_or_garbage_end_the_connection() {
    let mut bed = node().await;
    let garbage: Vec<u8> = (0..200_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let framed = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    for greeted in [false, true] {
        for length in [u32::MAX, 65_537] {
            let code = sends(&bed, greeted, &length.to_le_bytes()).await;
            assert_eq!(code, u64::from(close::TOO_LARGE), "a frame of {length} bytes, greeted: {greeted}");
        }
        assert_eq!(sends(&bed, greeted, &framed(&garbage)).await, u64::from(close::PROTOCOL), "greeted: {greeted}");
        assert_eq!(sends(&bed, greeted, &framed(b"")).await, u64::from(close::PROTOCOL), "greeted: {greeted}");
    }
    bed.serves(EAST).await;
}

#[tokio::test]
async fn counts_that_lie_are_refused_before_anything_is_made_room_for() {
    let mut bed = node().await;
    let caller = rogue(&bed).await;
    let (mut send, mut receive) = caller.connection.open_bi().await.unwrap();
    let mut bytes = hello();
    let operations = u32::try_from(BATCH_OPERATIONS_MAX).unwrap() + 1;
    for (id, ask) in [Ask::Ids(u32::MAX), Ask::Ids(0), Ask::Batch { namespaces: 1, operations }].into_iter().enumerate()
    {
        frame::append(&RequestHead { id: id as u64, ask }, &mut bytes);
    }
    send.write_all(&bytes).await.unwrap();
    assert!(matches!(codec::decode(&read_frame(&mut receive).await).unwrap(), Greeting::Welcome(_)));
    for _ in 0..3 {
        let Response { id, answer } = codec::decode(&read_frame(&mut receive).await).unwrap();
        let code = answer.unwrap_err().code;
        assert!(matches!(code, Code::TooLarge | Code::InvalidRequest), "{id}: {code}");
    }
    let lie = RequestHead { id: 9, ask: Ask::Batch { namespaces: 1, operations: 5 } };
    let mut bytes = Vec::new();
    frame::append(&lie, &mut bytes);
    send.write_all(&bytes).await.unwrap();
    assert_eq!(caller.hung_up().await.0, u64::from(close::PROTOCOL), "five operations were announced, none came");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn another_protocol_name_or_authority_gets_no_connection() {
    let mut bed = node().await;
    let certs = bed.cluster.folder().certs_dir();
    for protocol in [b"h3".as_slice(), b"snowtide-client/2", b"snowtide-peer/9"] {
        assert!(call(bed.quic(EAST), NAME, &certs, None, protocol).await.is_err(), "{protocol:?}");
    }
    let (other, address) = (tempfile::tempdir().unwrap(), bed.quic(EAST).to_string());
    certificates(&Folders::within(other.path()), &Holder::all(bed.cluster.map()), false).unwrap();
    let config = snowtide_client::Config::new(address).ca_pem_file(other.path().join("ca.pem")).unwrap();
    let error = Connection::open(config).await.err().unwrap();
    assert!(matches!(error, ConnectError::Certificate { .. }), "{error}");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn a_peer_without_or_with_a_foreign_certificate_gets_no_link() {
    let mut bed = Bed::start(|options| options).await;
    let certs = bed.cluster.folder().certs_dir();
    let nobody = call(bed.quic(EAST), NAME, &certs, None, b"snowtide-peer/1").await.unwrap();
    assert_eq!(nobody.hung_up().await.0, 2);
    bed.logged(EAST, &["WARN", "it showed no certificate"]).await;

    // A foreign identity under the right authority's name: the handshake ends before anything is read.
    let foreign = tempfile::tempdir().unwrap();
    certificates(&Folders::within(foreign.path()), &Holder::all(bed.cluster.map()), false).unwrap();
    std::fs::copy(certs.join("ca.pem"), foreign.path().join("ca.pem")).unwrap();
    match call(bed.quic(EAST), NAME, foreign.path(), Some("eu-west-0"), b"snowtide-peer/1").await {
        // The acceptor judges a client's certificate after the client's own handshake is over.
        Ok(caller) => assert!(!matches!(caller.connection.closed().await, quinn::ConnectionError::LocallyClosed)),
        Err(error) => assert!(matches!(error, quinn::ConnectionError::ConnectionClosed(_)), "{error}"),
    }
    bed.serves(EAST).await;
    bed.serves(WEST).await;
}

#[tokio::test]
async fn requests_over_a_limit_are_refused_here_or_there() {
    let mut bed = node().await;
    let client = bed.client(EAST).await;
    let mut batch = Batch::new();
    let keys = "k".repeat(512);
    for _ in 0..1_000 {
        batch.increment(NAMESPACE, &keys, 1).unwrap();
    }
    let error = client.batch(&batch).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(InvalidArgument::FrameLength { .. })), "{error}");
    assert!(client.increment(NAMESPACE, &"k".repeat(513), 1).await.is_err());
    let error = client.increment("elsewhere", "k", 1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: Code::UnknownNamespace, .. }), "{error}");
    client.add(NAMESPACE, "full", i64::MAX).await.unwrap();
    client.add(NAMESPACE, "full", i64::MAX).await.unwrap();
    let error = client.add(NAMESPACE, "full", 2).await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: Code::CounterOverflow, .. }), "{error}");
    assert_eq!(client.get(NAMESPACE, "full").await.unwrap(), 2 * i128::from(i64::MAX), "it is unchanged");
    bed.serves(EAST).await;
}
