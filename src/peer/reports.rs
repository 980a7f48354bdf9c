//! What was told of peers: what a peer does again and again is told once, or it would fill the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tracing::{debug, warn};

use crate::config::map::ClusterMap;
use crate::identity::WorkerId;
use crate::replica::RefusedClaim;
use crate::telemetry;

use super::hello::Agreement;
use super::{brief, lock};

/// Pairs of peers of which it is remembered that a refused claim was told.
const CLAIMS_MAX: usize = 4_096;

/// What was told last.
pub(super) struct Reports {
    own: WorkerId,
    map: Arc<ClusterMap>,
    /// What was wrong with callers. Those that claim to be no other node of the map are remembered as one.
    refusals: Mutex<BTreeMap<Option<WorkerId>, String>>,
    /// What keeps namespaces from being exchanged.
    differences: Mutex<BTreeMap<WorkerId, Vec<String>>>,
    /// Whose claims were refused, and about whom.
    claims: Mutex<BTreeSet<(WorkerId, WorkerId)>>,
}

impl Reports {
    pub(super) fn new(own: WorkerId, map: Arc<ClusterMap>) -> Self {
        Self { own, map, refusals: Mutex::default(), differences: Mutex::default(), claims: Mutex::default() }
    }

    /// Something is wrong with a caller.
    pub(super) fn refused(&self, claimed: Option<WorkerId>, what: &str) {
        let claimed = claimed.filter(|worker| *worker != self.own && self.map.node(*worker).is_some());
        let peer = claimed.map_or_else(|| "unknown".to_owned(), |worker| self.map.name(worker));
        let what = brief(what);
        let mut refusals = lock(&self.refusals);
        if refusals.get(&claimed) == Some(&what) {
            debug!(peer, reason = what, "refused again");
        } else {
            warn!(peer, reason = what, "refused a peer's link");
            refusals.insert(claimed, what);
        }
    }

    /// The caller is fine now.
    pub(super) fn linked(&self, worker: WorkerId) {
        lock(&self.refusals).remove(&Some(worker));
    }

    /// Some namespaces may not be exchanged.
    pub(super) fn agreed(&self, worker: WorkerId, agreement: &Agreement) {
        let mut told = lock(&self.differences);
        if told.get(&worker).is_some_and(|told| *told == agreement.differing) {
            return;
        }
        for difference in &agreement.differing {
            warn!(
                peer = self.map.name(worker),
                difference = brief(difference),
                "a namespace is not exchanged with this peer: the definitions differ"
            );
        }
        told.insert(worker, agreement.differing.clone());
    }

    /// A claim of `peer` is not believed. Each is counted.
    pub(super) fn claim_refused(&self, peer: WorkerId, RefusedClaim { about, reason }: &RefusedClaim) {
        let (peer_name, about_name) = (self.map.name(peer), self.map.name(*about));
        telemetry::claim_refused(&peer_name);
        let mut told = lock(&self.claims);
        if told.len() < CLAIMS_MAX && told.insert((peer, *about)) {
            warn!(peer = peer_name, about = about_name, reason, "a peer's claim about a node is not believed");
        } else {
            debug!(peer = peer_name, about = about_name, reason, "a peer's claim about a node is not believed");
        }
    }
}
