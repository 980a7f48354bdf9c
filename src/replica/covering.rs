//! The seqs that cover what is committed here: those of the vector, or those beyond it that repair reached.

use std::collections::BTreeSet;

use crate::identity::{NamespaceId, ReplicaId};
use crate::section::Milliseconds;

use super::Replica;
use super::message::RepairedRow;
use super::namespace::Namespace;
use super::reach::Dot;

impl Replica {
    /// The seq at which the log of `origin` covers what is committed of it here.
    pub(super) fn covering_seq(&self, namespace: &Namespace, origin: ReplicaId) -> u64 {
        let held = namespace.committed().mark(origin).seq;
        match namespace.reach().dot(origin) {
            Some(dot) if dot.seq > held && !self.is_lost(namespace.id(), origin, dot) => dot.seq,
            _ => held,
        }
    }

    /// How far the logs go that these rows are made of, as of now.
    pub(super) fn covering_dots(&self, namespace: NamespaceId, rows: &[RepairedRow]) -> Vec<(ReplicaId, u64)> {
        let Some(held) = self.namespaces.get(namespace) else { return Vec::new() };
        let origins: BTreeSet<ReplicaId> =
            rows.iter().flat_map(|row| row.row.slots()).map(|(origin, _)| *origin).collect();
        origins.into_iter().map(|origin| (origin, self.covering_seq(held, origin))).collect()
    }

    /// Every peer has told long since what it holds, and nobody holds the log as far as that: it went with the disks that
    /// did, and a token that named it could not be honoured anywhere, ever.
    fn is_lost(&self, namespace: NamespaceId, origin: ReplicaId, dot: Dot) -> bool {
        let told_since = dot.raised_at.saturating_add(self.settings.tuning.repair.session_max.ms());
        self.settings.sharing(namespace).all(|worker| {
            let told = self.gossip.peer(worker).filter(|peer| peer.heard_at >= told_since);
            let known = told.and_then(|peer| peer.known.get(&namespace));
            known.is_some_and(|vector| vector.mark(origin).seq < dot.seq)
        })
    }
}
