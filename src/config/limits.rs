//! `[limits]`: the policies by which this cluster limits rates, and how its nodes share what they admit.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use snowtide_protocol::limit::Algorithm;

use super::map::ClusterMap;
use super::schema::{POLICY_NAME, REGION_SHARE};
use super::share::RegionShare;
use crate::identity::WorkerId;
use crate::limits::{self, LIMIT_MAX, Policy, WINDOW_MAX_MS, WINDOW_MIN_MS};
use crate::section::shape::{SECOND, Shape, count, duration};
use crate::section::{Milliseconds, section};

/// Of two nodes' shares to be equal, their region's has to be a multiple of this divided by how many they are: the least
/// common multiple of 1 to 16.
const NODES_MULTIPLE: u32 = 720_720;

section! {
    /// `[limits]`
    pub struct Limits {
        /// Keys that all policies together may count at this node: 70 bytes each, and 24 for each peer that told of it,
        /// beside memory.bytes_max. Room is shared out by policy; a key that nobody uses any more makes place first.
        pub keys_max: u32 = 1000000, count(1_000, 100_000_000);

        /// What happens to a new key when there is no room and every key is in use: with "evict" the key with the least
        /// use goes, of the policy that has most beyond its part, and what was counted of it is forgotten; with "deny"
        /// the new key is refused with 503 limits_full, unless another policy than its own has most.
        pub when_full: WhenFull = "evict", Shape::OneOf(&["evict", "deny"]);

        /// How often nodes tell each other what they admitted, of keys of which enough is not told. Less is tighter,
        /// and costs messages.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = "20ms", duration(5, SECOND);

        /// How policies count that requests bring along (CL.THROTTLE, INCREX, the body of an HTTP request), as
        /// limits.policy.<name>.mode; with "refuse" there are none.
        pub given: Given = "shared", Shape::OneOf(&["shared", "split", "local", "refuse"]);

        /// The policies, by name: the same on every node. Nodes that differ in one do not count together under it; each
        /// then has its share. A file that has a [limits.policy.<name>] names all policies: those of lower files no
        /// longer count.
        pub policy: BTreeMap<String, LimitPolicy> =
            default, Shape::Named { names: &POLICY_NAME, each: &Shape::Table(LimitPolicy::FIELDS) };
    }
}

section! {
    /// `[limits.policy.<name>]`
    #[serde(default)]
    pub struct LimitPolicy {
        /// How use is counted: "fixed" in windows of the clock; "sliding", the same, where the window before counts for
        /// as much as of it lies within the last window's length; "gcra" by a level that drains evenly and holds
        /// `burst` (generic cell rate algorithm).
        pub algorithm: Algorithm = "sliding", Shape::OneOf(&["fixed", "sliding", "gcra"]);

        /// Units that are admitted in a window, to each key.
        pub limit: u64 = 100, count(1, LIMIT_MAX);

        /// How long a window is.
        #[serde(with = "humantime_serde")]
        pub window: Duration = "1m", duration(WINDOW_MIN_MS, WINDOW_MAX_MS);

        /// Units that may come at once; of "gcra" only. 0 is as many as `limit`.
        pub burst: u64 = 0, count(0, LIMIT_MAX);

        /// Whose use counts: with "shared" that of all nodes, as far as it is known; with "split" each node's own,
        /// against its share; with "local" each node's own, against the whole limit.
        pub mode: LimitMode = "shared", Shape::OneOf(&["shared", "split", "local"]);

        /// The regions whose nodes decide by it, each with the weight of its share, such as "eu-west:2"; without one,
        /// 1. The nodes of a region share alike. An empty list means all regions, alike. Other regions answer 421
        /// wrong_region.
        pub regions: Vec<String> = [], Shape::List(&REGION_SHARE);
    }
}

impl Default for LimitPolicy {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sliding,
            limit: 100,
            window: Duration::from_secs(60),
            burst: 0,
            mode: LimitMode::Shared,
            regions: Vec::new(),
        }
    }
}

/// What happens to a new key when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The key with the least use goes.
    #[default]
    Evict,
    /// The new one is refused.
    Deny,
}

/// Whose use counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitMode {
    /// That of all nodes.
    #[default]
    Shared,
    /// Each node's own, against its share.
    Split,
    /// Each node's own, against the whole limit.
    Local,
}

/// How policies count that requests bring along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Given {
    /// As [`LimitMode::Shared`].
    #[default]
    Shared,
    /// As [`LimitMode::Split`].
    Split,
    /// As [`LimitMode::Local`].
    Local,
    /// There are none.
    Refuse,
}

impl LimitPolicy {
    /// The weights of all nodes that decide by it.
    pub fn weights(&self, map: &ClusterMap) -> BTreeMap<WorkerId, u32> {
        let shares: BTreeMap<&str, u32> =
            self.regions.iter().filter_map(|text| RegionShare::read(text)).map(|s| (s.region, s.weight)).collect();
        let weight = |region: &str| if shares.is_empty() { Some(1) } else { shares.get(region).copied() };
        let nodes = map.nodes().filter_map(|(worker, region, _)| {
            let each = NODES_MULTIPLE / u32::try_from(region.nodes.len()).unwrap_or(u32::MAX).max(1);
            Some((worker, weight(&region.name)? * each))
        });
        nodes.collect()
    }

    /// As nodes decide by it.
    pub fn policy(&self, name: &str, map: &ClusterMap) -> Policy {
        Policy {
            name: name.to_owned(),
            algorithm: algorithm(self.algorithm),
            limit: self.limit,
            window_ms: self.window.ms(),
            burst: if self.burst == 0 { self.limit } else { self.burst },
            mode: self.mode.into(),
            weights: self.weights(map),
        }
    }
}

impl Limits {
    /// All policies, as nodes decide by them.
    pub fn policies(&self, map: &ClusterMap) -> Vec<Policy> {
        self.policy.iter().map(|(name, policy)| policy.policy(name, map)).collect()
    }

    /// How policies count that requests bring along; `None` if there are none.
    pub fn given_mode(&self) -> Option<limits::Mode> {
        match self.given {
            Given::Shared => Some(limits::Mode::Shared),
            Given::Split => Some(limits::Mode::Split),
            Given::Local => Some(limits::Mode::Local),
            Given::Refuse => None,
        }
    }
}

/// As the law calls it.
pub(super) fn algorithm(algorithm: Algorithm) -> limits::Algorithm {
    match algorithm {
        Algorithm::Fixed => limits::Algorithm::Fixed,
        Algorithm::Sliding => limits::Algorithm::Sliding,
        Algorithm::Gcra => limits::Algorithm::Gcra,
    }
}

impl From<LimitMode> for limits::Mode {
    fn from(mode: LimitMode) -> Self {
        match mode {
            LimitMode::Shared => Self::Shared,
            LimitMode::Split => Self::Split,
            LimitMode::Local => Self::Local,
        }
    }
}

impl From<WhenFull> for limits::WhenFull {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::Evict => Self::Evict,
            WhenFull::Deny => Self::Deny,
        }
    }
}

impl fmt::Display for LimitMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Split => "split",
            Self::Local => "local",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::address::Address;
    use crate::config::map::{Node, Region};

    fn map() -> ClusterMap {
        let address = || Address::parse("127.0.0.1:1").unwrap();
        let node = |id| Node { id, quic: address(), http: address(), redis: None, grpc: None };
        let region = |id, name: &str, nodes: u8| Region {
            name: name.to_owned(),
            id,
            location: None,
            nodes: (0..nodes).map(node).collect(),
        };
        ClusterMap { regions: vec![region(0, "eu", 1), region(1, "us", 3)] }
    }

    #[test]
    fn regions_share_by_weight_and_their_nodes_alike() {
        let weights = |regions: &[&str]| {
            let regions = regions.iter().map(|&region| region.to_owned()).collect();
            LimitPolicy { regions, ..LimitPolicy::default() }.weights(&map()).into_values().collect::<Vec<_>>()
        };
        assert_eq!(weights(&[]), [720_720, 240_240, 240_240, 240_240]);
        assert_eq!(weights(&["us:6", "eu:3"]), [2_162_160, 1_441_440, 1_441_440, 1_441_440]);
        assert_eq!(weights(&["eu"]), [720_720]);
        assert_eq!(weights(&["us:1000"]), [240_240_000; 3]);
    }

    #[test]
    fn the_built_in_policy_is_the_default_of_every_other() {
        let limits = Config::builtin().limits;
        assert_eq!(limits.policy.into_iter().collect::<Vec<_>>(), [("default".to_owned(), LimitPolicy::default())]);
        let policy = LimitPolicy::default().policy("default", &map());
        assert_eq!((policy.check(), policy.burst, policy.window_ms), (Ok(()), 100, 60_000));
    }
}
