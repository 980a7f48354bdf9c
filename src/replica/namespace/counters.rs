//! How many counters a namespace holds, and how many more clients were refused.

use super::super::census::{Census, Quota};
use super::super::status::NamespaceStatus;
use super::Namespace;

/// The counters of one namespace.
pub(super) struct Counters {
    /// Those that are committed.
    pub(super) committed: Census,
    /// New ones that were refused.
    pub(super) refused: u64,
}

impl Namespace {
    /// Whether a client may have a new counter, beside those that are committed and those that are about to be; counts
    /// the refusal if not.
    pub(in super::super) fn admits(&mut self, quota: Quota, about: Census, key_bytes: usize) -> bool {
        let mut held = self.counters.committed;
        held.join(about);
        let admits = quota.admits(held, key_bytes);
        self.counters.refused += u64::from(!admits);
        admits
    }

    /// For people and metrics.
    pub(in super::super) fn status(&self) -> NamespaceStatus {
        let Counters { committed, refused } = self.counters;
        NamespaceStatus { namespace: self.id, census: committed, refused }
    }
}
