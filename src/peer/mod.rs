//! Links to other nodes: QUIC with mutual TLS.
//!
//! A link has one direction. Each node dials every other node of the map with which it shares a namespace, and what it
//! dialed carries its own messages; answers come back on the link that the other node dialed. So a pair of nodes has two
//! connections, each end repairs its own, and there is no tie to break.
//!
//! A link begins with a [`hello`]: each end says who it is and judges the other, and a refusal is logged once, on both
//! sides, and tried again later. Then one unidirectional stream carries [`frame`]s of one of the [`messages`] each, and
//! others, one after another, what was admitted by [`limits`].
//!
//! Links promise order, the identity of the sender (its certificate names it, and its boot comes with every message)
//! and that of two live processes with one worker id only the first keeps its link (see [`accept`]). They do not
//! promise delivery: a message for a peer that is down or slow is dropped and counted (I6), and the replicas' digests
//! fetch again what it held. Nothing that a peer sends stops the node (I8): what is malformed ends the link.

mod accept;
mod caller;
mod compressed;
mod deltas;
mod dial;
mod end;
#[cfg(test)]
pub(crate) mod fixture;
mod frame;
pub(crate) mod fuzzed;
mod hello;
mod limits;
mod link;
mod local;
mod messages;
mod pulse;
mod reach;
mod reports;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::Connection;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use link::{LinkState, Tally};
pub use local::LocalNode;
pub use pulse::{ClockReading, Clockwork};

use crate::config::PeerLinks;
use crate::config::map::{ClusterMap, Region};
use crate::engine::EngineHandle;
use crate::identity::{ReplicaId, WorkerId};
use crate::limiter::Limiter;
use crate::quic::{Endpoint, Peers};
use crate::replica::Message;
use crate::tls::Credentials;

use link::Link;
use local::Greeting;
use reach::Dialer;
use reports::Reports;
use seal::{Sealer, UNBOUND};

/// Connections that each node of the map may have open to us, on average: its link, its successor's, and a few calls.
/// As many again are for callers that the map does not know, so that they hear why they are refused.
const CONNECTIONS_PER_PEER: usize = 4;
/// Words of a peer that we log are cut off after so many characters.
const LOGGED_CHARS_MAX: usize = 400;

/// Everything that links need to begin.
#[derive(Clone)]
pub struct LinksConfig {
    /// This node.
    pub local: LocalNode,
    /// The bounds of `[peer]`.
    pub limits: PeerLinks,
    /// The longest frame, `frame.bytes_max`.
    pub frame_bytes_max: usize,
    /// The cluster's map.
    pub map: Arc<ClusterMap>,
    /// Where messages and news of links go.
    pub engine: EngineHandle,
    /// This node's clock, and who wants to hear of the others'.
    pub clock: Arc<dyn Clockwork>,
    /// This node's limits, and who wants to hear of what the others admitted.
    pub limiter: Limiter,
    /// What peers are dialed from.
    pub endpoint: Endpoint,
    /// Who this node is, and whom it believes.
    pub credentials: Credentials,
}

/// All links of this node; cheap to clone.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

struct Shared {
    greeting: Greeting,
    limits: PeerLinks,
    frame_bytes_max: usize,
    map: Arc<ClusterMap>,
    engine: EngineHandle,
    clock: Arc<dyn Clockwork>,
    limiter: Limiter,
    dialer: Dialer,
    /// Every other node of the map.
    peers: BTreeMap<WorkerId, Link>,
    /// For connections of peers.
    places: Arc<Semaphore>,
    sealer: Sealer,
    reports: Reports,
    stop: CancellationToken,
}

impl Peers for Links {
    /// By its IP address, or by what its name stood for when it was last dialed.
    fn know(&self, ip: IpAddr) -> bool {
        self.0.peers.values().any(|link| link.is_at(ip.to_canonical()))
    }

    async fn accept(&self, connection: Connection) {
        accept::serve(&self.0, &connection).await;
    }
}

impl Links {
    /// Begins to dial every peer. Must be called within a Tokio runtime; ends with [`Self::stop`].
    pub fn start(start: LinksConfig) -> Self {
        let shared = Arc::new(Shared::new(start));
        for link in shared.peers.values().filter(|link| link.dials) {
            tokio::spawn(dial::keep(shared.clone(), link.worker));
        }
        Self(shared)
    }

    /// Queues a message, never waiting: if the link to `to` is down or its queue is full, the message is dropped and
    /// counted.
    pub fn send(&self, to: WorkerId, mut message: Message) {
        if let Message::Digest(digest) = &mut message {
            let own = self.0.greeting.own();
            for sighting in digest.sightings.iter_mut().filter(|sighting| sighting.by == own) {
                sighting.seal = self.0.sealer.seal(sighting.of, UNBOUND);
            }
        }
        match self.0.peers.get(&to) {
            Some(link) => link.send(message),
            None => debug!(%to, "dropped a message for a node that is not in the map"),
        }
    }

    /// Every peer that is dialed, and how its link stands.
    pub fn states(&self) -> Vec<(WorkerId, LinkState)> {
        self.dialed().map(|link| (link.worker, link.state())).collect()
    }

    /// Every peer that is dialed, and what its links have carried.
    pub fn tallies(&self) -> Vec<(WorkerId, Tally)> {
        self.dialed().map(|link| (link.worker, link.tally())).collect()
    }

    /// From now on we greet as this incarnation.
    pub fn set_replica(&self, replica: ReplicaId) {
        self.0.greeting.set_replica(replica);
    }

    /// From now on we sign with these credentials, and believe nothing that was checked with others. Connections are the
    /// endpoint's: see [`Endpoint::renew`].
    pub fn renew(&self, credentials: Credentials) {
        self.0.sealer.renew(credentials);
    }

    /// Closes all links, in both directions, and dials no more.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    fn dialed(&self) -> impl Iterator<Item = &Link> {
        self.0.peers.values().filter(|link| link.dials)
    }
}

impl Shared {
    fn new(start: LinksConfig) -> Self {
        let LinksConfig { map, limits, .. } = start;
        let cluster = start.local.cluster.clone();
        let greeting = Greeting::new(start.local, &map);
        let own = greeting.own();
        let link = |peer, region: &Region, node| {
            let dials = hello::shares(greeting.spaces(), greeting.region(), &region.name);
            (peer, Link::new(peer, region, node, dials))
        };
        let others = map.nodes().filter(|(peer, ..)| *peer != own.worker);
        let peers: BTreeMap<WorkerId, Link> = others.map(|(peer, region, node)| link(peer, region, node)).collect();
        Self {
            places: Arc::new(Semaphore::new(peers.len().saturating_add(1).saturating_mul(CONNECTIONS_PER_PEER))),
            frame_bytes_max: start.frame_bytes_max,
            engine: start.engine,
            clock: start.clock,
            limiter: start.limiter,
            dialer: Dialer::new(start.endpoint, limits.idle_timeout),
            peers,
            sealer: Sealer::new(cluster, own, map.clone(), start.credentials),
            reports: Reports::new(own.worker, map.clone()),
            stop: CancellationToken::new(),
            greeting,
            limits,
            map,
        }
    }
}

/// The certificate that the other end has proven to hold, if it showed one.
fn certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

/// What a peer says is cut before it is logged or kept.
fn brief(words: &str) -> String {
    words.chars().take(LOGGED_CHARS_MAX).collect()
}

/// Locks are held for a few instructions that do not panic, so a poisoned one is sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
