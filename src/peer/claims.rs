//! What a peer claims of others, judged before the replica hears of it: ID ceilings that no clock bears out, and sightings
//! that nobody has signed. What is refused is taken out of the message, told once, and counted; the rest goes on.

use tracing::{debug, warn};

use crate::identity::{Peer, WorkerId};
use crate::replica::{Digest, Message};
use crate::telemetry;

use super::seal::UNBOUND;
use super::{Shared, lock};

/// After so many sightings without a proof, no more of this link are looked at: each look costs more than a lie.
const UNPROVEN_MAX: u32 = 16;
/// Pairs of peers of which it is remembered that a refused claim was told.
const TOLD_MAX: usize = 4_096;

/// Of one link.
#[derive(Default)]
pub(super) struct Sieve {
    unproven: u32,
}

impl Sieve {
    /// Takes out of a message of `peer` what is not to be believed.
    pub(super) fn sift(&mut self, shared: &Shared, peer: Peer, message: &mut Message) {
        match message {
            Message::Digest(digest) => self.sift_digest(shared, peer, digest),
            Message::Proof(proof)
                if !admits(shared, peer.worker, shared.worker, proof.ceiling, shared.clock.ceiling_max()) =>
            {
                proof.ceiling = 0;
            }
            _ => {}
        }
    }

    fn sift_digest(&mut self, shared: &Shared, peer: Peer, digest: &mut Digest) {
        let highest = shared.clock.ceiling_max();
        digest.ceilings.retain(|(worker, ceiling)| admits(shared, peer.worker, *worker, *ceiling, highest));
        digest.sightings.retain(|sighting| {
            if self.unproven >= UNPROVEN_MAX {
                return false;
            }
            let proven = shared.verify(sighting, UNBOUND);
            if let Err(reason) = &proven {
                self.unproven += 1;
                let about = shared.map.name(sighting.by.worker);
                refuse(shared, peer.worker, sighting.by.worker, &format!("{about} has not said so: {reason}"));
            }
            proven.is_ok()
        });
    }
}

/// Whether a ceiling of `about` is believable (I10). One that is not would keep that node from minting until then.
fn admits(shared: &Shared, peer: WorkerId, about: WorkerId, ceiling: u64, highest: u64) -> bool {
    let believable = ceiling <= highest;
    if !believable {
        let reason = format!("an ID ceiling of {ceiling} ms; by all clocks known here it is {highest} ms at most");
        refuse(shared, peer, about, &reason);
    }
    believable
}

fn refuse(shared: &Shared, peer: WorkerId, about: WorkerId, reason: &str) {
    let (peer_name, about_name) = (shared.map.name(peer), shared.map.name(about));
    telemetry::claim_refused(&peer_name);
    let mut told = lock(&shared.refused_claims);
    if told.len() < TOLD_MAX && told.insert((peer, about)) {
        warn!(peer = peer_name, about = about_name, reason, "a peer's claim about a node is not believed");
    } else {
        debug!(peer = peer_name, about = about_name, reason, "a peer's claim about a node is not believed");
    }
}
