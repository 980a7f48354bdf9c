#![doc = include_str!("../README.md")]

mod batch;
mod client;
pub mod code;
pub mod codec;
mod config;
mod connect;
mod error;
pub mod frame;
pub mod id;
mod ids;
mod lane;
mod terms;
mod tls;
mod token;
pub mod wire;

pub use batch::Batch;
pub use client::Client;
pub use code::Code;
pub use config::Config;
pub use error::{ConnectError, Error, InvalidArgument};
pub use ids::{Ids, Prefetch, Source};
pub use terms::{Ack, Answered, BadAck, Counted, Share, Terms, View};
pub use token::{BadToken, Token};

/// The repository's README: its Rust snippet compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct RepositoryReadme;
