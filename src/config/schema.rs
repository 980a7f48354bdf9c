//! The schema: what strings may be, and the keys of a region file.
//!
//! The words here are the words of the error messages and of `config/default.toml`.

use snowtide_protocol::limit::POLICY_BYTES_MAX;

use super::Config;
use super::address::{Address, Listen};
use super::directives::log_filter;
use super::share::RegionShare;
use crate::identity::REGIONS_MAX;
use crate::section::Field;
use crate::section::shape::{Shape, count};

/// All that can be set.
pub(super) const CONFIG: Shape = Shape::Table(Config::FIELDS);

/// A region file.
pub(super) const REGION: Shape = Shape::Table(&[
    Field::must("name", REGION_NAME),
    Field::must("id", NUMBER),
    Field::may("location", Shape::Location),
    Field::may("node", Shape::List(&NODE)),
]);

const NODE: Shape = Shape::Table(&[
    Field::must("id", NUMBER),
    Field::must("quic", ADDRESS),
    Field::must("http", ADDRESS),
    Field::may("redis", ADDRESS),
    Field::may("grpc", ADDRESS),
]);

/// As browsers send it (RFC 6454, section 6.1), or they would not find themselves in it.
pub(super) const ORIGIN: Shape = Shape::Text {
    allowed: "an origin in lower case, such as \"https://app.example.com\" or \"http://127.0.0.1:3000\", or \"*\"",
    accepts: |text| text == "*" || is_origin(text),
};

pub(super) const PATH: Shape = Shape::Text { allowed: "a path that is not empty", accepts: |text| !text.is_empty() };

/// A file, or none.
pub(super) const FILE: Shape = Shape::Text { allowed: "nothing, or a path", accepts: |_| true };

pub(super) const CLUSTER_ID: Shape = Shape::Text {
    allowed: "1 to 64 letters, digits, dots, dashes and underscores",
    accepts: |text| is_word(text, 64, |b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
};

pub(super) const CLUSTER_SECRET: Shape = Shape::Secret {
    allowed: "nothing, or 16 to 256 letters, digits and -._~+/=",
    accepts: |text| text.is_empty() || is_secret(text),
};

pub(super) const EPOCH: Shape = Shape::Text {
    allowed: "a time since 1970 in quotes, by RFC 3339, such as \"2025-01-01T00:00:00Z\"; it must have passed, \
              and its milliseconds until now must fit ids.bits.time",
    accepts: |text| epoch_ms(text).is_some(),
};

/// What a namespace may be called.
pub(super) const NAMESPACE_NAME: Shape = Shape::Text {
    allowed: "1 to 64 lower-case letters, digits, dashes and underscores",
    accepts: |text| is_word(text, 64, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)),
};

/// What a policy of limits may be called.
pub(super) const POLICY_NAME: Shape = Shape::Text {
    allowed: "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first",
    accepts: |text| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && is_word(text, POLICY_BYTES_MAX, |b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    },
};

/// A region, and the weight of its share.
pub(super) const REGION_SHARE: Shape = Shape::Text {
    allowed: "a region's name, or one with a weight from 0 to 1000, such as \"eu-west:2\"",
    accepts: |text| RegionShare::read(text).is_some(),
};

pub(super) const REGION_NAME: Shape = Shape::Text {
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

pub(super) const LISTEN: Shape = Shape::Text {
    allowed: "nothing, or an IP address of this machine, 0.0.0.0 or [::] for all of them, and a port, such as \
              \"10.0.0.5:7400\" or \"[::]:7400\"",
    accepts: |text| Listen::parse(text).is_some(),
};

pub(super) const TOKEN_NAME: Shape = Shape::Text {
    allowed: "1 to 64 printable characters, no space at either end",
    accepts: |text| (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control) && text.trim() == text,
};

/// What an `Authorization` header can carry (RFC 6750, `b64token`). No parenthesis, so that a redacted token that is
/// pasted back is refused.
pub(super) const TOKEN_SECRET: Shape =
    Shape::Secret { allowed: "16 to 256 letters, digits and -._~+/=", accepts: is_secret };

pub(super) const LOG_FILTER: Shape = Shape::Text {
    allowed: "a filter such as \"info\" or \"snowtide=debug,info\"",
    accepts: |text| !text.trim().is_empty() && log_filter(text).is_ok(),
};

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
