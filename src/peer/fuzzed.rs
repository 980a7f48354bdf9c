//! What a fuzzer tries on links: bytes from a peer, whose certificate says nothing about what it sends.

use bincode::{Decode, Encode};
use futures_util::FutureExt;
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncRead;

use crate::codec;
use crate::config::map::ClusterMap;
use crate::crdt::Slot;
use crate::identity::{Boot, NamespaceId, ReplicaId};
use crate::replica::fuzzed::samples;
use crate::replica::{Message, Record, coalesce};

use super::compressed;
use super::deltas::{Receiver, SLOTS_MAX, Sender};
use super::hello::{self, Hello, HelloReply, Refusal, Space, VERSIONS};
use super::messages::{Incoming, Outgoing};

/// Far below what is configured, so that its edge is met.
const FRAME_BYTES_MAX: usize = 4 << 10;

/// A stream of frames, as it comes or compressed: the first byte says which.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    // Memory is always ready, so no read ever waits.
    if kind % 2 == 0 { drain(bytes) } else { drain(compressed::reader(bytes)) }
}

fn drain(mut stream: impl AsyncRead + Unpin) {
    let mut incoming = Incoming::new(FRAME_BYTES_MAX);
    while let Some(Ok(Some(message))) = incoming.next(&mut stream).now_or_never() {
        if !matches!(message, Message::Delta(_)) {
            assert!(codec::encode(&message).len() <= FRAME_BYTES_MAX);
        }
        judge(&message);
    }
}

pub(crate) fn frames_seeds() -> Vec<Vec<u8>> {
    let (mut plain, mut outgoing) = (Vec::new(), Outgoing::new(FRAME_BYTES_MAX));
    // The second time, keys are referred to.
    for message in samples().into_iter().chain(samples()) {
        // Each is short.
        let _ = outgoing.append(&message, &mut plain);
    }
    let mut packed = compressed::writer(Vec::new());
    let written = async {
        tokio::io::AsyncWriteExt::write_all(&mut packed, &plain).await?;
        tokio::io::AsyncWriteExt::flush(&mut packed).await
    };
    let _ = written.now_or_never();
    vec![[vec![0], plain].concat(), [vec![1], packed.into_inner()].concat()]
}

/// Deltas of one link, each behind its length.
pub(crate) fn deltas(bytes: &[u8]) {
    let (mut receiver, mut rest) = (Receiver::new(), bytes);
    let (mut again, mut mirror) = (Sender::new(), Receiver::new());
    while let Some((length, more)) = rest.split_first() {
        let (delta, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let Ok(record) = receiver.decode(delta) else { return };
        assert!(record.changes().is_ok_and(|changes| changes.len() <= 2 * SLOTS_MAX));
        // A sender of ours may say it in other words, or not in this way at all.
        if let Some(said) = again.encode(0, &record) {
            let heard = mirror.decode(&said).map(|heard| slots(&heard));
            assert_eq!(heard.ok(), Some(slots(&record)));
        }
    }
}

/// Its slots in the order of their keys.
fn slots(record: &Record) -> Vec<(String, Slot)> {
    let changes = record.changes().unwrap_or_default();
    let mut slots: Vec<_> = changes.iter().map(|change| (change.key.to_owned(), change.slot)).collect();
    slots.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    slots
}

pub(crate) fn deltas_seeds() -> Vec<Vec<u8>> {
    let mut sender = Sender::new();
    let mut seed = Vec::new();
    for message in samples().into_iter().chain(samples()) {
        let Message::Delta(record) = message else { continue };
        let delta = sender.encode(0, &record).unwrap_or_default();
        seed.extend(u8::try_from(delta.len()));
        seed.extend(delta);
    }
    vec![seed]
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
