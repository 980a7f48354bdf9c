//! Which regions a cluster on one machine has, and at which ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use snowtide::config::address::Address;
use snowtide::config::map::{ClusterMap, Node, Region};

/// As many as there are names for.
pub const REGIONS_MAX: u8 = 8;

/// In this order: with three, they are the regions of the sample files.
const REGIONS: [(&str, [f64; 2]); REGIONS_MAX as usize] = [
    ("us-east", [39.04, -77.49]),
    ("eu-west", [53.35, -6.26]),
    ("ap-south", [19.08, 72.88]),
    ("us-west", [45.84, -119.70]),
    ("sa-east", [-23.55, -46.63]),
    ("af-south", [-33.92, 18.42]),
    ("ap-northeast", [35.68, 139.69]),
    ("me-central", [25.20, 55.27]),
];

/// The ports of a node: for QUIC, HTTP, the Redis protocol and gRPC.
pub(super) type NodePorts = [u16; 4];

/// The ports of the sample region files: these, and ten more for each further region.
const FAMILIAR: NodePorts = [7400, 8400, 6400, 9400];
const FAMILIAR_STEP: u16 = 10;
/// Below the range from which systems give ports to outgoing connections, so that none of those takes one away between
/// our look and the node's start.
const FREE_FROM: u16 = 12_000;
const FREE_COUNT: u16 = 18_000;
/// Looks for a vacant port before giving up.
const LOOKS_MAX: usize = 1_000;

/// Which ports a new cluster takes; one that was kept has those that it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// Those of the sample region files where they are vacant, else any.
    #[default]
    Familiar,
    /// Any, so that several clusters run beside each other.
    Any,
}

impl Ports {
    /// Vacant ports of loopback for one node that are none of `taken`; they are added to it.
    pub(super) fn pick(self, index: u16, taken: &mut BTreeSet<u16>) -> Option<NodePorts> {
        let offset = index.saturating_mul(FAMILIAR_STEP);
        let mut ports = FAMILIAR.map(|port| port.saturating_add(offset));
        if self == Self::Any || !ports.iter().all(|port| is_vacant(*port)) {
            for port in &mut ports {
                *port = any_vacant(taken)?;
                taken.insert(*port);
            }
        }
        taken.extend(ports);
        Some(ports)
    }
}

fn any_vacant(taken: &BTreeSet<u16>) -> Option<u16> {
    let random = || {
        let random = getrandom::u32().ok()? % u32::from(FREE_COUNT);
        u16::try_from(random).ok().map(|random| FREE_FROM.saturating_add(random))
    };
    (0..LOOKS_MAX).find_map(|_| random().filter(|port| !taken.contains(port) && is_vacant(*port)))
}

/// Both protocols, so that it does not matter for which of them the port is used.
fn is_vacant(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The map of `count` regions. Those that were kept stay as they are, others are added at ports that `pick` gives for
/// their index; `None` if it gives none.
pub(super) fn map(
    count: usize,
    mut map: ClusterMap,
    mut pick: impl FnMut(u16) -> Option<NodePorts>,
) -> Option<ClusterMap> {
    for (id, (name, location)) in (0..).zip(REGIONS).take(count) {
        if map.region_by_id(id).is_none() {
            map.regions.push(region(name, id, location, pick(id.into())?));
        }
    }
    map.regions.sort_by_key(|region| region.id);
    Some(map)
}

/// Every address of a map.
pub(super) fn addresses(map: &ClusterMap) -> impl Iterator<Item = &Address> {
    map.nodes().flat_map(|(_, _, node)| [&node.quic, &node.http].into_iter().chain(&node.redis).chain(&node.grpc))
}

fn region(name: &str, id: u8, location: [f64; 2], ports: NodePorts) -> Region {
    let [quic, http, redis, grpc] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into());
    Region {
        name: name.to_owned(),
        id,
        location: Some(location),
        nodes: vec![Node { id: 0, quic, http, redis: Some(redis), grpc: Some(grpc) }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(index: u16) -> Option<NodePorts> {
        Some(FAMILIAR.map(|port| port + index))
    }

    #[test]
    fn three_regions_are_those_of_the_sample_files() {
        let samples =
            ClusterMap::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../regions"))).unwrap();
        let map = map(3, ClusterMap::default(), |index| ports(index * 10)).unwrap();
        assert_eq!(map, samples);
    }

    #[test]
    fn kept_regions_keep_their_ports_and_others_are_added() {
        let kept = map(3, ClusterMap::default(), ports).unwrap();
        let more = map(5, kept.clone(), |_| Some([1, 2, 3, 4])).unwrap();
        assert_eq!(more.regions[..3], kept.regions[..]);
        assert_eq!(more.regions[3].nodes[0].quic.port(), 1);
        assert_eq!(map(3, kept.clone(), |_| None).unwrap(), kept);
    }

    #[test]
    fn ports_are_vacant_and_never_given_twice() {
        let mut taken = BTreeSet::new();
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_vacant(held.local_addr().unwrap().port()));
        for index in 0..8 {
            Ports::Any.pick(index, &mut taken).unwrap();
        }
        assert_eq!(taken.len(), 32);
    }
}
