//! How a node is put together, whole or for reads only.

use std::sync::Arc;

use anyhow::Context;
use bytesize::ByteSize;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::api::bearer::Bearers;
use crate::api::budget::Budget;
use crate::api::grpc::LiveDescriptors;
use crate::api::terms::TermsCodec;
use crate::api::{Doors, Namespaces, Stage};
use crate::clock;
use crate::config::map::{self, ClusterMap};
use crate::config::{Config, Loaded, MemoryShares, TreeSecret, warnings};
use crate::engine::{self, EngineHandle, Outlets};
use crate::envoy::Domains;
use crate::identity::{Boot, Peer, ReplicaId, WorkerId};
use crate::ids::{IdSource, layout_of};
use crate::limiter::{Keeper, Limiter};
use crate::merkle::Hasher;
use crate::peer::{Links, LinksConfig, LocalNode};
use crate::replica::{Event, Recovered, Settings};
use crate::section::Bytes;
use crate::store::{self, Memory, Store};

use super::certificates::{Certificates, Found};
use super::descriptors::{self, Descriptors};
use super::doorway::Sockets;
use super::ids::{self, Ceilings, NoCeilings};
use super::peer_ceilings::PeerCeilings;
use super::reading::Reader;
use super::recovery::{Short, recover, recover_reading};
use super::{Node, Start, limits, memory, settings, space};

/// What every form of a node is made from.
struct Assembly<'a> {
    config: Arc<Config>,
    map: Arc<ClusterMap>,
    domains: Domains,
    memory: MemoryShares,
    worker: WorkerId,
    region: &'a str,
    secret: TreeSecret,
    certificates: Found,
    sockets: Sockets,
}

/// Binds, recovers and starts everything but the doors, as far as the disk has room for it.
pub(super) async fn assemble(loaded: Loaded, region: &str, node: u8) -> anyhow::Result<Start> {
    let Loaded { mut config, map, domains, .. } = loaded;
    let map = Arc::new(map);
    let (worker, place) = settings::place(&map, region, node)?;
    let place = place.clone();
    warnings(&config, [&place]).iter().for_each(|warning| warn!("{warning}"));
    let memory = memory::share(&mut config)?;
    let descriptors = Descriptors::share(&mut config, &place)?;
    descriptors::measure();
    let certificates = Found::read(&config, region, node)?;
    let sockets = Sockets::bind(&config, &place, &certificates.credentials)?;
    let secret = TreeSecret::of(&config.cluster);
    let assembly =
        Assembly { config: Arc::new(config), map, domains, memory, worker, region, secret, certificates, sockets };
    let options = assembly.store_options(&descriptors)?;
    let names = assembly.config.served_namespaces(&assembly.map, worker.region()).into_keys();
    match recover(&options, names).await? {
        Ok((store, recovered)) => {
            let map::Node { quic, http, .. } = place;
            info!(%region, node, %quic, %http, boot = recovered.boot.counter, "recovered");
            Ok(Start::Whole(Box::new(assembly.whole(store, recovered)?)))
        }
        Err(short) => Ok(Start::Reading(Box::new(assembly.reading(options, short).await?))),
    }
}

impl Assembly<'_> {
    /// A whole node.
    fn whole(self, store: Store, recovered: Recovered) -> anyhow::Result<Node> {
        let (store, peer_ceilings) = (Arc::new(store), Arc::new(PeerCeilings::new(&recovered.peer_ceilings)));
        let (handle, inlets) = self.queues();
        let disk = space::first(&store, self.config.disk.min_free.as_u64());
        handle.notify(Event::Disk(disk));
        let disk = watch::Sender::new(disk);
        let ceilings = Ceilings { store: store.clone(), disk: disk.subscribe() };
        let ids = ids::source(&self.config, self.worker, &recovered, ceilings, &handle)?;
        let (limiter, keeper) = self.limits(recovered.boot, limits::believed(ids.clone()))?;
        let links = self.links(&recovered, &ids, &handle, &limiter);
        let (sender, news) = mpsc::unbounded_channel();
        let to_peers = links.clone();
        let outlets = Outlets { send: Box::new(move |to, message| to_peers.send(to, message)), news: sender };
        // It may have to be given up; a client that was told of it is refused then, and asks anew.
        let unproven = recovered.replica;
        let engine = engine::start(inlets, self.replica(), recovered, &store, outlets);
        let engine = engine.context("cannot start a thread")?;
        let (stage, stages) = watch::channel(Stage::Starting);
        let doors = self.doors(handle, ids, limiter, stages, unproven);
        let (certificates, sockets) = self.in_force(Some(links.clone()));
        Ok(Node {
            doors,
            stage,
            store,
            disk,
            peer_ceilings,
            sockets,
            links,
            certificates,
            keeper,
            engine,
            news,
            clock_confirmed: false,
        })
    }

    /// A node that only reads.
    async fn reading(self, options: store::Options, short: Short) -> anyhow::Result<Reader> {
        let Short { shortage, tried } = short;
        let (store, recovered) = recover_reading(&options).await?;
        let (handle, inlets) = self.queues();
        let ids = ids::source(&self.config, self.worker, &recovered, NoCeilings, &handle)?;
        ids.disk_full();
        let incarnation = recovered.replica;
        let (sender, news) = mpsc::unbounded_channel();
        let outlets = Outlets { send: Box::new(|_, _| ()), news: sender };
        let store = Arc::new(store);
        // Nobody confirms its clock, and nobody else's windows go by it.
        let (limiter, keeper) = self.limits(recovered.boot, || Some(clock::wall_ms()))?;
        let engine = engine::start_reading(inlets, self.replica(), recovered, shortage.disk, &store, outlets);
        let engine = engine.context("cannot start a thread")?;
        let stage = watch::Sender::new(Stage::Ready);
        let doors = self.doors(handle, ids, limiter, stage.subscribe(), incarnation);
        let (certificates, sockets) = self.in_force(None);
        Ok(Reader { doors, sockets, certificates, keeper, options, shortage, tried, stage, engine, news })
    }

    /// What to open, and for whom.
    fn store_options(&self, descriptors: &Descriptors) -> anyhow::Result<store::Options> {
        if self.config.store.must_exist {
            Store::must_exist(&self.config.data_dir)?;
        }
        Ok(store::Options {
            path: self.config.data_dir.clone(),
            cluster_id: self.config.cluster.id.clone(),
            layout: layout_of(&self.config.ids)?.to_string(),
            hasher: Hasher::new(*self.secret.bytes()),
            secret: self.secret.fingerprint(),
            worker: self.worker,
            namespaces: self.config.served_namespaces(&self.map, self.worker.region()).into_values().collect(),
            boot_nonce: getrandom::u64().context("the system gives no randomness")?,
            memory: Memory {
                cache: ByteSize(self.memory.store_cache).bytes(),
                memtables: ByteSize(self.memory.store_memtables).bytes(),
                open_files: descriptors.store_files,
            },
        })
    }

    fn queues(&self) -> (EngineHandle, engine::Inlets) {
        engine::queues(self.config.api.queue_batches_max, self.config.api.queue_operations_max)
    }

    fn replica(&self) -> Settings {
        settings::replica(&self.config, &self.map, self.worker, Hasher::new(*self.secret.bytes()), &self.memory)
    }

    fn limits(
        &self,
        boot: Boot,
        wall_ms: impl Fn() -> Option<u64> + Send + 'static,
    ) -> anyhow::Result<(Limiter, Keeper)> {
        let me = Peer { worker: self.worker, boot };
        limits::begin(&self.config, (&self.map, &self.domains), me, &self.secret, wall_ms)
    }

    fn links(&self, recovered: &Recovered, ids: &IdSource, engine: &EngineHandle, limiter: &Limiter) -> Links {
        Links::start(LinksConfig {
            local: LocalNode {
                cluster: self.config.cluster.id.clone(),
                layout: ids.layout().to_string(),
                secret: self.secret.fingerprint(),
                namespaces: self.config.namespace.clone(),
                identity: Peer { worker: self.worker, boot: recovered.boot },
                replica: recovered.replica,
            },
            limits: self.config.peer.clone(),
            frame_bytes_max: self.config.frame.bytes_max.bytes(),
            map: self.map.clone(),
            engine: engine.clone(),
            clock: Arc::new(ids.clone()),
            limiter: limiter.clone(),
            endpoint: self.sockets.endpoint.clone(),
            credentials: self.certificates.credentials.clone(),
        })
    }

    fn doors(
        &self,
        engine: EngineHandle,
        ids: IdSource,
        limiter: Limiter,
        stage: watch::Receiver<Stage>,
        incarnation: Option<ReplicaId>,
    ) -> Doors {
        Doors {
            namespaces: Arc::new(Namespaces::new(&self.config, &self.map, self.worker.region())),
            terms_codec: Arc::new(TermsCodec::new(&self.config, &self.map)),
            budget: Budget::new(self.config.api.client_bytes_max.bytes()),
            region: self.region.into(),
            engine,
            ids,
            limiter,
            descriptors: LiveDescriptors::new(self.domains.clone(), &self.config.envoy),
            stage,
            incarnation: watch::Sender::new(incarnation),
            bearers: Bearers::new(&self.config.api.tokens),
            worker: self.worker,
            config: self.config.clone(),
            map: self.map.clone(),
        }
    }

    /// The certificates as they are shown from now on, and the sockets.
    fn in_force(self, links: Option<Links>) -> (Certificates, Sockets) {
        let (name, endpoint) = ((self.region, self.worker.node()), self.sockets.endpoint.clone());
        (Certificates::new(name, self.certificates, endpoint, links), self.sockets)
    }
}
