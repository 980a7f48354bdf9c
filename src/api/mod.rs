//! The front doors: codecs for requests and answers, one for each protocol, in front of one gate that decides what happens
//! to a request and hands it to the engine.

pub mod bearer;
pub mod budget;
pub(crate) mod fuzzed;
mod gate;
pub mod grpc;
pub mod http;
pub mod idempotency;
mod known;
mod listening;
pub mod quic;
pub mod redis;
pub mod terms;
pub mod threads;

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::config::map::ClusterMap;
use crate::engine::EngineHandle;
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::ids::IdSource;
use crate::limiter::Limiter;

use bearer::Bearers;
use budget::Budget;
pub use gate::{Named, Namespaces, NotServed, Refused, Stage};
use grpc::LiveDescriptors;
use terms::TermsCodec;

/// What every front door needs; cheap to clone.
#[derive(Clone)]
pub struct Doors {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// The cluster's map.
    pub map: Arc<ClusterMap>,
    /// Who may call, and what.
    pub bearers: Bearers,
    /// This node.
    pub worker: WorkerId,
    /// Its region's name.
    pub region: Arc<str>,
    /// Which namespaces are served here, and where the others are.
    pub namespaces: Arc<Namespaces>,
    /// Tokens, acknowledgements and views between clients and the engine.
    pub terms_codec: Arc<TermsCodec>,
    /// Counters.
    pub engine: EngineHandle,
    /// IDs.
    pub ids: IdSource,
    /// Limits.
    pub limiter: Limiter,
    /// Which of them requests of Envoy's meet.
    pub descriptors: LiveDescriptors,
    /// What clients may make this process hold.
    pub budget: Arc<Budget>,
    /// Where the node stands.
    pub stage: watch::Receiver<Stage>,
    /// The incarnation of this node's data, to which sessions belong; `None` as long as it has none.
    pub incarnation: watch::Sender<Option<ReplicaId>>,
}

impl Doors {
    /// The name of a node's region, or its number where the map does not have it.
    fn region_of(&self, worker: WorkerId) -> String {
        let region = self.map.region_by_id(worker.region());
        region.map_or_else(|| worker.region().to_string(), |region| region.name.clone())
    }

    /// The name of a namespace that is served here.
    fn namespace_name(&self, namespace: NamespaceId) -> String {
        self.namespaces.name(namespace).unwrap_or_default().to_owned()
    }
}
