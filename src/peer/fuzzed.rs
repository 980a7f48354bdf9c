//! What a fuzzer tries on links: bytes from a peer, whose certificate says nothing about what it sends.

use bincode::{Decode, Encode};
use futures_util::FutureExt;
use rustls::pki_types::CertificateDer;

use crate::codec;
use crate::config::map::ClusterMap;
use crate::identity::{Boot, NamespaceId, ReplicaId};
use crate::replica::fuzzed::samples;
use crate::replica::{Message, coalesce};

use super::hello::{self, Hello, HelloReply, Refusal, Space, VERSIONS};
use super::{compressed, frame};

/// Far below what is configured, so that its edge is met.
const FRAME_BYTES_MAX: usize = 4 << 10;

/// A stream of frames, as it comes or compressed: the first byte says which.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    // Memory is always ready, so no read ever waits.
    if kind % 2 == 0 {
        let mut stream = bytes;
        drain(async |buffer| frame::read::<Message>(&mut stream, FRAME_BYTES_MAX, buffer).await.ok().flatten());
    } else {
        let mut stream = compressed::reader(bytes);
        drain(async |buffer| frame::read::<Message>(&mut stream, FRAME_BYTES_MAX, buffer).await.ok().flatten());
    }
}

fn drain(mut next: impl AsyncFnMut(&mut Vec<u8>) -> Option<Message>) {
    let mut buffer = Vec::new();
    while let Some(Some(message)) = next(&mut buffer).now_or_never() {
        assert!(buffer.len() <= FRAME_BYTES_MAX);
        judge(&message);
    }
}

pub(crate) fn frames_seeds() -> Vec<Vec<u8>> {
    let mut plain = Vec::new();
    for message in samples() {
        // Each is short.
        let _ = frame::append(&message, FRAME_BYTES_MAX, &mut plain);
    }
    let mut packed = compressed::writer(Vec::new());
    let written = async {
        tokio::io::AsyncWriteExt::write_all(&mut packed, &plain).await?;
        tokio::io::AsyncWriteExt::flush(&mut packed).await
    };
    let _ = written.now_or_never();
    vec![[vec![0], plain].concat(), [vec![1], packed.into_inner()].concat()]
}

/// A message, a greeting or the answer to one: the first byte says which.
pub(crate) fn messages(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => {
            if let Some(message) = whole::<Message>(bytes) {
                judge(&message);
            }
        }
        1 => {
            if let Some(theirs) = whole::<Hello>(bytes) {
                let nobody = CertificateDer::from(Vec::new());
                let _ = hello::examine(&greeting(), &theirs, &ClusterMap::default(), &nobody);
            }
        }
        _ => {
            if let Some(HelloReply::Refused(refusal)) = whole::<HelloReply>(bytes) {
                let _ = refusal.to_string();
            }
        }
    }
}

pub(crate) fn messages_seeds() -> Vec<Vec<u8>> {
    let of = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    let messages = samples().into_iter().map(|message| of(0, codec::encode(&message)));
    let refused = HelloReply::Refused(Refusal::Cluster { refuser: "one".into(), refused: "another".into() });
    let greetings = [of(1, codec::encode(&greeting())), of(2, codec::encode(&refused))];
    messages.chain(greetings).chain([of(2, codec::encode(&HelloReply::Welcome(greeting())))]).collect()
}

/// What is read must be what is written for it.
fn whole<T: Encode + Decode<()> + PartialEq>(bytes: &[u8]) -> Option<T> {
    let value: T = codec::decode(bytes).ok()?;
    assert!(codec::decode(&codec::encode(&value)).is_ok_and(|again: T| again == value));
    Some(value)
}

fn judge(message: &Message) {
    if let Message::Delta(record) = message {
        let _ = record.changes();
        let _ = coalesce(record.after, std::slice::from_ref(record));
    }
}

fn greeting() -> Hello {
    let space = Space {
        name: "default".into(),
        id: NamespaceId(7),
        regions: vec!["eu-west".into(), "us-east".into()],
        durability: "fsync".into(),
    };
    Hello {
        cluster: "snowtide-dev".into(),
        versions: VERSIONS,
        layout: "41/5/5/12".into(),
        secret: "0123456789abcdef".into(),
        region: "eu-west".into(),
        worker: ReplicaId(0).worker(),
        replica: Some(ReplicaId(9)),
        boot: Boot { counter: 3, nonce: 4 },
        namespaces: vec![space],
        to: ReplicaId(0).worker(),
    }
}
