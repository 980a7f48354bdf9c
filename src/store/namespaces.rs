//! Which namespaces a disk holds, by id and by name, and all that goes with one of them.
//!
//! What a namespace has on disk stands under its id, in each family that [`FAMILIES`] lists. A start recovers and changes
//! those that are configured; nothing of any other is touched, however many starts, commits and checkpoints there are, so
//! that it is whole when it is configured again.

use std::collections::BTreeSet;

use crate::identity::NamespaceId;

use super::error::StoreError;
use super::format::{NAMESPACE_BYTES, successor};
use super::journal::distinct;
use super::medium::{Batch, Family, Medium, each};
use super::meta;

/// The families whose keys begin with a namespace.
pub(super) const FAMILIES: [Family; 3] = [Family::Journal, Family::Rows, Family::Repair];

/// Every namespace that has anything on this disk.
pub(super) fn held(medium: &dyn Medium) -> Result<BTreeSet<NamespaceId>, StoreError> {
    let mut held = BTreeSet::new();
    for family in FAMILIES {
        let prefixes = distinct::<NAMESPACE_BYTES>(medium, family, &[])?;
        held.extend(prefixes.into_iter().map(|prefix| NamespaceId(u32::from_be_bytes(prefix))));
    }
    Ok(held)
}

/// Those that are not configured: their data stays, unused.
pub(super) fn unconfigured(medium: &dyn Medium, configured: &[NamespaceId]) -> Result<Vec<NamespaceId>, StoreError> {
    Ok(held(medium)?.into_iter().filter(|namespace| !configured.contains(namespace)).collect())
}

/// The names of those that are held, as the configuration last called them; of one whose name is not known, its id.
pub(super) fn names(medium: &dyn Medium) -> Result<Vec<String>, StoreError> {
    held(medium)?.into_iter().map(|namespace| name(medium, namespace)).collect()
}

/// The name of one.
pub(super) fn name(medium: &dyn Medium, namespace: NamespaceId) -> Result<String, StoreError> {
    Ok(meta::NAME.of(namespace).find(medium)?.unwrap_or_else(|| format!("{namespace:?}")))
}

/// How many keys of a family begin with `prefix`.
pub(super) fn count(medium: &dyn Medium, family: Family, prefix: &[u8]) -> Result<u64, StoreError> {
    let mut keys = 0u64;
    each(medium, family, prefix, |_, _| {
        keys = keys.saturating_add(1);
        Ok(())
    })?;
    Ok(keys)
}

/// Everything that a disk holds of a namespace goes.
pub(super) fn remove(batch: &mut Batch, namespace: NamespaceId) {
    let prefix = namespace.0.to_be_bytes();
    // The last namespace has none after it; no key is as long as this.
    let end = successor(&prefix).unwrap_or_else(|| vec![u8::MAX; 1_024]);
    FAMILIES.into_iter().for_each(|family| batch.delete_range(family, prefix, end.clone()));
    meta::forget_namespace(batch, namespace);
}
