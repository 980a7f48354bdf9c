//! The command line of `snowtide-dev`: one module a subcommand. It speaks, takes the options of every command, and ends as the
//! server's own does ([`snowtide::cli`]).

mod certs;
mod console;
mod demo;
mod drill;
mod drilling;
mod server;
mod stop;
mod up;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use snowtide::cli::{EXIT_CODES, Global, completions, man};

const PROGRAM: &str = "snowtide-dev";

/// A whole cluster on this machine, of real node processes.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, propagate_version = true, after_help = after_help())]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  snowtide-dev up
  snowtide-dev up --regions 5 --dir /tmp/five
  snowtide-dev demo
  snowtide-dev drill
  snowtide-dev certs --dir certs";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Command),
    Demo(demo::Command),
    Drill(drill::Command),
    Certs(certs::Command),
    #[command(after_help = completions::examples(PROGRAM))]
    Completions(completions::Command),
    #[command(after_help = man::examples(PROGRAM, "up"))]
    Man(man::Command),
}

impl Command {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::Up(command) => block_on(command.run(global)),
            Self::Demo(command) => block_on(command.run(global)),
            Self::Drill(command) => block_on(command.run(global)),
            Self::Certs(command) => command.run(global),
            Self::Completions(command) => command.run::<Cli>(),
            Self::Man(command) => command.run::<Cli>(),
        }
    }
}

/// Parses `arguments`, the program's name first, does what they say, and reports what went wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    snowtide::cli::run_program(arguments, |cli: Cli| cli.command.run(&cli.global))
}

/// Runs a command on several threads, since relays carry what whole nodes say to each other.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the threads that relay and wait")?.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Of the three command lines that there are.
    #[test]
    fn every_example_of_every_help_can_be_copied_from_a_narrow_terminal() {
        fn look(command: &clap::Command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
        look(&snowtide::cli::Cli::command());
        look(&snowtide_loadtest::cli::Cli::command());
    }

    #[test]
    fn completions_and_manual_pages_are_in_the_words_of_this_program() {
        let mut command = Cli::command();
        command.build();
        let help = |name: &str| command.find_subcommand(name).unwrap().get_after_help().unwrap().to_string();
        assert!(help("completions").contains("  source <(snowtide-dev completions bash)\n"));
        assert!(help("man").contains("  man snowtide-dev-up"));
    }
}
