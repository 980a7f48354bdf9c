//! This node, as it introduces itself to its peers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::config::Namespace;
use crate::config::map::ClusterMap;
use crate::identity::{Peer, ReplicaId, WorkerId};

use super::hello::{self, Hello, Space, VERSIONS};
use super::lock;

/// What a node says of itself, and compares with what its peers say of themselves.
#[derive(Clone, Debug)]
pub struct LocalNode {
    /// The cluster's id.
    pub cluster: String,
    /// The layout of IDs as a text. Nodes with different ones refuse each other.
    pub layout: String,
    /// The fingerprint of the cluster's secret. Nodes with different ones refuse each other.
    pub secret: String,
    /// All configured namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// This node, and this start of it.
    pub identity: Peer,
    /// Its incarnation, if it has one yet; see [`Links::set_replica`](super::Links::set_replica).
    pub replica: Option<ReplicaId>,
}

/// How this node greets others.
pub(super) struct Greeting {
    /// Addressed to nobody yet.
    hello: Hello,
    replica: Mutex<Option<ReplicaId>>,
}

impl Greeting {
    pub(super) fn new(local: LocalNode, map: &ClusterMap) -> Self {
        let Peer { worker, boot } = local.identity;
        let region = map.region_by_id(worker.region()).map(|region| region.name.clone()).unwrap_or_default();
        let hello = Hello {
            cluster: local.cluster,
            versions: VERSIONS,
            layout: local.layout,
            secret: local.secret,
            region,
            worker,
            replica: None,
            boot,
            namespaces: hello::spaces(&local.namespaces),
            to: worker,
        };
        Self { hello, replica: Mutex::new(local.replica) }
    }

    /// Who greets.
    pub(super) fn own(&self) -> Peer {
        Peer { worker: self.hello.worker, boot: self.hello.boot }
    }

    /// The name of its region.
    pub(super) fn region(&self) -> &str {
        &self.hello.region
    }

    /// The namespaces that it knows.
    pub(super) fn spaces(&self) -> &[Space] {
        &self.hello.namespaces
    }

    /// From now on it greets as this incarnation.
    pub(super) fn set_replica(&self, replica: ReplicaId) {
        *lock(&self.replica) = Some(replica);
    }

    /// What is said to `to`.
    pub(super) fn to(&self, to: WorkerId) -> Hello {
        Hello { replica: *lock(&self.replica), to, ..self.hello.clone() }
    }
}
