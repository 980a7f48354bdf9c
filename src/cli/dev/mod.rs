//! `snowtide dev`: a whole cluster on this machine.

mod certs;

use clap::{Args, Subcommand};

use super::Global;

/// Run a whole cluster on this machine.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide dev up
  snowtide dev up --regions 5 --dir /tmp/five
  snowtide dev demo
  snowtide dev certs --dir certs";

#[derive(Debug, Subcommand)]
enum Action {
    Certs(certs::Command),
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::Certs(command) => command.run(global),
        }
    }
}
