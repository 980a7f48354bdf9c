//! A node: the composition root. It knows everything else, and nothing knows it but the command line.
//!
//! A start goes: certificates, sockets, recovery, engine, links, front doors. Nothing is served before the engine says
//! so (I3); until then `/livez` answers and every door says `starting`. A stop goes the other way: refuse new work,
//! commit what is in hand, wait until another region has it, close.

mod certificates;
mod descriptors;
mod doorway;
mod expiring;
mod horizon;
mod orders;
mod peer_ceilings;
mod reading;
pub mod reload;
mod reported;
mod settings;
mod space;
mod supervisor;
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
use tracing::{info, warn};

use crate::api::bearer::Bearers;
use crate::api::budget::Budget;
use crate::api::terms::TermsCodec;
use crate::api::{Doors, Namespaces, Stage};
use crate::clock::offset::Offset;
use crate::config::map::ClusterMap;
use crate::config::{Config, Loaded, TreeSecret, warnings};
use crate::engine::{self, EngineHandle, News, Outlets};
use crate::identity::{Peer, ReplicaId, WorkerId};
use crate::ids::{CeilingStore, IdSource, PeerClock, layout_of};
use crate::merkle::Hasher;
use crate::peer::{ClockReading, Clockwork, Links, LinksConfig, LocalNode};
use crate::quic::Endpoint;
use crate::replica::{Disk, Event, Headroom, Recovered};
use crate::section::Bytes;
use crate::sockets;
use crate::store::{self, Memory, Shortage, Store};

use certificates::{Certificates, Found};
use descriptors::Descriptors;
use doorway::Sockets;
use expiring::Expiring;
use orders::Attendant;
use peer_ceilings::PeerCeilings;
pub use reading::{Ended, Reader};
use reload::{Reloader, Reloads};
use reported::Reported;
use space::Lookout;
use supervisor::Supervisor;

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
    disk: stage::Sender<Disk>,
    peer_ceilings: Arc<PeerCeilings>,
    sockets: Sockets,
    links: Links,
    certificates: Certificates,
    engine: JoinHandle<()>,
    news: mpsc::UnboundedReceiver<News>,
    clock_confirmed: bool,
}

/// What a start comes to.
pub enum Start {
    /// A whole node.
    Whole(Box<Node>),
    /// The disk has no room for more than this.
    Reading(Box<Reader>),
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
    /// Binds, recovers and starts everything but the doors, as far as the disk has room for it.
    pub async fn open(loaded: Loaded, region: &str, node: u8) -> anyhow::Result<Start> {
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
        let sockets = Sockets { endpoint, listener, redis };
        let options = store_options(&config, &map, &secret, worker, descriptors)?;
        let (store, recovered) =
            match open_store(&options, config.served_namespaces(&map, worker.region()).into_keys()).await? {
                Ok(opened) => opened,
                Err(short) => {
                    let certificates = Certificates::new((region, node), found, sockets.endpoint.clone(), None);
                    let ground = Ground { config, map, worker, region, secret };
                    return Ok(Start::Reading(Box::new(ground.read(sockets, certificates, options, short).await?)));
                }
            };
        info!(%region, node, quic = %place.quic, http = %place.http, boot = recovered.boot.counter, "recovered");
        let (store, peer_ceilings) = (Arc::new(store), Arc::new(PeerCeilings::new(&recovered.peer_ceilings)));
        let (handle, inlets) = engine::queues(config.api.queue_batches_max, config.api.queue_operations_max);
        let disk = space::first(&store, config.disk.min_free.as_u64());
        handle.notify(Event::Disk(disk));
        let disk = stage::Sender::new(disk);
        let ceilings = Ceilings { store: store.clone(), disk: disk.subscribe() };
        let ids = id_source(&config, worker, &recovered, ceilings, &handle)?;
        let links = Links::start(LinksConfig {
            local: LocalNode {
                cluster: config.cluster.id.clone(),
                layout: ids.layout().to_string(),
                secret: secret.fingerprint(),
                namespaces: config.namespace.clone(),
                identity: Peer { worker, boot: recovered.boot },
                replica: recovered.replica,
            },
            limits: config.peer.clone(),
            frame_bytes_max: config.frame.bytes_max.bytes(),
            map: map.clone(),
            engine: handle.clone(),
            clock: Arc::new(Clock(ids.clone())),
            endpoint: sockets.endpoint.clone(),
            credentials: found.credentials.clone(),
        });
        let (outlets, news) = outlets(links.clone());
        // It may have to be given up; a client that was told of it is refused then, and asks anew.
        let unproven = recovered.replica;
        let replica = settings::replica(&config, &map, worker, Hasher::new(*secret.bytes()));
        let engine = engine::start(inlets, replica, recovered, &store, outlets).context("cannot start a thread")?;
        let (stage, stages) = stage::channel(Stage::Starting);
        let doors = Ground { config, map, worker, region, secret }.doors(handle, ids, stages, unproven);
        let certificates = Certificates::new((region, node), found, sockets.endpoint.clone(), Some(links.clone()));
        let node = Self {
            doors,
            stage,
            store,
            disk,
            peer_ceilings,
            sockets,
            links,
            certificates,
            engine,
            news,
            clock_confirmed: false,
        };
        Ok(Start::Whole(Box::new(node)))
    }

    /// An operator vouches for the clock as it stands when IDs begin.
    pub fn confirm_clock(&mut self) {
        self.clock_confirmed = true;
    }

    /// Serves until `shutdown`, then drains. An error means that the node has stopped itself (I9).
    pub async fn run(mut self, shutdown: CancellationToken, reloads: Reloads) -> anyhow::Result<Farewell> {
        let mut open = self.sockets.open(&self.doors, Some(self.links.clone()), self.certificates.doors());
        let (alarm, alarms) = mpsc::unbounded_channel();
        let expiring = Expiring::new(self.certificates.expiries(), self.doors.config.tls.expiry_warning);
        let (peer_ceilings, disk) = (self.peer_ceilings.clone(), self.disk.subscribe());
        let watching = tokio::spawn(watch::keep(
            self.doors.clone(),
            self.store.clone(),
            peer_ceilings,
            disk.clone(),
            expiring,
            alarm.clone(),
        ));
        let lookout = Lookout {
            store: self.store.clone(),
            engine: self.doors.engine.clone(),
            min_free: self.doors.config.disk.min_free.as_u64(),
            disk: self.disk,
            alarm,
        };
        let looking = tokio::spawn(lookout.keep());
        let (order, orders) = mpsc::channel(1);
        let (reload, asked) = mpsc::channel(1);
        let (map, bearers) = (self.doors.map.clone(), self.doors.bearers.clone());
        let mut reloader = Reloader::new(reloads, map, bearers, self.certificates);
        let reloading = tokio::spawn(async move { reloader.serve(asked).await });
        let attendant = Attendant {
            doors: self.doors.clone(),
            store: self.store.clone(),
            peer_ceilings: self.peer_ceilings.clone(),
            reload,
        };
        let operator = tokio::spawn(attendant.attend(order));
        let mut supervisor = Supervisor {
            doors: self.doors.clone(),
            orders,
            peer_ceilings: self.peer_ceilings,
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
        let farewell = supervisor.serve(&mut self.news, &shutdown).await;
        watching.abort();
        looking.abort();
        operator.abort();
        reloading.abort();
        open.close();
        if farewell.is_ok() {
            supervisor.stage.send_replace(Stage::Drained);
            open.see_off().await;
        }
        self.links.stop();
        open.end().await;
        self.doors.engine.stop();
        let tidies = farewell.is_ok() && !disk.borrow().is_out();
        end(self.engine, self.store, tidies).await;
        farewell
    }
}

/// What every form of a node is made from.
struct Ground<'a> {
    config: Arc<Config>,
    map: Arc<ClusterMap>,
    worker: WorkerId,
    region: &'a str,
    secret: TreeSecret,
}

impl Ground<'_> {
    fn doors(
        self,
        engine: EngineHandle,
        ids: IdSource,
        stage: stage::Receiver<Stage>,
        incarnation: Option<ReplicaId>,
    ) -> Doors {
        Doors {
            namespaces: Arc::new(Namespaces::new(&self.config, &self.map, self.worker.region())),
            terms_codec: Arc::new(TermsCodec::new(&self.config, &self.map)),
            budget: Budget::new(self.config.api.client_bytes_max.bytes()),
            region: self.region.into(),
            engine,
            ids,
            stage,
            incarnation: stage::Sender::new(incarnation),
            bearers: Bearers::new(&self.config.api.tokens),
            worker: self.worker,
            config: self.config,
            map: self.map,
        }
    }

    /// A node that only reads.
    async fn read(
        self,
        sockets: Sockets,
        certificates: Certificates,
        options: store::Options,
        short: Short,
    ) -> anyhow::Result<Reader> {
        let opened = tokio::task::spawn_blocking({
            let options = options.clone();
            move || Store::open_reading(&options)
        });
        let (store, recovered) = opened.await.context("recovery has panicked")??;
        let (handle, inlets) = engine::queues(self.config.api.queue_batches_max, self.config.api.queue_operations_max);
        let ids = id_source(&self.config, self.worker, &recovered, NoCeilings, &handle)?;
        ids.disk_full();
        let incarnation = recovered.replica;
        let (sender, news) = mpsc::unbounded_channel();
        let outlets = Outlets { send: Box::new(|_, _| ()), news: sender };
        let replica = settings::replica(&self.config, &self.map, self.worker, Hasher::new(*self.secret.bytes()));
        let store = Arc::new(store);
        let engine = engine::start_reading(inlets, replica, recovered, short.shortage.disk, &store, outlets);
        let engine = engine.context("cannot start a thread")?;
        let stage = stage::Sender::new(Stage::Ready);
        let doors = self.doors(handle, ids, stage.subscribe(), incarnation);
        let Short { shortage, tried } = short;
        Ok(Reader { doors, sockets, certificates, options, shortage, tried, stage, engine, news })
    }
}

/// The disk has no room for the store.
struct Short {
    shortage: Shortage,
    /// It seemed to have.
    tried: bool,
}

/// Opens the store, unless there is too little room, or turns out to be.
async fn open_store(
    options: &store::Options,
    names: impl Iterator<Item = String>,
) -> anyhow::Result<Result<(Store, Recovered), Short>> {
    let (options, names) = (options.clone(), names.collect::<Vec<_>>());
    let open = move || {
        if let Some(shortage) = Store::shortage(&options) {
            return Ok(Err(Short { shortage, tried: false }));
        }
        match Store::open(&options) {
            Ok(opened) => {
                opened.0.put_names(names.iter().map(String::as_str))?;
                Ok(Ok(opened))
            }
            Err(error) if error.is_shortage() && Store::is_established(&options) => {
                let shortage = Shortage {
                    disk: Disk { headroom: Headroom::None, ..Disk::default() },
                    cause: Some(error.to_string()),
                };
                Ok(Err(Short { shortage, tried: true }))
            }
            Err(error) => Err(error.into()),
        }
    };
    tokio::task::spawn_blocking(open).await.context("recovery has panicked")?
}

/// The engine has nothing in hand any more, or has failed; either way its thread is ending, and the store's after it. Only
/// a sync that never returns can hold them up.
async fn end(engine: JoinHandle<()>, store: Arc<Store>, tidies: bool) {
    let ended = tokio::task::spawn_blocking(move || {
        let _ = engine.join();
        if tidies && let Err(error) = store.tidy() {
            warn!(%error, "the next start will take longer");
        }
    });
    let _ = timeout(ENGINE_TIMEOUT, ended).await;
}

/// Where the engine's effects go: messages to the links, everything else to the node.
fn outlets(links: Links) -> (Outlets, mpsc::UnboundedReceiver<News>) {
    let (sender, news) = mpsc::unbounded_channel();
    (Outlets { send: Box::new(move |to, message| links.send(to, message)), news: sender }, news)
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

fn store_options(
    config: &Config,
    map: &ClusterMap,
    secret: &TreeSecret,
    worker: WorkerId,
    descriptors: Descriptors,
) -> anyhow::Result<store::Options> {
    if config.store.must_exist {
        Store::must_exist(&config.data_dir)?;
    }
    Ok(store::Options {
        path: config.data_dir.clone(),
        cluster_id: config.cluster.id.clone(),
        layout: layout_of(&config.ids)?.to_string(),
        hasher: Hasher::new(*secret.bytes()),
        secret: secret.fingerprint(),
        worker,
        namespaces: config.served_namespaces(map, worker.region()).into_values().collect(),
        boot_nonce: getrandom::u64().context("the system gives no randomness")?,
        memory: Memory {
            cache: STORE_CACHE_BYTES,
            memtables: store::MEMTABLE_BYTES_MAX,
            open_files: descriptors.store_files,
        },
    })
}

fn id_source(
    config: &Config,
    worker: WorkerId,
    recovered: &Recovered,
    ceilings: impl CeilingStore + 'static,
    engine: &EngineHandle,
) -> anyhow::Result<IdSource> {
    let observer = {
        let engine = engine.clone();
        move |ceiling| engine.notify(Event::Ceiling(ceiling))
    };
    let layout = layout_of(&config.ids)?;
    let ids = IdSource::new(layout, worker, &config.ids, recovered.ceiling, Arc::new(ceilings), observer)?;
    recovered.before_quarantine.into_iter().for_each(|before| ids.resume_quarantine(before));
    Ok(ids)
}

/// The store, as far as the ID source needs it.
struct Ceilings {
    store: Arc<Store>,
    disk: stage::Receiver<Disk>,
}

impl CeilingStore for Ceilings {
    fn has_room(&self) -> bool {
        !self.disk.borrow().is_out()
    }

    fn persist(&self, ceiling: u64) -> Result<(), String> {
        self.store.put_ceiling(ceiling).map_err(|error| error.to_string())
    }

    fn persist_quarantine(&self, ceiling: u64, before: u64) -> Result<(), String> {
        self.store.put_quarantine(ceiling, before).map_err(|error| error.to_string())
    }
}

/// What a node has that only reads: no ceiling is ever durable.
struct NoCeilings;

impl CeilingStore for NoCeilings {
    fn has_room(&self) -> bool {
        false
    }

    fn persist(&self, _ceiling: u64) -> Result<(), String> {
        Err("the disk has no room".to_owned())
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
