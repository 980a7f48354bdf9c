//! The door for peers: one with a valid certificate that has gone mad, and datagrams of no protocol at all.

use std::net::UdpSocket;

use crate::harness::quic::{Caller, call};
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, REGIONS, ensure, eventually};

const PEER: &[u8] = b"snowtide-peer/1";
/// Told to a caller that broke the protocol.
const MALFORMED: u64 = 3;

/// A sequence without a meaning, the same in every run.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(seed), next).skip(1).take(length).map(|state| (state >> 33) as u8).collect()
}

async fn rogue(bed: &Bed) -> Caller {
    let certs = bed.cluster.folder().certs_dir();
    call(bed.quic(EAST), "node-0.us-east.snowtide", &certs, Some("eu-west-0"), PEER).await.unwrap()
}

#[tokio::test]
async fn a_peer_that_sends_garbage_or_claims_a_huge_frame_is_hung_up_on() {
    let mut bed = Bed::start(|options| options).await;
    let framed = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    let greetings = [u32::MAX.to_le_bytes().to_vec(), framed(&noise(500, 1)), framed(b""), framed(&[0xff; 64])];
    for greeting in greetings {
        let caller = rogue(&bed).await;
        let (mut send, _receive) = caller.connection.open_bi().await.unwrap();
        let _ = send.write_all(&greeting).await;
        let (code, words) = caller.hung_up().await;
        assert_eq!(code, MALFORMED, "{words}");
    }
    bed.logged(EAST, &["WARN", "no greeting that could be understood"]).await;

    // A stream that begins as a message, before any hello, is not read at all; the link of the true peer stays.
    let caller = rogue(&bed).await;
    if let Ok(mut stream) = caller.connection.open_uni().await {
        let _ = stream.write_all(&framed(&noise(1_000, 2))).await;
    }
    let (mut send, _receive) = caller.connection.open_bi().await.unwrap();
    send.write_all(&framed(&noise(10, 3))).await.unwrap();
    assert_eq!(caller.hung_up().await.0, MALFORMED);

    bed.client(EAST).await.increment(NAMESPACE, "sane", 1_000_003).await.unwrap();
    bed.counted(&REGIONS, "sane", 1_000_003).await;
    bed.serves(EAST).await;
}

#[tokio::test]
async fn datagrams_of_no_protocol_are_no_concern() {
    let mut bed = Bed::start(|options| options).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = bed.quic(EAST);
    for seed in 0..3_000_u64 {
        let mut bytes = noise(usize::try_from(seed % 1_400).unwrap() + 1, seed);
        // Half of them look like the beginning of a connection: a long header of version 1.
        if seed % 2 == 0 && bytes.len() > 5 {
            bytes[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        // A full socket buffer drops, as networks do.
        let _ = socket.send_to(&bytes, to);
    }
    bed.client(EAST).await.increment(NAMESPACE, "sane", 1_000_033).await.unwrap();
    bed.counted(&REGIONS, "sane", 1_000_033).await;
    bed.serves(EAST).await;
}

#[tokio::test]
async fn a_crowd_of_rogue_peers_does_not_keep_the_true_ones_out() {
    let mut bed = Bed::start(|options| options).await;
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(rogue(&bed).await);
    }
    eventually(DEADLINE, "some are sent away", async || {
        let gone = crowd.iter().filter(|caller| caller.connection.close_reason().is_some()).count();
        ensure(gone > 0, || "none".to_owned())
    })
    .await;
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    bed.client(EAST).await.increment(NAMESPACE, "sane", 7).await.unwrap();
    bed.counted(&REGIONS, "sane", 7).await;
}
