//! Claims of peers that are refused: the links bring the clocks and the keys to [`Sieve`], and tell what it took out.

use tracing::{debug, warn};

use crate::identity::{Peer, WorkerId};
use crate::replica::{Message, RefusedClaim, Sieve};
use crate::telemetry;

use super::seal::UNBOUND;
use super::{Shared, lock};

/// Pairs of peers of which it is remembered that a refused claim was told.
const TOLD_MAX: usize = 4_096;

/// Takes out of a message of `peer` what is not to be believed. Each kind of lie is told once, and counted.
pub(super) fn sift(sieve: &mut Sieve, shared: &Shared, peer: Peer, message: &mut Message) {
    let verify = |sighting: &_| shared.verify(sighting, UNBOUND);
    let refused = sieve.sift(message, shared.worker, || shared.clock.ceiling_max(), verify);
    refused.iter().for_each(|claim| tell(shared, peer.worker, claim));
}

fn tell(shared: &Shared, peer: WorkerId, RefusedClaim { about, reason }: &RefusedClaim) {
    let (peer_name, about_name) = (shared.map.name(peer), shared.map.name(*about));
    telemetry::claim_refused(&peer_name);
    let mut told = lock(&shared.refused_claims);
    if told.len() < TOLD_MAX && told.insert((peer, *about)) {
        warn!(peer = peer_name, about = about_name, reason, "a peer's claim about a node is not believed");
    } else {
        debug!(peer = peer_name, about = about_name, reason, "a peer's claim about a node is not believed");
    }
}
