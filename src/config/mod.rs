//! Configuration: what can be set, its defaults and its bounds.
//!
//! It is read at the start; what a reload may change of it while the process lives, `node` decides. Every key is declared
//! once, by [`section!`](crate::section): what the replica needs in `replica::tuning`, everything else here. From that
//! follow what is refused and in which words, the built-in defaults, `config/default.toml` and the page of all keys.
//! Each bound (I6) says there what happens at it. A configuration that was loaded is allowed in every value; one that is
//! not is refused as a whole, with every problem named. Only the command line reads the environment: here it is an
//! argument.

pub mod address;
mod api;
mod defaults;
mod difference;
mod directives;
mod doors;
mod envoy;
pub mod error;
pub(crate) mod fuzzed;
mod ids;
mod inspect;
mod layer;
mod limits;
mod load;
pub mod map;
mod memory;
pub mod origin;
mod place;
mod regions;
mod schema;
mod secret;
mod sections;
mod share;
#[cfg(test)]
mod tests;
mod validate;
mod warnings;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use api::{Api, Permission, Token};
pub use defaults::{default_file, page};
pub use difference::differing;
pub use directives::log_filter;
pub use doors::{DoorTls, Grpc, Http, HttpCors, Quic, Redis};
pub use envoy::Envoy;
pub use error::{ConfigError, Problem};
pub use ids::{IdBits, Ids};
pub use limits::{Given, LimitMode, LimitPolicy, Limits, WhenFull};
pub use load::{Flag, Loaded, Sources};
pub use memory::MemoryShares;
pub use origin::{Origin, Setting};
pub use place::{NoOrdinal, NodeNumber};
pub use secret::{SECRET_BYTES, TreeSecret};
pub use sections::{Cluster, Disk, Durability, Frame, Log, LogFormat, Namespace, PeerLinks, Store, Tls};
pub use warnings::warnings;

use crate::clock;
use crate::identity::NamespaceId;
use crate::replica::tuning::Tuning;
use crate::section::section;
use crate::section::shape::Shape;
use map::ClusterMap;
use place::NODE_NUMBER;
use schema::{NAMESPACE_NAME, PATH};

section! {
    /// Everything that can be set.
    pub struct Config {
        /// Where the region files are: every *.toml in it is one region. Hidden files, and those whose names begin
        /// with # or ~, are leftovers of editors and archivers and are not looked at.
        pub regions_dir: PathBuf = "regions", PATH;

        /// Where this node keeps its data: RocksDB, and nothing else. Every node needs its own.
        pub data_dir: PathBuf = "data", PATH;

        /// Which node of its region this one is: the number is part of every ID that it mints. "auto" takes the number
        /// at the end of the host's name, as the pods of a StatefulSet have it: snowtide-3 is node 3. The start is
        /// refused if the name has no such number, or the region's file no such node. The same as `serve --node`.
        pub node: NodeNumber = 0, NODE_NUMBER;

        /// Which cluster this node belongs to.
        pub cluster: Cluster;

        /// By which certificates nodes know each other.
        pub tls: Tls;

        /// What IDs are made of, and which clock is believed.
        pub ids: Ids;

        /// The namespaces: each is replicated on its own, and every counter lives in one. Another is added by another
        /// table, here or in a file of your own, the same on every node. A namespace can be renamed only by starting
        /// another.
        pub namespace: BTreeMap<String, Namespace> =
            default, Shape::Named { names: &NAMESPACE_NAME, each: &Shape::Table(Namespace::FIELDS) };

        /// What the replica is told.
        #[serde(flatten)]
        pub tuning: Tuning;

        /// Limits of rates, and how nodes share what they admit.
        pub limits: Limits;

        /// What peers send each other.
        pub frame: Frame;

        /// The data directory.
        pub store: Store;

        /// The disk that it is on.
        pub disk: Disk;

        /// What all front doors share.
        pub api: Api;

        /// The HTTP front door.
        pub http: Http;

        /// QUIC: the front door of clients, and the links of peers.
        pub quic: Quic;

        /// The front door of the Redis protocol.
        pub redis: Redis;

        /// The front door of gRPC: Envoy's rate limit service.
        pub grpc: Grpc;

        /// Which limits requests of Envoy's meet.
        pub envoy: Envoy;

        /// The links to peers.
        pub peer: PeerLinks;

        /// What the process writes about itself.
        pub log: Log;
    }
}

impl Config {
    /// Reads, merges and checks everything.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        load::load(sources, clock::wall_ms())
    }

    /// The built-in defaults, whatever the machine says; for tests and tools.
    ///
    /// # Panics
    /// Never in a build whose tests passed: the defaults are compiled in, and a test loads them.
    pub fn builtin() -> Self {
        load::builtin().expect("the defaults are compiled in, and a test loads them")
    }

    /// The namespaces that the nodes of a region hold, by name; none if the map does not know the region.
    pub fn served_namespaces(&self, map: &ClusterMap, region: u8) -> BTreeMap<String, NamespaceId> {
        let Some(region) = map.region_by_id(region) else { return BTreeMap::new() };
        let served = self.namespace.iter().filter(|(_, namespace)| namespace.is_held_by(&region.name));
        served.map(|(name, _)| (name.clone(), NamespaceId::of(name))).collect()
    }

    /// Time zero of the IDs in milliseconds since 1970.
    ///
    /// # Panics
    /// If the epoch is no time at all, which a configuration that was loaded never holds.
    pub fn ids_epoch_ms(&self) -> u64 {
        self.ids.epoch_ms().expect("loading refuses an epoch that is no time")
    }

    /// The last moment that an ID can carry, in milliseconds since 1970.
    ///
    /// # Panics
    /// As [`Self::ids_epoch_ms`].
    pub fn ids_end_ms(&self) -> u64 {
        let span = 1_u64.checked_shl(self.ids.bits.time.into()).unwrap_or(u64::MAX);
        self.ids_epoch_ms().saturating_add(span - 1)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::builtin()
    }
}
