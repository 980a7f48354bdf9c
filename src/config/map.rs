//! The cluster's map: one file a region, the same set on every node.

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::identity::WorkerId;

/// All regions, sorted by number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClusterMap {
    /// Distinct in name and number.
    pub regions: Vec<Region>,
}

/// One region, as in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// `eu-west`; lower-case letters, digits and dashes.
    pub name: String,
    /// 0–31, part of every ID: never reuse one.
    pub id: u8,
    /// Latitude and longitude in degrees; for people and nearest-first clients.
    #[serde(default)]
    pub location: Option<[f64; 2]>,
    /// Its nodes.
    #[serde(rename = "node", default)]
    pub nodes: Vec<Node>,
}

/// Where others reach one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// 0–31, part of every ID.
    pub id: u8,
    /// Peers and QUIC clients (UDP).
    pub quic: Address,
    /// HTTP clients (TCP).
    pub http: Address,
    /// Clients of the Redis protocol (TCP); without it that door is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Address>,
    /// Envoy's rate limit service (TCP); without it that door is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Address>,
}

impl ClusterMap {
    /// The region of this name.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// The region of this number.
    pub fn region_by_id(&self, id: u8) -> Option<&Region> {
        self.regions.iter().find(|region| region.id == id)
    }

    /// Every node with its region and worker id.
    pub fn nodes(&self) -> impl Iterator<Item = (WorkerId, &Region, &Node)> {
        self.regions.iter().flat_map(|region| {
            region.nodes.iter().filter_map(move |node| Some((WorkerId::new(region.id, node.id)?, region, node)))
        })
    }

    /// The node with this worker id.
    pub fn node(&self, worker: WorkerId) -> Option<(&Region, &Node)> {
        self.nodes().find(|(id, ..)| *id == worker).map(|(_, region, node)| (region, node))
    }

    /// `eu-west/0`, or the numbers where the map does not know the worker.
    pub fn name(&self, worker: WorkerId) -> String {
        match self.region_by_id(worker.region()) {
            Some(region) => format!("{}/{}", region.name, worker.node()),
            None => worker.to_string(),
        }
    }
}
