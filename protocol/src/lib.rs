//! The vocabulary of Snowtide: what travels between nodes and their clients, and what it means.
//!
//! Server, client and load test use these types as they are; nobody copies one into a type of its own. Pure: no sockets, no
//! clocks, no randomness. Bytes become values in [`codec`] alone, with a bound on each.

mod ack;
mod action;
pub mod code;
pub mod codec;
pub mod frame;
pub mod id;
pub mod json;
pub mod key;
pub mod limit;
pub mod receive;
mod token;
mod view;
pub mod wire;

pub use ack::{Ack, BadAck};
pub use action::{Access, Action};
pub use code::Code;
pub use key::{BadKey, KEY_BYTES_MAX, Key, KeyLength};
pub use token::{BadToken, Token};
pub use view::{Share, View};
