//! Journal records: the absolute slots that commits changed, as they stand in the journal and travel in deltas.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::codec::{self, DecodeError};
use crate::crdt::{Kind, LogHash, Mark, Slot};
use crate::identity::{NamespaceId, ReplicaId};

/// The absolute slots of one origin in one namespace that its commits over (`after`, `upto`] changed.
///
/// A record of one commit has `after` = `upto` − 1. A coalesced one keeps both ends and holds the last value of each
/// slot. `Delta` messages carry records as they are.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Where the counters live.
    pub namespace: NamespaceId,
    /// Whose slots these are.
    pub origin: ReplicaId,
    /// Nothing up to here is contained; whoever applies the record must know all of it (I4).
    pub after: u64,
    /// The last seq contained.
    pub upto: u64,
    /// The origin's running hash at `upto`.
    pub hash: LogHash,
    /// The encoded slots; see [`Record::changes`].
    pub payload: Payload,
}

/// Encoded changes: cheap to clone, because one record waits for the disk and for several peers at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(pub Bytes);

/// One changed slot of a record's origin, borrowed from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, bincode::BorrowDecode)]
pub struct Change<'a> {
    /// The counter's key.
    pub key: &'a str,
    /// Its absolute totals.
    pub slot: Slot,
}

impl Record {
    /// The mark that stands once this record is applied.
    pub fn mark(&self) -> Mark {
        Mark { seq: self.upto, hash: self.hash }
    }

    /// Decodes the slots; refuses malformed bytes and trailing ones.
    pub fn changes(&self) -> Result<Vec<Change<'_>>, DecodeError> {
        codec::decode_borrowed(&self.payload.0)
    }

    /// Bytes that this record takes in a frame, or slightly more.
    pub fn weight(&self) -> usize {
        self.payload.0.len() + 64
    }
}

impl Payload {
    /// Encodes `changes`.
    pub fn encode(changes: &[Change<'_>]) -> Self {
        Self(codec::encode(changes).into())
    }
}

/// Folds `records` of one origin that chain from `after` into one; `None` if they do not chain or do not decode.
///
/// Totals only grow, so the last value of a slot in the chain is also its join.
pub fn coalesce(after: u64, records: &[Record]) -> Option<Record> {
    let last = records.last()?;
    let mut reached = after;
    let mut slots: BTreeMap<&str, Slot> = BTreeMap::new();
    for record in records {
        if record.after > reached || record.upto <= reached || record.origin != last.origin {
            return None;
        }
        reached = record.upto;
        for Change { key, slot } in record.changes().ok()? {
            let held = slots.entry(key).or_default();
            *held = held.join(slot);
        }
    }
    if let [only] = records
        && only.after == after
    {
        return Some(only.clone());
    }
    let changes: Vec<Change<'_>> = slots.into_iter().map(|(key, slot)| Change { key, slot }).collect();
    Some(Record { after, payload: Payload::encode(&changes), ..last.clone() })
}

impl Encode for Payload {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        self.0.as_ref().encode(encoder)
    }
}

impl<C> Decode<C> for Payload {
    fn decode<D: bincode::de::Decoder<Context = C>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        Ok(Self(Vec::<u8>::decode(decoder)?.into()))
    }
}

impl<'de, C> bincode::BorrowDecode<'de, C> for Payload {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: ReplicaId = ReplicaId(9);

    fn record(after: u64, upto: u64, changes: &[(&str, u64)]) -> Record {
        let changes: Vec<Change<'_>> =
            changes.iter().map(|(key, added)| Change { key, slot: Slot::of(*added, 0) }).collect();
        let (namespace, hash) = (NamespaceId(1), LogHash(u128::from(upto)));
        Record { namespace, origin: ORIGIN, after, upto, hash, payload: Payload::encode(&changes) }
    }

    fn added(record: &Record) -> Vec<(String, u64)> {
        record.changes().unwrap().iter().map(|change| (change.key.to_owned(), change.slot.totals().0)).collect()
    }

    #[test]
    fn a_chain_folds_to_the_last_value_of_each_slot_and_keeps_both_ends() {
        let chain = [record(4, 5, &[("a", 1), ("b", 1)]), record(5, 6, &[("a", 3)]), record(6, 9, &[("c", 2)])];
        let folded = coalesce(4, &chain).unwrap();
        assert_eq!((folded.after, folded.upto, folded.hash), (4, 9, LogHash(9)));
        assert_eq!(added(&folded), [("a".into(), 3), ("b".into(), 1), ("c".into(), 2)]);
    }

    #[test]
    fn a_gap_or_somebody_elses_record_does_not_fold() {
        assert_eq!(coalesce(4, &[record(5, 6, &[])]), None, "it begins too late");
        assert_eq!(coalesce(4, &[record(4, 5, &[]), record(6, 7, &[])]), None, "one is missing");
        assert_eq!(coalesce(4, &[record(3, 4, &[])]), None, "nothing new");
        let foreign = Record { origin: ReplicaId(8), ..record(5, 6, &[]) };
        assert_eq!(coalesce(4, &[foreign, record(6, 7, &[])]), None);
        assert_eq!(coalesce(4, &[]), None);
    }

    #[test]
    fn records_that_overlap_still_chain() {
        let folded = coalesce(4, &[record(2, 6, &[("a", 1)]), record(5, 8, &[("a", 2)])]).unwrap();
        assert_eq!((folded.after, folded.upto), (4, 8));
        assert_eq!(added(&folded), [("a".into(), 2)]);
    }

    proptest! {
        #[test]
        fn a_record_survives_the_wire(changes in vec(("[a-z]{1,9}", any::<u64>()), 0..20), upto in 1..u64::MAX) {
            let changes: Vec<(&str, u64)> = changes.iter().map(|(key, added)| (key.as_str(), *added)).collect();
            let sent = record(upto - 1, upto, &changes);
            let received: Record = codec::decode(&codec::encode(&sent)).unwrap();
            prop_assert_eq!(added(&received), added(&sent));
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn no_payload_makes_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let garbage = Record { payload: Payload(bytes.into()), ..record(0, 1, &[]) };
            let _ = garbage.changes();
            let _ = coalesce(0, &[garbage]);
        }
    }
}
