//! The limiter of a node: made of its configuration, and kept by its clock as far as that is believed.

use anyhow::Context;

use crate::config::map::ClusterMap;
use crate::config::{Config, TreeSecret};
use crate::envoy::Domains;
use crate::identity::Peer;
use crate::ids::IdSource;
use crate::limiter::{Declared, Keeper, Limiter, Settings, template};
use crate::limits::{KeyHasher, Room};

/// Locks of a limiter's keys: so many that threads seldom meet, and few enough that what visits all of them costs nothing.
const SHARDS: u32 = 64;

/// Unix time in milliseconds, while the node believes its clock.
pub(super) fn believed(ids: IdSource) -> impl Fn() -> Option<u64> + Send + 'static {
    move || {
        let (unix_us, believed) = ids.read_clock();
        believed.then_some(unix_us / 1_000)
    }
}

/// Every policy: those of the configuration, and one for each rate limit of the descriptors.
pub(super) fn declared(config: &Config, map: &ClusterMap, domains: &Domains) -> Vec<Declared> {
    let policies = config.limits.policies(map).into_iter().chain(config.envoy.policies(map, domains));
    Declared::all(policies, map)
}

/// A limiter with the policies of the configuration, and the thread that keeps it.
pub(super) fn begin(
    config: &Config,
    (map, domains): (&ClusterMap, &Domains),
    me: Peer,
    secret: &TreeSecret,
    wall_ms: impl Fn() -> Option<u64> + Send + 'static,
) -> anyhow::Result<(Limiter, Keeper)> {
    let limits = &config.limits;
    let limiter = Limiter::new(Settings {
        me,
        room: Room { keys_max: limits.keys_max, shards: SHARDS, when_full: limits.when_full.into() },
        peers: map.nodes().filter(|(worker, ..)| *worker != me.worker).count(),
        hasher: KeyHasher::new(*secret.bytes()),
    });
    limiter.replace(declared(config, map, domains), template(limits, map)).context("a policy of limits")?;
    limiter.tick(wall_ms());
    let keeper = Keeper::start(limiter.clone(), limits.interval, wall_ms).context("cannot start a thread")?;
    Ok((limiter, keeper))
}
