//! The metrics: each is declared once, with its name, kind, unit and help text.
//!
//! A name says its unit last, and `_total` where it is a counter. Labels have few values: never a key, never an address.
//! What operators read of them stands in `docs/operating.md`; a test holds that it names each of them and no other.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What is known of a metric before anything is measured.
struct Metric {
    kind: Kind,
    name: &'static str,
    unit: Unit,
    help: &'static str,
}

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Makes of each line a constant with the metric's name, which recording uses, and a [`Metric`]. A line's help text is its
/// documentation; what else is to be said of it stands above.
macro_rules! metrics {
    ($($(#[$more:meta])* $constant:ident: $kind:ident = $name:literal, $unit:ident, $help:literal;)+) => {
        $(
            #[doc = $help]
            #[doc = ""]
            $(#[$more])*
            pub const $constant: &str = $name;
        )+

        const ALL: &[Metric] =
            &[$(Metric { kind: Kind::$kind, name: $name, unit: Unit::$unit, help: $help }),+];
    };
}

metrics! {
    /// By `door`, `operation` and `code`; the code of a success is `ok`.
    REQUESTS: Counter = "snowtide_requests_total", Count, "Requests answered, by front door, operation and code";
    /// By `door` and `operation`.
    REQUEST_SECONDS: Histogram = "snowtide_request_duration_seconds", Seconds, "From a request's arrival to its answer";
    /// By `door`.
    INCREMENTS: Counter = "snowtide_increments_acknowledged_total", Count,
        "Increments acknowledged to clients: each is durable";
    /// By `door`.
    IDS: Counter = "snowtide_ids_minted_total", Count, "IDs handed to clients";
    /// By `outcome`.
    ENVOY_DESCRIPTORS: Counter = "snowtide_envoy_descriptors_total", Count,
        "Descriptors of requests to the rate limit service, by what they came to";
    /// By `door`.
    CONNECTIONS: Gauge = "snowtide_connections", Count, "Open client connections";
    /// By `door`.
    CONNECTIONS_REFUSED: Counter = "snowtide_connections_refused_total", Count,
        "Clients turned away because too many were connected";
    /// By `door`.
    CONNECTIONS_MAX: Gauge = "snowtide_connections_max", Count, "Client connections that may be open";
    /// By `door`.
    CONNECTIONS_CUT: Counter = "snowtide_connections_cut_total", Count,
        "Idle connections cut because others needed the room";
    CLIENT_BYTES: Gauge = "snowtide_client_bytes", Bytes, "Requests, answers and connections of clients in memory";
    CLIENT_BYTES_MAX: Gauge = "snowtide_client_bytes_max", Bytes, "What they may take";
    COMMITS: Counter = "snowtide_commits_total", Count, "Commits synced since the start";
    COMMIT_SYNC_SECONDS: Histogram = "snowtide_commit_sync_seconds", Seconds,
        "From handing a commit to the store until it was synced";
    COMMIT_RECORDS: Histogram = "snowtide_commit_records", Count, "Journal records in one commit";
    /// By `peer`, as are all of its kind.
    PEER_UP: Gauge = "snowtide_peer_up", Count, "1 while the link to the peer is up";
    PEER_LAG_COMMITS: Gauge = "snowtide_peer_lag_commits", Count, "Own commits that the peer has not acknowledged";
    PEER_NAMESPACES_NOT_EXCHANGED: Gauge = "snowtide_peer_namespaces_not_exchanged", Count,
        "Namespaces that are not exchanged with the peer, because it defines them differently";
    /// Over all namespaces.
    FORKED_LOGS: Gauge = "snowtide_forked_logs", Count, "Logs in which two processes have counted under one replica id";
    FORKS: Counter = "snowtide_forks_total", Count, "Forks of logs that this process has found";
    PEER_LAG_SECONDS: Gauge = "snowtide_peer_lag_seconds", Seconds,
        "For how long the peer has been behind without a break";
    PEER_COMPARED_SECONDS: Gauge = "snowtide_peer_compared_seconds", Seconds,
        "Since everything was last compared with the peer, and repaired";
    REPAIRS: Gauge = "snowtide_repairs", Count, "Repair sessions that are under way";
    PEER_INFLIGHT_BYTES: Gauge = "snowtide_peer_inflight_bytes", Bytes, "Deltas sent to the peer and not acknowledged";
    /// Negative if it is behind.
    PEER_CLOCK_OFFSET_SECONDS: Gauge = "snowtide_peer_clock_offset_seconds", Seconds,
        "By how much the clock of the linked peer is ahead of ours; not a number while it is not linked";
    PEER_CLOCK_UNCERTAINTY_SECONDS: Gauge = "snowtide_peer_clock_uncertainty_seconds", Seconds,
        "How far the true offset may be from the measured one";
    CLOCK_BELIEVED: Gauge = "snowtide_clock_believed", Count, "1 while this node believes its own clock";
    ROWS_CACHED: Gauge = "snowtide_rows_cached", Count, "Rows in memory";
    ROWS_BYTES: Gauge = "snowtide_rows_bytes", Bytes, "What they take";
    ROWS_BYTES_MAX: Gauge = "snowtide_rows_bytes_max", Bytes, "What they may take";
    ROWS_DIRTY: Gauge = "snowtide_rows_dirty", Count, "Rows changed since the last checkpoint";
    IDEMPOTENCY_BYTES: Gauge = "snowtide_idempotency_bytes", Bytes, "What idempotency keys and sessions take in memory";
    IDEMPOTENCY_BYTES_MAX: Gauge = "snowtide_idempotency_bytes_max", Bytes, "What they may take";
    IDEMPOTENCY_NAMES: Gauge = "snowtide_idempotency_names", Count, "How many are remembered";
    BATCHES_WAITING: Gauge = "snowtide_batches_waiting", Count, "Batches that wait for rows";
    SERVING: Gauge = "snowtide_serving", Count, "1 while counters are served";
    JOURNAL_BYTES: Gauge = "snowtide_journal_bytes", Bytes, "Journal on disk";
    DISK_FREE_BYTES: Gauge = "snowtide_disk_free_bytes", Bytes, "Free on the disk of the data directory";
    /// What RocksDB may need at this moment, and at least `disk.min_free`.
    DISK_NEEDED_BYTES: Gauge = "snowtide_disk_needed_bytes", Bytes, "With less free, writes are refused";
    DISK_LOW: Gauge = "snowtide_disk_low", Count,
        "1 while writes and peers' deltas are refused for want of room on the disk";
    /// ID ceilings included.
    DISK_FULL: Gauge = "snowtide_disk_full", Count, "1 while nothing is written for want of room on the disk";
    COMPACTIONS_PAUSED: Gauge = "snowtide_compactions_paused", Count,
        "1 while no compaction begins for want of room on the disk";
    /// By `namespace`, as are all of its kind.
    NAMESPACE_KEYS: Gauge = "snowtide_namespace_keys", Count, "Counters of the namespace";
    NAMESPACE_BYTES: Gauge = "snowtide_namespace_bytes", Bytes, "What the counters of the namespace take, about";
    /// `keys_max`, infinite where there is none.
    NAMESPACE_KEYS_MAX: Gauge = "snowtide_namespace_keys_max", Count, "Counters beyond which clients get no new ones";
    /// `bytes_max`, likewise.
    NAMESPACE_BYTES_MAX: Gauge = "snowtide_namespace_bytes_max", Bytes,
        "What they may take before clients get no new ones";
    /// By `namespace`.
    QUOTA_REFUSALS: Counter = "snowtide_quota_refusals_total", Count,
        "New counters that were refused for the quota of the namespace";
    IDS_END_SECONDS: Gauge = "snowtide_ids_end_time_seconds", Seconds,
        "Unix time of the last moment that an ID can carry";
    /// By `role`.
    CERTIFICATE_END_SECONDS: Gauge = "snowtide_certificate_end_time_seconds", Seconds,
        "Unix time at which the first certificate of this role ends: authority, node, http, redis";
    FENCES: Counter = "snowtide_fences_total", Count, "How often the node stopped itself";
    /// By `peer`.
    PEER_MESSAGES_IGNORED: Counter = "snowtide_peer_messages_ignored_total", Count,
        "Messages of a peer that were out of place or over a bound";
    /// By `peer`: what it claimed of ID ceilings or of other boots.
    PEER_CLAIMS_REFUSED: Counter = "snowtide_peer_claims_refused_total", Count,
        "Claims of a peer about nodes that were not believed";
    /// By `policy` and `decision`, `admitted` or `denied`; all policies that requests bring along are `given`. Looks are
    /// admitted.
    LIMIT_DECISIONS: Counter = "snowtide_limit_decisions_total", Count, "Decisions of limits, by policy";
    /// By `policy`.
    LIMIT_ADMITTED: Counter = "snowtide_limit_admitted_units_total", Count, "Units that limits admitted here, by policy";
    /// By `policy`.
    LIMIT_PARTED: Gauge = "snowtide_limit_parted_peers", Count,
        "Nodes that decide by the policy and do not count together with this one";
    /// By `policy`.
    LIMIT_OVERSHOOT_MAX: Gauge = "snowtide_limit_overshoot_max_units", Count,
        "Units beyond the limit that a key may get in a window at most, at the present rate";
    LIMIT_KEYS: Gauge = "snowtide_limit_keys", Count, "Keys that limits count";
    LIMIT_KEYS_HEARD: Gauge = "snowtide_limit_keys_heard", Count, "Of them, those that only peers decided on";
    LIMIT_KEYS_MAX: Gauge = "snowtide_limit_keys_max", Count, "Keys that limits may count";
    LIMIT_KEYS_EVICTED: Counter = "snowtide_limit_keys_evicted_total", Count,
        "Keys in use that limits forgot, since there was no room";
    LIMIT_UNHEARD: Counter = "snowtide_limit_records_unheard_total", Count,
        "What peers told of keys for which limits had no room";
    /// By `direction`, `sent` or `received`.
    LIMIT_MESSAGES: Counter = "snowtide_limit_messages_total", Count,
        "Messages about limits to and from peers, beats among them";
    /// By `direction`, `sent` or `received`.
    LIMIT_BYTES: Counter = "snowtide_limit_message_bytes_total", Bytes, "Bytes of messages about limits";
    /// By `version`.
    BUILD: Gauge = "snowtide_build_info", Count, "1, labelled with the version that runs";
    /// This one and the next two have the names that every dashboard knows.
    PROCESS_OPEN_FDS: Gauge = "process_open_fds", Count, "Files that the process has open, connections among them";
    PROCESS_MAX_FDS: Gauge = "process_max_fds", Count, "Files that the process may have open";
    PROCESS_START_SECONDS: Gauge = "process_start_time_seconds", Seconds, "Unix time of the process's start";
}

/// Tells the recorder what each metric means.
pub(super) fn describe() {
    for Metric { kind, name, unit, help } in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, *unit, *help),
            Kind::Gauge => describe_gauge!(*name, *unit, *help),
            Kind::Histogram => describe_histogram!(*name, *unit, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../docs/operating.md");

    /// The names in the page's table of metrics. What begins with an ellipsis goes on where the name before it ends in
    /// another word.
    fn documented() -> BTreeSet<String> {
        let table = PAGE.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
        let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let mut stem = "";
        let whole = |word: &'static str| match word.strip_prefix('…') {
            Some(end) => format!("{stem}{end}"),
            None => {
                stem = word.rsplit_once('_').map_or(word, |(stem, _)| stem);
                word.to_owned()
            }
        };
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(whole).collect()
    }

    #[test]
    fn the_page_for_operators_names_each_metric_and_no_other() {
        assert_eq!(documented(), ALL.iter().map(|metric| metric.name.to_owned()).collect());
    }

    #[test]
    fn counters_end_in_total_and_nothing_else_does() {
        for Metric { kind, name, .. } in ALL {
            assert_eq!(matches!(kind, Kind::Counter), name.ends_with("_total"), "{name}");
        }
    }
}
