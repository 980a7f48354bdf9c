//! Clusters on one machine, of real node processes: for development, for the demo, for the tests of processes.
//!
//! Each region has one node, a process of its own with a data directory of its own. Between the nodes stand relays
//! ([`relay`]) in this process, one for each direction of dialing, so that regions can be cut off from each other and
//! healed; clients reach the nodes directly. Everything is kept in one folder and found again there, ports included.
//!
//! [`Cluster`] is what programs and tests drive; [`cli`] is the program `snowtide-dev`, [`certificates`] makes the
//! certificates that its nodes need.
//!
//! Promises: no node outlives the [`Cluster`] that started it, however that ends, since a node drains once its standard
//! input closes; every wait has a bound. Never: listens or dials beyond loopback.

pub mod certificates;
pub mod cli;
mod cluster;
mod error;
mod files;
mod folder;
mod options;
mod plan;
mod process;
pub mod relay;
mod wires;

pub use cluster::{Cluster, Endpoint};
pub use error::DevError;
pub use folder::Folder;
pub use options::{Links, Options};
pub use plan::{Ports, REGIONS_MAX};
pub use process::Ending;
