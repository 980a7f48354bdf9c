//! `snowtide dev`: a whole cluster on this machine.

mod certs;
mod console;
mod demo;
mod stop;
mod up;

use std::future::Future;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{Global, note as tell};

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
    Up(up::Command),
    Demo(demo::Command),
    Certs(certs::Command),
}

impl Command {
    /// Does what was asked.
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        match self.action {
            Action::Up(command) => block_on(command.run(global)),
            Action::Demo(command) => block_on(command.run(global)),
            Action::Certs(command) => command.run(global),
        }
    }
}

/// Runs a command on several threads, since relays carry what whole nodes say to each other.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the threads that relay and wait")?.block_on(command)
}
