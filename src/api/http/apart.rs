//! What keeps nodes apart: namespaces that are not exchanged, and logs that have forked.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Doors;
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::replica::{PeerStatus, Status};

/// Namespaces that both nodes are to hold by this node's configuration, and that the other defines differently.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = NotExchanged)]
pub(super) struct NotExchangedView {
    /// The other node's region.
    #[schema(example = "us-east")]
    region: String,
    /// Its number there.
    node: u8,
    #[schema(example = json!(["default"]))]
    namespaces: Vec<String>,
}

/// A log in which two processes have counted under one replica id: where both changed a counter, the greater total hides the
/// other. Nothing is counted under it any more.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Fork)]
pub(super) struct ForkView {
    #[schema(example = "default")]
    namespace: String,
    /// The region of the node whose log it was.
    #[schema(example = "us-east")]
    region: String,
    /// Its number there.
    node: u8,
    /// The replica id, in hexadecimal digits.
    #[schema(example = "0021c5b94e6bdbc5")]
    replica: String,
}

fn region(doors: &Doors, worker: WorkerId) -> String {
    let region = doors.map.region_by_id(worker.region());
    region.map_or_else(|| worker.region().to_string(), |region| region.name.clone())
}

fn name(doors: &Doors, namespace: NamespaceId) -> String {
    doors.namespaces.name(namespace).unwrap_or_default().to_owned()
}

/// The names of the namespaces that are not exchanged with a peer.
pub(super) fn names(doors: &Doors, namespaces: &[NamespaceId]) -> Vec<String> {
    namespaces.iter().map(|namespace| name(doors, *namespace)).collect()
}

/// By peer, what is not exchanged.
pub(super) fn not_exchanged(doors: &Doors, status: Option<&Status>) -> Vec<NotExchangedView> {
    let peers = status.map_or(&[][..], |status| &status.peers);
    let apart = peers.iter().filter(|peer| !peer.not_exchanged.is_empty());
    let view = |peer: &PeerStatus| NotExchangedView {
        region: region(doors, peer.worker),
        node: peer.worker.node(),
        namespaces: names(doors, &peer.not_exchanged),
    };
    apart.map(view).collect()
}

/// Every log that has forked.
pub(super) fn forks(doors: &Doors, status: Option<&Status>) -> Vec<ForkView> {
    let forked = status.map_or(&[][..], |status| &status.forked);
    let view = |(namespace, replica): &(NamespaceId, ReplicaId)| ForkView {
        namespace: name(doors, *namespace),
        region: region(doors, replica.worker()),
        node: replica.worker().node(),
        replica: replica.to_string(),
    };
    forked.iter().map(view).collect()
}
