//! Journal records: the absolute slots that commits changed, as they stand in the journal and travel in deltas.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::codec::{self, DecodeError};
use crate::crdt::{LogHash, Mark, Slot};
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
