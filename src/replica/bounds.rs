//! How much a peer may say, and of how many origins (I6).
//!
//! What is over a bound is refused as a whole and reported; nothing of it is kept. The bounds are constants, because no
//! operator has a reason to turn them: they are far above what honest nodes say, and small enough for any machine.
//!
//! Every incarnation of a worker is an origin for good, in each namespace in which it counted. A peer can relay logs of
//! origins that never were. So half of each bound is kept back for what workers tell of their own incarnations: nobody
//! can use up the room of others, and each its own only by its own certificate.

use crate::crdt::VersionVector;
use crate::identity::{ReplicaId, WorkerId};

use super::message::{Message, RepairStep, RepairedRow};
use super::reach::Reach;

/// Namespaces that a message may speak of.
pub const NAMESPACES_MAX: usize = 1_000;
/// Origins of one namespace: as many lines of a vector.
pub const ORIGINS_MAX: usize = 32_768;
/// Origins of one worker in one namespace: a restart with an unproven start a day makes five years of them.
pub const ORIGINS_PER_WORKER_MAX: usize = 2_048;
/// Worker ids that there can be.
const WORKERS_MAX: usize = 1_024;
/// Boots that a digest may tell of.
const BOOTS_MAX: usize = 4 * WORKERS_MAX;
/// Sightings that a digest may tell of.
const SIGHTINGS_MAX: usize = super::boots::SIGHTINGS_PER_DIGEST;
/// Places whose sums one question of repair may list.
const PLACES_MAX: usize = 65_536;
/// Readings of the journal on behalf of one peer that may wait; what it asks beyond is dropped, and asked again.
pub(super) const READINGS_MAX: usize = 256;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// More namespaces than there may be.
    #[error("it speaks of more than {NAMESPACES_MAX} namespaces")]
    Namespaces,
    /// A longer vector.
    #[error("it speaks of more than {ORIGINS_MAX} origins in a namespace")]
    Origins,
    /// An origin for which there is no room.
    #[error(
        "it brings another origin, of which a namespace may have {ORIGINS_MAX}, and {ORIGINS_PER_WORKER_MAX} of one node"
    )]
    Origin,
    /// More ceilings than there are worker ids.
    #[error("it tells of more than {WORKERS_MAX} ID ceilings")]
    Ceilings,
    /// More nodes.
    #[error("it names more than {WORKERS_MAX} nodes")]
    Nodes,
    /// More boots.
    #[error("it tells of more than {BOOTS_MAX} live boots")]
    Boots,
    /// More sightings.
    #[error("it tells of more than {SIGHTINGS_MAX} sightings")]
    Sightings,
    /// A longer list of what the asker holds.
    #[error("it lists more than {PLACES_MAX} places")]
    Places,
}

/// Judges a message by its sizes alone.
pub(super) fn check(message: &Message) -> Result<(), Excess> {
    match message {
        Message::Digest(digest) => {
            at_most(digest.vectors.len(), NAMESPACES_MAX, Excess::Namespaces)?;
            digest.vectors.iter().try_for_each(|(_, vector)| check_vector(vector))?;
            at_most(digest.ceilings.len(), WORKERS_MAX, Excess::Ceilings)?;
            at_most(digest.live.len(), BOOTS_MAX, Excess::Boots)?;
            at_most(digest.sightings.len(), SIGHTINGS_MAX, Excess::Sightings)
        }
        Message::Ack(vectors) => {
            at_most(vectors.len(), NAMESPACES_MAX, Excess::Namespaces)?;
            vectors.iter().try_for_each(|(_, vector)| check_vector(vector))
        }
        Message::Proof(proof) => {
            at_most(proof.marks.len().max(proof.reach.len()), NAMESPACES_MAX, Excess::Namespaces)?;
            at_most(proof.nodes.len(), WORKERS_MAX, Excess::Nodes)
        }
        Message::Repair { step, .. } => check_step(step),
        Message::Delta(_)
        | Message::Request { .. }
        | Message::Refused(_)
        | Message::ProofRequest { .. }
        | Message::Leaving => Ok(()),
    }
}

fn check_step(step: &RepairStep) -> Result<(), Excess> {
    match step {
        RepairStep::Compared { vector, .. } => check_vector(vector),
        RepairStep::Rows { held, .. } => at_most(held.len(), PLACES_MAX, Excess::Places),
        RepairStep::Differing { reach, .. } => at_most(reach.len(), ORIGINS_MAX, Excess::Origins),
        RepairStep::Compare { .. } | RepairStep::Nodes { .. } | RepairStep::Children { .. } | RepairStep::End => Ok(()),
    }
}

fn check_vector(vector: &VersionVector) -> Result<(), Excess> {
    at_most(vector.iter().count(), ORIGINS_MAX, Excess::Origins)
}

fn at_most(count: usize, max: usize, excess: Excess) -> Result<(), Excess> {
    if count <= max { Ok(()) } else { Err(excess) }
}

/// Whether another origin may come in by what `teller` says, where these are held.
pub(super) fn admits(held: &VersionVector, reach: &Reach, teller: WorkerId, origin: ReplicaId) -> Result<(), Excess> {
    if held.mark(origin).seq > 0 || reach.of(origin) > 0 {
        return Ok(());
    }
    let known =
        || held.iter().map(|(known, _)| known).chain(reach.origins().filter(|known| held.mark(*known).seq == 0));
    let (all, of_worker) = (known().count(), known().filter(|known| known.worker() == origin.worker()).count());
    let kept_back = if teller == origin.worker() { 1 } else { 2 };
    at_most(kept_back * (all + 1), ORIGINS_MAX, Excess::Origin)?;
    at_most(kept_back * (of_worker + 1), ORIGINS_PER_WORKER_MAX, Excess::Origin)
}

/// The same of all origins of some rows.
pub(super) fn admits_rows(
    held: &VersionVector,
    reach: &Reach,
    teller: WorkerId,
    rows: &[RepairedRow],
    dots: &[(ReplicaId, u64)],
) -> Result<(), Excess> {
    let slots = rows.iter().flat_map(|row| row.row.slots()).map(|(origin, _)| *origin);
    let origins: std::collections::BTreeSet<ReplicaId> = slots.chain(dots.iter().map(|(origin, _)| *origin)).collect();
    let new: Vec<ReplicaId> =
        origins.into_iter().filter(|origin| held.mark(*origin).seq == 0 && reach.of(*origin) == 0).collect();
    // One by one, each would find room.
    at_most(new.len(), ORIGINS_PER_WORKER_MAX / 2, Excess::Origin)?;
    new.into_iter().try_for_each(|origin| admits(held, reach, teller, origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{LogHash, Mark, Row, Slot};
    use crate::identity::NamespaceId;
    use crate::replica::{Digest, Heartbeat, Seal, Sighting};

    fn worker(node: u8) -> WorkerId {
        WorkerId::new(1, node).unwrap()
    }

    fn vector(origins: impl Iterator<Item = ReplicaId>) -> VersionVector {
        let mut vector = VersionVector::default();
        for origin in origins {
            vector.advance(origin, Mark { seq: 1, hash: LogHash(1) });
        }
        vector
    }

    #[test]
    fn what_is_over_a_bound_is_refused_by_its_name_and_what_is_at_it_is_not() {
        let heartbeat = |beat| Heartbeat { peer: crate::identity::Peer { worker: worker(0), boot: boot() }, beat };
        let sighting = || Sighting { by: heartbeat(0).peer, of: boot(), seal: Seal::default() };
        let digest = |vectors: usize, origins: u64, ceilings: usize, live: u64, sightings: usize| {
            Message::Digest(Digest {
                replica: None,
                vectors: vec![(NamespaceId(1), vector((0..origins).map(ReplicaId))); vectors],
                ceilings: vec![(worker(0), 1); ceilings],
                live: (0..live).map(heartbeat).collect(),
                sightings: (0..sightings).map(|_| sighting()).collect(),
            })
        };
        assert_eq!(check(&digest(NAMESPACES_MAX, 1, WORKERS_MAX, 4_096, SIGHTINGS_MAX)), Ok(()));
        assert_eq!(check(&digest(1, 32_768, 0, 0, 0)), Ok(()));
        for (message, excess) in [
            (digest(NAMESPACES_MAX + 1, 1, 0, 0, 0), Excess::Namespaces),
            (digest(1, 32_769, 0, 0, 0), Excess::Origins),
            (digest(1, 1, WORKERS_MAX + 1, 0, 0), Excess::Ceilings),
            (digest(1, 1, 0, 4_097, 0), Excess::Boots),
            (digest(1, 1, 0, 0, SIGHTINGS_MAX + 1), Excess::Sightings),
        ] {
            assert_eq!(check(&message), Err(excess));
        }
    }

    fn boot() -> crate::identity::Boot {
        crate::identity::Boot { counter: 1, nonce: 1 }
    }

    #[test]
    fn who_makes_origins_up_leaves_room_for_those_that_nodes_tell_of_themselves() {
        let reach = Reach::new(Vec::new(), 0);
        let mut held = VersionVector::default();
        let mut invented = 0;
        for random in 0..10_000 {
            let origin = ReplicaId::new(worker(0), random);
            if admits(&held, &reach, worker(1), origin).is_err() {
                break;
            }
            held.advance(origin, Mark { seq: 1, hash: LogHash(1) });
            invented += 1;
        }
        assert_eq!(invented, ORIGINS_PER_WORKER_MAX / 2);
        let another = ReplicaId::new(worker(0), 1 << 40);
        assert_eq!(admits(&held, &reach, worker(1), another), Err(Excess::Origin));
        assert_eq!(admits(&held, &reach, worker(0), another), Ok(()), "it has come from the node itself");
        assert_eq!(admits(&held, &reach, worker(1), ReplicaId::new(worker(2), 1)), Ok(()), "of another node");
        assert_eq!(admits(&held, &reach, worker(1), ReplicaId::new(worker(0), 3)), Ok(()), "it is known");
        let row = RepairedRow { key: "k".into(), row: Row::from_iter([(another, Slot::of(1, 0))]) };
        assert_eq!(admits_rows(&held, &reach, worker(1), &[row], &[]), Err(Excess::Origin));
    }

    #[test]
    fn a_namespace_is_never_full_for_what_nodes_tell_of_themselves_before_its_whole_bound() {
        let reach = Reach::new(Vec::new(), 0);
        let of = |number: usize| {
            let number = u64::try_from(number).unwrap();
            let (region, node) = (u8::try_from(number / 32 % 32).unwrap(), u8::try_from(number % 32).unwrap());
            ReplicaId::new(WorkerId::new(region, node).unwrap(), number)
        };
        let held = vector((0..ORIGINS_MAX / 2).map(of));
        let another = of(ORIGINS_MAX);
        assert_eq!(admits(&held, &reach, worker(9), another), Err(Excess::Origin));
        assert_eq!(admits(&held, &reach, another.worker(), another), Ok(()));
        let held = vector((0..ORIGINS_MAX).map(of));
        assert_eq!(admits(&held, &reach, another.worker(), another), Err(Excess::Origin));
    }
}
