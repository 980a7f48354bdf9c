//! Reading whole rows, and the sums of the leaves that they stand in.

use snowtide_protocol::Key;

use crate::crdt::Row;
use crate::identity::NamespaceId;
use crate::merkle::{Hasher, Leaf, Place, Sum};
use crate::replica::{Census, LoadLeaves};

use super::error::{Malformed, StoreError};
use super::format::{Kind, RowsKey, census_key, decode_rows_key, kind_prefix, place_key, row_key, unseal};
use super::medium::{Family, Medium, decoded};

/// Each key's row as of the last checkpoint, in the order of `keys`; empty if there is none.
pub(super) fn load(
    medium: &dyn Medium,
    hasher: &Hasher,
    namespace: NamespaceId,
    keys: &[Key],
) -> Result<Vec<Row>, StoreError> {
    let rows = load_by(|encoded| medium.get_many(Family::Rows, encoded).map(Some), hasher, namespace, keys)?;
    Ok(rows.unwrap_or_default())
}

/// The same without waiting for the disk; `None` if that does not do.
pub(super) fn load_at_hand(
    medium: &dyn Medium,
    hasher: &Hasher,
    namespace: NamespaceId,
    keys: &[Key],
) -> Result<Option<Vec<Row>>, StoreError> {
    load_by(|encoded| medium.get_many_at_hand(Family::Rows, encoded), hasher, namespace, keys)
}

fn load_by(
    get_many: impl FnOnce(&[Vec<u8>]) -> Result<Option<Vec<Option<Vec<u8>>>>, StoreError>,
    hasher: &Hasher,
    namespace: NamespaceId,
    keys: &[Key],
) -> Result<Option<Vec<Row>>, StoreError> {
    // Asked for in the order of the disk, where neighbours share blocks.
    let encoded = keys.iter().map(|key| row_key(namespace, hasher.place(key), key));
    let mut wanted: Vec<(Vec<u8>, usize)> = encoded.zip(0..).collect();
    wanted.sort_unstable();
    let (encoded, places): (Vec<Vec<u8>>, Vec<usize>) = wanted.into_iter().unzip();
    let Some(values) = get_many(&encoded)? else { return Ok(None) };
    let mut rows = vec![Row::default(); keys.len()];
    for (at, value) in places.into_iter().zip(values) {
        if let (Some(row), Some(key), Some(value)) = (rows.get_mut(at), keys.get(at), value) {
            *row = decode(namespace, key, &value)?;
        }
    }
    Ok(Some(rows))
}

/// All leaves of a namespace that ever held something.
pub(super) fn leaves(medium: &dyn Medium, namespace: NamespaceId) -> Result<Vec<(Leaf, Sum)>, StoreError> {
    let what = format!("a leaf of namespace {namespace:?}");
    decoded(medium, Family::Rows, &kind_prefix(namespace, Kind::Leaf), &what, |key, value| {
        match decode_rows_key(key)? {
            (_, RowsKey::Leaf(leaf)) => Ok((leaf, unseal(value)?)),
            _ => Err(Malformed::impossible("it is no leaf")),
        }
    })
}

/// How many rows there are, as it was written with them; `None` if that never was.
pub(super) fn census(medium: &dyn Medium, namespace: NamespaceId) -> Result<Option<Census>, StoreError> {
    let found = medium.get(Family::Rows, &census_key(namespace))?;
    let decode = |value: Vec<u8>| {
        let what = format!("the census of namespace {namespace:?}");
        unseal(&value).map_err(|reason| StoreError::malformed(what, reason))
    };
    found.map(decode).transpose()
}

/// The rows of some leaves, and the place up to which they are all there.
pub(super) fn of_leaves(medium: &dyn Medium, asked: &LoadLeaves) -> Result<(Vec<(Key, Row)>, Place), StoreError> {
    let mut rows = Vec::new();
    let mut last = asked.from;
    for leaf in &asked.leaves {
        let (first, end) = leaf.places();
        let mut walk = Walk::from(medium, asked.namespace, first.max(asked.from))?;
        while let Some((place, key, row)) = walk.next(end.min(asked.upto))? {
            if rows.len() >= asked.rows_max && place > last {
                return Ok((rows, last));
            }
            last = place;
            rows.push((key, row));
        }
    }
    Ok((rows, asked.upto))
}

/// What the rows of a leaf add up to.
pub(super) fn sum(medium: &dyn Medium, hasher: &Hasher, namespace: NamespaceId, leaf: Leaf) -> Result<Sum, StoreError> {
    let (first, end) = leaf.places();
    let mut walk = Walk::from(medium, namespace, first)?;
    let mut sum = Sum::default();
    while let Some((_, key, row)) = walk.next(end)? {
        sum = sum.plus(hasher.row(&key, &row));
    }
    Ok(sum)
}

/// How many rows there are, counted.
pub(super) fn count(medium: &dyn Medium, namespace: NamespaceId) -> Result<Census, StoreError> {
    let mut walk = Walk::from(medium, namespace, Place(0))?;
    let mut census = Census::default();
    while let Some((_, key, _)) = walk.next(Place(u64::MAX))? {
        census.add(key.len());
    }
    Ok(census)
}

/// The rows of a namespace, by place.
struct Walk<'a> {
    namespace: NamespaceId,
    cursor: Box<dyn super::medium::Cursor + 'a>,
}

impl<'a> Walk<'a> {
    fn from(medium: &'a dyn Medium, namespace: NamespaceId, place: Place) -> Result<Self, StoreError> {
        let mut cursor = medium.cursor(Family::Rows)?;
        cursor.seek(&place_key(namespace, place));
        Ok(Self { namespace, cursor })
    }

    /// The next one, if it stands at `last` or before.
    fn next(&mut self, last: Place) -> Result<Option<(Place, Key, Row)>, StoreError> {
        let Some((key, value)) = self.cursor.item()? else { return Ok(None) };
        let decoded = decode_rows_key(key).map_err(|reason| StoreError::malformed("a row's key", reason))?;
        let (namespace, RowsKey::Row(place, key)) = decoded else { return Ok(None) };
        if namespace != self.namespace || place > last {
            return Ok(None);
        }
        let row = decode(namespace, &key, value)?;
        self.cursor.advance();
        Ok(Some((place, key, row)))
    }
}

fn decode(namespace: NamespaceId, key: &Key, value: &[u8]) -> Result<Row, StoreError> {
    unseal(value).map_err(|reason| StoreError::malformed(format!("counter {key:?} of namespace {namespace:?}"), reason))
}
