//! What the guard holds: the words that pure modules leave to others, who may use whom, and the circles that exist.
//!
//! A permission that nothing uses is a finding, and so is a circle that was untied: strike it off here.

use super::Table;

/// Pure modules are told the time and given their randomness; they do no I/O.
pub(crate) const PURE: [&str; 6] = ["identity", "crdt", "merkle", "snowflake", "section", "replica"];

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
    ("api", &["audit", "clock", "config", "engine", "identity", "ids", "quic", "replica", "telemetry", "tls"]),
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
    ("config", &["clock", "identity", "replica", "section"]),
    ("control", &["audit"]),
    ("crdt", &["identity"]),
    ("engine", &["clock", "identity", "replica", "store", "telemetry"]),
    ("fuzzing", &["api", "config", "peer", "store"]),
    ("identity", &[]),
    ("ids", &["clock", "config", "identity", "snowflake"]),
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
            "identity",
            "ids",
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
    ("peer", &["clock", "codec", "config", "engine", "identity", "quic", "replica", "telemetry", "tls"]),
    ("probe", &[]),
    ("quic", &["clock", "config", "sockets", "tls"]),
    ("replica", &["codec", "crdt", "identity", "merkle", "section"]),
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
    ("client", &["answers", "batch", "coalesce", "door", "error", "http", "ids", "quic", "setters", "terms", "trust"]),
    ("coalesce", &["batch", "error", "setters"]),
    ("door", &["batch", "error", "terms"]),
    ("error", &[]),
    ("http", &["answers", "batch", "door", "error", "terms", "trust"]),
    ("ids", &["error", "setters"]),
    ("operations", &["answers", "batch", "client", "error", "quic", "terms"]),
    ("quic", &["answers", "batch", "door", "error", "setters", "terms", "trust"]),
    ("setters", &[]),
    ("terms", &[]),
    ("trust", &["error"]),
];

/// Those of clusters on one machine.
const DEV: Table = &[
    ("certificates", &[]),
    ("cli", &["certificates", "cluster", "options", "plan", "process"]),
    ("cluster", &["certificates", "error", "folder", "options", "plan", "process", "relay", "wires"]),
    ("error", &["certificates"]),
    ("folder", &["error"]),
    ("main", &["cli"]),
    ("options", &["plan"]),
    ("plan", &["error"]),
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
    ("key", &[]),
    ("receive", &[]),
    ("token", &["codec"]),
    ("view", &[]),
    ("wire", &["ack", "action", "code", "id", "view"]),
];

/// The load generator's.
const LOADTEST: Table = &[
    ("args", &["keys", "part", "schedule", "target", "threshold"]),
    ("cli", &["args", "compare", "drill", "scenario"]),
    ("compare", &["report"]),
    ("conserve", &["finding", "keys", "ledger", "target"]),
    ("drill", &["args", "conserve", "lane", "ledger", "measure", "report", "run", "schedule", "target", "timeline"]),
    ("figures", &["packed", "target"]),
    ("finding", &[]),
    ("generator", &["figures", "packed"]),
    ("ids", &[]),
    ("keys", &[]),
    (
        "lane",
        &["figures", "finding", "generator", "ids", "keys", "ledger", "measure", "run", "schedule", "target", "ticker"],
    ),
    ("ledger", &[]),
    ("main", &["cli"]),
    ("measure", &["args", "figures", "keys", "schedule", "timeline"]),
    ("packed", &[]),
    (
        "part",
        &["args", "figures", "finding", "generator", "ids", "keys", "lane", "ledger", "measure", "run", "timeline"],
    ),
    ("progress", &["args", "lane", "measure"]),
    (
        "report",
        &["conserve", "drill", "figures", "finding", "generator", "keys", "run", "summary", "threshold", "timeline"],
    ),
    (
        "run",
        &[
            "args",
            "conserve",
            "drill",
            "finding",
            "generator",
            "ids",
            "keys",
            "lane",
            "ledger",
            "measure",
            "part",
            "progress",
            "report",
            "schedule",
            "summary",
            "target",
            "ticker",
        ],
    ),
    ("scenario", &[]),
    ("schedule", &[]),
    (
        "summary",
        &[
            "args",
            "conserve",
            "drill",
            "figures",
            "keys",
            "measure",
            "report",
            "run",
            "schedule",
            "threshold",
            "timeline",
        ],
    ),
    ("target", &["ids", "keys"]),
    ("threshold", &["figures", "keys"]),
    ("ticker", &[]),
    ("timeline", &["figures", "packed"]),
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
pub(crate) const CIRCLES_TO_UNTIE: Table = &[
    ("snowtide_loadtest", &["args", "drill", "lane", "measure", "part", "progress", "report", "run", "summary"]),
    ("snowtide_loadtest", &["args", "part"]),
    ("snowtide_loadtest", &["drill", "report"]),
    ("snowtide_loadtest", &["drill", "run"]),
    ("snowtide_loadtest", &["lane", "run"]),
    ("snowtide_loadtest", &["part", "run"]),
    ("snowtide_loadtest", &["report", "run"]),
    ("snowtide_loadtest", &["report", "summary"]),
    ("snowtide_loadtest", &["run", "summary"]),
];
