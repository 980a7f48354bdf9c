//! The schema: every key of the configuration and of a region file, with what it may be.
//!
//! The words here are the words in `config/default.toml` and in the error messages; a test compares them.

use super::address::{Address, Listen};
use super::directives::log_filter;
use super::shape::{Shape, may, must};
use crate::identity::REGIONS_MAX;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// All that can be set.
pub(super) const CONFIG: Shape = Shape::Table(&[
    must("regions_dir", PATH),
    must("data_dir", PATH),
    must("node", Shape::NodeNumber),
    must("cluster", Shape::Table(&[must("id", CLUSTER_ID), must("secret", CLUSTER_SECRET)])),
    must("tls", Shape::Table(&[must("dir", PATH), must("expiry_warning", duration(DAY, 3_650 * DAY))])),
    must("ids", IDS),
    must("namespace", Shape::Named { names: &NAMESPACE_NAME, each: &NAMESPACE }),
    must("commit", COMMIT),
    must("frame", Shape::Table(&[must("bytes_max", size(64 * KIB, 256 * MIB))])),
    must("gossip", GOSSIP),
    must("repair", REPAIR),
    must(
        "hints",
        Shape::Table(&[must("max_age", duration(SECOND, 365 * DAY)), must("max_bytes", size(MIB, 64 * TIB))]),
    ),
    must(
        "idempotency",
        Shape::Table(&[
            must("retention", duration(SECOND, 365 * DAY)),
            must("session_idle", duration(MINUTE, 365 * DAY)),
            must("bytes_max", size(MIB, 64 * GIB)),
        ]),
    ),
    must("incarnation", Shape::Table(&[must("proof_timeout", duration(10, 5 * MINUTE))])),
    must("cache", CACHE),
    must("checkpoint", CHECKPOINT),
    must("store", Shape::Table(&[must("must_exist", Shape::Switch)])),
    must("disk", Shape::Table(&[must("min_free", size(MIB, TIB))])),
    must("api", API),
    must("http", HTTP),
    must("quic", QUIC),
    must("redis", REDIS),
    must("peer", PEER),
    must(
        "drain",
        Shape::Table(&[must("timeout", duration(10, 10 * MINUTE)), must("checkpoint", duration(10, 10 * MINUTE))]),
    ),
    must(
        "log",
        Shape::Table(&[
            must("filter", LOG_FILTER),
            must("format", Shape::OneOf(&["text", "json"])),
            must("audit_file", FILE),
        ]),
    ),
]);

/// A region file.
pub(super) const REGION: Shape = Shape::Table(&[
    must("name", REGION_NAME),
    must("id", NUMBER),
    may("location", Shape::Location),
    may("node", Shape::List(&NODE)),
]);

const NODE: Shape =
    Shape::Table(&[must("id", NUMBER), must("quic", ADDRESS), must("http", ADDRESS), may("redis", ADDRESS)]);

const IDS: Shape = Shape::Table(&[
    must("epoch", EPOCH),
    must("bits", ID_BITS),
    must("max_backstep", duration(10, MINUTE)),
    must("max_leap", duration(MINUTE, 365 * DAY)),
    must("claim_wait", duration(10, MINUTE)),
    must("wait_max", duration(1, 10 * SECOND)),
    must("max_absence", duration(HOUR, 3_650 * DAY)),
    must("quarantine", duration(3 * SECOND, DAY)),
    must("exhaustion_warning", duration(DAY, 36_500 * DAY)),
]);

const ID_BITS: Shape = Shape::Table(&[
    must("time", count(39, 48)),
    must("region", count(0, 5)),
    must("node", count(0, 5)),
    must("sequence", count(8, 22)),
]);

const NAMESPACE: Shape = Shape::Table(&[
    may("regions", Shape::List(&REGION_NAME)),
    may("durability", Shape::OneOf(&["fsync", "interval"])),
    may("keys_max", count(0, 1_000_000_000_000)),
    may("bytes_max", size(0, 1_024 * TIB)),
]);

const COMMIT: Shape =
    Shape::Table(&[must("bytes_max", size(4 * KIB, 64 * MIB)), must("interval", duration(1, 10 * SECOND))]);

const GOSSIP: Shape = Shape::Table(&[
    must("interval", duration(1, 10 * SECOND)),
    must("digest_interval", duration(10, MINUTE)),
    must("inflight_bytes_max", size(64 * KIB, GIB)),
    must("fetch_timeout", duration(10, MINUTE)),
]);

const REPAIR: Shape = Shape::Table(&[
    must("interval", duration(100, DAY)),
    must("session_max", duration(SECOND, 7 * DAY)),
    must("scrub_interval", duration(MINUTE, 365 * DAY)),
]);

const CACHE: Shape =
    Shape::Table(&[must("rows_max", count(1_000, 1_000_000_000)), must("loading_rows_max", count(10_000, 10_000_000))]);

const CHECKPOINT: Shape =
    Shape::Table(&[must("interval", duration(100, 10 * MINUTE)), must("dirty_rows_max", count(100, 1_000_000_000))]);

const API: Shape = Shape::Table(&[
    must("queue_batches_max", count(1, 1_000_000)),
    must("queue_operations_max", count(1_000, 100_000_000)),
    must("request_bytes_max", size(4 * KIB, 64 * MIB)),
    must("client_bytes_max", size(4 * MIB, TIB)),
    must("request_timeout", duration(10, 5 * MINUTE)),
    must("token_bytes_max", size(256, 64 * KIB)),
    must("wait_max", duration(SECOND, 5 * MINUTE)),
    must("ack_wait", duration(10, 5 * MINUTE)),
    must("waiting_max", count(1, 1_000_000)),
    must("tokens", Shape::List(&TOKEN)),
    must("tokens_file", FILE),
]);

const TOKEN: Shape = Shape::Table(&[
    must("name", TOKEN_NAME),
    must("token", TOKEN_SECRET),
    must("access", Shape::List(&Shape::OneOf(&["read", "write", "ids", "admin"]))),
    may("namespaces", Shape::List(&NAMESPACE_NAME)),
]);

const HTTP: Shape = Shape::Table(&[
    must("listen", LISTEN),
    must("connections_max", count(1, 1_000_000)),
    must("header_timeout", duration(100, 5 * MINUTE)),
    must("idle_timeout", duration(100, HOUR)),
    must("head_bytes_max", size(8 * KIB, MIB)),
    must("streams_max", count(1, 1_024)),
    must("listings_max", count(1, 1_024)),
    must("watchers_max", count(1, 10_000)),
    must("watch_interval", duration(10, MINUTE)),
    must("ticket_validity", duration(10 * SECOND, DAY)),
    must("cors", Shape::Table(&[must("origins", Shape::List(&ORIGIN))])),
    must("tls", DOOR_TLS),
]);

const DOOR_TLS: Shape = Shape::Table(&[must("certificate", FILE), must("key", FILE)]);

/// As browsers send it (RFC 6454, section 6.1), or they would not find themselves in it.
const ORIGIN: Shape = Shape::Text {
    allowed: "an origin in lower case, such as \"https://app.example.com\" or \"http://127.0.0.1:3000\", or \"*\"",
    accepts: |text| text == "*" || is_origin(text),
};

const QUIC: Shape = Shape::Table(&[
    must("listen", LISTEN),
    must("connections_max", count(1, 100_000)),
    must("requests_max", count(1, 1_000_000)),
    must("streams_max", count(1, 1_024)),
    must("idle_timeout", duration(100, HOUR)),
]);

/// No command takes more arguments than its name and as many keys as one batch of the engine has operations.
const REDIS: Shape = Shape::Table(&[
    must("listen", LISTEN),
    must("connections_max", count(1, 1_000_000)),
    must("idle_timeout", duration(100, DAY)),
    must("arguments_max", count(16, 10_001)),
    must("queued_bytes_max", size(2 * MIB, 16 * GIB)),
    must("tls", DOOR_TLS),
]);

const PEER: Shape = Shape::Table(&[
    must("queue_messages_max", count(1, 1_000_000)),
    must("backoff_min", duration(1, MINUTE)),
    must("backoff_max", duration(1, 10 * MINUTE)),
    must("idle_timeout", duration(200, 5 * MINUTE)),
    must("probe_timeout", duration(10, MINUTE)),
    must("clock_interval", duration(100, HOUR)),
]);

const PATH: Shape = Shape::Text { allowed: "a path that is not empty", accepts: |text| !text.is_empty() };

/// A file, or none.
const FILE: Shape = Shape::Text { allowed: "nothing, or a path", accepts: |_| true };

const CLUSTER_ID: Shape = Shape::Text {
    allowed: "1 to 64 letters, digits, dots, dashes and underscores",
    accepts: |text| is_word(text, 64, |b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
};

const CLUSTER_SECRET: Shape = Shape::Secret {
    allowed: "nothing, or 16 to 256 letters, digits and -._~+/=",
    accepts: |text| text.is_empty() || is_secret(text),
};

const EPOCH: Shape = Shape::Text {
    allowed: "a time since 1970 in quotes, by RFC 3339, such as \"2025-01-01T00:00:00Z\"; it must have passed, \
              and its milliseconds until now must fit ids.bits.time",
    accepts: |text| epoch_ms(text).is_some(),
};

/// What a namespace may be called.
pub(super) const NAMESPACE_NAME: Shape = Shape::Text {
    allowed: "1 to 64 lower-case letters, digits, dashes and underscores",
    accepts: |text| is_word(text, 64, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)),
};

const REGION_NAME: Shape = Shape::Text {
    allowed: "1 to 32 lower-case letters, digits and dashes, a letter first",
    accepts: |text| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && is_word(text, 32, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    },
};

const NUMBER: Shape = count(0, REGIONS_MAX as u64 - 1);

const ADDRESS: Shape = Shape::Text {
    allowed: "an IP address or a name by which others reach it, and a port, such as \"127.0.0.1:7400\", \"[::1]:7400\" or \
              \"node-0.example:7400\"",
    accepts: |text| Address::parse(text).is_some(),
};

const LISTEN: Shape = Shape::Text {
    allowed: "nothing, or an IP address of this machine, 0.0.0.0 or [::] for all of them, and a port, such as \
              \"10.0.0.5:7400\" or \"[::]:7400\"",
    accepts: |text| Listen::parse(text).is_some(),
};

const TOKEN_NAME: Shape = Shape::Text {
    allowed: "1 to 64 printable characters, no space at either end",
    accepts: |text| (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control) && text.trim() == text,
};

/// What an `Authorization` header can carry (RFC 6750, `b64token`). No parenthesis, so that a redacted token that is
/// pasted back is refused.
const TOKEN_SECRET: Shape = Shape::Secret { allowed: "16 to 256 letters, digits and -._~+/=", accepts: is_secret };

const LOG_FILTER: Shape = Shape::Text {
    allowed: "a filter such as \"info\" or \"snowtide=debug,info\"",
    accepts: |text| !text.trim().is_empty() && log_filter(text).is_ok(),
};

const fn duration(min_ms: u64, max_ms: u64) -> Shape {
    Shape::Duration { min_ms, max_ms }
}

const fn size(min: u64, max: u64) -> Shape {
    Shape::Size { min, max }
}

const fn count(min: u64, max: u64) -> Shape {
    Shape::Count { min, max }
}

fn is_word(text: &str, bytes_max: usize, accepts: fn(u8) -> bool) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(accepts)
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let default_port = matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    // Neither a path, not even a slash, nor a user, nor a port that goes without saying.
    text == format!("{scheme}://{authority}").to_ascii_lowercase()
        && matches!(scheme, "http" | "https")
        && !authority.as_str().contains(['@', '*'])
        && !default_port
}

fn is_secret(text: &str) -> bool {
    text.len() >= 16 && is_word(text, 256, |b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
}

/// Milliseconds since 1970; `None` for anything earlier or not of RFC 3339.
pub(super) fn epoch_ms(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}
