//! Tokens: how far each log has to be known before a read shows what was seen elsewhere.
//!
//! A token is a piece of a version vector: per namespace, the origins whose slots were seen and the seqs that hold them.
//! It is read off the committed vector at the moment an answer leaves, so it never names a seq that is not durable (I1).
//! How it travels is the client crate's affair.

use std::collections::BTreeMap;

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId};

/// Per namespace, replica id → seq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(BTreeMap<NamespaceId, BTreeMap<ReplicaId, u64>>);

/// Something that a token names and this node does not hold durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where.
    pub namespace: NamespaceId,
    /// Whose log.
    pub replica: ReplicaId,
    /// How far it is known here.
    pub known: u64,
    /// How far the token goes.
    pub wanted: u64,
}

impl Token {
    /// Makes the token name at least `seq` of this log.
    pub fn raise(&mut self, namespace: NamespaceId, replica: ReplicaId, seq: u64) {
        let held = self.0.entry(namespace).or_default().entry(replica).or_default();
        *held = seq.max(*held);
    }

    /// Whether everything satisfies it.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// Everything that it names.
    pub fn iter(&self) -> impl Iterator<Item = (NamespaceId, ReplicaId, u64)> + '_ {
        let logs = |(namespace, logs): (&NamespaceId, &BTreeMap<ReplicaId, u64>)| {
            let namespace = *namespace;
            logs.iter().map(move |(replica, seq)| (namespace, *replica, *seq)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(logs)
    }

    /// What it says of one namespace.
    pub(super) fn of(&self, namespace: NamespaceId) -> impl Iterator<Item = (ReplicaId, u64)> + '_ {
        self.0.get(&namespace).into_iter().flatten().map(|(replica, seq)| (*replica, *seq))
    }

    /// The first thing that it names of `namespace` and `vector` does not cover.
    pub(super) fn missing(&self, namespace: NamespaceId, vector: &VersionVector) -> Option<Missing> {
        let lacking = |(replica, wanted): (ReplicaId, u64)| {
            let known = vector.mark(replica).seq;
            (known < wanted).then_some(Missing { namespace, replica, known, wanted })
        };
        self.of(namespace).find_map(lacking)
    }
}

impl FromIterator<(NamespaceId, ReplicaId, u64)> for Token {
    fn from_iter<I: IntoIterator<Item = (NamespaceId, ReplicaId, u64)>>(marks: I) -> Self {
        let mut token = Self::default();
        for (namespace, replica, seq) in marks {
            token.raise(namespace, replica, seq);
        }
        token
    }
}
