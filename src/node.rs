//! A node: the composition root. It knows everything else, and nothing knows it but the command line.
//!
//! A start goes: certificates, sockets, recovery, engine, links, front doors. Nothing is served before the engine says
//! so (I3); until then `/livez` answers and every door says `starting`. A stop goes the other way: refuse new work,
//! commit what is in hand, wait until another region has it, close.

mod certificates;
mod descriptors;
mod desk;
mod expiring;
mod horizon;
mod orders;
pub mod reload;
mod reported;
mod seen;
mod settings;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as stage};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::api::bearer::Bearers;
use crate::api::budget::Budget;
use crate::api::scribe::Scribe;
use crate::api::{self, Doors, Namespaces, Stage};
use crate::clock::offset::Offset;
use crate::config::map::ClusterMap;
use crate::config::{Config, Loaded, TreeSecret, warnings};
use crate::engine::{self, EngineHandle, News, Outlets};
use crate::identity::WorkerId;
use crate::ids::{CeilingStore, IdSource, PeerClock, layout_of};
use crate::merkle::Hasher;
use crate::peer::{ClockReading, Clockwork, Links, LinksConfig};
use crate::quic::Endpoint;
use crate::replica::{Event, Recovered};
use crate::sockets;
use crate::store::{self, Store};

use certificates::{Certificates, Found};
use descriptors::Descriptors;
use desk::Desk;
use expiring::Expiring;
use orders::Attendant;
use reload::{Reloader, Reloads};
use reported::Reported;
use seen::Seen;

/// RocksDB's cache of blocks, indexes and filters.
const STORE_CACHE_BYTES: usize = 128 << 20;

/// How long a node that has drained waits for clients to take their last answers.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node that stops waits for its disk.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// A node whose sockets are bound and whose data is recovered.
pub struct Node {
    doors: Doors,
    stage: stage::Sender<Stage>,
    store: Arc<Store>,
    seen: Arc<Seen>,
    endpoint: Endpoint,
    links: Links,
    listener: TcpListener,
    certificates: Certificates,
    redis: Option<TcpListener>,
    engine: JoinHandle<()>,
    news: mpsc::UnboundedReceiver<News>,
    clock_confirmed: bool,
}

/// How a node ended, when it ended as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The region of this name holds everything that was acknowledged here.
    HeldBy(String),
    /// No other region confirmed within `drain.timeout`; it is on this disk, and travels at the next start.
    HereOnly,
}

impl Node {
    /// Binds, recovers and starts everything but the doors.
    pub async fn open(loaded: Loaded, region: &str, node: u8) -> anyhow::Result<Self> {
        let (mut config, map) = (loaded.config, Arc::new(loaded.map));
        let (worker, place) = settings::place(&map, region, node)?;
        warnings(&config, [place]).iter().for_each(|warning| warn!("{warning}"));
        let descriptors = Descriptors::share(&mut config, place.redis.is_some())?;
        let config = Arc::new(config);
        let found = Found::read(&config, region, node)?;
        let listening = settings::listening(&config, place)?;
        let endpoint = Endpoint::bind(&config.quic, &config.peer, &found.credentials, &listening.quic)?;
        let listener = listen(&listening.http, "http")?;
        let redis = listening.redis.as_ref().map(|addresses| listen(addresses, "redis")).transpose()?;
        let secret = TreeSecret::of(&config.cluster);
        let (store, recovered) = recover(&config, &map, &secret, worker, descriptors).await?;
        info!(%region, node, quic = %place.quic, http = %place.http, boot = recovered.boot.counter, "recovered");
        let (store, seen) = (Arc::new(store), Arc::new(Seen::new(&recovered.peer_ceilings)));
        let (handle, inlets) = engine::queues(config.api.queue_batches_max, config.api.queue_operations_max);
        let ids = id_source(&config, worker, &recovered, &store, &handle)?;
        let links = Links::start(LinksConfig {
            cluster: config.cluster.id.clone(),
            namespaces: config.namespace.clone(),
            limits: config.peer.clone(),
            frame_bytes_max: settings::bytes(config.frame.bytes_max),
            map: map.clone(),
            worker,
            boot: recovered.boot,
            replica: recovered.replica,
            layout: ids.layout().to_string(),
            secret: secret.fingerprint(),
            engine: handle.clone(),
            clock: Arc::new(Clock(ids.clone())),
            endpoint: endpoint.clone(),
            credentials: found.credentials.clone(),
        });
        let (sender, news) = mpsc::unbounded_channel();
        let to_peers = links.clone();
        let outlets = Outlets { send: Box::new(move |to, message| to_peers.send(to, message)), news: sender };
        // It may have to be given up; a client that was told of it is refused then, and asks anew.
        let unproven = recovered.replica;
        let replica = settings::replica(&config, &map, worker, Hasher::new(*secret.bytes()));
        let engine = engine::start(inlets, replica, recovered, &store, outlets).context("cannot start a thread")?;
        let (stage, stages) = stage::channel(Stage::Starting);
        let doors = Doors {
            namespaces: Arc::new(Namespaces::new(&config, &map, worker.region())),
            scribe: Arc::new(Scribe::new(&config, &map)),
            budget: Budget::new(settings::bytes(config.api.client_bytes_max)),
            region: region.into(),
            engine: handle,
            ids,
            stage: stages,
            incarnation: stage::Sender::new(unproven),
            bearers: Bearers::new(&config.api.tokens),
            worker,
            config,
            map,
        };
        let certificates = Certificates::new((region, node), found, endpoint.clone(), links.clone());
        Ok(Self {
            doors,
            stage,
            store,
            seen,
            endpoint,
            links,
            listener,
            certificates,
            redis,
            engine,
            news,
            clock_confirmed: false,
        })
    }

    /// An operator vouches for the clock as it stands when IDs begin.
    pub fn confirm_clock(&mut self) {
        self.clock_confirmed = true;
    }

    /// Serves until `shutdown`, then drains. An error means that the node has stopped itself (I9).
    pub async fn run(mut self, shutdown: CancellationToken, reloads: Reloads) -> anyhow::Result<Farewell> {
        let (closing, clients) = (CancellationToken::new(), TaskTracker::new());
        let tls = self.certificates.doors();
        let http = tokio::spawn(api::http::serve(self.listener, self.doors.clone(), tls.http, closing.clone()));
        if let Some(listener) = self.redis {
            clients.spawn(api::redis::serve(listener, self.doors.clone(), tls.redis, closing.clone()));
        }
        let quic = {
            let (endpoint, links, doors) = (self.endpoint.clone(), self.links.clone(), self.doors.clone());
            let serving = clients.clone();
            let clients = move |connection| -> crate::quic::Serving {
                Box::pin(serving.track_future(api::quic::serve(connection, doors.clone())))
            };
            tokio::spawn(async move { endpoint.serve(links, clients).await })
        };
        let (alarm, alarms) = mpsc::unbounded_channel();
        let expiring = Expiring::new(self.certificates.expiries(), self.doors.config.tls.expiry_warning);
        let watching =
            tokio::spawn(watch::keep(self.doors.clone(), self.store.clone(), self.seen.clone(), expiring, alarm));
        let (order, orders) = mpsc::channel(1);
        let (reload, asked) = mpsc::channel(1);
        let (map, bearers) = (self.doors.map.clone(), self.doors.bearers.clone());
        let reloader = Reloader::new(reloads, map, bearers, self.certificates);
        let reloading = tokio::spawn(reloader.serve(asked));
        let attendant =
            Attendant { doors: self.doors.clone(), store: self.store.clone(), seen: self.seen.clone(), reload };
        let operator = tokio::spawn(attendant.attend(order));
        let mut desk = Desk {
            doors: self.doors.clone(),
            orders,
            seen: self.seen,
            store: self.store.clone(),
            stage: self.stage,
            links: self.links.clone(),
            alarms,
            clock_confirmed: self.clock_confirmed,
            serving: false,
            claimed: false,
            held: false,
            leaving: false,
            reported: Reported::default(),
        };
        let farewell = desk.serve(&mut self.news, &shutdown).await;
        watching.abort();
        operator.abort();
        reloading.abort();
        closing.cancel();
        if farewell.is_ok() {
            desk.stage.send_replace(Stage::Drained);
            clients.close();
            // Clients that do not take their last answers in time learn by the closed connection that they are unknown.
            let _ = timeout(GOODBYE_TIMEOUT, async { tokio::join!(http, clients.wait()) }).await;
        }
        self.links.stop();
        self.endpoint.close("the node shuts down").await;
        quic.abort();
        self.doors.engine.stop();
        end(self.engine, self.store, farewell.is_ok()).await;
        farewell
    }
}

/// The engine has nothing in hand any more, or has failed; either way its thread is ending, and the store's after it. Only
/// a sync that never returns can hold them up.
async fn end(engine: JoinHandle<()>, store: Arc<Store>, drained: bool) {
    let ended = tokio::task::spawn_blocking(move || {
        let _ = engine.join();
        if drained && let Err(error) = store.tidy() {
            warn!(%error, "the next start will take longer");
        }
    });
    let _ = timeout(ENGINE_TIMEOUT, ended).await;
}

/// A door's socket.
fn listen(addresses: &[SocketAddr], door: &str) -> anyhow::Result<TcpListener> {
    let bound = sockets::tcp(addresses).and_then(|listener| {
        let address = addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        TcpListener::from_std(listener).map_err(|source| sockets::NotBound { address, source })
    });
    bound.map_err(|sockets::NotBound { address, source }| {
        let whose = format!("which is {door}.listen, or follows from `{door}` in the region's file");
        anyhow::Error::from(source).context(format!("cannot listen on {address}/tcp, {whose}"))
    })
}

async fn recover(
    config: &Config,
    map: &ClusterMap,
    secret: &TreeSecret,
    worker: WorkerId,
    descriptors: Descriptors,
) -> anyhow::Result<(Store, Recovered)> {
    if config.store.must_exist {
        Store::must_exist(&config.data_dir)?;
    }
    let options = store::Options {
        path: config.data_dir.clone(),
        cluster_id: config.cluster.id.clone(),
        layout: layout_of(&config.ids)?.to_string(),
        hasher: Hasher::new(*secret.bytes()),
        secret: secret.fingerprint(),
        worker,
        namespaces: config.served_namespaces(map, worker.region()).into_values().collect(),
        boot_nonce: getrandom::u64().context("the system gives no randomness")?,
        cache_bytes_max: STORE_CACHE_BYTES,
        memtable_bytes_max: store::MEMTABLE_BYTES_MAX,
        open_files_max: descriptors.store_files,
    };
    let names = config.served_namespaces(map, worker.region());
    let open = move || -> anyhow::Result<_> {
        let opened = Store::open(&options)?;
        opened.0.put_names(names.keys().map(String::as_str))?;
        Ok(opened)
    };
    tokio::task::spawn_blocking(open).await.context("recovery has panicked")?
}

fn id_source(
    config: &Config,
    worker: WorkerId,
    recovered: &Recovered,
    store: &Arc<Store>,
    engine: &EngineHandle,
) -> anyhow::Result<IdSource> {
    let observer = {
        let engine = engine.clone();
        move |ceiling| engine.notify(Event::Ceiling(ceiling))
    };
    let ceilings = Arc::new(Ceilings(store.clone()));
    let ids = IdSource::new(layout_of(&config.ids)?, worker, &config.ids, recovered.ceiling, ceilings, observer)?;
    recovered.before_quarantine.into_iter().for_each(|before| ids.resume_quarantine(before));
    Ok(ids)
}

/// The store, as far as the ID source needs it.
struct Ceilings(Arc<Store>);

impl CeilingStore for Ceilings {
    fn persist(&self, ceiling: u64) -> Result<(), String> {
        self.0.put_ceiling(ceiling).map_err(|error| error.to_string())
    }

    fn persist_quarantine(&self, ceiling: u64, before: u64) -> Result<(), String> {
        self.0.put_quarantine(ceiling, before).map_err(|error| error.to_string())
    }
}

/// The ID source, as far as links need it: it judges clocks.
struct Clock(IdSource);

impl Clockwork for Clock {
    fn read(&self) -> ClockReading {
        let (unix_us, believed) = self.0.read_clock();
        ClockReading { unix_us, believed }
    }

    fn heard(&self, peer: WorkerId, offset: Offset, believed: bool) {
        self.0.hear_clock(peer, PeerClock { offset, believed });
    }

    fn lost(&self, peer: WorkerId) {
        self.0.lose_clock(peer);
    }

    fn ceiling_max(&self) -> u64 {
        self.0.ceiling_max()
    }
}
