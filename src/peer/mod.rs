//! Links to other nodes: QUIC with mutual TLS.
//!
//! A link has one direction. Each node dials every other node of the map with which it shares a namespace, and what it
//! dialed carries its own messages; answers come back on the link that the other node dialed. So a pair of nodes has two
//! connections, each end repairs its own, and there is no tie to break.
//!
//! A link begins with a [`hello`]: each end says who it is and judges the other, and a refusal is logged once, on both
//! sides, and tried again later. Then one unidirectional stream carries [`frame`]s of one message each.
//!
//! Links promise order, the identity of the sender (its certificate names it, and its boot comes with every message)
//! and that of two live processes with one worker id only the first keeps its link (see [`accept`]). They do not
//! promise delivery: a message for a peer that is down or slow is dropped and counted (I6), and the replicas' digests
//! fetch again what it held. Nothing that a peer sends stops the node (I8): what is malformed ends the link.

mod accept;
mod caller;
mod claims;
mod compressed;
mod dial;
mod end;
#[cfg(test)]
pub(crate) mod fixture;
mod frame;
pub(crate) mod fuzzed;
mod hello;
mod link;
mod pulse;
mod reach;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::Connection;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use link::{LinkState, Tally};
pub use pulse::{ClockReading, Clockwork};

use crate::config::map::ClusterMap;
use crate::config::{Namespace, PeerLinks};
use crate::engine::EngineHandle;
use crate::identity::{Boot, Peer, ReplicaId, WorkerId};
use crate::quic::{Endpoint, Peers};
use crate::replica::Message;
use crate::tls::Credentials;

use hello::{Agreement, Hello, Space, VERSIONS};
use link::Link;
use seal::{Sealer, UNBOUND};

/// Connections that each node of the map may have open to us, on average: its link, its successor's, and a few calls.
/// As many again are for callers that the map does not know, so that they hear why they are refused.
const CONNECTIONS_PER_PEER: usize = 4;
/// Words of a peer that we log are cut off after so many characters.
const LOGGED_CHARS_MAX: usize = 400;

/// Everything that links need to begin.
#[derive(Clone)]
pub struct LinksConfig {
    /// The cluster's id.
    pub cluster: String,
    /// All configured namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The bounds of `[peer]`.
    pub limits: PeerLinks,
    /// The longest frame, `frame.bytes_max`.
    pub frame_bytes_max: usize,
    /// The cluster's map.
    pub map: Arc<ClusterMap>,
    /// This node.
    pub worker: WorkerId,
    /// This start of it.
    pub boot: Boot,
    /// Its incarnation, if it has one yet; see [`Links::set_replica`].
    pub replica: Option<ReplicaId>,
    /// The layout of IDs as a text. Nodes with different ones refuse each other.
    pub layout: String,
    /// The fingerprint of the cluster's secret. Nodes with different ones refuse each other.
    pub secret: String,
    /// Where messages and news of links go.
    pub engine: EngineHandle,
    /// This node's clock, and who wants to hear of the others'.
    pub clock: Arc<dyn Clockwork>,
    /// What peers are dialed from.
    pub endpoint: Endpoint,
    /// Who this node is, and whom it believes.
    pub credentials: Credentials,
}

/// All links of this node; cheap to clone.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

struct Shared {
    cluster: String,
    layout: String,
    secret: String,
    region: String,
    worker: WorkerId,
    boot: Boot,
    replica: Mutex<Option<ReplicaId>>,
    spaces: Vec<Space>,
    limits: PeerLinks,
    frame_bytes_max: usize,
    map: Arc<ClusterMap>,
    engine: EngineHandle,
    clock: Arc<dyn Clockwork>,
    endpoint: Endpoint,
    peers: BTreeMap<WorkerId, Link>,
    places: Arc<Semaphore>,
    troubles: Mutex<BTreeMap<Option<WorkerId>, String>>,
    differences: Mutex<BTreeMap<WorkerId, Vec<String>>>,
    /// Behind a lock, because certificates may be replaced while links live.
    sealer: Mutex<Sealer>,
    /// Of whom a claim was refused that we have told of: by peer, and about whom.
    refused_claims: Mutex<BTreeSet<(WorkerId, WorkerId)>>,
    lookups: Semaphore,
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
            let own = Peer { worker: self.0.worker, boot: self.0.boot };
            for sighting in digest.sightings.iter_mut().filter(|sighting| sighting.by == own) {
                sighting.seal = self.0.seal(sighting.of, UNBOUND);
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
        *lock(&self.0.replica) = Some(replica);
    }

    /// From now on we sign with these credentials, and believe nothing that was checked with others. Connections are the
    /// endpoint's: see [`Endpoint::renew`].
    pub fn renew(&self, credentials: Credentials) {
        *lock(&self.0.sealer) = Sealer::new(credentials);
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
        let LinksConfig { map, worker, .. } = start;
        let region = map.region_by_id(worker.region()).map(|region| region.name.clone()).unwrap_or_default();
        let spaces = hello::spaces(&start.namespaces);
        let own = &region;
        let peers: BTreeMap<WorkerId, Link> = map
            .nodes()
            .filter(|(peer, ..)| *peer != worker)
            .map(|(peer, region, node)| {
                (peer, Link::new(peer, region, node, hello::shares(&spaces, own, &region.name)))
            })
            .collect();
        Self {
            cluster: start.cluster,
            layout: start.layout,
            secret: start.secret,
            region,
            worker,
            boot: start.boot,
            replica: Mutex::new(start.replica),
            spaces,
            places: Arc::new(Semaphore::new(peers.len().saturating_add(1).saturating_mul(CONNECTIONS_PER_PEER))),
            limits: start.limits,
            frame_bytes_max: start.frame_bytes_max,
            map,
            engine: start.engine,
            clock: start.clock,
            endpoint: start.endpoint,
            peers,
            troubles: Mutex::default(),
            differences: Mutex::default(),
            sealer: Mutex::new(Sealer::new(start.credentials)),
            refused_claims: Mutex::default(),
            lookups: Semaphore::new(reach::LOOKUPS_MAX),
            stop: CancellationToken::new(),
        }
    }

    /// How we greet `to`.
    fn hello(&self, to: WorkerId) -> Hello {
        Hello {
            cluster: self.cluster.clone(),
            versions: VERSIONS,
            layout: self.layout.clone(),
            secret: self.secret.clone(),
            region: self.region.clone(),
            worker: self.worker,
            replica: *lock(&self.replica),
            boot: self.boot,
            namespaces: self.spaces.clone(),
            to,
        }
    }

    /// Logs what is wrong with a caller, unless it is what was wrong the last time. Callers that claim to be no node of
    /// the map are remembered as one.
    fn trouble(&self, claimed: Option<WorkerId>, what: &str) {
        let claimed = claimed.filter(|worker| self.peers.contains_key(worker));
        let peer = claimed.map_or_else(|| "unknown".to_owned(), |worker| self.map.name(worker));
        let what = brief(what);
        let mut troubles = lock(&self.troubles);
        if troubles.get(&claimed) == Some(&what) {
            debug!(peer, reason = what, "refused again");
        } else {
            warn!(peer, reason = what, "refused a peer's link");
            troubles.insert(claimed, what);
        }
    }

    /// Logs what keeps namespaces from being exchanged, unless nothing has changed since the last time.
    fn tell_differences(&self, worker: WorkerId, agreement: &Agreement) {
        let mut told = lock(&self.differences);
        if told.get(&worker).is_some_and(|told| *told == agreement.differing) {
            return;
        }
        for difference in &agreement.differing {
            warn!(
                peer = self.map.name(worker),
                difference = brief(difference),
                "a namespace is not exchanged with this peer: the definitions differ"
            );
        }
        told.insert(worker, agreement.differing.clone());
    }

    /// The caller is fine now.
    fn no_trouble(&self, worker: WorkerId) {
        lock(&self.troubles).remove(&Some(worker));
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
