//! From the configuration and the map to what the replica is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Context;
use bytesize::ByteSize;

use crate::config::address::overlap;
use crate::config::map::{self, ClusterMap};
use crate::config::{Config, Durability, MemoryShares};
use crate::identity::{NamespaceId, WorkerId};
use crate::merkle::Hasher;
use crate::replica::{Pieces, Quota, Settings};
use crate::section::Bytes;

/// News of a boot's end may be on its way for as many digests.
const DIGESTS: u32 = 4;

/// Where the node of this name stands in the map.
pub(super) fn place<'a>(map: &'a ClusterMap, region: &str, node: u8) -> anyhow::Result<(WorkerId, &'a map::Node)> {
    let known: Vec<&str> = map.regions.iter().map(|region| region.name.as_str()).collect();
    let found = map
        .region(region)
        .with_context(|| format!("there is no region {region:?}; the region files name {}", known.join(", ")))?;
    let ids: Vec<String> = found.nodes.iter().map(|node| node.id.to_string()).collect();
    let place = found
        .nodes
        .iter()
        .find(|place| place.id == node)
        .with_context(|| format!("region {region} has no node {node}; its file lists {}", ids.join(", ")))?;
    let worker = WorkerId::new(found.id, node).context("region and node numbers are 0 to 31")?;
    Ok((worker, place))
}

/// Where a node listens: of each door, the first address that the machine has.
pub(super) struct Listening {
    pub(super) quic: Vec<SocketAddr>,
    pub(super) http: Vec<SocketAddr>,
    /// Without an address on the map this door is closed.
    pub(super) redis: Option<Vec<SocketAddr>>,
    /// The same.
    pub(super) grpc: Option<Vec<SocketAddr>>,
}

/// What was set, or what follows from where others reach the node.
pub(super) fn listening(config: &Config, place: &map::Node) -> anyhow::Result<Listening> {
    let http = config.http.listen.candidates(&place.http);
    let redis = place.redis.as_ref().map(|public| config.redis.listen.candidates(public));
    let grpc = place.grpc.as_ref().map(|public| config.grpc.listen.candidates(public));
    let doors = [("http", Some(&http)), ("redis", redis.as_ref()), ("grpc", grpc.as_ref())];
    for (index, (door, addresses)) in doors.iter().enumerate() {
        for (other, others) in doors.iter().take(index) {
            let is_there = |address: &&SocketAddr| others.iter().copied().flatten().any(|o| overlap(*o, **address));
            if let Some(clash) = addresses.iter().copied().flatten().find(is_there) {
                let keys = format!("{other}.listen, {door}.listen");
                anyhow::bail!("two doors would listen on {clash}; give one of them another port: {keys}");
            }
        }
    }
    Ok(Listening { quic: config.quic.listen.candidates(&place.quic), http, redis, grpc })
}

/// Everything that the replica is told once.
pub(super) fn replica(
    config: &Config,
    map: &ClusterMap,
    worker: WorkerId,
    hasher: Hasher,
    memory: &MemoryShares,
) -> Settings {
    Settings {
        worker,
        peers: peers(config, map, worker),
        hasher,
        unsynced: unsynced(config),
        quotas: quotas(config),
        claim_wait: config.ids.claim_wait,
        quarantine: config.ids.quarantine,
        boot_silent_after: config.peer.idle_timeout + DIGESTS * config.tuning.gossip.digest_interval,
        waiting_max: config.api.waiting_max,
        rows_bytes_max: ByteSize(memory.rows).bytes(),
        tuning: config.tuning.clone(),
        pieces: Pieces::default(),
    }
}

/// The namespaces that have a bound.
fn quotas(config: &Config) -> BTreeMap<NamespaceId, Quota> {
    let bound = |most: u64| (most > 0).then_some(most);
    let quotas = config.namespace.iter().map(|(name, namespace)| {
        let (keys_max, bytes_max) = (bound(namespace.keys_max), bound(namespace.bytes_max.as_u64()));
        (NamespaceId::of(name), Quota { keys_max, bytes_max })
    });
    quotas.filter(|(_, quota)| *quota != Quota::default()).collect()
}

/// The namespaces of durability `interval`.
fn unsynced(config: &Config) -> BTreeSet<NamespaceId> {
    let unsynced = config.namespace.iter().filter(|(_, namespace)| namespace.durability == Durability::Interval);
    unsynced.map(|(name, _)| NamespaceId::of(name)).collect()
}

/// Every other node, with the namespaces that both regions hold.
fn peers(config: &Config, map: &ClusterMap, worker: WorkerId) -> BTreeMap<WorkerId, BTreeSet<NamespaceId>> {
    let namespaces = |region| config.served_namespaces(map, region).into_values().collect::<BTreeSet<_>>();
    let ours = namespaces(worker.region());
    map.nodes()
        .filter(|(peer, ..)| *peer != worker)
        .map(|(peer, region, _)| (peer, namespaces(region.id).intersection(&ours).copied().collect::<BTreeSet<_>>()))
        .filter(|(_, shared)| !shared.is_empty())
        .collect()
}
