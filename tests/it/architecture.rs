//! The shape of the code, held by a test: what pure code may name (I7), and which way the arrows point.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Pure modules are told the time and given their randomness; they do no I/O.
const PURE: [&str; 5] = ["identity", "crdt", "merkle", "snowflake", "replica"];

/// What no pure module may name.
const FORBIDDEN: [&str; 18] = [
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

/// Which modules of the crate each module may use. Whatever is not listed here must not exist.
const ARROWS: [(&str, &[&str]); 23] = [
    (
        "api",
        &["audit", "clock", "config", "engine", "identity", "ids", "quic", "replica", "snowflake", "telemetry", "tls"],
    ),
    ("audit", &["clock"]),
    (
        "cli",
        &[
            "audit",
            "clock",
            "config",
            "control",
            "dev",
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
    ("config", &["clock", "identity"]),
    ("control", &["audit"]),
    ("crdt", &["identity"]),
    ("dev", &["clock", "config", "identity", "probe", "relay", "tls"]),
    ("engine", &["clock", "identity", "merkle", "replica", "store", "telemetry"]),
    ("fuzzing", &["api", "config", "peer", "store"]),
    ("identity", &[]),
    ("ids", &["clock", "config", "identity", "snowflake"]),
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
            "sockets",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    ("peer", &["clock", "codec", "config", "engine", "identity", "quic", "replica", "telemetry", "tls"]),
    ("probe", &[]),
    ("quic", &["clock", "config", "peer", "sockets", "tls"]),
    ("relay", &["clock"]),
    ("replica", &["codec", "crdt", "identity", "merkle"]),
    ("snowflake", &["identity"]),
    ("sockets", &[]),
    ("store", &["codec", "crdt", "identity", "merkle", "replica"]),
];

/// Shared by nodes and front doors alike, and by their configuration.
const OTHERS: [(&str, &[&str]); 2] =
    [("telemetry", &["clock", "config", "identity", "replica"]), ("tls", &["clock", "config"])];

#[test]
fn pure_modules_name_no_clock_no_randomness_and_no_io() {
    for module in PURE {
        for (path, text) in sources(module) {
            for word in FORBIDDEN {
                assert!(!names(&text, word), "{} names {word}: pure code is told everything (I7)", path.display());
            }
        }
    }
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().chain(OTHERS).collect();
    for module in modules() {
        let uses = allowed.get(module.as_str()).unwrap_or_else(|| panic!("src/{module} is not on the map"));
        for (path, text) in sources(&module) {
            for used in used_modules(&text) {
                let fine = used == module || uses.contains(&used.as_str());
                assert!(fine, "{} uses {used}, and src/{module} must not", path.display());
            }
        }
    }
}

#[test]
fn only_the_clock_reads_the_clocks() {
    for module in modules().into_iter().filter(|module| module != "clock") {
        for (path, text) in sources(&module) {
            for call in ["Instant::now", "SystemTime::now"] {
                assert!(!text.contains(call), "{} calls {call}: ask src/clock.rs", path.display());
            }
        }
    }
}

/// Top-level modules of the server, by name.
fn modules() -> Vec<String> {
    let entries = fs::read_dir(source_dir()).expect("src can be listed").map(|entry| entry.expect("an entry").path());
    let mut names: Vec<String> =
        entries.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| name != "lib" && name != "main");
    names
}

/// A module's files with their text, without tests and comments.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let mut files = vec![source_dir().join(format!("{module}.rs"))];
    collect(&source_dir().join(module), &mut files);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        Some((path, code))
    };
    let is_test = |path: &PathBuf| path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"));
    files.into_iter().filter(|path| !is_test(path)).filter_map(read).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Whether `text` holds `word` as a word of its own.
fn names(text: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(word).any(|(at, _)| {
        let bytes = text.as_bytes();
        !is_part(at.checked_sub(1).and_then(|before| bytes.get(before))) && !is_part(bytes.get(at + word.len()))
    })
}

/// The `X` of every `crate::X`, also within `crate::{…}`.
fn used_modules(text: &str) -> Vec<String> {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect() };
    let mut used = Vec::new();
    for (at, found) in text.match_indices("crate::") {
        let rest = &text[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                used.extend(group.split(',').map(|item| name(item.trim())));
            }
            None => used.push(name(rest)),
        }
    }
    used.retain(|name| !name.is_empty());
    used
}
