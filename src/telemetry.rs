//! Metrics: their names, units and meanings, and a small typed function for each.
//!
//! Everything that is measured goes through here, so that no name is spelled twice and no label is unbounded. The
//! recorder installs itself at the first use, once per process, and never listens anywhere: the HTTP front door
//! renders it at `/metrics`. Recording is cheap enough for the hot path: the handles are kept, nothing is looked up.
//!
//! Histograms gather samples until they are folded into buckets, so somebody must call [`observe`] every second or so,
//! or memory grows with traffic (I6).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use snowtide_protocol::Code;

use crate::clock;
use crate::clock::offset::Offset;
use crate::config::Namespace;
use crate::config::map::ClusterMap;
use crate::identity::NamespaceId;
use crate::replica::{Disk, Status};

/// Requests by `door`, `operation` and `code`; the code of a success is `ok`.
pub const REQUESTS: &str = "snowtide_requests_total";
/// Seconds from a request's arrival to its answer, by `door` and `operation`.
pub const REQUEST_SECONDS: &str = "snowtide_request_duration_seconds";
/// Increments acknowledged, by `door`.
pub const INCREMENTS: &str = "snowtide_increments_acknowledged_total";
/// IDs handed out, by `door`.
pub const IDS: &str = "snowtide_ids_minted_total";
/// Open client connections, by `door`.
pub const CONNECTIONS: &str = "snowtide_connections";
/// Connections refused because too many were open, by `door`.
pub const CONNECTIONS_REFUSED: &str = "snowtide_connections_refused_total";
/// Client connections that may be open, by `door`.
pub const CONNECTIONS_MAX: &str = "snowtide_connections_max";
/// Connections cut, by `door`, because others needed the room and nothing had happened on them.
pub const CONNECTIONS_CUT: &str = "snowtide_connections_cut_total";
/// Bytes that clients make the node hold.
pub const CLIENT_BYTES: &str = "snowtide_client_bytes";
/// Bytes that they may.
pub const CLIENT_BYTES_MAX: &str = "snowtide_client_bytes_max";
/// Commits synced since the start.
pub const COMMITS: &str = "snowtide_commits_total";
/// Seconds from handing a commit to the store until it was synced.
pub const COMMIT_SYNC_SECONDS: &str = "snowtide_commit_sync_seconds";
/// Journal records in one commit.
pub const COMMIT_RECORDS: &str = "snowtide_commit_records";
/// 1 while the link to a `peer` is up.
pub const PEER_UP: &str = "snowtide_peer_up";
/// Own commits that a `peer` has not acknowledged.
pub const PEER_LAG_COMMITS: &str = "snowtide_peer_lag_commits";
/// Namespaces that a `peer` is to hold as well and that are not exchanged with it, because it defines them differently.
pub const PEER_NAMESPACES_NOT_EXCHANGED: &str = "snowtide_peer_namespaces_not_exchanged";
/// Logs that have forked, over all namespaces: two processes have counted under one replica id.
pub const FORKED_LOGS: &str = "snowtide_forked_logs";
/// Forks that this process has found.
pub const FORKS: &str = "snowtide_forks_total";
/// For how long a `peer` has been behind without a break.
pub const PEER_LAG_SECONDS: &str = "snowtide_peer_lag_seconds";
/// Seconds since everything was last compared with what a `peer` holds, and repaired.
pub const PEER_COMPARED_SECONDS: &str = "snowtide_peer_compared_seconds";
/// Repair sessions that are under way.
pub const REPAIRS: &str = "snowtide_repairs";
/// Bytes of deltas sent to a `peer` and not acknowledged.
pub const PEER_INFLIGHT_BYTES: &str = "snowtide_peer_inflight_bytes";
/// By how many seconds the clock of a linked `peer` is ahead of ours; negative if it is behind.
pub const PEER_CLOCK_OFFSET_SECONDS: &str = "snowtide_peer_clock_offset_seconds";
/// The true offset is at most this far from the measured one.
pub const PEER_CLOCK_UNCERTAINTY_SECONDS: &str = "snowtide_peer_clock_uncertainty_seconds";
/// 1 while this node believes its own clock.
pub const CLOCK_BELIEVED: &str = "snowtide_clock_believed";
/// Rows in memory.
pub const ROWS_CACHED: &str = "snowtide_rows_cached";
/// Rows changed since the last checkpoint.
pub const ROWS_DIRTY: &str = "snowtide_rows_dirty";
/// What idempotency keys and sessions take in memory.
pub const IDEMPOTENCY_BYTES: &str = "snowtide_idempotency_bytes";
/// What they may take.
pub const IDEMPOTENCY_BYTES_MAX: &str = "snowtide_idempotency_bytes_max";
/// How many are remembered.
pub const IDEMPOTENCY_NAMES: &str = "snowtide_idempotency_names";
/// Batches that wait for rows.
pub const BATCHES_WAITING: &str = "snowtide_batches_waiting";
/// 1 while counters are served.
pub const SERVING: &str = "snowtide_serving";
/// Bytes of journal on disk.
pub const JOURNAL_BYTES: &str = "snowtide_journal_bytes";
/// Bytes free on the disk of the data directory.
pub const DISK_FREE_BYTES: &str = "snowtide_disk_free_bytes";
/// With less free than this, writes are refused: what RocksDB may need at this moment, and at least `disk.min_free`.
pub const DISK_NEEDED_BYTES: &str = "snowtide_disk_needed_bytes";
/// 1 while writes of clients and deltas of peers are refused for want of room.
pub const DISK_LOW: &str = "snowtide_disk_low";
/// 1 while nothing at all is written for want of room, ID ceilings included.
pub const DISK_FULL: &str = "snowtide_disk_full";
/// 1 while no compaction begins for want of room.
pub const COMPACTIONS_PAUSED: &str = "snowtide_compactions_paused";
/// Gauge by `namespace`: its counters.
pub const NAMESPACE_KEYS: &str = "snowtide_namespace_keys";
/// Gauge by `namespace`: what they take.
pub const NAMESPACE_BYTES: &str = "snowtide_namespace_bytes";
/// Gauge by `namespace`: `keys_max`, infinite where there is none.
pub const NAMESPACE_KEYS_MAX: &str = "snowtide_namespace_keys_max";
/// Gauge by `namespace`: `bytes_max`, likewise.
pub const NAMESPACE_BYTES_MAX: &str = "snowtide_namespace_bytes_max";
/// Counter by `namespace`: new counters that were refused.
pub const QUOTA_REFUSALS: &str = "snowtide_quota_refusals_total";
/// Unix time of the last moment that an ID can carry.
pub const IDS_END_SECONDS: &str = "snowtide_ids_end_time_seconds";
/// Unix time at which the first certificate of a role ends.
pub const CERTIFICATE_END_SECONDS: &str = "snowtide_certificate_end_time_seconds";
/// How often the node stopped itself.
pub const FENCES: &str = "snowtide_fences_total";
/// Counter by `peer`: its messages that were ignored, because they were out of place or over a bound.
pub const PEER_MESSAGES_IGNORED: &str = "snowtide_peer_messages_ignored_total";
/// Counter by `peer`: what it claimed of ID ceilings or of other boots and was not believed.
pub const PEER_CLAIMS_REFUSED: &str = "snowtide_peer_claims_refused_total";
/// 1, labelled with the `version`.
pub const BUILD: &str = "snowtide_build_info";
/// Files that the process has open, connections among them, under the name that every dashboard knows.
pub const PROCESS_OPEN_FDS: &str = "process_open_fds";
/// Files that it may have open.
pub const PROCESS_MAX_FDS: &str = "process_max_fds";
/// Unix time of the process's start, under the name that every dashboard knows.
pub const PROCESS_START_SECONDS: &str = "process_start_time_seconds";

const REQUEST_BUCKETS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SYNC_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const RECORDS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The front door that a request came through: the label `door`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// HTTP.
    Http,
    /// The QUIC client protocol.
    Quic,
    /// The Redis protocol.
    Redis,
}

impl Door {
    /// All, in the order of their discriminants.
    const ALL: [Self; 3] = [Self::Http, Self::Quic, Self::Redis];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Quic => "quic",
            Self::Redis => "redis",
        }
    }
}

/// What a request asked for: the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One increment or decrement.
    Increment,
    /// One read.
    Get,
    /// A batch of both.
    Batch,
    /// A page of counters.
    List,
    /// Watching a counter.
    Watch,
    /// A ticket for that.
    WatchTicket,
    /// New IDs.
    MintIds,
    /// What an ID is made of.
    DecodeId,
    /// The IDs of a time range.
    IdBounds,
    /// The state of the cluster.
    Cluster,
    /// Anything that no route or frame stands for.
    Unknown,
}

impl Verb {
    /// All, in the order of their discriminants.
    const ALL: [Self; 11] = [
        Self::Increment,
        Self::Get,
        Self::Batch,
        Self::List,
        Self::Watch,
        Self::WatchTicket,
        Self::MintIds,
        Self::DecodeId,
        Self::IdBounds,
        Self::Cluster,
        Self::Unknown,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Increment => "increment",
            Self::Get => "get",
            Self::Batch => "batch",
            Self::List => "list",
            Self::Watch => "watch",
            Self::WatchTicket => "watch_ticket",
            Self::MintIds => "mint_ids",
            Self::DecodeId => "decode_id",
            Self::IdBounds => "id_bounds",
            Self::Cluster => "cluster",
            Self::Unknown => "unknown",
        }
    }
}

/// Installs the recorder, if that has not happened yet. The first use of any other function here does so too; calling
/// it at the process's start only makes the start time exact.
pub fn install() {
    meters();
}

/// Everything so far in the Prometheus text format.
pub fn render() -> String {
    meters().prometheus.render()
}

/// A request was answered; `refused` is `None` for a success.
pub fn request_answered(door: Door, verb: Verb, refused: Option<Code>, seconds: f64) {
    let meter = &meters().doors[door as usize].verbs[verb as usize];
    meter.seconds.record(seconds);
    match refused {
        None => meter.ok.increment(1),
        Some(code) => {
            counter!(REQUESTS, "door" => door.as_str(), "operation" => verb.as_str(), "code" => code.as_str())
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
    gauge!(CLIENT_BYTES_MAX).set(bytes_max as f64);
}

/// Clients make the node hold so many bytes.
pub fn client_bytes_held(bytes: usize) {
    gauge!(CLIENT_BYTES).set(bytes as f64);
}

/// So many clients may be connected.
pub fn connections_bounded(door: Door, connections_max: usize) {
    gauge!(CONNECTIONS_MAX, "door" => door.as_str()).set(connections_max as f64);
}

/// Files that the process has open, and may have open; what the system does not say is left as it was.
pub fn descriptors_counted(open: Option<usize>, limit: Option<usize>) {
    if let Some(open) = open {
        gauge!(PROCESS_OPEN_FDS).set(open as f64);
    }
    if let Some(limit) = limit {
        gauge!(PROCESS_MAX_FDS).set(limit as f64);
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
    meters().journal_bytes.set(bytes as f64);
}

/// How the disk stands, and whether compactions may begin.
pub fn disk_judged(disk: &Disk, compacts: bool) {
    meters().disk_free_bytes.set(disk.free_bytes as f64);
    gauge!(DISK_NEEDED_BYTES).set(disk.needed_bytes as f64);
    gauge!(DISK_LOW).set(if disk.is_low() { 1.0 } else { 0.0 });
    gauge!(DISK_FULL).set(if disk.is_out() { 1.0 } else { 0.0 });
    gauge!(COMPACTIONS_PAUSED).set(if compacts { 0.0 } else { 1.0 });
}

/// Unix time of the last moment that an ID can carry.
pub fn ids_end(unix_ms: u64) {
    gauge!(IDS_END_SECONDS).set(unix_ms as f64 / 1_000.0);
}

/// A log was found to have forked.
pub fn forked() {
    counter!(FORKS).increment(1);
}

/// Unix time at which the first certificate of a role ends.
pub fn certificate_ends(role: &'static str, unix_ms: u64) {
    gauge!(CERTIFICATE_END_SECONDS, "role" => role).set(unix_ms as f64 / 1_000.0);
}

/// The node stopped itself.
pub fn fenced() {
    meters().fences.increment(1);
}

/// A peer of this name claimed something that is not believed.
pub fn claim_refused(peer: &str) {
    counter!(PEER_CLAIMS_REFUSED, "peer" => peer.to_owned()).increment(1);
}

/// A message of the peer of this name was ignored: malformed, out of place, or over a bound.
pub fn message_ignored(peer: &str) {
    counter!(PEER_MESSAGES_IGNORED, "peer" => peer.to_owned()).increment(1);
}

/// Sets every gauge that a replica's state shows, and folds the samples of histograms. To be called every second.
pub fn observe(status: &Status, map: &ClusterMap) {
    let meters = meters();
    meters.prometheus.run_upkeep();
    meters.serving.set(if status.serving { 1.0 } else { 0.0 });
    meters.rows_cached.set(status.memory.rows_cached as f64);
    meters.rows_dirty.set(status.memory.rows_dirty as f64);
    meters.batches_waiting.set(status.memory.batches_waiting as f64);
    gauge!(REPAIRS).set(status.repairs.len() as f64);
    gauge!(FORKED_LOGS).set(status.forked.len() as f64);
    gauge!(IDEMPOTENCY_BYTES).set(status.memory.names.bytes as f64);
    gauge!(IDEMPOTENCY_BYTES_MAX).set(status.memory.names.bytes_max as f64);
    gauge!(IDEMPOTENCY_NAMES).set(status.memory.names.names as f64);
    observe_peers(status, map);
}

/// What each namespace holds, and may hold. To be called every second.
pub fn observe_namespaces(status: &Status, namespaces: &BTreeMap<String, Namespace>) {
    for (name, namespace) in namespaces {
        let id = NamespaceId::of(name);
        let Some(held) = status.namespaces.iter().find(|held| held.namespace == id) else { continue };
        gauge!(NAMESPACE_KEYS, "namespace" => name.clone()).set(held.census.keys as f64);
        gauge!(NAMESPACE_BYTES, "namespace" => name.clone()).set(held.census.bytes as f64);
        gauge!(NAMESPACE_KEYS_MAX, "namespace" => name.clone()).set(bound(namespace.keys_max));
        gauge!(NAMESPACE_BYTES_MAX, "namespace" => name.clone()).set(bound(namespace.bytes_max.as_u64()));
        counter!(QUOTA_REFUSALS, "namespace" => name.clone()).absolute(held.refused);
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
            gauge!(PEER_UP, "peer" => map.name(worker)).set(0.0);
        }
    }
    for peer in &status.peers {
        let name = map.name(peer.worker);
        gauge!(PEER_UP, "peer" => name.clone()).set(if peer.up { 1.0 } else { 0.0 });
        gauge!(PEER_NAMESPACES_NOT_EXCHANGED, "peer" => name.clone()).set(peer.not_exchanged.len() as f64);
        gauge!(PEER_LAG_COMMITS, "peer" => name.clone()).set(peer.lag_commits as f64);
        gauge!(PEER_LAG_SECONDS, "peer" => name.clone()).set(peer.lag_ms as f64 / 1_000.0);
        if let Some(ms) = peer.compared_ms {
            gauge!(PEER_COMPARED_SECONDS, "peer" => name.clone()).set(ms as f64 / 1_000.0);
        }
        gauge!(PEER_INFLIGHT_BYTES, "peer" => name).set(peer.inflight_bytes as f64);
    }
}

/// Whether we believe our own clock.
pub fn clock_believed(believed: bool) {
    gauge!(CLOCK_BELIEVED).set(if believed { 1.0 } else { 0.0 });
}

/// The clock of a peer of this name was found so far from ours; not a number while nobody knows.
pub fn peer_clock(peer: &str, offset: Option<Offset>) {
    let (ahead, uncertainty) = offset.map_or((f64::NAN, f64::NAN), Offset::seconds);
    gauge!(PEER_CLOCK_OFFSET_SECONDS, "peer" => peer.to_owned()).set(ahead);
    gauge!(PEER_CLOCK_UNCERTAINTY_SECONDS, "peer" => peer.to_owned()).set(uncertainty);
}

/// The handles, looked up once.
struct Meters {
    prometheus: PrometheusHandle,
    /// Indexed by [`Door`].
    doors: Vec<DoorMeters>,
    commits: Counter,
    commit_sync_seconds: Histogram,
    commit_records: Histogram,
    serving: Gauge,
    rows_cached: Gauge,
    rows_dirty: Gauge,
    batches_waiting: Gauge,
    journal_bytes: Gauge,
    disk_free_bytes: Gauge,
    fences: Counter,
}

struct DoorMeters {
    /// Indexed by [`Verb`].
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
        describe();
        Meters::registered(prometheus)
    })
}

fn builder() -> PrometheusBuilder {
    let buckets =
        [(REQUEST_SECONDS, REQUEST_BUCKETS), (COMMIT_SYNC_SECONDS, SYNC_BUCKETS), (COMMIT_RECORDS, RECORDS_BUCKETS)];
    buckets.into_iter().fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
            .expect("only an empty list of buckets is refused")
    })
}

impl Meters {
    fn registered(prometheus: PrometheusHandle) -> Self {
        gauge!(PROCESS_START_SECONDS).set(clock::wall_ms() as f64 / 1_000.0);
        gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self {
            prometheus,
            doors: Door::ALL.map(DoorMeters::registered).into(),
            commits: counter!(COMMITS),
            commit_sync_seconds: histogram!(COMMIT_SYNC_SECONDS),
            commit_records: histogram!(COMMIT_RECORDS),
            serving: gauge!(SERVING),
            rows_cached: gauge!(ROWS_CACHED),
            rows_dirty: gauge!(ROWS_DIRTY),
            batches_waiting: gauge!(BATCHES_WAITING),
            journal_bytes: gauge!(JOURNAL_BYTES),
            disk_free_bytes: gauge!(DISK_FREE_BYTES),
            fences: counter!(FENCES),
        }
    }
}

impl DoorMeters {
    fn registered(door: Door) -> Self {
        let door = door.as_str();
        Self {
            verbs: Verb::ALL.map(|verb| VerbMeters::registered(door, verb)).into(),
            increments: counter!(INCREMENTS, "door" => door),
            ids: counter!(IDS, "door" => door),
            connections: gauge!(CONNECTIONS, "door" => door),
            connections_refused: counter!(CONNECTIONS_REFUSED, "door" => door),
            connections_cut: counter!(CONNECTIONS_CUT, "door" => door),
        }
    }
}

impl VerbMeters {
    fn registered(door: &'static str, verb: Verb) -> Self {
        let verb = verb.as_str();
        Self {
            ok: counter!(REQUESTS, "door" => door, "operation" => verb, "code" => "ok"),
            seconds: histogram!(REQUEST_SECONDS, "door" => door, "operation" => verb),
        }
    }
}

fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Requests answered, by front door, operation and code");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "From a request's arrival to its answer");
    describe_counter!(INCREMENTS, Unit::Count, "Increments acknowledged to clients: each is durable");
    describe_counter!(IDS, Unit::Count, "IDs handed to clients");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open client connections");
    describe_counter!(CONNECTIONS_REFUSED, Unit::Count, "Clients turned away because too many were connected");
    describe_counter!(CONNECTIONS_CUT, Unit::Count, "Idle connections cut because others needed the room");
    describe_gauge!(CLIENT_BYTES, Unit::Bytes, "Requests, answers and connections of clients in memory");
    describe_gauge!(CLIENT_BYTES_MAX, Unit::Bytes, "What they may take");
    describe_gauge!(CONNECTIONS_MAX, Unit::Count, "Client connections that may be open");
    describe_gauge!(PROCESS_OPEN_FDS, Unit::Count, "Files that the process has open, connections among them");
    describe_gauge!(PROCESS_MAX_FDS, Unit::Count, "Files that the process may have open");
    describe_counter!(COMMITS, Unit::Count, "Commits synced since the start");
    describe_histogram!(COMMIT_SYNC_SECONDS, Unit::Seconds, "From handing a commit to the store until it was synced");
    describe_histogram!(COMMIT_RECORDS, Unit::Count, "Journal records in one commit");
    describe_gauge!(PEER_UP, Unit::Count, "1 while the link to the peer is up");
    describe_gauge!(
        PEER_NAMESPACES_NOT_EXCHANGED,
        Unit::Count,
        "Namespaces that are not exchanged with the peer, because it defines them differently"
    );
    describe_gauge!(FORKED_LOGS, Unit::Count, "Logs in which two processes have counted under one replica id");
    describe_counter!(FORKS, Unit::Count, "Forks of logs that this process has found");
    describe_gauge!(PEER_LAG_COMMITS, Unit::Count, "Own commits that the peer has not acknowledged");
    describe_gauge!(PEER_LAG_SECONDS, Unit::Seconds, "For how long the peer has been behind without a break");
    describe_gauge!(
        PEER_CLOCK_OFFSET_SECONDS,
        Unit::Seconds,
        "By how much the clock of the linked peer is ahead of ours; not a number while it is not linked"
    );
    describe_gauge!(
        PEER_CLOCK_UNCERTAINTY_SECONDS,
        Unit::Seconds,
        "How far the true offset may be from the measured one"
    );
    describe_gauge!(CLOCK_BELIEVED, Unit::Count, "1 while this node believes its own clock");
    describe_gauge!(PEER_INFLIGHT_BYTES, Unit::Bytes, "Deltas sent to the peer and not acknowledged");
    describe_gauge!(
        PEER_COMPARED_SECONDS,
        Unit::Seconds,
        "Since everything was last compared with the peer, and repaired"
    );
    describe_gauge!(REPAIRS, "Repair sessions that are under way");
    describe_gauge!(ROWS_CACHED, Unit::Count, "Rows in memory");
    describe_gauge!(ROWS_DIRTY, Unit::Count, "Rows changed since the last checkpoint");
    describe_gauge!(BATCHES_WAITING, Unit::Count, "Batches that wait for rows");
    describe_gauge!(SERVING, Unit::Count, "1 while counters are served");
    describe_gauge!(JOURNAL_BYTES, Unit::Bytes, "Journal on disk");
    describe_gauge!(DISK_FREE_BYTES, Unit::Bytes, "Free on the disk of the data directory");
    describe_gauge!(DISK_NEEDED_BYTES, Unit::Bytes, "With less free, writes are refused");
    describe_gauge!(DISK_LOW, "1 while writes and peers' deltas are refused for want of room on the disk");
    describe_gauge!(DISK_FULL, "1 while nothing is written for want of room on the disk");
    describe_gauge!(COMPACTIONS_PAUSED, "1 while no compaction begins for want of room on the disk");
    describe_gauge!(NAMESPACE_KEYS, Unit::Count, "Counters of the namespace");
    describe_gauge!(NAMESPACE_BYTES, Unit::Bytes, "What the counters of the namespace take, about");
    describe_gauge!(NAMESPACE_KEYS_MAX, Unit::Count, "Counters beyond which clients get no new ones");
    describe_gauge!(NAMESPACE_BYTES_MAX, Unit::Bytes, "What they may take before clients get no new ones");
    describe_counter!(QUOTA_REFUSALS, Unit::Count, "New counters that were refused for the quota of the namespace");
    describe_gauge!(IDS_END_SECONDS, Unit::Seconds, "Unix time of the last moment that an ID can carry");
    describe_gauge!(
        CERTIFICATE_END_SECONDS,
        Unit::Seconds,
        "Unix time at which the first certificate of this role ends: authority, node, http, redis"
    );
    describe_counter!(FENCES, Unit::Count, "How often the node stopped itself");
    describe_counter!(PEER_MESSAGES_IGNORED, Unit::Count, "Messages of a peer that were out of place or over a bound");
    describe_counter!(PEER_CLAIMS_REFUSED, Unit::Count, "Claims of a peer about nodes that were not believed");
    describe_gauge!(BUILD, Unit::Count, "1, labelled with the version that runs");
    describe_gauge!(PROCESS_START_SECONDS, Unit::Seconds, "Unix time of the process's start");
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
            nodes: vec![Node { id: 0, quic: address.clone(), http: address.clone(), redis: None }],
        };
        ClusterMap { regions: [(1, "one"), (2, "two"), (3, "three")].map(region).into() }
    }

    #[test]
    fn labels_index_the_table_they_were_registered_in() {
        for (at, door) in Door::ALL.into_iter().enumerate() {
            assert_eq!(door as usize, at);
        }
        for (at, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, at);
        }
    }

    #[test]
    fn installing_twice_and_from_many_threads_is_harmless() {
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(install)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        install();
        assert!(render().contains(PROCESS_START_SECONDS));
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
        observe(&status, &map());
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
