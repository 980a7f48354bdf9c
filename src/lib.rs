//! Snowtide: IDs and counters in several regions at once.
//!
//! The map, from the inside out. Arrows point one way; a test holds this.
//!
//! - Pure, told the time and given their randomness (I7): [`identity`], [`crdt`], [`snowflake`], [`limits`], [`replica`].
//! - [`clock`] is the sole reader of the operating system's clocks, [`codec`] the one encoding.
//! - [`store`] keeps the replica's records in RocksDB; [`engine`] drives replica and store on one thread.
//! - [`ids`] mints IDs; [`peer`] links nodes; [`api`] serves clients; [`telemetry`] keeps the metrics of all of them.
//! - [`section`] is how a setting is declared, once: by the replica, and by [`config`], which the command line, [`cli`],
//!   reads at the start, and [`node`] when it reloads.
//! - [`audit`] writes down what operators ordered and whom the doors turned away.
//! - [`sockets`] listen; [`tls`] says who stands at both ends; [`quic`] is what peers and clients share.
//! - [`control`] is how the operator of a machine reaches a node that runs there.
//! - [`probe`] asks nodes how they are. Clusters on one machine are a crate beside this one, `snowtide-dev`.

pub mod api;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod control;
pub mod crdt;
pub mod engine;
pub mod envoy;
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
pub mod ids;
pub mod limiter;
pub mod limits;
pub mod merkle;
pub mod node;
pub mod peer;
pub mod probe;
pub mod quic;
pub mod replica;
pub mod section;
pub mod snowflake;
pub mod sockets;
pub mod store;
pub mod telemetry;
pub mod tls;
