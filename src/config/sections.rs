//! The sections of the configuration that no other part of it has a file for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::schema::{CLUSTER_ID, CLUSTER_SECRET, FILE, LOG_FILTER, PATH, REGION_NAME};
use crate::section::section;
use crate::section::shape::{DAY, KIB, MIB, MINUTE, Shape, TIB, count, duration, size};

section! {
    /// `[cluster]`
    pub struct Cluster {
        /// The cluster's name, for good: it goes into every UUID and ULID that an ID is written as. Nodes of different
        /// clusters refuse each other, and so does a data directory of another cluster.
        pub id: String = "snowtide-dev", CLUSTER_ID;

        /// Keys the content hashes by which nodes compare what they hold, and the place of each row among them. Empty:
        /// they follow from the id alone, so a client could choose keys that crowd one place. Set one where clients are
        /// not trusted: the same on every node, and for good, since data directories and nodes with another one are
        /// refused. Never shown or logged.
        pub secret: String = "", CLUSTER_SECRET;
    }
}

section! {
    /// `[tls]`
    pub struct Tls {
        /// Where the certificates are: ca.pem, and for each node <region>-<node>.pem and <region>-<node>.key. For a
        /// development cluster `snowtide-dev certs` writes them.
        pub dir: PathBuf = "certs", PATH;

        /// From so long before the end of a certificate, the log warns of it, at each start, at each reload and once a
        /// day; on its last day once an hour. `snowtide config check` warns, too.
        #[serde(with = "humantime_serde")]
        pub expiry_warning: Duration = "30d", duration(DAY, 3_650 * DAY);
    }
}

section! {
    /// `[namespace.<name>]`
    #[derive(Default)]
    #[serde(default)]
    pub struct Namespace {
        /// The regions that hold it. An empty list means all, those of later region files included. Its counters and
        /// their keys never leave them: other regions neither store nor serve it, and answer 421 wrong_region with the
        /// regions that do. Nodes exchange a namespace only if both define it alike, this key and the next; what
        /// differs is logged on both sides.
        pub regions: Vec<String> = [], Shape::List(&REGION_NAME);

        /// What the answer to an increment waits for: "fsync" is its commit's sync to disk; with "interval" it waits
        /// for nothing, and the commit is synced within commit.interval. A crash then loses what was acknowledged after
        /// the last sync, and a read after it may be lower than one before. Peers, tokens and hashes see only what is
        /// synced, either way: a request that asks for a token, an acknowledgement or a view waits for the sync.
        pub durability: Durability = "fsync", Shape::OneOf(&["fsync", "interval"]);

        /// Counters that the namespace may hold. At the bound, an operation that would make a new one is refused with
        /// 507 quota_exceeded; those that exist go on. Counters that other nodes made are always taken and count, so
        /// the bound can be passed by what regions make at once. 0 is no bound.
        pub keys_max: u64 = 0, count(0, 1_000_000_000_000);

        /// What its counters may take, in the same way: their keys, and 64 bytes each.
        pub bytes_max: ByteSize = "0B", size(0, 1_024 * TIB);
    }
}

impl Namespace {
    /// Whether the region of this name holds it.
    pub fn is_held_by(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.iter().any(|name| name == region)
    }
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

section! {
    /// `[frame]`
    pub struct Frame {
        /// The longest frame between peers. A longer one is refused before it is read, and the link is closed. Since a
        /// record cannot be cut, it must hold commit.bytes_max, api.request_bytes_max and 64KiB together.
        pub bytes_max: ByteSize = "16MiB", size(64 * KIB, 256 * MIB);
    }
}

section! {
    /// `[store]`
    pub struct Store {
        /// Whether data_dir has to hold a node's data already. Where it is a disk that is mounted, this keeps a node
        /// from beginning anew in the empty directory that is there without the mount: the start is refused. A node's
        /// first start, and one with a new disk, need it to be false.
        pub must_exist: bool = false, Shape::Switch;
    }
}

section! {
    /// `[disk]`
    pub struct Disk {
        /// Free space on the disk of data_dir that the node leaves alone in any case. With less than this, or less than
        /// the store may need at the moment (its largest compaction, what is in memory, the next checkpoint:
        /// snowtide_disk_needed_bytes), writes are refused with 503 disk_low and deltas of peers wait; reads go on, and
        /// writes do again by themselves once there is room.
        pub min_free: ByteSize = "256MiB", size(MIB, TIB);
    }
}

section! {
    /// `[peer]`
    pub struct PeerLinks {
        /// The longest pause before a lost link is tried again. Links are tried for ever, this often.
        #[serde(with = "humantime_serde")]
        pub backoff_max: Duration = "2s", duration(50, 10 * MINUTE);

        /// A link on which nothing was heard for this long is lost, and tried again.
        #[serde(with = "humantime_serde")]
        pub idle_timeout: Duration = "4s", duration(200, 5 * MINUTE);
    }
    fixed {
        /// Messages that wait for the link to one peer. One more is dropped; a later digest makes the peer fetch what
        /// it held.
        pub queue_messages_max: usize = 1_024, by "PeerLinks::queue_messages_max";

        /// The first pause before a lost link is tried again. Each failure doubles it, with jitter.
        pub backoff_min: Duration = Duration::from_millis(50), by "PeerLinks::backoff_min";

        /// How long the older of two boots of one peer has to show that it still lives. When it is over, the newer one
        /// replaces it; if both live, one of them is fenced.
        pub probe_timeout: Duration = Duration::from_millis(500), by "PeerLinks::probe_timeout";

        /// How often a peer is asked what its clock says. Each answer costs some hundred bytes; the best of the last
        /// eight tells how far both clocks are apart, and how certain that is.
        pub clock_interval: Duration = Duration::from_secs(2), by "PeerLinks::clock_interval";
    }
}

section! {
    /// `[log]`
    pub struct Log {
        /// What is logged, to standard error: a level, or a level for each module.
        pub filter: String = "info", LOG_FILTER;

        /// Lines for people, or one JSON object a line.
        pub format: LogFormat = "text", Shape::OneOf(&["text", "json"]);

        /// A file that the lines of the audit log are written to as well: what an operator had the node do by its
        /// control socket or by SIGHUP, and whom the doors turned away (401 and 403), one JSON object a line. Each
        /// caller that is turned away has one line a minute, with a count of those before it that had none. Those lines
        /// have the target "audit": the filter "audit=off,info" keeps them out of standard error. The file is opened
        /// again at each reload, so that it can be moved away.
        pub audit_file: PathBuf = "", FILE;
    }
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
