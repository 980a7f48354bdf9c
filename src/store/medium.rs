//! What the store's logic stands on: ordered families of keys and values, and batches that are written whole.
//!
//! RocksDB is the one that ships; the simulator has another, which forgets at a crash what was not synced. Everything
//! above this line, journal, checkpoints and recovery, is the same code over both.

use super::error::{Malformed, StoreError};
use super::headroom::Look;

/// The families of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Whose directory this is, and how far it got.
    Meta,
    /// Records of commits.
    Journal,
    /// Rows as of the last checkpoint, and what they add up to.
    Rows,
    /// Records of the local kind: what repair brought since the last checkpoint.
    Repair,
    /// Requests that may be repeated, with their answers.
    Dedupe,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [Self::Meta, Self::Journal, Self::Rows, Self::Repair, Self::Dedupe];

    /// Its name on disk and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Journal => "journal",
            Self::Rows => "rows",
            Self::Repair => "repair",
            Self::Dedupe => "dedupe",
        }
    }
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key's value.
    Put(Family, Vec<u8>, Vec<u8>),
    /// Removes a key, if it is there.
    Delete(Family, Vec<u8>),
    /// Removes all keys from the first up to, but without, the second.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Changes that are written together or not at all; a later one wins over an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(pub Vec<Write>);

impl Batch {
    /// Sets a key's value.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.0.push(Write::Put(family, key.into(), value));
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.0.push(Write::Delete(family, key.into()));
    }

    /// Removes all keys from `from` up to, but without, `to`.
    pub fn delete_range(&mut self, family: Family, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.0.push(Write::DeleteRange(family, from.into(), to.into()));
    }
}

/// A key and its value.
pub type Item<'a> = (&'a [u8], &'a [u8]);
/// The same, to be written.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Where batches go. The first failed write or sync is final: from then on every call answers
/// [`StoreError::Poisoned`] with that first cause (I9).
pub trait Medium: Send + Sync {
    /// One value.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// One value per key, in order.
    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The same without waiting for the disk; `None` if a value, or that there is none, is not known in memory.
    fn get_many_at_hand(&self, family: Family, keys: &[Vec<u8>]) -> Result<Option<Vec<Option<Vec<u8>>>>, StoreError> {
        self.get_many(family, keys).map(Some)
    }

    /// A cursor that stands nowhere yet. It need not see what is written after this call.
    fn cursor(&self, family: Family) -> Result<Box<dyn Cursor + '_>, StoreError>;

    /// Returns once the batch, and with it everything written before it, is on the disk. There is no write without a
    /// sync: what stands behind a batch proves that the batch was whole once.
    fn write_synced(&self, batch: Batch) -> Result<(), StoreError>;

    /// Adds entries to the table of rows that is under way, or begins one: all of a table's entries ascend. Nobody sees any of
    /// them before [`Self::end_table`], and a crash forgets them.
    fn add_to_table(&self, entries: Vec<Entry>) -> Result<(), StoreError>;

    /// Returns once the table is on the disk: whole, at once, and in place of what was there under its keys.
    fn end_table(&self) -> Result<(), StoreError>;

    /// Brings what is written into the form that is opened fastest. Nothing depends on it.
    fn tidy(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether everything written so far is still trusted; cheap enough to ask before every write.
    fn health(&self) -> Result<(), StoreError>;

    /// Bytes that a family takes, as far as that is known.
    fn size_bytes(&self, family: Family) -> u64;

    /// How much room there is, and may be needed; none free if it cannot be told, which refuses writes rather than risk
    /// a full disk.
    fn look(&self) -> Look;

    /// Whether compactions may begin. One that runs goes on.
    fn allow_compactions(&self, allowed: bool) {
        let _ = allowed;
    }

    /// How often a write-ahead log was synced, by the medium's own count.
    #[cfg(test)]
    fn syncs(&self) -> u64;
}

/// Walks over a family in the order of its keys.
pub trait Cursor {
    /// Stands at the first key at or above `key`, if there is one.
    fn seek(&mut self, key: &[u8]);

    /// Stands at the key after this one.
    fn advance(&mut self);

    /// The entry here; `None` at the end.
    fn item(&self) -> Result<Option<Item<'_>>, StoreError>;
}

/// Visits every entry of a family whose key begins with `prefix`, in the order of the keys.
pub(super) fn each(
    medium: &dyn Medium,
    family: Family,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut cursor = medium.cursor(family)?;
    cursor.seek(prefix);
    while let Some((key, value)) = cursor.item()?.filter(|(key, _)| key.starts_with(prefix)) {
        visit(key, value)?;
        cursor.advance();
    }
    Ok(())
}

/// What those entries hold; `what` each is, for messages.
pub(super) fn decoded<T>(
    medium: &dyn Medium,
    family: Family,
    prefix: &[u8],
    what: &str,
    decode: impl Fn(&[u8], &[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    each(medium, family, prefix, |key, value| {
        found.push(decode(key, value).map_err(|reason| StoreError::malformed(what, reason))?);
        Ok(())
    })?;
    Ok(found)
}
