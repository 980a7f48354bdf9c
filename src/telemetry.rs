//! Metrics: their names, units and meanings, and a small typed function for each.
//!
//! Everything that is measured goes through here, so that no name is spelled twice and no label is unbounded. The
//! recorder is installed once per process, and never listens anywhere: the HTTP front door
//! renders it at `/metrics`. Recording is cheap enough for the hot path: the handles are kept, nothing is looked up.
//!
//! Histograms gather samples until they are folded into buckets, so somebody must call [`observe`] every second or so,
//! or memory grows with traffic (I6).

pub mod metric;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use snowtide_protocol::{Action, Code};

use crate::clock;
use crate::clock::offset::Offset;
use crate::config::Namespace;
use crate::config::map::ClusterMap;
use crate::identity::NamespaceId;
use crate::replica::{Disk, Status};

const REQUEST_BUCKETS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SYNC_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const RECORDS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Declares a label: its values, and the word that each is written as.
macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])* $value,)+
        }

        impl $name {
            /// All, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The label's value.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    };
}

label! {
    /// The front door that a request came through: the label `door`.
    Door {
        /// HTTP.
        Http = "http",
        /// The QUIC client protocol.
        Quic = "quic",
        /// The Redis protocol.
        Redis = "redis",
        /// gRPC.
        Grpc = "grpc",
    }
}

label! {
    /// What a descriptor of a request of Envoy's came to: the label `outcome`.
    Descriptor {
        /// Its limit was not used up.
        Ok = "ok",
        /// It was.
        OverLimit = "over_limit",
        /// It was, and nobody is refused for it.
        Shadowed = "shadowed",
        /// Its limit is never used up.
        Unlimited = "unlimited",
        /// It met no limit.
        Unmatched = "unmatched",
    }
}

/// What a request asked for: the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One operation on one counter.
    One(Action),
    /// A batch of operations.
    Batch,
    /// A page of counters.
    List,
    /// Watching a counter.
    Watch,
    /// A ticket for that.
    WatchTicket,
    /// One decision of a limit.
    Limit,
    /// A look at one.
    LookAtLimit,
    /// Decisions of limits, several at once.
    Limits,
    /// All policies of limits.
    ListPolicies,
    /// New IDs.
    MintIds,
    /// What an ID is made of.
    DecodeId,
    /// The IDs of a time range.
    IdBounds,
    /// The state of the cluster.
    Cluster,
    /// Whether Envoy may let a request pass.
    RateLimit,
    /// Anything that no route or frame stands for.
    Unknown,
}

impl Verb {
    /// All that is no single operation.
    const OTHERS: [Self; 14] = [
        Self::Batch,
        Self::List,
        Self::Watch,
        Self::WatchTicket,
        Self::Limit,
        Self::LookAtLimit,
        Self::Limits,
        Self::ListPolicies,
        Self::MintIds,
        Self::DecodeId,
        Self::IdBounds,
        Self::Cluster,
        Self::RateLimit,
        Self::Unknown,
    ];

    /// All, single operations with whatever argument.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        Self::OTHERS.into_iter().chain(Action::ALL.map(Self::One))
    }

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One(action) => action.name(),
            Self::Batch => "batch",
            Self::List => "list",
            Self::Watch => "watch",
            Self::WatchTicket => "watch_ticket",
            Self::Limit => "limit",
            Self::LookAtLimit => "look_at_limit",
            Self::Limits => "limits",
            Self::ListPolicies => "list_policies",
            Self::MintIds => "mint_ids",
            Self::DecodeId => "decode_id",
            Self::IdBounds => "id_bounds",
            Self::Cluster => "cluster",
            Self::RateLimit => "rate_limit",
            Self::Unknown => "unknown",
        }
    }

    /// Where it stands among all.
    fn index(self) -> usize {
        // Each is among them.
        match self {
            Self::One(action) => {
                let at = Action::ALL.iter().position(|other| other.name() == action.name());
                Self::OTHERS.len() + at.unwrap_or_default()
            }
            _ => Self::OTHERS.iter().position(|other| *other == self).unwrap_or_default(),
        }
    }
}

/// Installs the recorder, if that has not happened yet. To be called at the process's start, which makes the start time exact;
/// what is measured before is lost.
pub fn install() {
    meters();
}

/// Everything so far in the Prometheus text format.
pub fn render() -> String {
    meters().prometheus.render()
}

/// A request was answered; `refused` is `None` for a success.
pub fn request_answered(door: Door, verb: Verb, refused: Option<Code>, seconds: f64) {
    let meter = &meters().doors[door as usize].verbs[verb.index()];
    meter.seconds.record(seconds);
    match refused {
        None => meter.ok.increment(1),
        Some(code) => {
            counter!(metric::REQUESTS, "door" => door.as_str(), "operation" => verb.as_str(), "code" => code.as_str())
                .increment(1);
        }
    }
}

/// So many increments were acknowledged to a client.
pub fn increments_acknowledged(door: Door, count: u64) {
    meters().doors[door as usize].increments.increment(count);
}

/// So many IDs were handed to a client.
pub fn ids_minted(door: Door, count: u64) {
    meters().doors[door as usize].ids.increment(count);
}

/// A descriptor of a request of Envoy's was judged.
pub fn descriptor_judged(outcome: Descriptor) {
    meters().descriptors[outcome as usize].increment(1);
}

/// A client connected.
pub fn connection_opened(door: Door) {
    meters().doors[door as usize].connections.increment(1.0);
}

/// A client's connection ended.
pub fn connection_closed(door: Door) {
    meters().doors[door as usize].connections.decrement(1.0);
}

/// A client was turned away, because too many are connected.
pub fn connection_refused(door: Door) {
    meters().doors[door as usize].connections_refused.increment(1);
}

/// A client's connection was cut, because others needed the room.
pub fn connection_cut(door: Door) {
    meters().doors[door as usize].connections_cut.increment(1);
}

/// Clients may make the node hold so many bytes.
pub fn client_bytes_bounded(bytes_max: usize) {
    gauge!(metric::CLIENT_BYTES_MAX).set(bytes_max as f64);
}

/// Clients make the node hold so many bytes.
pub fn client_bytes_held(bytes: usize) {
    gauge!(metric::CLIENT_BYTES).set(bytes as f64);
}

/// So many clients may be connected.
pub fn connections_bounded(door: Door, connections_max: usize) {
    gauge!(metric::CONNECTIONS_MAX, "door" => door.as_str()).set(connections_max as f64);
}

/// Files that the process has open, and may have open; what the system does not say is left as it was.
pub fn descriptors_counted(open: Option<usize>, limit: Option<usize>) {
    if let Some(open) = open {
        gauge!(metric::PROCESS_OPEN_FDS).set(open as f64);
    }
    if let Some(limit) = limit {
        gauge!(metric::PROCESS_MAX_FDS).set(limit as f64);
    }
}

/// A commit of `records` journal records was synced, `seconds` after it was handed to the store.
pub fn commit_synced(seconds: f64, records: usize) {
    let meters = meters();
    meters.commits.increment(1);
    meters.commit_sync_seconds.record(seconds);
    meters.commit_records.record(records as f64);
}

/// Bytes of journal on disk.
pub fn journal_measured(bytes: u64) {
    gauge!(metric::JOURNAL_BYTES).set(bytes as f64);
}

/// How the disk stands, and whether compactions may begin.
pub fn disk_judged(disk: &Disk, compacts: bool) {
    gauge!(metric::DISK_FREE_BYTES).set(disk.free_bytes as f64);
    gauge!(metric::DISK_NEEDED_BYTES).set(disk.needed_bytes as f64);
    gauge!(metric::DISK_LOW).set(f64::from(disk.is_low()));
    gauge!(metric::DISK_FULL).set(f64::from(disk.is_out()));
    gauge!(metric::COMPACTIONS_PAUSED).set(f64::from(!compacts));
}

/// Unix time of the last moment that an ID can carry.
pub fn ids_end(unix_ms: u64) {
    gauge!(metric::IDS_END_SECONDS).set(unix_ms as f64 / 1_000.0);
}

/// A log was found to have forked.
pub fn forked() {
    counter!(metric::FORKS).increment(1);
}

/// Unix time at which the first certificate of a role ends.
pub fn certificate_ends(role: &'static str, unix_ms: u64) {
    gauge!(metric::CERTIFICATE_END_SECONDS, "role" => role).set(unix_ms as f64 / 1_000.0);
}

/// The node stopped itself.
pub fn fenced() {
    counter!(metric::FENCES).increment(1);
}

/// A peer of this name claimed something that is not believed.
pub fn claim_refused(peer: &str) {
    counter!(metric::PEER_CLAIMS_REFUSED, "peer" => peer.to_owned()).increment(1);
}

/// A message of the peer of this name was ignored: malformed, out of place, or over a bound.
pub fn message_ignored(peer: &str) {
    counter!(metric::PEER_MESSAGES_IGNORED, "peer" => peer.to_owned()).increment(1);
}

/// Sets every gauge that a replica's state shows, and folds the samples of histograms. To be called every second.
pub fn observe(status: &Status, map: &ClusterMap, namespaces: &BTreeMap<String, Namespace>) {
    meters().prometheus.run_upkeep();
    gauge!(metric::SERVING).set(f64::from(status.serving));
    gauge!(metric::ROWS_CACHED).set(status.memory.rows_cached as f64);
    gauge!(metric::ROWS_BYTES).set(status.memory.rows_bytes as f64);
    gauge!(metric::ROWS_BYTES_MAX).set(status.memory.rows_bytes_max as f64);
    gauge!(metric::ROWS_DIRTY).set(status.memory.rows_dirty as f64);
    gauge!(metric::BATCHES_WAITING).set(status.memory.batches_waiting as f64);
    gauge!(metric::REPAIRS).set(status.repairs.len() as f64);
    gauge!(metric::FORKED_LOGS).set(status.forked.len() as f64);
    gauge!(metric::IDEMPOTENCY_BYTES).set(status.memory.names.bytes as f64);
    gauge!(metric::IDEMPOTENCY_BYTES_MAX).set(status.memory.names.bytes_max as f64);
    gauge!(metric::IDEMPOTENCY_NAMES).set(status.memory.names.names as f64);
    observe_peers(status, map);
    observe_namespaces(status, namespaces);
}

/// What each namespace holds, and may hold.
fn observe_namespaces(status: &Status, namespaces: &BTreeMap<String, Namespace>) {
    for (name, namespace) in namespaces {
        let id = NamespaceId::of(name);
        let Some(held) = status.namespaces.iter().find(|held| held.namespace == id) else { continue };
        gauge!(metric::NAMESPACE_KEYS, "namespace" => name.clone()).set(held.census.keys as f64);
        gauge!(metric::NAMESPACE_BYTES, "namespace" => name.clone()).set(held.census.bytes as f64);
        gauge!(metric::NAMESPACE_KEYS_MAX, "namespace" => name.clone()).set(bound(namespace.keys_max));
        gauge!(metric::NAMESPACE_BYTES_MAX, "namespace" => name.clone()).set(bound(namespace.bytes_max.as_u64()));
        counter!(metric::QUOTA_REFUSALS, "namespace" => name.clone()).absolute(held.refused);
    }
}

fn bound(most: u64) -> f64 {
    if most > 0 { most as f64 } else { f64::INFINITY }
}

/// One line per configured peer, linked or not, so that an alert on a missing one needs no `absent()`.
fn observe_peers(status: &Status, map: &ClusterMap) {
    let Some(own) = status.replica.map(|replica| replica.worker()) else { return };
    for (worker, ..) in map.nodes().filter(|(worker, ..)| *worker != own) {
        if !status.peers.iter().any(|peer| peer.worker == worker) {
            gauge!(metric::PEER_UP, "peer" => map.name(worker)).set(0.0);
        }
    }
    for peer in &status.peers {
        let name = map.name(peer.worker);
        gauge!(metric::PEER_UP, "peer" => name.clone()).set(f64::from(peer.up));
        gauge!(metric::PEER_NAMESPACES_NOT_EXCHANGED, "peer" => name.clone()).set(peer.not_exchanged.len() as f64);
        gauge!(metric::PEER_LAG_COMMITS, "peer" => name.clone()).set(peer.lag_commits as f64);
        gauge!(metric::PEER_LAG_SECONDS, "peer" => name.clone()).set(peer.lag_ms as f64 / 1_000.0);
        if let Some(ms) = peer.compared_ms {
            gauge!(metric::PEER_COMPARED_SECONDS, "peer" => name.clone()).set(ms as f64 / 1_000.0);
        }
        gauge!(metric::PEER_INFLIGHT_BYTES, "peer" => name).set(peer.inflight_bytes as f64);
    }
}

/// How a policy of limits stands, or all together that requests bring along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyUse {
    /// Its name.
    pub policy: String,
    /// Decisions that admitted, since the start.
    pub admitted: u64,
    /// Those that denied.
    pub denied: u64,
    /// Units that were admitted.
    pub units: u64,
    /// Nodes that do not count together with this one.
    pub parted: usize,
    /// Units beyond the limit that a key may get in a window at most.
    pub overshoot_max: u64,
}

/// How full the table of limits is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysHeld {
    /// Keys.
    pub keys: u64,
    /// Of them, those that only peers decided on.
    pub heard: u64,
    /// Keys that there may be.
    pub keys_max: u64,
    /// Keys that went while they were in use, since the start.
    pub evicted: u64,
    /// What peers told and there was no room for, since the start.
    pub unheard: u64,
}

/// How limits stand. To be called every second.
pub fn observe_limits(policies: &[PolicyUse], keys: &KeysHeld) {
    for PolicyUse { policy, admitted, denied, units, parted, overshoot_max } in policies {
        for (decision, count) in [("admitted", admitted), ("denied", denied)] {
            counter!(metric::LIMIT_DECISIONS, "policy" => policy.clone(), "decision" => decision).absolute(*count);
        }
        counter!(metric::LIMIT_ADMITTED, "policy" => policy.clone()).absolute(*units);
        gauge!(metric::LIMIT_PARTED, "policy" => policy.clone()).set(*parted as f64);
        gauge!(metric::LIMIT_OVERSHOOT_MAX, "policy" => policy.clone()).set(*overshoot_max as f64);
    }
    gauge!(metric::LIMIT_KEYS).set(keys.keys as f64);
    gauge!(metric::LIMIT_KEYS_HEARD).set(keys.heard as f64);
    gauge!(metric::LIMIT_KEYS_MAX).set(keys.keys_max as f64);
    counter!(metric::LIMIT_KEYS_EVICTED).absolute(keys.evicted);
    counter!(metric::LIMIT_UNHEARD).absolute(keys.unheard);
}

/// So many messages about limits of so many bytes were written to a peer.
pub fn limits_sent(messages: u64, bytes: usize) {
    limits_carried("sent", messages, bytes);
}

/// So many were read from a peer.
pub fn limits_received(messages: u64, bytes: usize) {
    limits_carried("received", messages, bytes);
}

fn limits_carried(direction: &'static str, messages: u64, bytes: usize) {
    counter!(metric::LIMIT_MESSAGES, "direction" => direction).increment(messages);
    counter!(metric::LIMIT_BYTES, "direction" => direction).increment(bytes as u64);
}

/// Whether we believe our own clock.
pub fn clock_believed(believed: bool) {
    gauge!(metric::CLOCK_BELIEVED).set(f64::from(believed));
}

/// The clock of a peer of this name was found so far from ours; not a number while nobody knows.
pub fn peer_clock(peer: &str, offset: Option<Offset>) {
    let (ahead, uncertainty) = offset.map_or((f64::NAN, f64::NAN), Offset::seconds);
    gauge!(metric::PEER_CLOCK_OFFSET_SECONDS, "peer" => peer.to_owned()).set(ahead);
    gauge!(metric::PEER_CLOCK_UNCERTAINTY_SECONDS, "peer" => peer.to_owned()).set(uncertainty);
}

/// The handles of the hot path, looked up once.
struct Meters {
    prometheus: PrometheusHandle,
    /// Indexed by [`Door`].
    doors: Vec<DoorMeters>,
    /// Indexed by [`Descriptor`].
    descriptors: Vec<Counter>,
    commits: Counter,
    commit_sync_seconds: Histogram,
    commit_records: Histogram,
}

struct DoorMeters {
    /// Indexed by [`Verb::index`].
    verbs: Vec<VerbMeters>,
    increments: Counter,
    ids: Counter,
    connections: Gauge,
    connections_refused: Counter,
    connections_cut: Counter,
}

struct VerbMeters {
    ok: Counter,
    seconds: Histogram,
}

fn meters() -> &'static Meters {
    static METERS: OnceLock<Meters> = OnceLock::new();
    METERS.get_or_init(|| {
        let recorder = builder().build_recorder();
        let prometheus = recorder.handle();
        // Fails only if the process has another recorder already. Then that one gets the samples, and `/metrics`
        // stays empty, which is no reason to end a process.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        metric::describe();
        Meters::registered(prometheus)
    })
}

fn builder() -> PrometheusBuilder {
    let buckets = [
        (metric::REQUEST_SECONDS, REQUEST_BUCKETS),
        (metric::COMMIT_SYNC_SECONDS, SYNC_BUCKETS),
        (metric::COMMIT_RECORDS, RECORDS_BUCKETS),
    ];
    buckets.into_iter().fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
            .expect("only an empty list of buckets is refused")
    })
}

impl Meters {
    fn registered(prometheus: PrometheusHandle) -> Self {
        // They are shown from the start on, whether or not there is anything to tell.
        for name in [
            metric::SERVING,
            metric::ROWS_CACHED,
            metric::ROWS_BYTES,
            metric::ROWS_DIRTY,
            metric::BATCHES_WAITING,
            metric::JOURNAL_BYTES,
            metric::DISK_FREE_BYTES,
        ] {
            gauge!(name).set(0.0);
        }
        counter!(metric::FENCES).absolute(0);
        gauge!(metric::PROCESS_START_SECONDS).set(clock::wall_ms() as f64 / 1_000.0);
        gauge!(metric::BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self {
            prometheus,
            doors: Door::ALL.iter().map(|door| DoorMeters::registered(*door)).collect(),
            descriptors: Descriptor::ALL
                .iter()
                .map(|outcome| counter!(metric::ENVOY_DESCRIPTORS, "outcome" => outcome.as_str()))
                .collect(),
            commits: counter!(metric::COMMITS),
            commit_sync_seconds: histogram!(metric::COMMIT_SYNC_SECONDS),
            commit_records: histogram!(metric::COMMIT_RECORDS),
        }
    }
}

impl DoorMeters {
    fn registered(door: Door) -> Self {
        let door = door.as_str();
        Self {
            verbs: Verb::all().map(|verb| VerbMeters::registered(door, verb)).collect(),
            increments: counter!(metric::INCREMENTS, "door" => door),
            ids: counter!(metric::IDS, "door" => door),
            connections: gauge!(metric::CONNECTIONS, "door" => door),
            connections_refused: counter!(metric::CONNECTIONS_REFUSED, "door" => door),
            connections_cut: counter!(metric::CONNECTIONS_CUT, "door" => door),
        }
    }
}

impl VerbMeters {
    fn registered(door: &'static str, verb: Verb) -> Self {
        let verb = verb.as_str();
        Self {
            ok: counter!(metric::REQUESTS, "door" => door, "operation" => verb, "code" => "ok"),
            seconds: histogram!(metric::REQUEST_SECONDS, "door" => door, "operation" => verb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::map::{Node, Region};
    use crate::identity::{ReplicaId, WorkerId};
    use crate::replica::{Headroom, PeerStatus};

    fn worker(region: u8) -> WorkerId {
        WorkerId::new(region, 0).unwrap()
    }

    fn map() -> ClusterMap {
        let address = crate::config::address::Address::parse("127.0.0.1:1").unwrap();
        let region = |(id, name): (u8, &str)| Region {
            name: name.to_owned(),
            id,
            location: None,
            nodes: vec![Node { id: 0, quic: address.clone(), http: address.clone(), redis: None, grpc: None }],
        };
        ClusterMap { regions: [(1, "one"), (2, "two"), (3, "three")].map(region).into() }
    }

    #[test]
    fn verbs_index_the_table_they_were_registered_in() {
        for (at, verb) in Verb::all().enumerate() {
            assert_eq!(verb.index(), at);
        }
        assert_eq!(Verb::One(Action::Increment(-7)).index(), Verb::One(Action::Increment(1)).index());
    }

    #[test]
    fn installing_twice_and_from_many_threads_is_harmless() {
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(install)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        install();
        assert!(render().contains(metric::PROCESS_START_SECONDS));
    }

    #[test]
    fn what_is_recorded_is_rendered_with_its_labels_and_help() {
        request_answered(Door::Quic, Verb::DecodeId, Some(Code::Throttled), 0.001);
        commit_synced(0.002, 3);
        journal_measured(4);
        disk_judged(&Disk { headroom: Headroom::Low, free_bytes: 5, needed_bytes: 6 }, false);
        let text = render();
        let refused = r#"snowtide_requests_total{door="quic",operation="decode_id",code="throttled"} 1"#;
        for line in [
            refused,
            "# HELP snowtide_commits_total",
            "snowtide_disk_free_bytes 5",
            "snowtide_disk_low 1",
            "snowtide_disk_full 0",
            "snowtide_journal_bytes 4",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.contains("snowtide_commit_sync_seconds_bucket{le="), "a histogram, not a summary\n{text}");
    }

    #[test]
    fn every_configured_peer_is_shown_even_if_it_was_never_linked() {
        let linked = PeerStatus {
            worker: worker(2),
            up: true,
            not_exchanged: vec![NamespaceId(1)],
            lag_commits: 7,
            lag_ms: 1_500,
            inflight_bytes: 0,
            compared_ms: None,
        };
        let status = Status { replica: Some(ReplicaId::new(worker(1), 9)), peers: vec![linked], ..Status::default() };
        observe(&status, &map(), &BTreeMap::new());
        let text = render();
        for line in [
            r#"snowtide_peer_up{peer="two/0"} 1"#,
            r#"snowtide_peer_lag_commits{peer="two/0"} 7"#,
            r#"snowtide_peer_lag_seconds{peer="two/0"} 1.5"#,
            r#"snowtide_peer_up{peer="three/0"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains(r#"peer="one/0""#), "a node is not its own peer\n{text}");
    }
}
