//! A message of most kinds, for a fuzzer to begin with.

use crate::crdt::{LogHash, Mark, Slot, VersionVector};
use crate::identity::{Boot, NamespaceId, ReplicaId};
use crate::merkle::Sum;

use super::{Change, Digest, Message, Payload, Record, RepairStep};

pub(crate) fn samples() -> Vec<Message> {
    let (namespace, origin) = (NamespaceId(7), ReplicaId(9));
    let vector: VersionVector = [(origin, Mark { seq: 5, hash: LogHash(6) })].into_iter().collect();
    let payload = Payload::encode(&[Change { key: "visits", slot: Slot::of(3, 1) }]);
    let record = Record { namespace, origin, after: 4, upto: 5, hash: LogHash(6), payload };
    let digest = Digest { replica: Some(origin), vectors: vec![(namespace, vector.clone())], ..Digest::default() };
    vec![
        Message::Delta(record),
        Message::Digest(digest),
        Message::Ack(vec![(namespace, vector)]),
        Message::Request { namespace, origin, after: 4 },
        Message::ProofRequest { replica: origin, boot: Boot { counter: 3, nonce: 4 } },
        Message::Repair { namespace, session: 1, step: RepairStep::Compare { root: Sum(5) } },
        Message::Leaving,
    ]
}
