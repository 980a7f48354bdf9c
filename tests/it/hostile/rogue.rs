//! A peer that has one node's certificate and says what it likes: the links of a node, with nobody behind them.

use std::sync::Arc;

use snowtide::clock;
use snowtide::clock::offset::Offset;
use snowtide::config::map::ClusterMap;
use snowtide::config::{Config, Sources, TreeSecret};
use snowtide::engine;
use snowtide::identity::{Boot, Peer, WorkerId};
use snowtide::ids::layout_of;
use snowtide::limiter::{Limiter, Settings};
use snowtide::limits::{KeyHasher, Room, WhenFull};
use snowtide::peer::{ClockReading, Clockwork, LinkState, Links, LinksConfig, LocalNode};
use snowtide::quic::Endpoint;
use snowtide::replica::Message;
use snowtide::tls::Credentials;

use crate::harness::{Bed, DEADLINE, REGIONS, WEST, ensure, eventually};

/// It believes everything, and its clock is right.
struct Gullible;

impl Clockwork for Gullible {
    fn read(&self) -> ClockReading {
        ClockReading { unix_us: clock::wall_us(), believed: true }
    }

    fn heard(&self, _: WorkerId, _: Offset, _: bool) {}

    fn lost(&self, _: WorkerId) {}

    fn ceiling_max(&self) -> u64 {
        u64::MAX
    }
}

/// In the place of eu-west, whose node does not run.
pub(super) struct Rogue {
    links: Links,
    endpoint: Endpoint,
    pub(super) identity: Peer,
    _inlets: engine::Inlets,
}

impl Rogue {
    pub(super) fn start(bed: &Bed) -> Self {
        let folder = bed.cluster.folder();
        let sources = Sources { file: Some(folder.config_file()), ..Sources::default() };
        let config = Config::load(&sources).unwrap().config;
        let map = Arc::new(ClusterMap::load(&folder.node_regions_dir(WEST)).unwrap());
        let credentials = Credentials::load(&folder.certs_dir(), WEST, 0).unwrap();
        let endpoint = Endpoint::bind(&config.quic, &config.peer, &credentials, &[bed.quic(WEST)]).unwrap();
        let (engine, inlets) = engine::queues(1, 1);
        let identity = Peer { worker: worker(WEST), boot: Boot { counter: 1, nonce: 66 } };
        let links = Links::start(LinksConfig {
            local: LocalNode {
                cluster: config.cluster.id.clone(),
                layout: layout_of(&config.ids).unwrap().to_string(),
                secret: TreeSecret::of(&config.cluster).fingerprint(),
                namespaces: config.namespace.clone(),
                identity,
                replica: None,
            },
            limits: config.peer.clone(),
            frame_bytes_max: usize::try_from(config.frame.bytes_max.as_u64()).unwrap(),
            map,
            engine,
            clock: Arc::new(Gullible),
            limiter: Limiter::new(Settings {
                me: identity,
                room: Room { keys_max: 1_000, shards: 1, when_full: WhenFull::Evict },
                peers: 1,
                hasher: KeyHasher::new(*TreeSecret::of(&config.cluster).bytes()),
            }),
            endpoint: endpoint.clone(),
            credentials,
        });
        let (served, accepting) = (endpoint.clone(), links.clone());
        tokio::spawn(async move {
            served.serve(Some(accepting), |connection| Box::pin(async move { _ = connection.closed().await })).await;
        });
        Self { links, endpoint, identity, _inlets: inlets }
    }

    /// Says this to a node, and waits until it has been sent.
    pub(super) async fn say(&self, to: &str, message: Message) {
        let sent =
            || self.links.tallies().into_iter().find(|(peer, _)| *peer == worker(to)).map_or(0, |(_, it)| it.sent);
        eventually(DEADLINE, &format!("the rogue is linked with {to}"), async || {
            let up = self.links.states().contains(&(worker(to), LinkState::Up));
            ensure(up, || format!("{:?}", self.links.states()))
        })
        .await;
        let before = sent();
        self.links.send(worker(to), message);
        eventually(DEADLINE, "it is sent", async || ensure(sent() > before, || "not yet".to_owned())).await;
    }

    pub(super) async fn stop(self) {
        self.links.stop();
        self.endpoint.close("the rogue goes").await;
    }
}

/// Node 0 of a region.
pub(super) fn worker(region: &str) -> WorkerId {
    let number = REGIONS.iter().position(|name| *name == region).unwrap();
    WorkerId::new(u8::try_from(number).unwrap(), 0).unwrap()
}
