//! Where a load is sent, and over what.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;

use crate::keys::Names;
use crate::target::{Asking, Dial, Door, Endpoint};

/// Connections over all targets.
const CONNECTIONS_MAX: usize = 4_096;
const TARGETS_MAX: usize = 1_024;

/// Where a load is sent, and over what.
#[derive(Clone, Debug, clap::Args)]
pub struct Network {
    /// Where to send, quic://HOST:PORT or http://HOST:PORT; give it once for each node.
    #[arg(long = "target", value_name = "URL")]
    pub targets: Vec<Endpoint>,

    /// Connections to each target. Over HTTP each carries one request at a time.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub connections: u32,

    /// Requests that may be unanswered on one QUIC connection. Beyond it requests are sent late, none is skipped.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub in_flight: u32,

    /// Processes that send, each on one thread its part over --connections of its own, where one is not enough. Values are then
    /// compared at the end only, not at every answer.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processes: u32,

    /// The certificate authority of the cluster, in PEM; needed for QUIC.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// A bearer token.
    #[arg(long, env = "SNOWTIDE_LOADTEST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// How long to try to connect at the start.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub connect_timeout: Duration,

    /// After this an unanswered request counts as unknown, neither done nor refused. Also how long requests that are
    /// late may still be sent after the end.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,

    /// After so long without a word a QUIC connection is given up and made anew.
    #[arg(long, default_value = "4s", value_parser = humantime::parse_duration)]
    pub silence: Duration,
}

impl Network {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let connections = self.targets.len().saturating_mul(self.connections as usize);
        ensure!(!self.targets.is_empty(), "nowhere to send: give --target quic://HOST:PORT, once for each");
        ensure!(
            self.targets.len() <= TARGETS_MAX && connections <= CONNECTIONS_MAX,
            "{connections} connections in all are more than {CONNECTIONS_MAX}: fewer --connections or --target"
        );
        ensure!(!self.has_quic() || self.ca.is_some(), "QUIC targets need --ca FILE, the cluster's authority in PEM");
        Ok(())
    }

    /// Whether any target is reached over QUIC.
    pub fn has_quic(&self) -> bool {
        self.targets.iter().any(|target| target.door == Door::Quic)
    }

    /// What every connection needs.
    pub fn dial(&self, names: Names, asking: Asking) -> Dial {
        let (ca, token) = (self.ca.clone(), self.token.clone());
        Dial { ca, token, names, asking, timeout: self.timeout, silence: self.silence }
    }

    /// Requests that may be unanswered on one connection to this target.
    pub fn window(&self, target: &Endpoint) -> u32 {
        match target.door {
            Door::Quic => self.in_flight,
            Door::Http => 1,
        }
    }
}
