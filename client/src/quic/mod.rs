//! The door `snowtide-client/1`: one QUIC connection, framed requests, answers in any order.

mod config;
mod connect;
mod connection;
mod door;
mod lane;
mod tls;

pub use config::Config;
pub use connection::Connection;

pub(crate) use door::QuicDial;
