//! How many counters a namespace holds, and how many more clients were refused.

use crate::identity::NamespaceId;

use super::super::census::{Census, Quota};
use super::super::status::NamespaceStatus;

/// The counters of one namespace.
pub(super) struct Counters {
    /// Those that are committed.
    committed: Census,
    /// New ones that were refused.
    refused: u64,
}

impl Counters {
    pub(super) fn new(committed: Census) -> Self {
        Self { committed, refused: 0 }
    }

    /// One more is committed.
    pub(super) fn add(&mut self, key_bytes: usize) {
        self.committed.add(key_bytes);
    }

    pub(super) fn admits(&mut self, quota: Quota, about: Census, key_bytes: usize) -> bool {
        let mut held = self.committed;
        held.join(about);
        let admits = quota.admits(held, key_bytes);
        self.refused += u64::from(!admits);
        admits
    }

    pub(super) fn status(&self, namespace: NamespaceId) -> NamespaceStatus {
        NamespaceStatus { namespace, census: self.committed, refused: self.refused }
    }
}
