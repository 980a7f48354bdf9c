//! Keys and values as they stand on disk.
//!
//! Every value begins with one byte, the format in which it was written; [`crate::codec`] writes the rest. An older
//! program refuses a newer format with both numbers. Checksums are RocksDB's: it verifies those of its write-ahead log
//! and blocks whenever it reads them. Numbers in keys are big-endian, so that the order of keys is that of commits.
//!
//! Bytes come back with a typed verdict, never a panic (I8).

use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;
use snowtide_protocol::Key;

use crate::codec;
use crate::crdt::{LogHash, Mark};
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::{Leaf, Place};
use crate::replica::{Payload, Record, Repaired, RepairedRow};

use super::error::Malformed;

/// The format that this program writes, and the only one that it reads.
pub(super) const FORMAT: u8 = 3;
/// A namespace's journal records begin with this many bytes.
pub(super) const NAMESPACE_BYTES: usize = 4;
/// One origin's journal records in a namespace begin with this many bytes.
pub(super) const ORIGIN_BYTES: usize = NAMESPACE_BYTES + 8;
/// Most values take no more.
const VALUE_BYTES: usize = 64;
/// What the keys of one kind in the family of rows begin with in a namespace.
const KIND_BYTES: usize = NAMESPACE_BYTES + 1;
const PLACE_BYTES: usize = KIND_BYTES + 8;
const JOURNAL_KEY_BYTES: usize = ORIGIN_BYTES + 8;
const REPAIRED_KEY_BYTES: usize = NAMESPACE_BYTES + 8;

/// A record's place in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalKey {
    pub(super) namespace: NamespaceId,
    pub(super) origin: ReplicaId,
    pub(super) upto: u64,
}

/// The rest of a journal record. The field order is the format.
#[derive(Encode, BorrowDecode)]
struct JournalValue<'a> {
    after: u64,
    hash: LogHash,
    payload: &'a [u8],
}

impl JournalKey {
    /// How long a key is.
    pub(super) const BYTES: usize = JOURNAL_KEY_BYTES;

    pub(super) fn of(record: &Record) -> Self {
        Self { namespace: record.namespace, origin: record.origin, upto: record.upto }
    }

    pub(super) fn encode(self) -> [u8; JOURNAL_KEY_BYTES] {
        concat(&origin_prefix(self.namespace, self.origin), self.upto.to_be_bytes())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let fields = || {
            let (prefix, seq) = bytes.split_first_chunk::<ORIGIN_BYTES>()?;
            let (namespace, origin) = decode_origin_prefix(*prefix);
            Some(Self { namespace, origin, upto: u64::from_be_bytes(seq.try_into().ok()?) })
        };
        fields().ok_or_else(|| Malformed::impossible(format!("a journal key has 20 bytes, this one {}", bytes.len())))
    }
}

/// What all journal keys of one origin in one namespace begin with.
pub(super) fn origin_prefix(namespace: NamespaceId, origin: ReplicaId) -> [u8; ORIGIN_BYTES] {
    concat(&namespace.0.to_be_bytes(), origin.0.to_be_bytes())
}

/// The inverse of [`origin_prefix`].
pub(super) fn decode_origin_prefix(bytes: [u8; ORIGIN_BYTES]) -> (NamespaceId, ReplicaId) {
    let [a, b, c, d, origin @ ..] = bytes;
    (NamespaceId(u32::from_be_bytes([a, b, c, d])), ReplicaId(u64::from_be_bytes(origin)))
}

/// What a key begins with, and a number behind it, big-endian.
fn concat<const N: usize>(before: &[u8], number: [u8; 8]) -> [u8; N] {
    let mut bytes = [0; N];
    let (first, second) = bytes.split_at_mut(before.len());
    first.copy_from_slice(before);
    second.copy_from_slice(&number);
    bytes
}

/// The smallest key above all that begin with `prefix`; `None` if there is none.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bytes = prefix.get(..=last)?.to_vec();
    let byte = bytes.last_mut()?;
    *byte = byte.saturating_add(1);
    Some(bytes)
}

/// What the family of rows holds of a namespace, in this order. Sums and counts stand beside the rows that they tell of,
/// because they are written together or not at all; and behind them, because they are known once the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A counter, by its place in the tree, so that the rows of a leaf stand together.
    Row,
    /// What the rows of a leaf add up to.
    Leaf,
    /// How many rows there are.
    Census,
}

/// The key of an entry in the family of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowsKey {
    /// A counter.
    Row(Place, Key),
    /// A leaf.
    Leaf(Leaf),
    /// The census.
    Census,
}

/// What the keys of a kind begin with.
pub(super) fn kind_prefix(namespace: NamespaceId, kind: Kind) -> [u8; KIND_BYTES] {
    let [a, b, c, d] = namespace.0.to_be_bytes();
    [a, b, c, d, kind as u8]
}

/// A counter's key.
pub(super) fn row_key(namespace: NamespaceId, place: Place, key: &Key) -> Vec<u8> {
    [place_key(namespace, place).as_slice(), key.as_bytes()].concat()
}

/// What the keys of all rows at a place begin with.
pub(super) fn place_key(namespace: NamespaceId, place: Place) -> [u8; PLACE_BYTES] {
    concat(&kind_prefix(namespace, Kind::Row), place.0.to_be_bytes())
}

/// A leaf's key.
pub(super) fn leaf_key(namespace: NamespaceId, leaf: Leaf) -> Vec<u8> {
    [kind_prefix(namespace, Kind::Leaf).as_slice(), &leaf.0.to_be_bytes()].concat()
}

/// The key of the census.
pub(super) fn census_key(namespace: NamespaceId) -> [u8; KIND_BYTES] {
    kind_prefix(namespace, Kind::Census)
}

/// The inverse of [`row_key`], [`leaf_key`] and [`census_key`].
pub(super) fn decode_rows_key(bytes: &[u8]) -> Result<(NamespaceId, RowsKey), Malformed> {
    let fields = || {
        let ([a, b, c, d, kind], rest) = bytes.split_first_chunk::<KIND_BYTES>()?;
        let key = match *kind {
            kind if kind == Kind::Row as u8 => {
                let (place, key) = rest.split_first_chunk()?;
                RowsKey::Row(Place(u64::from_be_bytes(*place)), Key::new(std::str::from_utf8(key).ok()?).ok()?)
            }
            kind if kind == Kind::Leaf as u8 => RowsKey::Leaf(Leaf(u16::from_be_bytes(rest.try_into().ok()?))),
            kind if kind == Kind::Census as u8 && rest.is_empty() => RowsKey::Census,
            _ => return None,
        };
        Some((NamespaceId(u32::from_be_bytes([*a, *b, *c, *d])), key))
    };
    fields().ok_or_else(|| Malformed::impossible("it is the key of no counter, leaf or census"))
}

/// The key of a record of the local kind: by namespace first, because each namespace's checkpoints remove its own alone.
pub(super) fn repaired_key(namespace: NamespaceId, number: u64) -> [u8; REPAIRED_KEY_BYTES] {
    concat(&namespace.0.to_be_bytes(), number.to_be_bytes())
}

/// The rest of it. The field order is the format.
#[derive(Encode, Decode)]
struct RepairedValue {
    rows: Vec<RepairedRow>,
    reach: Vec<(ReplicaId, u64)>,
    adopted: Vec<(ReplicaId, Mark)>,
}

/// A record of the local kind; its key holds the rest.
pub(super) fn seal_repaired(record: &Repaired) -> Vec<u8> {
    let Repaired { namespace: _, number: _, rows, reach, adopted } = record.clone();
    seal(&RepairedValue { rows, reach, adopted })
}

/// The inverse of [`repaired_key`] and [`seal_repaired`].
pub(super) fn unseal_repaired(key: &[u8], bytes: &[u8]) -> Result<Repaired, Malformed> {
    let [a, b, c, d, number @ ..] = *<&[u8; REPAIRED_KEY_BYTES]>::try_from(key).map_err(|_| {
        Malformed::impossible(format!("its key has {REPAIRED_KEY_BYTES} bytes, this one {}", key.len()))
    })?;
    let (namespace, number) = (NamespaceId(u32::from_be_bytes([a, b, c, d])), u64::from_be_bytes(number));
    let RepairedValue { rows, reach, adopted } = unseal(bytes)?;
    Ok(Repaired { namespace, number, rows, reach, adopted })
}

/// A value in its envelope.
pub(super) fn seal<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    bytes.push(FORMAT);
    codec::encode_into(value, &mut bytes);
    bytes
}

/// A value out of its envelope.
pub(super) fn unseal<T: Decode<()>>(bytes: &[u8]) -> Result<T, Malformed> {
    Ok(codec::decode(open_envelope(bytes)?)?)
}

/// The content of a value, if it is in our format.
pub(super) fn open_envelope(bytes: &[u8]) -> Result<&[u8], Malformed> {
    match bytes.split_first() {
        None => Err(Malformed::Empty),
        Some((0, _)) => Err(Malformed::NoSuchFormat(0)),
        Some((&found, _)) if found < FORMAT => Err(Malformed::Older { found, known: FORMAT }),
        Some((&found, _)) if found > FORMAT => Err(Malformed::Newer { found, known: FORMAT }),
        Some((_, content)) => Ok(content),
    }
}

/// A journal record's value; its key holds the rest.
pub(super) fn seal_record(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(record.weight());
    bytes.push(FORMAT);
    let value = JournalValue { after: record.after, hash: record.hash, payload: &record.payload.0 };
    codec::encode_into(&value, &mut bytes);
    bytes
}

/// The inverse of [`JournalKey::of`] and [`seal_record`].
pub(super) fn unseal_record(key: JournalKey, bytes: &[u8]) -> Result<Record, Malformed> {
    let JournalValue { after, hash, payload } = codec::decode_borrowed(open_envelope(bytes)?)?;
    let JournalKey { namespace, origin, upto } = key;
    if after >= upto {
        return Err(Malformed::impossible(format!("it covers nothing, from {after} to {upto}")));
    }
    Ok(Record { namespace, origin, after, upto, hash, payload: Payload(Bytes::copy_from_slice(payload)) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crdt::{Row, Slot};

    fn rows() -> impl Strategy<Value = Row> {
        prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..20).prop_map(|slots| {
            slots.into_iter().map(|(id, added, subtracted)| (ReplicaId(id), Slot::of(added, subtracted))).collect()
        })
    }

    fn records() -> impl Strategy<Value = Record> {
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        (any::<u32>(), any::<u64>(), 1..=u64::MAX, any::<u64>(), any::<u128>(), payload).prop_map(
            |(namespace, origin, upto, after, hash, payload)| Record {
                namespace: NamespaceId(namespace),
                origin: ReplicaId(origin),
                after: after % upto,
                upto,
                hash: LogHash(hash),
                payload: Payload(payload.into()),
            },
        )
    }

    proptest! {
        #[test]
        fn a_row_comes_back_as_it_was(row in rows()) {
            prop_assert_eq!(unseal::<Row>(&seal(&row)).unwrap(), row);
        }

        #[test]
        fn a_record_comes_back_as_it_was(record in records()) {
            let key = JournalKey::decode(&JournalKey::of(&record).encode()).unwrap();
            prop_assert_eq!(unseal_record(key, &seal_record(&record)).unwrap(), record);
        }

        #[test]
        fn what_the_family_of_rows_holds_sorts_by_namespace_kind_and_place(
            spaces in any::<(u32, u32)>(), places in any::<(u64, u64)>(), leaf in any::<u16>(), text in "[a-z]{1,30}",
        ) {
            let (space, other) = (NamespaceId(spaces.0.min(spaces.1)), NamespaceId(spaces.0.max(spaces.1)));
            let key = Key::new(&text).unwrap();
            let row = |place| row_key(space, Place(place), &key);
            let (leaf_bytes, census) = (leaf_key(space, Leaf(leaf)), census_key(space).to_vec());
            prop_assert_eq!(places.0.cmp(&places.1), row(places.0).cmp(&row(places.1)));
            prop_assert!(row(u64::MAX) < leaf_bytes && leaf_bytes < census);
            prop_assert!(space == other || census < row_key(other, Place(0), &key));
            prop_assert_eq!(decode_rows_key(&row(places.0)).unwrap(), (space, RowsKey::Row(Place(places.0), key.clone())));
            prop_assert_eq!(decode_rows_key(&leaf_bytes).unwrap(), (space, RowsKey::Leaf(Leaf(leaf))));
            prop_assert_eq!(decode_rows_key(&census).unwrap(), (space, RowsKey::Census));
        }

        #[test]
        fn keys_sort_as_their_fields_do(a in records(), b in records()) {
            let fields = |record: &Record| (record.namespace, record.origin, record.upto);
            let bytes = |record: &Record| JournalKey::of(record).encode();
            prop_assert_eq!(fields(&a).cmp(&fields(&b)), bytes(&a).cmp(&bytes(&b)));
        }

        #[test]
        fn a_successor_follows_everything_with_the_prefix(
            prefix in prop::collection::vec(prop_oneof![Just(255u8), any::<u8>()], 0..6),
            rest in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let whole = [prefix.as_slice(), &rest].concat();
            match successor(&prefix) {
                Some(next) => prop_assert!(next > whole && next > prefix),
                None => prop_assert!(prefix.iter().all(|byte| *byte == 255)),
            }
        }

        #[test]
        fn arbitrary_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0u8..=FORMAT + 1) {
            let sealed = [&[first], bytes.as_slice()].concat();
            let key = JournalKey { namespace: NamespaceId(1), origin: ReplicaId(2), upto: 3 };
            for bytes in [&bytes, &sealed] {
                let _ = JournalKey::decode(bytes);
                let _ = decode_rows_key(bytes);
                let _ = unseal::<Row>(bytes);
                let _ = unseal_record(key, bytes);
                let _ = unseal::<crate::crdt::VersionVector>(bytes);
            }
        }

        #[test]
        fn a_cut_or_lengthened_value_is_refused(record in records(), cut in any::<prop::sample::Index>()) {
            let key = JournalKey::of(&record);
            let mut bytes = seal_record(&record);
            prop_assert!(unseal_record(key, &bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(unseal_record(key, &bytes).is_err());
        }
    }

    #[test]
    fn a_newer_value_is_refused_with_both_versions() {
        let mut bytes = seal(&Row::default());
        bytes[0] = 9;
        let known = FORMAT;
        assert_eq!(
            unseal::<Row>(&bytes).unwrap_err().to_string(),
            format!("it is in format 9, and this program knows formats up to {known}; use a newer program")
        );
        bytes[0] = FORMAT - 1;
        assert!(matches!(unseal::<Row>(&bytes), Err(Malformed::Older { .. })));
    }
}
