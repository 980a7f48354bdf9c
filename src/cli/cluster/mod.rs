//! `snowtide cluster`: what the nodes of the map say of themselves and of their peers.

mod drain;
mod peers;
mod status;
mod top;

use clap::{Args, Subcommand};

use super::exit::{Ended, Exit};
use super::{Global, Misuse, reach};
use crate::config::map::ClusterMap;
use crate::probe::Probe;

pub(super) use self::status::{ask_all, table};

/// Look at the whole cluster, and take nodes out of service.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster status
  snowtide cluster top
  snowtide cluster peers --at eu-west
  snowtide cluster drain --data-dir /var/lib/snowtide
  snowtide cluster resume --data-dir /var/lib/snowtide";

#[derive(Debug, Subcommand)]
enum Action {
    Status(status::Command),
    Top(top::Command),
    Peers(peers::Command),
    Drain(drain::Drain),
    Resume(drain::Resume),
}

/// What it takes to be answered.
#[derive(Debug, Args)]
struct Access {
    /// A bearer token, where the cluster asks for one.
    #[arg(long, env = "SNOWTIDE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::Status(command) => reach::block_on(command.run(global)),
            Action::Top(command) => reach::block_on(command.run(global)),
            Action::Peers(command) => reach::block_on(command.run(global)),
            Action::Drain(command) => reach::block_on(command.run(global)),
            Action::Resume(command) => reach::block_on(command.run(global)),
        }
    }
}

impl Access {
    fn probe(&self) -> Result<Probe, Misuse> {
        Probe::new(self.token.as_deref())
            .ok_or_else(|| Misuse("--token: it cannot be sent in a header; give it without line ends".to_owned()))
    }
}

/// No node has said anything.
fn silence(map: &ClusterMap) -> Ended {
    let nodes: Vec<_> =
        map.nodes().map(|(_, region, node)| format!("{}/{} at {}", region.name, node.id, node.http)).collect();
    let text = format!(
        "no node of the map answers: {}; start all on this machine: snowtide dev up; or name the map of the cluster that \
         runs, with --config or --regions-dir",
        nodes.join(", ")
    );
    Ended::new(Exit::Unavailable, text)
}
