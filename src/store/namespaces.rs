//! Which namespaces a disk holds.
//!
//! What a namespace has on disk stands under its id, in each family that [`FAMILIES`] lists. A start recovers and changes
//! those that are configured; nothing of any other is touched, however many starts, commits and checkpoints there are, so
//! that it is whole when it is configured again.

use std::collections::BTreeSet;

use crate::identity::NamespaceId;

use super::error::StoreError;
use super::format::NAMESPACE_BYTES;
use super::journal::distinct;
use super::medium::{Family, Medium};

/// The families whose keys begin with a namespace.
pub(super) const FAMILIES: [Family; 4] = [Family::Journal, Family::Rows, Family::Merkle, Family::Repair];

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
