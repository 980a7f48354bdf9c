//! Across regions: our commits go to one node of each other region, and that one hands them on to the others there.
//!
//! So a delta crosses each link between regions about once, however many nodes there are. Which node takes it is chosen by
//! rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998): without any
//! agreement, for each origin another one, and another one at once when that one fails. What is lost on the way on is
//! found by digests, as everything is.

use std::cmp::Reverse;

use crate::identity::{NamespaceId, WorkerId};
use crate::merkle::Hasher;
use crate::section::{Bytes, Milliseconds};

use super::Replica;
use super::effect::Effect;
use super::message::Message;
use super::peers::Neighbour;
use super::record::Record;

/// A node that has not acknowledged in so many digest intervals what was sent to it is no good for handing on.
const STUCK_AFTER_DIGESTS: u64 = 2;

/// How high `worker` stands among the nodes of its region that may take what `origin` commits.
pub(super) fn rank(hasher: &Hasher, origin: WorkerId, worker: WorkerId) -> u64 {
    hasher.place(&format!("{origin}>{worker}")).0
}

impl Replica {
    /// Whether our own commits go to `worker` from here: in our region to everyone, elsewhere to one.
    pub(super) fn pushes_to(&self, worker: WorkerId, namespace: NamespaceId) -> bool {
        let region = worker.region();
        region == self.settings.worker.region() || self.taker(region, namespace) == Some(worker)
    }

    /// The node of another region that takes our commits.
    fn taker(&self, region: u8, namespace: NamespaceId) -> Option<WorkerId> {
        let stuck_before =
            self.now.saturating_sub(STUCK_AFTER_DIGESTS * self.settings.tuning.gossip.digest_interval.ms());
        let stuck = |peer: &Neighbour| peer.sending.own(namespace).is_some_and(|push| push.is_stuck(stuck_before));
        let linked = self.gossip.peers().filter(|peer| peer.worker.region() == region && peer.up);
        let sharing = linked.filter(|peer| peer.shared.contains(&namespace));
        sharing.min_by_key(|peer| (stuck(peer), Reverse(peer.rank))).map(|peer| peer.worker)
    }

    /// Whether what `from` sent is handed on to the rest of our region.
    pub(super) fn hands_on(&self, from: WorkerId) -> bool {
        let region = self.settings.worker.region();
        from.region() != region && self.gossip.peers().any(|peer| peer.worker.region() == region)
    }

    /// Hands records of other regions on to the nodes of ours that are not known to have them. They are committed here (I1).
    /// Whoever has no room for more fetches them later.
    pub(super) fn hand_on(&mut self, records: Vec<Record>) {
        let region = self.settings.worker.region();
        for record in records {
            let log = (record.namespace, record.origin);
            for peer in self.gossip.peers_mut().filter(|peer| peer.worker.region() == region && peer.up) {
                let room = peer.sending.inflight_bytes() + record.weight()
                    <= self.settings.tuning.gossip.inflight_bytes_max.bytes();
                if room && peer.shared.contains(&log.0) && peer.holds(log.0, log.1) < record.upto {
                    peer.sending.hand(&record, self.now);
                    let message = Message::Delta(record.clone());
                    self.effects.push_back(Effect::Send { to: peer.worker, message });
                }
            }
        }
    }
}
