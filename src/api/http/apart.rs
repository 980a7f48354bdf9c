//! What keeps nodes apart: namespaces that are not exchanged, and logs that have forked.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Doors;
use crate::identity::{NamespaceId, ReplicaId};
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

/// The names of the namespaces that are not exchanged with a peer.
pub(super) fn names(doors: &Doors, namespaces: &[NamespaceId]) -> Vec<String> {
    namespaces.iter().map(|namespace| doors.namespace_name(*namespace)).collect()
}

/// By peer, what is not exchanged.
pub(super) fn not_exchanged(doors: &Doors, status: Option<&Status>) -> Vec<NotExchangedView> {
    let peers = status.map_or(&[][..], |status| &status.peers);
    let apart = peers.iter().filter(|peer| !peer.not_exchanged.is_empty());
    let view = |peer: &PeerStatus| NotExchangedView {
        region: doors.region_of(peer.worker),
        node: peer.worker.node(),
        namespaces: names(doors, &peer.not_exchanged),
    };
    apart.map(view).collect()
}

/// Every log that has forked.
pub(super) fn forks(doors: &Doors, status: Option<&Status>) -> Vec<ForkView> {
    let forked = status.map_or(&[][..], |status| &status.forked);
    let view = |(namespace, replica): &(NamespaceId, ReplicaId)| ForkView {
        namespace: doors.namespace_name(*namespace),
        region: doors.region_of(replica.worker()),
        node: replica.worker().node(),
        replica: replica.to_string(),
    };
    forked.iter().map(view).collect()
}
