//! The cluster as this node sees it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{Doors, Stage};
use crate::clock;
use crate::config::Permission;
use crate::identity::WorkerId;
use crate::ids::PeerClock;
use crate::replica::{Disk, Status};

use super::apart::{self, ForkView};
use super::call::Call;
use super::failures::Failures;
use super::json;
use super::problem::Problem;
use super::repairs::{self, RepairView};

/// This node, and its peers as it sees them.
#[derive(Serialize, ToSchema)]
pub(super) struct ClusterView<'a> {
    node: NodeView<'a>,
    ids: IdsView,
    /// Every other configured node, linked or not.
    peers: Vec<PeerView>,
    /// Repair sessions that this node has begun and that are under way.
    repairs: Vec<RepairView>,
    /// Logs in which two processes have counted under one replica id.
    forks: Vec<ForkView>,
}

/// The node that answers.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
struct NodeView<'a> {
    #[schema(example = "eu-west")]
    region: &'a str,
    #[schema(example = 0)]
    node: u8,
    /// The current incarnation of its data, in hexadecimal digits; `null` until there is one.
    #[schema(value_type = Option<String>, example = "0021c5b94e6bdbc5")]
    replica: Option<String>,
    stage: StageName,
    /// Why it stopped itself, if it did, or why it takes no writes.
    reason: Option<String>,
    /// The release that runs.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Own commits so far.
    #[serde(serialize_with = "json::decimal_or_null")]
    #[schema(value_type = Option<String>, example = "1234")]
    commits: Option<u64>,
}

/// What IDs of this cluster are made of, and until when.
#[derive(Serialize, ToSchema)]
#[schema(as = IdLayout)]
struct IdsView {
    /// The split of their 63 bits, and where their time begins.
    #[schema(example = "41 time + 5 region + 5 node + 12 sequence bits since 1735689600000 ms")]
    layout: String,
    /// The last moment that an ID can carry.
    #[schema(example = "2094-09-07T15:47:35.551Z")]
    last: String,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StageName {
    /// Recovering, or waiting until peers confirm its history.
    Starting,
    /// Serving.
    Ready,
    /// Shutting down.
    Draining,
    /// Stopped itself.
    Fenced,
}

/// Another node.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Peer)]
struct PeerView {
    #[schema(example = "us-east")]
    region: String,
    #[schema(example = 0)]
    node: u8,
    state: LinkState,
    /// Namespaces that both are to hold by this node's configuration and that are not exchanged, because the peer defines
    /// them differently.
    #[schema(example = json!([]))]
    not_exchanged: Vec<String>,
    /// Own commits that it has not acknowledged, those of such namespaces included; `null` if it was never linked since this node started.
    #[serde(serialize_with = "json::decimal_or_null")]
    #[schema(value_type = Option<String>, example = "0")]
    lag_commits: Option<u64>,
    /// For how long it has been behind without a break.
    #[schema(example = 0.0)]
    lag_seconds: Option<f64>,
    /// How long ago everything was last compared with what it holds, and repaired; `null` if not since the start.
    #[schema(example = 42.0)]
    compared_seconds: Option<f64>,
    /// By how much its clock is ahead of this node's, negative if behind; `null` while it is not linked to this node.
    #[schema(example = -0.000_8)]
    clock_offset_seconds: Option<f64>,
    /// The true offset is at most this far from that: half of the quickest round trip, and what clocks may drift.
    #[schema(example = 0.000_4)]
    clock_uncertainty_seconds: Option<f64>,
}

/// Whether a peer is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum LinkState {
    /// It is.
    Up,
    /// It is not.
    Down,
    /// The engine has ended, so nobody knows.
    Unknown,
}

#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster", operation_id = "cluster",
    responses((status = 200, description = "In every stage, and whatever the peers do", body = ClusterView), Failures),
)]
/// This node, and its peers as it sees them.
pub(super) async fn cluster(call: Call) -> Result<Response<Body>, Problem> {
    call.require(Permission::Admin)?;
    let status = call.door.status().await?;
    json::answer(&view(&call.door.doors, status.as_ref()))
}

fn view<'a>(doors: &'a Doors, status: Option<&Status>) -> ClusterView<'a> {
    let (stage, stopped) = StageName::of(&doors.stage.borrow());
    let disk = status.map(|status| status.disk).filter(Disk::is_low);
    ClusterView {
        node: NodeView {
            region: &doors.region,
            node: doors.worker.node(),
            replica: status.and_then(|status| status.replica).map(|replica| replica.to_string()),
            stage,
            reason: stopped.or_else(|| disk.map(|disk| disk.to_string())),
            version: env!("CARGO_PKG_VERSION"),
            commits: status.map(|status| status.commits),
        },
        ids: IdsView { layout: doors.ids.layout().to_string(), last: clock::in_words(doors.config.ids_end_ms()) },
        peers: peers(doors, status, &doors.ids.peer_clocks()),
        repairs: repairs::views(doors, status),
        forks: apart::forks(doors, status),
    }
}

/// Configured peers in the map's order, then linked ones that the map does not know.
fn peers(doors: &Doors, status: Option<&Status>, clocks: &BTreeMap<WorkerId, PeerClock>) -> Vec<PeerView> {
    let (map, own) = (&*doors.map, doors.worker);
    let linked = status.map_or(&[][..], |status| &status.peers);
    let configured = map.nodes().map(|(worker, ..)| worker).filter(|worker| *worker != own);
    let foreign = linked.iter().map(|peer| peer.worker).filter(|worker| map.node(*worker).is_none());
    let seen = |worker: WorkerId| linked.iter().find(|peer| peer.worker == worker);
    let view = |worker| {
        let (peer, clock) = (seen(worker), clocks.get(&worker).map(|clock| clock.offset.seconds()));
        PeerView {
            region: doors.region_of(worker),
            node: worker.node(),
            state: match peer {
                Some(peer) if peer.up => LinkState::Up,
                None if status.is_none() => LinkState::Unknown,
                _ => LinkState::Down,
            },
            not_exchanged: peer.map(|peer| apart::names(doors, &peer.not_exchanged)).unwrap_or_default(),
            lag_commits: peer.map(|peer| peer.lag_commits),
            lag_seconds: peer.map(|peer| peer.lag_ms as f64 / 1_000.0),
            compared_seconds: peer.and_then(|peer| peer.compared_ms).map(|ms| ms as f64 / 1_000.0),
            clock_offset_seconds: clock.map(|(offset, _)| offset),
            clock_uncertainty_seconds: clock.map(|(_, uncertainty)| uncertainty),
        }
    };
    configured.chain(foreign).map(view).collect()
}

impl StageName {
    /// The name, and why, where there is a reason.
    pub(super) fn of(stage: &Stage) -> (Self, Option<String>) {
        match stage {
            Stage::Starting => (Self::Starting, None),
            Stage::Ready => (Self::Ready, None),
            Stage::Draining | Stage::Drained => (Self::Draining, None),
            Stage::Fenced(why) => (Self::Fenced, Some(why.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::tests::doors;
    use crate::clock::offset::Offset;
    use crate::identity::NamespaceId;
    use crate::replica::{PeerStatus, RepairStatus};

    fn worker(region: u8) -> WorkerId {
        WorkerId::new(region, 0).unwrap()
    }

    fn status(up: bool) -> Status {
        let peer = PeerStatus {
            worker: worker(2),
            up,
            not_exchanged: vec![NamespaceId::of("default")],
            lag_commits: u64::MAX,
            lag_ms: 1_500,
            inflight_bytes: 0,
            compared_ms: Some(2_500),
        };
        let namespace = NamespaceId::of("default");
        let repair = RepairStatus { namespace, peer: worker(2), leaves_found: 9, leaves_left: 4, rows: 70 };
        let forked = vec![(namespace, crate::identity::ReplicaId::new(worker(2), 9))];
        Status { peers: vec![peer], repairs: vec![repair], forked, ..Status::default() }
    }

    #[tokio::test]
    async fn every_configured_peer_is_listed_and_the_node_itself_is_not() {
        let peers = peers(&doors(Stage::Ready), Some(&status(true)), &BTreeMap::new());
        let names: Vec<_> = peers.iter().map(|peer| (peer.region.as_str(), peer.state)).collect();
        assert_eq!(names, [("us-east", LinkState::Up), ("ap-south", LinkState::Down)]);
        assert_eq!(peers[1].lag_commits, None, "never linked, so nobody knows");
    }

    #[tokio::test]
    async fn a_peer_outside_the_map_is_shown_by_its_number() {
        let mut status = status(false);
        status.peers[0].worker = worker(9);
        let peers = peers(&doors(Stage::Ready), Some(&status), &BTreeMap::new());
        assert_eq!((peers[2].region.as_str(), peers[2].state), ("9", LinkState::Down));
    }

    #[tokio::test]
    async fn without_an_engine_nothing_is_claimed_about_peers() {
        let peers = peers(&doors(Stage::Ready), None, &BTreeMap::new());
        assert!(peers.iter().all(|peer| peer.state == LinkState::Unknown));
    }

    #[tokio::test]
    async fn lag_is_a_decimal_string_in_commits_and_a_number_in_seconds() {
        let doors = doors(Stage::Fenced("disk".into()));
        let offset = Offset { us: -1_500_000, uncertainty_us: 250 };
        doors.ids.hear_clock(worker(2), PeerClock { offset, believed: true });
        let view = serde_json::to_value(view(&doors, Some(&status(true)))).unwrap();
        assert_eq!(view["peers"][0]["lag_commits"], u64::MAX.to_string());
        assert_eq!(view["peers"][0]["lag_seconds"], 1.5);
        assert_eq!(view["peers"][0]["not_exchanged"], serde_json::json!(["default"]));
        assert_eq!((&view["forks"][0]["namespace"], &view["forks"][0]["node"]), (&"default".into(), &0.into()));
        assert_eq!(view["peers"][0]["compared_seconds"], 2.5);
        assert_eq!(view["peers"][0]["clock_offset_seconds"], -1.5);
        assert_eq!(view["peers"][0]["clock_uncertainty_seconds"], 0.000_25);
        assert!(view["peers"][1]["clock_offset_seconds"].is_null());
        assert_eq!((&view["repairs"][0]["leaves_left"], &view["repairs"][0]["rows"]), (&4.into(), &"70".into()));
        assert_eq!((&view["node"]["stage"], &view["node"]["reason"]), (&"fenced".into(), &"disk".into()));
        assert_eq!(view["node"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(view["ids"]["last"], "2094-09-07T15:47:35.551Z");
    }
}
