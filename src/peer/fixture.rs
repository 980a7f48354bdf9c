//! Nodes for tests: real endpoints and links, and a recording in the place of the engine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use snowtide_dev::certificates::{Folders, Holder, certificates};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{ClockReading, Clockwork, LinkState, Links, LinksConfig, LocalNode, Tally};
use crate::clock;
use crate::clock::offset::Offset;
use crate::config::address::Listen;
use crate::config::map::{ClusterMap, Node, Region};
use crate::config::{Namespace, PeerLinks, Quic};
use crate::engine::{EngineHandle, Recorded};
use crate::identity::{Boot, Peer, WorkerId};
use crate::limiter::Limiter;
use crate::quic::{BindError, Endpoint, Serving};
use crate::replica::{Event, Message};
use crate::tls::Credentials;

pub(crate) const FRAME_BYTES_MAX: usize = 1 << 20;
/// No higher ceiling is believable.
pub(crate) const CEILING_MAX: u64 = 1_000_000;
pub(crate) const LOOPBACK: &str = "127.0.0.1:0";
/// Far longer than anything takes, so that only what never happens fails.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const NORTH: &str = "north";
pub(crate) const SOUTH: &str = "south";
pub(crate) const WEST: &str = "west";
const REGIONS: [&str; 3] = [NORTH, SOUTH, WEST];

/// Node 0 of a region.
pub(crate) fn worker(region: &str) -> WorkerId {
    let number = REGIONS.iter().position(|name| *name == region).unwrap();
    WorkerId::new(u8::try_from(number).unwrap(), 0).unwrap()
}

/// A map with these regions only, each with one node at the address.
pub(crate) fn map(nodes: &[(&str, SocketAddr)]) -> ClusterMap {
    let region = |(name, quic): &(&str, SocketAddr)| Region {
        name: (*name).to_owned(),
        id: worker(name).region(),
        location: None,
        nodes: vec![Node { id: 0, quic: (*quic).into(), http: (*quic).into(), redis: None, grpc: None }],
    };
    ClusterMap { regions: nodes.iter().map(region).collect() }
}

/// An authority and a certificate for node 0 of each region.
pub(crate) fn authority() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let nodes = REGIONS.map(|name| Holder::new(name, 0));
    certificates(&Folders::within(dir.path()), &nodes, false).unwrap();
    dir
}

pub(crate) fn quic() -> Quic {
    Quic {
        listen: Listen::default(),
        connections_max: 16,
        requests_max: 16,
        streams_max: 16,
        idle_timeout: Duration::from_secs(30),
    }
}

pub(crate) fn limits() -> PeerLinks {
    PeerLinks {
        queue_messages_max: 64,
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(2),
        probe_timeout: Duration::from_millis(500),
        clock_interval: Duration::from_millis(100),
    }
}

pub(crate) fn boot(counter: u64) -> Boot {
    Boot { counter, nonce: counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::monotonic() + DEADLINE;
    while !condition() {
        assert!(clock::monotonic() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A node that listens. It has a runtime of its own, so that it can die as a process dies: without a word.
pub(crate) struct Station {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
    pub(crate) credentials: Credentials,
    region: &'static str,
}

impl Station {
    pub(crate) fn new(authority: &TempDir, region: &'static str) -> Self {
        Self::at(authority, region, LOOPBACK.parse().unwrap())
    }

    pub(crate) fn at(authority: &TempDir, region: &'static str, address: SocketAddr) -> Self {
        Self::patient(authority, region, address, limits().idle_timeout)
    }

    /// Waits until the address is free. Its connections may be idle for `idle`.
    pub(crate) fn patient(authority: &TempDir, region: &'static str, address: SocketAddr, idle: Duration) -> Self {
        let peer = PeerLinks { idle_timeout: idle, ..limits() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let credentials = Credentials::load(authority.path(), region, 0).unwrap();
        let _context = runtime.enter();
        let deadline = clock::monotonic() + DEADLINE;
        let endpoint = loop {
            match Endpoint::bind(&quic(), &peer, &credentials, &[address]) {
                Err(BindError::InUse { .. }) if clock::monotonic() < deadline => std::thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        let address = endpoint.address().unwrap();
        drop(_context);
        Self { endpoint, address, runtime, credentials, region }
    }

    /// Starts links, to and from the nodes of `map`.
    pub(crate) fn join(self, map: ClusterMap, counter: u64) -> Member {
        self.join_as(map, counter, |_| {})
    }

    pub(crate) fn join_as(self, map: ClusterMap, counter: u64, change: impl FnOnce(&mut LinksConfig)) -> Member {
        self.serve(map, counter, change, |connection| Box::pin(async move { _ = connection.closed().await }))
    }

    pub(crate) fn serve(
        self,
        map: ClusterMap,
        counter: u64,
        change: impl FnOnce(&mut LinksConfig),
        clients: impl Fn(quinn::Connection) -> Serving + Send + Sync + 'static,
    ) -> Member {
        let (engine, arrivals) = EngineHandle::recording();
        let clocks = Arc::new(Clocks::default());
        let mut config = LinksConfig {
            limiter: Limiter::of(Peer { worker: worker(self.region), boot: boot(counter) }),
            local: LocalNode {
                cluster: "test".into(),
                layout: "41/5/5/12".into(),
                secret: "0123456789abcdef".into(),
                namespaces: BTreeMap::from([("everywhere".to_owned(), Namespace::default())]),
                identity: Peer { worker: worker(self.region), boot: boot(counter) },
                replica: None,
            },
            limits: limits(),
            frame_bytes_max: FRAME_BYTES_MAX,
            map: Arc::new(map),
            engine,
            clock: clocks.clone(),
            endpoint: self.endpoint.clone(),
            credentials: self.credentials.clone(),
        };
        change(&mut config);
        let identity = config.local.identity;
        let context = self.runtime.enter();
        let links = Links::start(config);
        let (endpoint, served) = (self.endpoint.clone(), links.clone());
        tokio::spawn(async move { endpoint.serve(Some(served), clients).await });
        drop(context);
        Member { station: self, links, arrivals, identity, clocks }
    }
}

/// A clock that can be set wrong, and what was heard of others.
#[derive(Default)]
pub(crate) struct Clocks {
    pub(crate) ahead_us: AtomicI64,
    pub(crate) heard: Mutex<BTreeMap<WorkerId, (Offset, bool)>>,
}

impl Clockwork for Clocks {
    fn read(&self) -> ClockReading {
        let ahead_us = self.ahead_us.load(Ordering::Relaxed);
        ClockReading { unix_us: clock::wall_us().saturating_add_signed(ahead_us), believed: ahead_us == 0 }
    }

    fn heard(&self, peer: WorkerId, offset: Offset, believed: bool) {
        self.heard.lock().unwrap().insert(peer, (offset, believed));
    }

    fn lost(&self, peer: WorkerId) {
        self.heard.lock().unwrap().remove(&peer);
    }

    fn ceiling_max(&self) -> u64 {
        CEILING_MAX
    }
}

/// A node whose links are at work.
pub(crate) struct Member {
    pub(crate) station: Station,
    pub(crate) links: Links,
    pub(crate) identity: Peer,
    pub(crate) clocks: Arc<Clocks>,
    arrivals: Box<dyn Fn(Duration) -> Option<Recorded> + Send>,
}

impl Member {
    /// Waits until something arrives that `pick` wants; the rest is forgotten.
    pub(crate) fn wait<T>(&self, what: &str, pick: impl Fn(Recorded) -> Option<T>) -> T {
        let deadline = clock::monotonic() + DEADLINE;
        let left = |deadline: Instant| deadline.saturating_duration_since(clock::monotonic());
        while let Some(arrival) = (self.arrivals)(left(deadline)) {
            if let Some(picked) = pick(arrival) {
                return picked;
            }
        }
        panic!("in vain: {what}; {:?}", self.links.states())
    }

    pub(crate) fn wait_up(&self, peer: Peer) -> Vec<crate::identity::NamespaceId> {
        self.wait(&format!("{peer:?} up"), |arrival| match arrival {
            Recorded::Event(Event::PeerUp { peer: up, namespaces }) if up == peer => {
                Some(namespaces.into_iter().collect())
            }
            _ => None,
        })
    }

    pub(crate) fn wait_down(&self, peer: Peer) {
        self.wait(&format!("{peer:?} down"), |arrival| match arrival {
            Recorded::Event(Event::PeerDown(down)) if down == peer => Some(()),
            _ => None,
        });
    }

    pub(crate) fn wait_message(&self, from: Peer) -> Message {
        self.wait(&format!("a message of {from:?}"), |arrival| match arrival {
            Recorded::Message(sender, message, _) if sender == from => Some(message),
            _ => None,
        })
    }

    /// Sends again and again until the link carries it: links may come and go on a busy machine.
    pub(crate) fn tell(&self, to: &Self) {
        let before = to.tally(self.identity.worker).received;
        until("a message passes", || {
            self.links.send(to.identity.worker, Message::Leaving);
            to.tally(self.identity.worker).received > before
        });
    }

    pub(crate) fn state(&self, of: &str) -> LinkState {
        self.links.states().into_iter().find(|(peer, _)| *peer == worker(of)).unwrap().1
    }

    pub(crate) fn tally(&self, of: WorkerId) -> Tally {
        self.links.tallies().into_iter().find(|(peer, _)| *peer == of).unwrap().1
    }

    /// Waits until the link to `of` is refused, for a reason with these words.
    pub(crate) fn wait_refused(&self, of: &str, words: &str) {
        until(
            &format!("a refusal with {words:?}"),
            || matches!(self.state(of), LinkState::Refused(reason) if reason.contains(words)),
        );
    }
}
