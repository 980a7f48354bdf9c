//! The relays between the nodes of a cluster on one machine: one for each ordered pair, dialer and acceptor.
//!
//! A pair has two links, since each end dials the other; so cutting it means cutting two relays, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use snowtide::config::map::ClusterMap;
use snowtide::identity::WorkerId;

use crate::relay::{Relay, Way};

/// A dialer and the acceptor behind its relay.
type Pair = (WorkerId, WorkerId);

/// All relays of a cluster.
#[derive(Debug)]
pub(super) struct Wires {
    relays: BTreeMap<Pair, Relay>,
    cuts: Cuts,
}

/// What is cut now. Cuts of regions and of pairs overlap, and healing one leaves the others.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    regions: BTreeSet<u8>,
    /// The lower number first.
    pairs: BTreeSet<(u8, u8)>,
}

impl Wires {
    /// A relay before every node of the map, for each other node. Must be called within a Tokio runtime.
    pub(super) fn start(map: &ClusterMap) -> io::Result<Self> {
        let relays =
            pairs(map).into_iter().zip(0..).map(|((pair, upstream), seed)| Ok((pair, Relay::start(upstream, seed)?)));
        Ok(Self { relays: relays.collect::<io::Result<_>>()?, cuts: Cuts::default() })
    }

    /// The map in the eyes of `dialer`: every other node stands behind its relay.
    pub(super) fn map_of(&self, dialer: WorkerId, map: &ClusterMap) -> ClusterMap {
        rewired(map, dialer, |acceptor| self.relays.get(&(dialer, acceptor)).map(Relay::address))
    }

    /// Changes what is cut.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Cuts)) {
        change(&mut self.cuts);
        for ((dialer, acceptor), relay) in &self.relays {
            relay.cut(Way::Both, self.cuts.sever(dialer.region(), acceptor.region()));
        }
    }

    /// Whether this region is cut off as a whole.
    pub(super) fn is_cut_off(&self, region: u8) -> bool {
        self.cuts.regions.contains(&region)
    }

    /// Every relay, with who dials whom through it.
    pub(super) fn relays(&self) -> impl Iterator<Item = (WorkerId, WorkerId, &Relay)> {
        self.relays.iter().map(|((dialer, acceptor), relay)| (*dialer, *acceptor, relay))
    }
}

impl Cuts {
    /// Cuts a region off from all others.
    pub(super) fn cut(&mut self, region: u8) {
        self.regions.insert(region);
    }

    /// Heals every cut of this region, but not those of the regions at the other end.
    pub(super) fn heal(&mut self, region: u8) {
        self.regions.remove(&region);
        self.pairs.retain(|(one, other)| *one != region && *other != region);
    }

    /// Cuts two regions off from each other.
    pub(super) fn cut_between(&mut self, one: u8, other: u8) {
        self.pairs.insert((one.min(other), one.max(other)));
    }

    /// Heals such a cut.
    pub(super) fn heal_between(&mut self, one: u8, other: u8) {
        self.pairs.remove(&(one.min(other), one.max(other)));
    }

    /// Whether nothing passes between two regions. Nodes of one region are never cut off from each other.
    fn sever(&self, one: u8, other: u8) -> bool {
        let apart = self.regions.contains(&one) || self.regions.contains(&other);
        one != other && (apart || self.pairs.contains(&(one.min(other), one.max(other))))
    }
}

/// Every ordered pair of nodes, with the acceptor's true address.
fn pairs(map: &ClusterMap) -> Vec<(Pair, SocketAddr)> {
    let acceptors = map.nodes().filter_map(|(worker, _, node)| Some((worker, node.quic.fixed()?)));
    let pairs = acceptors.flat_map(|(acceptor, address)| {
        let dialers = map.nodes().map(|(dialer, ..)| dialer).filter(move |dialer| *dialer != acceptor);
        dialers.map(move |dialer| ((dialer, acceptor), address))
    });
    pairs.collect()
}

/// The map with other QUIC addresses for all nodes but `dialer`, which listens at its own.
fn rewired(map: &ClusterMap, dialer: WorkerId, address: impl Fn(WorkerId) -> Option<SocketAddr>) -> ClusterMap {
    let mut map = map.clone();
    for region in &mut map.regions {
        for node in &mut region.nodes {
            let worker = WorkerId::new(region.id, node.id).filter(|worker| *worker != dialer);
            if let Some(relay) = worker.and_then(&address) {
                node.quic = relay.into();
            }
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    fn map(regions: u8) -> ClusterMap {
        plan::map(regions.into(), ClusterMap::default(), |index| {
            Some([7_400, 8_400, 6_400, 9_400].map(|port| port + index))
        })
        .unwrap()
    }

    fn worker(region: u8) -> WorkerId {
        WorkerId::new(region, 0).unwrap()
    }

    #[test]
    fn each_ordered_pair_has_a_relay_to_the_acceptors_true_address() {
        let pairs = pairs(&map(3));
        assert_eq!(pairs.len(), 6);
        for ((dialer, acceptor), address) in pairs {
            assert_ne!(dialer, acceptor);
            assert_eq!(address.port(), 7_400 + u16::from(acceptor.region()));
        }
    }

    #[test]
    fn a_node_sees_itself_where_it_listens_and_the_others_behind_relays() {
        let map = map(3);
        let seen =
            rewired(&map, worker(1), |acceptor| Some(([127, 0, 0, 1], 100 + u16::from(acceptor.region())).into()));
        let quic: Vec<_> = seen.nodes().map(|(_, _, node)| node.quic.port()).collect();
        assert_eq!(quic, [100, 7_401, 102]);
        let http = |map: &ClusterMap| map.nodes().map(|(_, _, node)| node.http.clone()).collect::<Vec<_>>();
        assert_eq!(http(&seen), http(&map), "HTTP is asked directly");
    }

    #[test]
    fn cuts_overlap_and_are_healed_one_by_one() {
        let mut cuts = Cuts::default();
        cuts.cut(0);
        cuts.cut(1);
        assert!(cuts.sever(0, 1) && cuts.sever(0, 2) && cuts.sever(2, 1));
        assert!(!cuts.sever(2, 3) && !cuts.sever(0, 0));
        cuts.heal(0);
        assert!(cuts.sever(0, 1), "1 is still cut off");
        assert!(!cuts.sever(0, 2));
        cuts.heal(1);
        assert!(!cuts.sever(0, 1));
    }

    #[test]
    fn two_regions_can_be_cut_off_from_each_other_alone() {
        let mut cuts = Cuts::default();
        cuts.cut_between(2, 0);
        assert!(cuts.sever(0, 2) && cuts.sever(2, 0) && !cuts.sever(0, 1) && !cuts.sever(1, 2));
        cuts.heal_between(0, 2);
        assert!(!cuts.sever(0, 2));
        cuts.cut_between(2, 0);
        cuts.heal(2);
        assert!(!cuts.sever(0, 2), "healing a region heals its pairs");
    }

    #[tokio::test]
    async fn what_a_node_reads_leads_to_the_relays_that_were_started() {
        let map = map(3);
        let wires = Wires::start(&map).unwrap();
        let seen = wires.map_of(worker(0), &map);
        let behind: BTreeMap<_, _> =
            wires.relays().map(|(dialer, acceptor, relay)| ((dialer, acceptor), relay.address())).collect();
        assert_eq!(seen.node(worker(1)).unwrap().1.quic.fixed(), Some(behind[&(worker(0), worker(1))]));
        assert_eq!(seen.node(worker(0)).unwrap().1.quic.port(), 7_400);
    }
}
