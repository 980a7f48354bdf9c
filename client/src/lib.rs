#![doc = include_str!("../README.md")]
// Without QUIC, what only its frames and its settings need is idle.
#![cfg_attr(not(feature = "quic"), allow(dead_code))]

mod answers;
mod batch;
mod check;
mod client;
mod coalesce;
mod door;
mod error;
#[cfg(feature = "http")]
mod http;
mod ids;
#[cfg(feature = "tower")]
mod layer;
mod limits;
mod operations;
#[cfg(feature = "quic")]
mod quic;
mod setters;
mod terms;
#[cfg(any(feature = "quic", feature = "https"))]
mod trust;

pub use batch::Batch;
pub use check::LimitCheck;
pub use client::{Builder, Client, Retries};
pub use coalesce::{Coalescer, Coalescing, NotCounted, Ticket};
pub use door::Site;
pub use error::{ConnectError, Error, InvalidArgument};
#[cfg(feature = "http")]
pub use http::{HttpFailure, HttpLimits, HttpTransport};
pub use ids::{Ids, Prefetch, Source};
#[cfg(feature = "tower")]
pub use layer::{Denied, LimitLayer, Limited, LimitedFuture, too_many_requests};
pub use limits::{LimitBatch, Policy};
#[cfg(feature = "quic")]
pub use quic::{Config, Connection};
pub use snowtide_protocol::limit::{Algorithm, BadAlgorithm, Decision, Numbers};
pub use snowtide_protocol::{Ack, BadAck, BadKey, BadToken, Code, KeyLength, Share, Token, View, id};
pub use terms::{Answered, Counted, Terms};

/// How long a client that is dropped or closed lets a node finish its answers.
#[cfg(any(feature = "quic", feature = "http"))]
const CLOSE_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The page of the book on this client: its Rust snippet compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/client.md")]
struct PageOfTheBook;
