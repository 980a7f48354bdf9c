//! Configuration: what can be set, its defaults and its bounds.
//!
//! It is read at the start; what a reload may change of it while the process lives, `node` decides. Every key is documented in
//! `config/default.toml`, which is compiled in and *is* the built-in defaults; each bound (I6) says there what happens
//! at it. A configuration that was loaded is allowed in every value; one that is not is refused as a whole, with every
//! problem named. Only the command line reads the environment: here it is an argument.

pub mod address;
mod difference;
mod directives;
pub mod error;
pub(crate) mod fuzzed;
mod inspect;
mod load;
pub mod map;
pub mod origin;
mod place;
mod regions;
mod schema;
mod secret;
mod shape;
#[cfg(test)]
mod tests;
mod validate;
mod warnings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use snowtide_protocol::Access;

pub use difference::differing;
pub use directives::log_filter;
pub use error::{ConfigError, Problem};
pub use load::{Flag, Loaded, Sources};
pub use origin::{Origin, Setting};
pub use place::{NoOrdinal, NodeNumber};
pub use secret::{SECRET_BYTES, TreeSecret};
pub use warnings::warnings;

use crate::clock;
use crate::identity::NamespaceId;
use address::Listen;
use map::ClusterMap;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the region files are.
    pub regions_dir: PathBuf,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Which node of its region this one is.
    pub node: NodeNumber,
    /// The cluster.
    pub cluster: Cluster,
    /// Certificates.
    pub tls: Tls,
    /// IDs.
    pub ids: Ids,
    /// Namespaces by name.
    pub namespace: BTreeMap<String, Namespace>,
    /// Commits.
    pub commit: Commit,
    /// Frames between peers.
    pub frame: Frame,
    /// Gossip.
    pub gossip: Gossip,
    /// Comparing and repairing.
    pub repair: Repair,
    /// How long the journal is kept for peers.
    pub hints: Hints,
    /// `[idempotency]`
    pub idempotency: Idempotency,
    /// Incarnations.
    pub incarnation: Incarnation,
    /// Rows in memory.
    pub cache: Cache,
    /// Checkpoints.
    pub checkpoint: Checkpoint,
    /// `[store]`
    pub store: Store,
    /// The disk.
    pub disk: Disk,
    /// What all front doors share.
    pub api: Api,
    /// The HTTP front door.
    pub http: Http,
    /// The QUIC front door.
    pub quic: Quic,
    /// The front door of the Redis protocol.
    pub redis: Redis,
    /// Links to peers.
    pub peer: PeerLinks,
    /// Draining.
    pub drain: Drain,
    /// Logging.
    pub log: Log,
}

impl Config {
    /// Reads, merges and checks everything.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        load::load(sources, clock::wall_ms())
    }

    /// The built-in defaults, whatever the machine says; for tests and tools.
    ///
    /// # Panics
    /// Never in a build whose tests passed: the defaults are compiled in, and a test loads them.
    pub fn builtin() -> Self {
        load::builtin().expect("the defaults are compiled in, and a test loads them")
    }

    /// The namespaces that the nodes of a region hold, by name; none if the map does not know the region.
    pub fn served_namespaces(&self, map: &ClusterMap, region: u8) -> BTreeMap<String, NamespaceId> {
        let Some(region) = map.region_by_id(region) else { return BTreeMap::new() };
        let served = self.namespace.iter().filter(|(_, namespace)| namespace.is_held_by(&region.name));
        served.map(|(name, _)| (name.clone(), NamespaceId::of(name))).collect()
    }

    /// Time zero of the IDs in milliseconds since 1970.
    ///
    /// # Panics
    /// If the epoch is no time at all, which a configuration that was loaded never holds.
    pub fn ids_epoch_ms(&self) -> u64 {
        schema::epoch_ms(&self.ids.epoch).expect("loading refuses an epoch that is no time")
    }

    /// The last moment that an ID can carry, in milliseconds since 1970.
    ///
    /// # Panics
    /// As [`Self::ids_epoch_ms`].
    pub fn ids_end_ms(&self) -> u64 {
        let span = 1_u64.checked_shl(self.ids.bits.time.into()).unwrap_or(u64::MAX);
        self.ids_epoch_ms().saturating_add(span - 1)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Namespace {
    /// Whether the region of this name holds it.
    pub fn is_held_by(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|name| name == region)
    }
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Nodes of different cluster ids refuse each other; so does a data directory of another cluster.
    pub id: String,
    /// Keys content hashes, together with the id; may be empty. See [`TreeSecret`].
    pub secret: String,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Holds `ca.pem`, and per node `<region>-<node>.pem` and `<region>-<node>.key`.
    pub dir: PathBuf,
    /// From so long before a certificate ends, the log says so.
    #[serde(with = "humantime_serde")]
    pub expiry_warning: Duration,
}

/// `[ids]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Time zero of the IDs, RFC 3339.
    pub epoch: String,
    /// The split of the 63 bits, equal in the whole cluster.
    pub bits: IdBits,
    /// How far the clock may step back while IDs go on from the last timestamp; also how far ahead the ceiling goes.
    #[serde(with = "humantime_serde")]
    pub max_backstep: Duration,
    /// A clock further than this past the ceiling and every peer is not believed.
    #[serde(with = "humantime_serde")]
    pub max_leap: Duration,
    /// How long to wait for peers to say which ceiling they saw.
    #[serde(with = "humantime_serde")]
    pub claim_wait: Duration,
    /// How long a request may wait for the clock to move on.
    #[serde(with = "humantime_serde")]
    pub wait_max: Duration,
    /// A clock further than this past every ceiling that is known is not believed at a start on its own word.
    #[serde(with = "humantime_serde")]
    pub max_absence: Duration,
    /// How far above the ceiling of whoever had the worker id before, IDs of a new data directory begin.
    #[serde(with = "humantime_serde")]
    pub quarantine: Duration,
    /// From so long before the time field is used up, the log says so.
    #[serde(with = "humantime_serde")]
    pub exhaustion_warning: Duration,
}

/// `[ids.bits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdBits {
    /// Milliseconds.
    pub time: u8,
    /// Region.
    pub region: u8,
    /// Node.
    pub node: u8,
    /// Sequence within a millisecond.
    pub sequence: u8,
}

/// `[namespace.<name>]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespace {
    /// The regions that hold it; empty means all.
    pub regions: Vec<String>,
    /// What an acknowledgement waits for.
    pub durability: Durability,
    /// Counters beyond which clients get no new ones; 0 is no bound.
    pub keys_max: u64,
    /// What they take; 0 is no bound.
    pub bytes_max: ByteSize,
}

/// What an acknowledgement of an increment waits for (I1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The sync of the commit that holds it.
    #[default]
    Fsync,
    /// Nothing: the commit that holds it is synced within `commit.interval`.
    Interval,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fsync => "fsync",
            Self::Interval => "interval",
        })
    }
}

/// `[commit]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// A commit is closed once its records hold this much.
    pub bytes_max: ByteSize,
    /// A commit on which nobody waits stays open for this long.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

/// `[frame]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The longest frame between peers.
    pub bytes_max: ByteSize,
}

/// `[gossip]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gossip {
    /// Commits are gathered this long before they are pushed.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How often peers compare vectors.
    #[serde(with = "humantime_serde")]
    pub digest_interval: Duration,
    /// Unacknowledged delta bytes per peer.
    pub inflight_bytes_max: ByteSize,
    /// A request for somebody's records is asked of another peer after this long.
    #[serde(with = "humantime_serde")]
    pub fetch_timeout: Duration,
}

/// `[repair]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// Between two comparisons of trees.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long one session may take.
    #[serde(with = "humantime_serde")]
    pub session_max: Duration,
    /// The time in which all rows on disk are verified once.
    #[serde(with = "humantime_serde")]
    pub scrub_interval: Duration,
}

/// `[idempotency]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// How long a request may be repeated, at least.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How long a session is remembered after its last use.
    #[serde(with = "humantime_serde")]
    pub session_idle: Duration,
    /// What the requests that may be repeated take in memory.
    pub bytes_max: ByteSize,
}

/// `[hints]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hints {
    /// How long records are kept for peers.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How many bytes of them, in each namespace.
    pub max_bytes: ByteSize,
}

/// `[incarnation]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incarnation {
    /// How long to wait for peers to confirm our history.
    #[serde(with = "humantime_serde")]
    pub proof_timeout: Duration,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Rows in memory.
    pub rows_max: usize,
    /// Rows being read from disk.
    pub loading_rows_max: usize,
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// How often changed rows are written.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Changed rows not yet written.
    pub dirty_rows_max: usize,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// A start is refused where `data_dir` holds no node's data.
    pub must_exist: bool,
}

/// `[disk]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// With less free space than this, or than the store may need, writes are refused.
    pub min_free: ByteSize,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Batches that wait for the engine.
    pub queue_batches_max: usize,
    /// Operations in them together.
    pub queue_operations_max: usize,
    /// The largest request body or frame of a client.
    pub request_bytes_max: ByteSize,
    /// What all clients together may make this process hold.
    pub client_bytes_max: ByteSize,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// The longest token that is taken, and given out.
    pub token_bytes_max: ByteSize,
    /// The longest that a request may ask to wait for a token or for other regions.
    #[serde(with = "humantime_serde")]
    pub wait_max: Duration,
    /// How long a write waits for other regions if the request does not say.
    #[serde(with = "humantime_serde")]
    pub ack_wait: Duration,
    /// Requests that wait for a token, and as many for other regions.
    pub waiting_max: usize,
    /// Bearer tokens; empty means that anyone may call.
    pub tokens: Vec<Token>,
    /// The file that they stand in, if not among the rest.
    pub tokens_file: PathBuf,
}

/// `[[api.tokens]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who calls with it.
    pub name: String,
    /// The token itself.
    pub token: String,
    /// What it allows.
    pub access: Vec<Permission>,
    /// In which namespaces; empty means all.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// What a token may allow. None implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Counters are read, listed and watched.
    Read,
    /// Counters are changed, and told as they then are.
    Write,
    /// IDs are minted.
    Ids,
    /// The cluster is looked at.
    Admin,
}

impl From<Access> for Permission {
    fn from(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::Write => Self::Write,
        }
    }
}

impl Permission {
    /// As it is configured.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Ids => "ids",
            Self::Admin => "admin",
        }
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where this node listens, if not where the map says.
    pub listen: Listen,
    /// Open connections.
    pub connections_max: usize,
    /// How long the headers of a request may take.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a connection may do nothing.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// The largest head of a request.
    pub head_bytes_max: ByteSize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Pages of counters that are being made.
    pub listings_max: usize,
    /// Clients that watch a counter.
    pub watchers_max: usize,
    /// How often watched counters are looked at.
    #[serde(with = "humantime_serde")]
    pub watch_interval: Duration,
    /// How long a ticket opens a stream.
    #[serde(with = "humantime_serde")]
    pub ticket_validity: Duration,
    /// Whose pages may read what it answers.
    pub cors: HttpCors,
    /// Who this door is.
    pub tls: DoorTls,
}

/// `[http.cors]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCors {
    /// Origins, or `*` for all; none means that nothing is said to browsers.
    pub origins: Vec<String>,
}

/// `[http.tls]` and `[redis.tls]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorTls {
    /// The file of the certificate and those between it and an authority; empty means no TLS.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

impl DoorTls {
    /// Whether the door speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

/// `[quic]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quic {
    /// Where this node listens, if not where the map says.
    pub listen: Listen,
    /// Open client connections; peers have places of their own.
    pub connections_max: usize,
    /// Unanswered requests per connection.
    pub requests_max: u32,
    /// Streams per connection.
    pub streams_max: u32,
    /// How long a connection may do nothing.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
}

/// `[redis]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Where this node listens, if not where the map says; only if the map has an address for this door.
    pub listen: Listen,
    /// Open connections.
    pub connections_max: usize,
    /// How long a connection may ask nothing.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Words of one command, its name included.
    pub arguments_max: usize,
    /// What the transactions of all connections hold until their `EXEC`.
    pub queued_bytes_max: ByteSize,
    /// Who this door is.
    pub tls: DoorTls,
}

/// `[peer]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerLinks {
    /// Messages that wait for one peer's link; one more is dropped and fetched again later.
    pub queue_messages_max: usize,
    /// The first pause before connecting again.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// The longest.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// A link that is silent for this long is lost.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long an older boot of a peer has to show that it still lives.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
    /// How often a peer is asked what its clock says.
    #[serde(with = "humantime_serde")]
    pub clock_interval: Duration,
}

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// How long a node that shuts down waits until another region has its log.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How much longer the last checkpoint may take.
    #[serde(with = "humantime_serde")]
    pub checkpoint: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A filter as for `RUST_LOG`, for example `info` or `snowtide=debug,info`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
    /// Where the lines of the audit log go as well; empty means nowhere.
    pub audit_file: PathBuf,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}
