//! What an operator can turn of the replica: each section with its keys, their texts, defaults and bounds.
//!
//! `config` reads them with its own sections, and hands them over as they are.

use std::time::Duration;

use bytesize::ByteSize;

use crate::section::section;
use crate::section::shape::{DAY, GIB, KIB, MIB, MINUTE, SECOND, TIB, count, duration, size};

section! {
    /// Everything of the replica that an operator can turn.
    pub struct Tuning {
        /// What becomes one commit.
        pub commit: Commit;

        /// How changes travel to peers.
        pub gossip: Gossip;

        /// How nodes find out that they differ, and how rows on disk are verified.
        pub repair: Repair;

        /// How long the journal is kept for peers that do not take it.
        pub hints: Hints;

        /// How long a repeated request is recognized.
        pub idempotency: Idempotency;

        /// How a start proves that this node's history is whole.
        pub incarnation: Incarnation;

        /// How much memory counters take.
        pub memory: Memory;

        /// How changed rows get to their place on disk.
        pub checkpoint: Checkpoint;

        /// How a node stops.
        pub drain: Drain;
    }
    moved {
        cache to "memory.bytes_max";
    }
}

section! {
    /// `[commit]`
    pub struct Commit {
        /// A commit is closed once its records hold this much; what is over goes into the next one. A larger commit
        /// syncs more operations at once, and holds its first one back for longer.
        pub bytes_max: ByteSize = "4MiB", size(4 * KIB, 64 * MIB);

        /// How long a commit that holds nothing but changes of namespaces with durability "interval" stays open. When
        /// it is over, or commit.bytes_max is reached, it is synced. More saves syncs, and widens what a crash may
        /// lose.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = "100ms", duration(1, 10 * SECOND);
    }
}

section! {
    /// `[gossip]`
    pub struct Gossip {
        /// How long commits are gathered before they are pushed to peers. Less means fresher remote values, more means
        /// that fewer bytes are sent for counters that change often.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = "20ms", duration(1, 10 * SECOND);

        /// How often peers tell each other what they hold, so that whatever was missed is fetched.
        #[serde(with = "humantime_serde")]
        pub digest_interval: Duration = "1s", duration(10, MINUTE);

        /// Bytes sent to one peer and not yet acknowledged. At the bound nothing more is pushed to this peer; the rest
        /// waits in the journal on disk, so a slow peer costs no memory.
        pub inflight_bytes_max: ByteSize = "8MiB", size(64 * KIB, GIB);
    }
    fixed {
        /// How long a peer has to answer a request for somebody's records. When it is over, the next peer is asked.
        pub fetch_timeout: Duration = Duration::from_secs(2), by "Gossip::fetch_timeout";
    }
}

section! {
    /// `[repair]`
    pub struct Repair {
        /// How often this node compares what it holds with one of its peers, each in turn. Equal nodes exchange less
        /// than a kilobyte; those that differ find the rows that do, and exchange them.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = "1m", duration(100, DAY);

        /// The time in which all rows on disk are read once and compared with what was written there.
        #[serde(with = "humantime_serde")]
        pub scrub_interval: Duration = "7days", duration(MINUTE, 365 * DAY);
    }
    fixed {
        /// How long one session of repair may take. When it is over, what it brought stays, and another session begins.
        /// As long as a session may last, its other end keeps the journal that the session will go on from.
        pub session_max: Duration = Duration::from_secs(3_600), by "Repair::session_max";
    }
}

section! {
    /// `[hints]`
    pub struct Hints {
        /// How long the journal is kept for a peer that does not take it. Past it, that peer is repaired row by row.
        #[serde(with = "humantime_serde")]
        pub max_age: Duration = "1h", duration(SECOND, 365 * DAY);

        /// How large the journal of one namespace may grow for peers that do not take it, about. Past it, likewise.
        pub max_bytes: ByteSize = "4GiB", size(MIB, 64 * TIB);
    }
}

section! {
    /// `[idempotency]`
    pub struct Idempotency {
        /// How long after its last use an idempotency key is remembered with its answer, at least: time during which
        /// the node is stopped may not count.
        #[serde(with = "humantime_serde")]
        pub retention: Duration = "24h", duration(SECOND, 365 * DAY);

        /// The same for a client's session, of which only the last answer is kept; clients come and go. A repetition is
        /// judged for half of that: one that says that it was first sent longer ago, of a session that is not known any
        /// more, is refused with 422.
        #[serde(with = "humantime_serde")]
        pub session_idle: Duration = "10m", duration(MINUTE, 365 * DAY);

        /// What they take in memory, about 160 bytes each and 32 for each operation; on disk it is less. Nothing is
        /// forgotten early for want of room. A caller (a token's name; all callers together where there are no tokens)
        /// may take three times what is still free, so alone three quarters; and a quarter is for sessions alone. What
        /// is over that is refused with 503 idempotency_full: new keys and new sessions of that caller, or all new
        /// keys. At 80 % there is a warning. Requests without a name, and sessions that are known, are not refused.
        pub bytes_max: ByteSize = "256MiB", size(MIB, 64 * GIB);
    }
}

section! {
    /// `[incarnation]`
    pub struct Incarnation {
        /// How long a start waits until every peer confirms that this node's history is whole. When it is over, the
        /// node goes on under a new replica id; nothing is lost, each row grows by one slot.
        #[serde(with = "humantime_serde")]
        pub proof_timeout: Duration = "3s", duration(10, 5 * MINUTE);
    }
}

section! {
    /// `[memory]`
    pub struct Memory {
        /// What counters may take in memory, with what RocksDB holds of them. "0B" is half of what the machine has, or
        /// half of what the node's control group allows, if that is less; and 1GiB where the system tells neither.
        /// Where several nodes share a machine, set it. RocksDB's cache of blocks, indexes and filters gets an eighth
        /// of it, and 128MiB at least; 192MiB are for what RocksDB gathers before it writes. Rows get the rest, and a
        /// quarter of it at least: a row takes about 100 bytes, and beside that its key if this is longer than 24
        /// bytes, and 24 bytes for each node that counts it, where these are more than one. At the bound, rows that
        /// are safely on disk leave memory and are loaded again when they are needed; if those that are not take far
        /// more than rows may, writes are refused with 503 overloaded until the next checkpoint, which begins at once.
        /// What is not part of it: requests, answers and connections of clients (api.client_bytes_max), the table of
        /// repeated requests (idempotency.bytes_max), commits on their way to the disk and to peers, and the process
        /// itself. What is set is 1MiB at least.
        pub bytes_max: ByteSize = "0B", size(0, 64 * TIB);
    }
    fixed {
        /// Rows that are being read from disk for operations that wait for them. At the bound further batches are
        /// refused with 503 overloaded, and deltas of peers are dropped and fetched again later. No more batches than
        /// that wait for rows.
        pub loading_rows_max: usize = 200_000, by "Memory::loading_rows_max";
    }
}

section! {
    /// `[checkpoint]`
    pub struct Checkpoint {
        /// How often changed rows are written, so that the journal can be cut. More means less writing and a longer
        /// recovery.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = "10s", duration(100, 10 * MINUTE);

        /// Rows changed since the last checkpoint. Near the bound a checkpoint starts early; at it writes are refused
        /// with 503 overloaded. They cannot leave memory, so each is reckoned at 256 bytes of what memory.bytes_max
        /// gives rows: what is set must fit into that, and the default is lowered until it does.
        pub dirty_rows_max: usize = 2000000, count(100, 1_000_000_000);
    }
}

section! {
    /// `[drain]`
    pub struct Drain {
        /// How long a node that was told to stop (SIGTERM) waits until another region has acknowledged all that it
        /// holds. When it is over, the node stops all the same and says so; its data is on its disk.
        #[serde(with = "humantime_serde")]
        pub timeout: Duration = "5s", duration(10, 10 * MINUTE);
    }
    fixed {
        /// How much longer the last checkpoint may take to write all changed rows, so that the next start has nothing to replay. When it
        /// is over, the next start replays what is missing.
        pub checkpoint: Duration = Duration::from_secs(20), by "Drain::checkpoint";
    }
}
