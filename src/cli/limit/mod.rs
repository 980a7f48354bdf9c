//! `snowtide limit`: ask one node whether a key may have more, look at keys, and see how nodes count together.

mod asked;
mod list;

use clap::{Args, Subcommand};

use self::asked::Asked;
use super::{Global, reach};

/// Ask whether a key may have more by a limit, look at keys, or list policies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  snowtide limit check default alice
  snowtide limit check default alice --cost 5 --at eu-west
  snowtide limit check _ 192.0.2.7 --limit 30 --window 1m
  snowtide limit check _ 192.0.2.7 --limit 30 --window 1m \\
    --algorithm gcra --burst 16
  snowtide limit check default deploys && ./deploy
  snowtide limit peek default alice --json
  snowtide limit list

A node decides by itself, by what it knows of all. `check` ends with 0 if the cost was charged, and with 3 if it was denied.";

#[derive(Debug, Subcommand)]
enum Action {
    /// Charge a key, if it may have so much; ends with 3 if it may not.
    #[command(after_help = EXAMPLES)]
    Check(Check),
    /// Look at a key; nothing is charged.
    #[command(after_help = EXAMPLES)]
    Peek(Peek),
    List(list::Command),
}

#[derive(Debug, Args)]
struct Check {
    /// How much to charge.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    cost: u64,

    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
struct Peek {
    #[command(flatten)]
    asked: Asked,
}

impl Command {
    /// Does what was asked.
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        reach::block_on(async {
            match self.action {
                Action::Check(Check { cost, asked }) => asked.check(global, cost).await,
                Action::Peek(Peek { asked }) => asked.check(global, 0).await,
                Action::List(command) => command.run(global).await,
            }
        })
    }
}
