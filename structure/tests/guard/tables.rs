//! What the guard holds: the words that pure modules leave to others, who may use whom, and the circles that exist.
//!
//! A permission that nothing uses is a finding, and so is a circle that was untied: strike it off here.

use super::Table;

/// Pure modules are told the time and given their randomness; they do no I/O.
pub(crate) const PURE: [&str; 8] = ["identity", "crdt", "envoy", "limits", "merkle", "snowflake", "section", "replica"];

/// What no pure module may name.
pub(crate) const FORBIDDEN: [&str; 18] = [
    "tokio",
    "quinn",
    "rocksdb",
    "rustls",
    "axum",
    "hyper",
    "getrandom",
    "rand",
    "Instant",
    "SystemTime",
    "clock",
    "std::env",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::io",
    "tracing",
];

/// Which crates of the workspace each crate may use, by the names that code gives them. Their tests may use more.
pub(crate) const CRATES: Table = &[
    ("snowtide", &["snowtide_client", "snowtide_protocol"]),
    ("snowtide_client", &["snowtide_protocol"]),
    ("snowtide_dev", &["snowtide", "snowtide_client", "snowtide_loadtest"]),
    ("snowtide_fuzz", &["snowtide"]),
    ("snowtide_loadtest", &["snowtide_client", "snowtide_protocol"]),
    ("snowtide_protocol", &[]),
    ("snowtide_structure", &[]),
];

/// The map of each crate: which of its top-level modules each of them may use.
pub(crate) const MAPS: [(&str, Table); 7] = [
    ("snowtide", SERVER),
    ("snowtide-client", CLIENT),
    ("snowtide-dev", DEV),
    ("snowtide-fuzz", &[]),
    ("snowtide-loadtest", LOADTEST),
    ("snowtide-protocol", PROTOCOL),
    ("snowtide-structure", STRUCTURE),
];

/// The server's modules. Whatever is not listed here must not exist.
const SERVER: Table = &[
    (
        "api",
        &[
            "audit",
            "clock",
            "config",
            "engine",
            "envoy",
            "identity",
            "ids",
            "limiter",
            "limits",
            "quic",
            "replica",
            "telemetry",
            "tls",
        ],
    ),
    ("audit", &["clock"]),
    (
        "cli",
        &[
            "audit",
            "clock",
            "config",
            "control",
            "identity",
            "ids",
            "node",
            "probe",
            "snowflake",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    ("clock", &[]),
    ("codec", &[]),
    ("config", &["clock", "envoy", "identity", "limits", "replica", "section"]),
    ("control", &["audit"]),
    ("crdt", &["identity"]),
    ("engine", &["clock", "identity", "replica", "store", "telemetry"]),
    ("envoy", &["limits"]),
    ("fuzzing", &["api", "config", "peer", "store"]),
    ("identity", &[]),
    ("ids", &["clock", "config", "identity", "snowflake"]),
    ("limiter", &["clock", "config", "identity", "limits"]),
    ("limits", &["identity"]),
    ("main", &["cli"]),
    ("merkle", &["crdt", "identity"]),
    (
        "node",
        &[
            "api",
            "audit",
            "clock",
            "config",
            "control",
            "engine",
            "envoy",
            "identity",
            "ids",
            "limiter",
            "limits",
            "merkle",
            "peer",
            "quic",
            "replica",
            "section",
            "sockets",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    (
        "peer",
        &[
            "clock",
            "codec",
            "config",
            "crdt",
            "engine",
            "identity",
            "limiter",
            "limits",
            "quic",
            "replica",
            "telemetry",
            "tls",
        ],
    ),
    ("probe", &[]),
    ("quic", &["clock", "config", "sockets", "tls"]),
    ("replica", &["codec", "crdt", "identity", "merkle", "section", "snowflake"]),
    ("section", &[]),
    ("snowflake", &["identity"]),
    ("sockets", &[]),
    ("store", &["codec", "crdt", "identity", "merkle", "replica"]),
    ("telemetry", &["clock", "config", "identity", "replica"]),
    ("tls", &["clock", "config"]),
];

/// The client's.
const CLIENT: Table = &[
    ("answers", &["error", "terms"]),
    ("batch", &["error"]),
    ("check", &["answers", "client", "door", "error", "limits", "quic"]),
    ("client", &["answers", "batch", "coalesce", "door", "error", "http", "ids", "quic", "setters", "terms", "trust"]),
    ("coalesce", &["batch", "error", "setters"]),
    ("door", &["batch", "error", "limits", "terms"]),
    ("error", &[]),
    ("http", &["answers", "batch", "door", "error", "limits", "terms", "trust"]),
    ("ids", &["error", "setters"]),
    ("layer", &["client", "error", "limits"]),
    ("limits", &["error"]),
    ("operations", &["answers", "batch", "client", "error", "quic", "terms"]),
    ("quic", &["answers", "batch", "door", "error", "limits", "setters", "terms", "trust"]),
    ("setters", &[]),
    ("terms", &[]),
    ("trust", &["error"]),
];

/// Those of clusters on one machine.
const DEV: Table = &[
    ("certificates", &["error", "files"]),
    ("cli", &["certificates", "cluster", "options", "plan", "process"]),
    ("cluster", &["certificates", "error", "files", "folder", "options", "plan", "process", "relay", "wires"]),
    ("error", &[]),
    ("files", &["error"]),
    ("folder", &["error", "files", "plan"]),
    ("main", &["cli"]),
    ("options", &["plan"]),
    ("plan", &[]),
    ("process", &[]),
    ("relay", &[]),
    ("wires", &["relay"]),
];

/// What travels.
const PROTOCOL: Table = &[
    ("ack", &[]),
    ("action", &[]),
    ("code", &[]),
    ("codec", &[]),
    ("frame", &["codec", "receive", "wire"]),
    ("id", &[]),
    ("json", &["action", "limit"]),
    ("key", &[]),
    ("limit", &[]),
    ("receive", &[]),
    ("token", &["codec"]),
    ("view", &[]),
    ("wire", &["ack", "action", "code", "id", "limit", "view"]),
];

/// The load generator's.
const LOADTEST: Table = &[
    ("cli", &["compare", "drill", "plan", "report", "run", "scenario"]),
    ("compare", &["figures", "report"]),
    ("conserve", &["finding", "keys", "ledger", "target"]),
    ("drill", &["faults", "plan", "report", "run", "schedule", "target"]),
    ("faults", &["conserve", "ledger", "measure", "target"]),
    ("figures", &["latency", "target"]),
    ("finding", &["ledger"]),
    ("generator", &["figures", "latency"]),
    ("ids", &[]),
    ("keys", &[]),
    ("latency", &[]),
    ("ledger", &[]),
    ("limits", &[]),
    ("main", &["cli"]),
    ("measure", &["figures", "keys", "plan", "schedule", "timeline"]),
    ("plan", &["keys", "limits", "schedule", "target", "threshold"]),
    (
        "report",
        &[
            "conserve",
            "faults",
            "figures",
            "finding",
            "generator",
            "keys",
            "latency",
            "ledger",
            "limits",
            "plan",
            "run",
            "schedule",
            "threshold",
            "timeline",
        ],
    ),
    (
        "run",
        &[
            "conserve",
            "faults",
            "figures",
            "finding",
            "generator",
            "ids",
            "keys",
            "ledger",
            "limits",
            "measure",
            "plan",
            "schedule",
            "target",
            "timeline",
        ],
    ),
    ("scenario", &[]),
    ("schedule", &[]),
    ("target", &["ids", "keys"]),
    ("threshold", &["figures", "keys", "schedule"]),
    ("timeline", &["latency"]),
];

/// Those of this crate.
const STRUCTURE: Table = &[
    ("arrows", &["names", "source"]),
    ("checkout", &["source"]),
    ("main", &["checkout", "report", "shape", "source"]),
    ("names", &["source"]),
    ("place", &[]),
    ("report", &["shape"]),
    ("rules", &["arrows", "names", "source"]),
    ("shape", &["arrows", "names", "source"]),
    ("source", &["place", "tests_within", "tokens"]),
    ("tests_within", &[]),
    ("tokens", &[]),
];

/// Circles that exist, each with the module that it is in: groups whose modules all lead to each other, and pairs in them that use
/// each other directly. None may join them, and what is untied goes.
pub(crate) const CIRCLES_TO_UNTIE: Table = &[];
