//! Reading and writing whole rows.

use crate::crdt::Row;
use crate::identity::NamespaceId;
use crate::replica::Key;

use super::error::StoreError;
use super::format::{row_key, seal_row, unseal_row};
use super::medium::{Batch, Family, Medium};

/// Each key's row as of the last checkpoint, in the order of `keys`; empty if there is none.
pub(super) fn load(medium: &dyn Medium, namespace: NamespaceId, keys: &[Key]) -> Result<Vec<Row>, StoreError> {
    let encoded: Vec<Vec<u8>> = keys.iter().map(|key| row_key(namespace, key)).collect();
    let values = medium.get_many(Family::Rows, &encoded)?;
    let rows = keys.iter().zip(values).map(|(key, value)| match value {
        None => Ok(Row::default()),
        Some(value) => unseal_row(&value)
            .map_err(|reason| StoreError::malformed(format!("counter {key:?} of namespace {namespace:?}"), reason)),
    });
    rows.collect()
}

/// Replaces what is on disk: checkpoints hand over whole committed rows, and a committed row covers every earlier one.
pub(super) fn put(batch: &mut Batch, namespace: NamespaceId, key: &Key, row: &Row) {
    batch.put(Family::Rows, row_key(namespace, key), seal_row(row));
}
