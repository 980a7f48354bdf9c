//! All namespaces that a node serves.

use std::collections::BTreeMap;

use crate::crdt::VersionVector;
use crate::identity::NamespaceId;

use super::namespace::Namespace;
use super::scrub::Scrub;

/// All namespaces that this node serves.
pub(super) struct Namespaces {
    served: BTreeMap<NamespaceId, Namespace>,
    /// The disk has more of them than the configuration.
    keeps_unconfigured: bool,
    /// Which leaf of them is looked through next.
    pub(super) scrub: Scrub,
}

impl Namespaces {
    pub(super) fn new(keeps_unconfigured: bool, scrub: Scrub) -> Self {
        Self { served: BTreeMap::new(), keeps_unconfigured, scrub }
    }

    pub(super) fn insert(&mut self, namespace: Namespace) {
        self.served.insert(namespace.id(), namespace);
    }

    pub(super) fn keeps_unconfigured(&self) -> bool {
        self.keeps_unconfigured
    }

    pub(super) fn get(&self, id: NamespaceId) -> Option<&Namespace> {
        self.served.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: NamespaceId) -> Option<&mut Namespace> {
        self.served.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.served.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Namespace> {
        self.served.values_mut()
    }

    pub(super) fn ids(&self) -> Vec<NamespaceId> {
        self.served.keys().copied().collect()
    }

    /// The committed vectors of all of them.
    pub(super) fn vectors(&self) -> Vec<(NamespaceId, VersionVector)> {
        self.iter().map(|namespace| (namespace.id(), namespace.committed().clone())).collect()
    }

    /// Rows in memory.
    pub(super) fn cached(&self) -> usize {
        self.iter().map(|namespace| namespace.rows().len()).sum()
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.iter().map(|namespace| namespace.rows().bytes()).sum()
    }
}
