//! Who is who: regions, nodes, workers, replicas, boots and namespaces.
//!
//! Pure values. Nothing here is minted: randomness comes in as an argument.

use std::fmt;

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bits of a worker id: five of region, five of node.
pub const WORKER_BITS: u32 = 10;
const NODE_BITS: u32 = 5;
/// Regions are numbered 0–31, and so are the nodes of one region.
pub const REGIONS_MAX: u8 = 32;
const RANDOM_BITS: u32 = 64 - WORKER_BITS;

/// A worker id: region and node, ten bits of every ID. One live process at a time may hold it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize, Deserialize)]
pub struct WorkerId(u16);

impl<C> Decode<C> for WorkerId {
    /// Refuses an eleventh bit: there are no more than 1 024 worker ids, whatever a peer says (I6).
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bits = u16::decode(decoder)?;
        if bits >> WORKER_BITS == 0 {
            Ok(Self(bits))
        } else {
            Err(DecodeError::Other("a worker id of more than ten bits"))
        }
    }
}

bincode::impl_borrow_decode!(WorkerId);

impl WorkerId {
    /// `None` if either number is above 31.
    pub const fn new(region: u8, node: u8) -> Option<Self> {
        if region < REGIONS_MAX && node < REGIONS_MAX {
            Some(Self(((region as u16) << NODE_BITS) | node as u16))
        } else {
            None
        }
    }

    /// The region's number, 0–31.
    #[allow(clippy::cast_possible_truncation)] // five bits
    pub const fn region(self) -> u8 {
        ((self.0 >> NODE_BITS) & 31) as u8
    }

    /// The node's number in its region, 0–31.
    #[allow(clippy::cast_possible_truncation)] // five bits
    pub const fn node(self) -> u8 {
        (self.0 & 31) as u8
    }

    /// The ten bits as a number.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region(), self.node())
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One incarnation of a node's data: ten bits of worker id, then 54 random bits.
///
/// Only the replica named in a slot ever increases it (I2), so a new one is minted and persisted whenever the old
/// one's history cannot be proven (I3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

impl ReplicaId {
    /// An incarnation of `worker`; `random` supplies the low 54 bits.
    pub const fn new(worker: WorkerId, random: u64) -> Self {
        Self(((worker.0 as u64) << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)))
    }

    /// Whose incarnation this is.
    #[allow(clippy::cast_possible_truncation)] // ten bits
    pub const fn worker(self) -> WorkerId {
        WorkerId((self.0 >> RANDOM_BITS) as u16)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One start of a process: a persisted counter, so that boots of one data directory are ordered, and a random nonce,
/// so that two processes on copies of it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Boot {
    /// 1 at the first start on a data directory.
    pub counter: u64,
    /// From the system's randomness, afresh at every start.
    pub nonce: u64,
}

/// One boot of one incarnation of one worker: what stands at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Peer {
    /// The worker id that it claims.
    pub worker: WorkerId,
    /// Its boot; messages of an earlier boot than the newest known are dropped.
    pub boot: Boot,
}

/// A namespace's number: a hash of its name, equal on every node without coordination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct NamespaceId(pub u32);

impl NamespaceId {
    /// Two names of one configuration that collide are refused when the configuration is read.
    #[allow(clippy::cast_possible_truncation)] // the low half is as good a hash
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()) as u32)
    }
}

impl fmt::Debug for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_id_keeps_both_numbers_and_refuses_a_sixth_bit() {
        let worker = WorkerId::new(31, 7).unwrap();
        assert_eq!((worker.region(), worker.node()), (31, 7));
        assert_eq!(WorkerId::new(32, 0), None);
        assert_eq!(WorkerId::new(0, 32), None);
        for bits in [0, 1_023, 1_024, u16::MAX] {
            let decoded: Result<WorkerId, _> = crate::codec::decode(&crate::codec::encode(&bits));
            assert_eq!(decoded.ok().map(WorkerId::bits), (bits < 1_024).then_some(bits));
        }
    }

    #[test]
    fn a_replica_id_names_its_worker_whatever_the_randomness() {
        let worker = WorkerId::new(3, 9).unwrap();
        for random in [0, 1, u64::MAX] {
            assert_eq!(ReplicaId::new(worker, random).worker(), worker);
        }
    }
}
