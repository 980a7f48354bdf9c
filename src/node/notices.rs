//! What the replica notices, in the node's log. What a peer does again and again is reported once, or it would fill the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::api::{Doors, Namespaces};
use crate::config::map::ClusterMap;
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::replica::{Fill, Notice};
use crate::telemetry;

/// Things that are remembered of one peer; whatever else it does is counted and not told.
const OF_ONE_PEER_MAX: usize = 32;

/// Writes notices down, with the names that people know.
pub(super) struct Notices {
    map: Arc<ClusterMap>,
    namespaces: Arc<Namespaces>,
    reported: Reported,
}

impl Notices {
    pub(super) fn new(doors: &Doors) -> Self {
        Self { map: doors.map.clone(), namespaces: doors.namespaces.clone(), reported: Reported::default() }
    }

    pub(super) fn log(&mut self, notice: &Notice) {
        let name = |worker: &WorkerId| self.map.name(*worker);
        match notice {
            Notice::Fork { namespace, origin, seq, peer } => self.fork(*namespace, *origin, *seq, *peer),
            Notice::Unproven { replica, reason } => {
                warn!(%replica, reason, "this data's history is not proven; a new incarnation takes over");
            }
            Notice::Scrub { namespace, leaf } => error!(
                ?namespace,
                leaf = leaf.0,
                "rows on disk are not what was written there; repair fetches what other regions hold of them"
            ),
            Notice::Repaired { namespace, peer, rows, whole } => {
                info!(?namespace, peer = name(peer), rows, whole, "a repair session has ended");
            }
            Notice::Warm { rows, ms } => info!(rows, seconds = *ms as f64 / 1_000.0, "the cache is warm"),
            Notice::Duplicate { worker, stays, loses } => self.duplicate(*worker, stays.counter, loses.counter),
            Notice::NamesFillUp(Fill { bytes, bytes_max, names }) => warn!(
                bytes,
                bytes_max,
                names,
                "idempotency keys and sessions take most of idempotency.bytes_max: new ones will be refused when it is full"
            ),
            Notice::BadMessage { peer, reason } => {
                telemetry::message_ignored(&name(peer));
                if self.reported.is_news(*peer, reason) {
                    warn!(
                        peer = name(peer),
                        reason, "a peer's message was ignored; the like are counted and told no more"
                    );
                }
            }
        }
    }

    fn fork(&self, namespace: NamespaceId, origin: ReplicaId, seq: u64, peer: WorkerId) {
        telemetry::forked();
        let namespace = self.namespaces.name(namespace).unwrap_or_default();
        let (node, peer) = (self.map.name(origin.worker()), self.map.name(peer));
        error!(
            namespace, %origin, node, seq, peer,
            "a fork: two processes have counted under one replica id; where both changed a counter, the greater total \
             hides the other, so acknowledged increments may be missing. That replica id is finished; repair brings all \
             nodes to one state"
        );
    }

    fn duplicate(&mut self, worker: WorkerId, stays: u64, loses: u64) {
        if self.reported.is_news(worker, &format!("{stays} {loses}")) {
            error!(
                node = self.map.name(worker),
                stays,
                loses,
                "duplicate worker: two live processes claim this node; the later boot fences itself, stop one of them"
            );
        }
    }
}

/// What was reported of peers.
#[derive(Default)]
struct Reported(BTreeSet<(WorkerId, String)>);

impl Reported {
    /// Whether this is to be reported.
    fn is_news(&mut self, peer: WorkerId, what: &str) -> bool {
        let of_peer = self.0.iter().filter(|(reported, _)| *reported == peer).count();
        of_peer < OF_ONE_PEER_MAX && self.0.insert((peer, what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once_and_no_peer_fills_the_log() {
        let (one, other) = (WorkerId::new(1, 0).unwrap(), WorkerId::new(2, 0).unwrap());
        let mut reported = Reported::default();
        assert!(reported.is_news(one, "a") && !reported.is_news(one, "a") && reported.is_news(one, "b"));
        let told = (0..1_000).filter(|number| reported.is_news(one, &number.to_string())).count();
        assert_eq!(told, OF_ONE_PEER_MAX - 2);
        assert!(reported.is_news(other, "a"));
    }
}
