//! Reading the journal: chains of records, hashes, and who has a log in it.

use crate::crdt::LogHash;
use crate::identity::{NamespaceId, ReplicaId};
use crate::replica::Record;

use super::error::{Malformed, StoreError};
use super::format::{JournalKey, ORIGIN_BYTES, decode_origin_prefix, origin_prefix, successor, unseal_record};
use super::medium::{Cursor, Family, Medium};

/// Records that chain from where they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalSlice {
    /// Oldest first; the first may begin before what was asked for, but never after it. Empty if there is nothing newer,
    /// or if the chain does not reach back.
    pub records: Vec<Record>,
    /// The earliest `after` from which records do chain, if they do not from the one that was asked for.
    pub whole_from: Option<u64>,
}

/// The records of one origin in one namespace, oldest first.
pub(super) struct Log<'a> {
    cursor: Box<dyn Cursor + 'a>,
    prefix: [u8; ORIGIN_BYTES],
}

impl<'a> Log<'a> {
    /// Begins with the first record that ends above `after`; `None` if no number is above it.
    pub(super) fn beyond(
        medium: &'a dyn Medium,
        namespace: NamespaceId,
        origin: ReplicaId,
        after: u64,
    ) -> Result<Option<Self>, StoreError> {
        let Some(upto) = after.checked_add(1) else { return Ok(None) };
        let mut cursor = medium.cursor(Family::Journal)?;
        cursor.seek(&JournalKey { namespace, origin, upto }.encode());
        Ok(Some(Self { cursor, prefix: origin_prefix(namespace, origin) }))
    }

    /// The next record; `None` at the end of this log.
    pub(super) fn next(&mut self) -> Result<Option<Record>, StoreError> {
        let record = match self.cursor.item()? {
            Some((key, value)) if key.starts_with(&self.prefix) => read_record(key, value)?,
            _ => return Ok(None),
        };
        self.cursor.advance();
        Ok(Some(record))
    }
}

/// Records that chain from `after`, up to the first with which `bytes_max` is reached.
pub(super) fn slice(
    medium: &dyn Medium,
    (namespace, origin): (NamespaceId, ReplicaId),
    after: u64,
    bytes_max: usize,
) -> Result<JournalSlice, StoreError> {
    let mut slice = JournalSlice::default();
    let Some(mut log) = Log::beyond(medium, namespace, origin, after)? else { return Ok(slice) };
    let (mut reached, mut bytes) = (after, 0usize);
    while let Some(record) = log.next()? {
        if record.after > reached {
            // A hole. What was found before it is of use; without anything, say where the next chain begins.
            slice.whole_from = slice.records.is_empty().then_some(record.after);
            break;
        }
        reached = record.upto;
        bytes = bytes.saturating_add(record.weight());
        slice.records.push(record);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(slice)
}

/// The running hash at `seq`, if a record ends exactly there.
pub(super) fn hash_at(medium: &dyn Medium, key: JournalKey) -> Result<Option<LogHash>, StoreError> {
    let encoded = key.encode();
    let value = medium.get(Family::Journal, &encoded)?;
    value.map(|value| read_record(&encoded, &value).map(|record| record.hash)).transpose()
}

/// Every origin that has a log in `namespace`.
pub(super) fn origins(medium: &dyn Medium, namespace: NamespaceId) -> Result<Vec<ReplicaId>, StoreError> {
    let prefixes = distinct::<ORIGIN_BYTES>(medium, Family::Journal, &namespace.0.to_be_bytes())?;
    Ok(prefixes.into_iter().map(|prefix| decode_origin_prefix(prefix).1).collect())
}

/// The distinct first `N` bytes of all keys of a family that begin with `within`, by one seek for each: what is between is
/// skipped, however many.
pub(super) fn distinct<const N: usize>(
    medium: &dyn Medium,
    family: Family,
    within: &[u8],
) -> Result<Vec<[u8; N]>, StoreError> {
    let mut cursor = medium.cursor(family)?;
    let (mut found, mut from) = (Vec::new(), within.to_vec());
    loop {
        cursor.seek(&from);
        let Some((key, _)) = cursor.item()? else { return Ok(found) };
        if !key.starts_with(within) {
            return Ok(found);
        }
        if family == Family::Journal {
            decode_key(key)?;
        }
        let prefix = key.first_chunk::<N>().ok_or_else(|| {
            let reason = Malformed::impossible(format!("it has more than {N} bytes, this one {}", key.len()));
            StoreError::malformed(format!("a {} key", family.name()), reason)
        })?;
        found.push(*prefix);
        match successor(prefix) {
            Some(next) => from = next,
            None => return Ok(found),
        }
    }
}

fn read_record(key: &[u8], value: &[u8]) -> Result<Record, StoreError> {
    let key = decode_key(key)?;
    unseal_record(key, value).map_err(|reason| StoreError::malformed(describe(key), reason))
}

fn decode_key(key: &[u8]) -> Result<JournalKey, StoreError> {
    JournalKey::decode(key).map_err(|reason| StoreError::malformed("a journal key", reason))
}

/// How messages name a record.
pub(super) fn describe(JournalKey { namespace, origin, upto }: JournalKey) -> String {
    format!("journal record {upto} of replica {origin} in namespace {namespace:?}")
}
