//! A node: the composition root. It knows everything else, and nothing knows it but the command line.
//!
//! A start goes: certificates, sockets, recovery, engine, links, front doors. Nothing is served before the engine says
//! so (I3); until then `/livez` answers and every door says `starting`. A stop goes the other way: refuse new work,
//! commit what is in hand, wait until another region has it, close.

mod horizon;
mod seen;
mod settings;
mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as stage};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::api::scribe::Scribe;
use crate::api::{self, Doors, Namespaces, Stage};
use crate::clock::offset::Offset;
use crate::config::map::ClusterMap;
use crate::config::{Config, Loaded, TreeSecret};
use crate::engine::{self, EngineHandle, News, Outlets};
use crate::identity::WorkerId;
use crate::ids::{CeilingStore, IdSource, PeerClock, layout_of};
use crate::merkle::Hasher;
use crate::peer::{ClockReading, Clockwork, Links, LinksConfig};
use crate::quic::Endpoint;
use crate::replica::{Event, Notice, Recovered};
use crate::store::{self, Store};
use crate::telemetry;
use crate::tls::Credentials;

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
    /// For HTTP.
    tls: Option<Arc<rustls::ServerConfig>>,
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
        let (config, map) = (Arc::new(loaded.config), Arc::new(loaded.map));
        let (worker, place) = settings::place(&map, region, node)?;
        let credentials = Credentials::load(&config.tls.dir, region, node)?;
        let tls = settings::http_tls(&config)?;
        let endpoint = Endpoint::bind(&config.quic, &config.peer, &credentials, place.quic)?;
        let bind = async |address, key| {
            let whose = format!("which is `{key}` of {region}/{node} in the region's file");
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}/tcp, {whose}"))
        };
        let listener = bind(place.http, "http").await?;
        let redis = match place.redis {
            Some(address) => Some(bind(address, "redis").await?),
            None => None,
        };
        let secret = TreeSecret::of(&config.cluster);
        let (store, recovered) = recover(&config, &map, &secret, worker).await?;
        info!(%region, node, quic = %place.quic, http = %place.http, boot = recovered.boot.counter, "recovered");
        let store = Arc::new(store);
        let seen = Arc::new(Seen::new(&recovered.peer_ceilings));
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
        });
        let (sender, news) = mpsc::unbounded_channel();
        let to_peers = links.clone();
        let outlets = Outlets { send: Box::new(move |to, message| to_peers.send(to, message)), news: sender };
        let replica = settings::replica(&config, &map, worker, Hasher::new(*secret.bytes()));
        let engine = engine::start(inlets, replica, recovered, &store, outlets).context("cannot start a thread")?;
        let (stage, stages) = stage::channel(Stage::Starting);
        let doors = Doors {
            namespaces: Arc::new(Namespaces::new(&config, &map, worker.region())),
            scribe: Arc::new(Scribe::new(&config, &map)),
            region: region.into(),
            engine: handle,
            ids,
            stage: stages,
            worker,
            config,
            map,
        };
        let clock_confirmed = false;
        Ok(Self { doors, stage, store, seen, endpoint, links, listener, tls, redis, engine, news, clock_confirmed })
    }

    /// An operator vouches for the clock as it stands when IDs begin.
    pub fn confirm_clock(&mut self) {
        self.clock_confirmed = true;
    }

    /// Serves until `shutdown`, then drains. An error means that the node has stopped itself (I9).
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<Farewell> {
        let (closing, clients) = (CancellationToken::new(), TaskTracker::new());
        let http = {
            let (listener, tls) = (self.listener, self.tls);
            tokio::spawn(api::http::serve(listener, self.doors.clone(), tls, closing.clone()))
        };
        if let Some(listener) = self.redis {
            clients.spawn(api::redis::serve(listener, self.doors.clone(), closing.clone()));
        }
        let quic = {
            let (endpoint, links, doors) = (self.endpoint.clone(), self.links.clone(), self.doors.clone());
            let map = doors.map.clone();
            let serving = clients.clone();
            let clients = move |connection| -> crate::quic::Serving {
                Box::pin(serving.track_future(api::quic::serve(connection, doors.clone())))
            };
            tokio::spawn(async move { endpoint.serve(&map, links, clients).await })
        };
        let (alarm, alarms) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch::keep(self.doors.clone(), self.store.clone(), self.seen.clone(), alarm));
        let mut desk = Desk {
            doors: self.doors.clone(),
            seen: self.seen,
            stage: self.stage,
            links: self.links.clone(),
            alarms,
            clock_confirmed: self.clock_confirmed,
            serving: false,
            claimed: false,
        };
        let farewell = desk.serve(&mut self.news, &shutdown).await;
        watching.abort();
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
        let engine = self.engine;
        // The engine has nothing in hand any more, or has failed; either way its thread is ending, and the store's after
        // it. Only a sync that never returns can hold them up.
        let (store, drained) = (self.store, farewell.is_ok());
        let ended = tokio::task::spawn_blocking(move || {
            let _ = engine.join();
            if drained && let Err(error) = store.tidy() {
                warn!(%error, "the next start will take longer");
            }
        });
        let _ = timeout(ENGINE_TIMEOUT, ended).await;
        farewell
    }
}

/// Hears what the engine has to say and acts on it, one thing at a time.
struct Desk {
    doors: Doors,
    seen: Arc<Seen>,
    stage: stage::Sender<Stage>,
    links: Links,
    alarms: mpsc::UnboundedReceiver<String>,
    /// An operator vouches for the clock.
    clock_confirmed: bool,
    /// The start is proven or a new incarnation minted (I3).
    serving: bool,
    /// Peers have said how far our IDs had come, or have been waited for (I10).
    claimed: bool,
}

impl Desk {
    async fn serve(
        &mut self,
        news: &mut mpsc::UnboundedReceiver<News>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Farewell> {
        let mut fenced = self.doors.ids.fenced();
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                Some(reason) = self.alarms.recv() => bail!("the store has failed: {reason}"),
                item = news.recv() => match item {
                    Some(item) => if let Some(farewell) = self.hear(item)? { return Ok(farewell) },
                    None => bail!("the engine has ended"),
                },
                Ok(()) = fenced.changed() => {
                    let reason = fenced.borrow_and_update().clone();
                    reason.into_iter().for_each(|reason| self.doors.engine.notify(Event::Fence(reason)));
                }
                () = shutdown.cancelled(), if !draining => {
                    draining = true;
                    self.drain();
                }
            }
        }
    }

    fn drain(&self) {
        info!("draining: new work is refused, what is in hand is committed and handed to another region");
        self.stage.send_if_modified(|stage| {
            let open = !matches!(stage, Stage::Fenced(_));
            if open {
                *stage = Stage::Draining;
            }
            open
        });
        self.doors.ids.drain();
        self.doors.engine.notify(Event::Drain);
    }

    fn hear(&mut self, news: News) -> anyhow::Result<Option<Farewell>> {
        match news {
            News::Serving(replica) => {
                info!(%replica, "serving");
                self.links.set_replica(replica);
                self.serving = true;
                self.open_doors();
            }
            News::ClaimIds { ceiling, quarantined } => self.claim(ceiling, quarantined),
            News::Witness(peer, ceiling) => {
                self.seen.note(peer, ceiling);
                if self.doors.map.node(peer).is_some() {
                    self.doors.ids.witness(peer, ceiling);
                }
            }
            News::Notice(notice) => self.log(&notice),
            News::Fenced(reason) => self.fence(&reason),
            News::Failed(reason) => bail!("the store has failed: {reason}"),
            News::Drained(region) => return Ok(Some(self.farewell(region))),
        }
        Ok(None)
    }

    fn claim(&mut self, ceiling: u64, quarantined: bool) {
        if quarantined {
            warn!(ceiling, "peers know of IDs of this worker id that this disk does not: they are kept clear of");
            self.doors.ids.claim_quarantined(ceiling);
        } else {
            self.doors.ids.claim(ceiling);
        }
        if std::mem::take(&mut self.clock_confirmed) {
            warn!("the clock is believed on the operator's word");
            self.doors.ids.confirm_clock();
        }
        self.claimed = true;
        self.open_doors();
    }

    /// The node is ready once it serves counters and IDs alike.
    fn open_doors(&self) {
        let ready = self.serving && self.claimed;
        self.stage.send_if_modified(|stage| {
            let opens = ready && *stage == Stage::Starting;
            if opens {
                *stage = Stage::Ready;
            }
            opens
        });
    }

    fn fence(&self, reason: &str) {
        error!(reason, "fenced: neither counters nor IDs are served until an operator has looked");
        telemetry::fenced();
        self.doors.ids.fence(reason);
        self.stage.send_replace(Stage::Fenced(reason.to_owned()));
    }

    fn farewell(&self, region: Option<u8>) -> Farewell {
        match region.and_then(|id| self.doors.map.region_by_id(id)) {
            Some(region) => Farewell::HeldBy(region.name.clone()),
            None => Farewell::HereOnly,
        }
    }

    fn log(&self, notice: &Notice) {
        let name = |worker: &WorkerId| self.doors.map.name(*worker);
        match notice {
            Notice::Fork { namespace, origin, seq, peer } => error!(
                ?namespace, %origin, seq, peer = name(peer),
                "a fork: two different histories under one replica id; neither is merged into the other"
            ),
            Notice::Unproven { replica, reason } => {
                warn!(%replica, reason, "this data's history is not proven; a new incarnation takes over");
            }
            Notice::Scrub { namespace, leaf } => error!(
                ?namespace,
                leaf = leaf.0,
                "rows on disk are not what was written there; repair fetches what other regions hold of them"
            ),
            Notice::Repaired { namespace, peer, rows, whole } => {
                info!(?namespace, peer = name(peer), rows, whole, "a repair session has ended");
            }
            Notice::Duplicate { worker, stays, loses } => error!(
                node = name(worker),
                stays = stays.counter,
                loses = loses.counter,
                "duplicate worker: two live processes claim this node; the later boot fences itself, stop one of them"
            ),
            Notice::BadMessage { peer, reason } => warn!(peer = name(peer), reason, "a peer's message was ignored"),
        }
    }
}

async fn recover(
    config: &Config,
    map: &ClusterMap,
    secret: &TreeSecret,
    worker: WorkerId,
) -> anyhow::Result<(Store, Recovered)> {
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
    };
    Ok(tokio::task::spawn_blocking(move || Store::open(&options)).await.context("recovery has panicked")??)
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
    Ok(IdSource::new(layout_of(&config.ids)?, worker, &config.ids, recovered.ceiling, ceilings, observer)?)
}

/// The store, as far as the ID source needs it.
struct Ceilings(Arc<Store>);

impl CeilingStore for Ceilings {
    fn persist(&self, ceiling: u64) -> Result<(), String> {
        self.0.put_ceiling(ceiling).map_err(|error| error.to_string())
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
}
