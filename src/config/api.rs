//! `[api]`: what all front doors share, and who may call.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use snowtide_protocol::Access;

use super::schema::{FILE, NAMESPACE_NAME, TOKEN_NAME, TOKEN_SECRET};
use crate::section::shape::{KIB, MIB, MINUTE, SECOND, Shape, TIB, count, duration, size};
use crate::section::{Field, section};

section! {
    /// `[api]`
    pub struct Api {
        /// Operations of clients that wait for the engine, all front doors together. A batch for which there is no room
        /// is refused at once with 429 throttled and Retry-After, so that whatever is not refused is answered soon: the
        /// engine does some hundred thousand a second.
        pub queue_operations_max: usize = 100000, count(1_000, 100_000_000);

        /// The largest body of an HTTP request, the longest frame of a QUIC client and the longest command of a Redis
        /// client. A larger one is refused before it is read: with 413 too_large, or with a protocol error and the end
        /// of the connection.
        pub request_bytes_max: ByteSize = "2MiB", size(4 * KIB, 64 * MIB);

        /// What clients may make this node hold in memory, all front doors together: connections that have said
        /// something, requests that have not ended or are not answered, answers that nobody has taken. One connection
        /// may hold a fourth of what is free; three sixteenths of all are kept for those that hold 16KiB at most. Where
        /// room is short, connections on which the node waits for its client are closed, those that have been still the
        /// longest first; requests that find none within a second are refused with 503 overloaded. Probes (/livez,
        /// /readyz, /v1/cluster) have room of their own. What QUIC clients may send ahead of being read comes on top: a
        /// third as much, and 32KiB for each connection. It cannot be less than eight times api.request_bytes_max.
        pub client_bytes_max: ByteSize = "24MiB", size(4 * MIB, TIB);

        /// How long a request may take, from its head to its answer. When it is over, the answer is 504 timeout: a
        /// write may or may not have happened. A Redis client has as long to take its answers.
        #[serde(with = "humantime_serde")]
        pub request_timeout: Duration = "10s", duration(10, 5 * MINUTE);

        /// The longest Snowtide-Token, in its written form. A longer one is refused with 400 invalid_request; an answer
        /// whose own token would be longer comes without one. A counter takes about 18 characters of it for each node,
        /// and each former incarnation of a node, that ever changed it.
        pub token_bytes_max: ByteSize = "8KiB", size(256, 64 * KIB);

        /// The longest time that a request may wait for what its token names, or for other regions to acknowledge a
        /// write. What asks for more waits this long. It comes on top of request_timeout.
        #[serde(with = "humantime_serde")]
        pub wait_max: Duration = "10s", duration(SECOND, 5 * MINUTE);

        /// How long a write with ack=regions:k or ack=all waits for them if the request does not say. When it is over,
        /// the answer says that the write is acknowledged here and which other regions have it. It cannot be more than
        /// api.wait_max.
        #[serde(with = "humantime_serde")]
        pub ack_wait: Duration = "2s", duration(10, 5 * MINUTE);

        /// Requests that wait for a token, and as many answers that wait for other regions. One more is refused at once
        /// with 503 overloaded and Retry-After.
        pub waiting_max: usize = 1024, count(1, 1_000_000);

        /// Who may call. An empty list means that anyone may do anything. Otherwise a request without a known bearer
        /// token is refused with 401 unauthenticated, and one that its token does not allow with 403 forbidden. Tokens
        /// are never shown or logged. The name is who calls: two tokens may have one name, so that one can replace the
        /// other, and then allow the same.
        ///
        ///   [[api.tokens]]
        ///   name = "billing"                      # 1 to 64 printable characters, no space at either end
        ///   token = "at-least-16-characters"      # 16 to 256 letters, digits and -._~+/=
        ///   access = ["read", "write"]            # "read" counters, "write" them, mint "ids", ask "limits", look at the cluster as "admin"
        ///   namespaces = ["invoices"]             # in these namespaces only; without it in all
        ///
        /// None of the five includes another: an increment is answered with the counter's value all the same. "admin"
        /// is for /v1/cluster. Taking IDs apart asks for any token; probes, metrics and the documentation ask for none.
        pub tokens: Vec<Token> = [], Shape::List(&TOKEN);

        /// A file that holds the tokens instead, so that it can have other readers than the rest: TOML, with tables
        /// [[tokens]] in place of [[api.tokens]] and nothing else. It is read again at each reload.
        pub tokens_file: PathBuf = "", FILE;
    }
    fixed {
        /// Batches of clients that wait for the engine, all front doors together. One more is refused at once with 429
        /// throttled and Retry-After.
        pub queue_batches_max: usize = 1_024, by "Api::queue_batches_max";
    }
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

const TOKEN: Shape = Shape::Table(&[
    Field::must("name", TOKEN_NAME),
    Field::must("token", TOKEN_SECRET),
    Field::must("access", Shape::List(&Shape::OneOf(&["read", "write", "ids", "limits", "admin"]))),
    Field::may("namespaces", Shape::List(&NAMESPACE_NAME)),
]);

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
    /// Limits are asked, and charged.
    Limits,
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
            Self::Limits => "limits",
            Self::Admin => "admin",
        }
    }
}
