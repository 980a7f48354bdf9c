//! The command line: one module a subcommand, in which its parsing, its documentation and its effect live together.
//!
//! What is asked for goes to standard output, everything else to standard error. Exit codes: 0, it is done; 1, it
//! failed; 2, the usage or the configuration is wrong.

pub mod cluster;
pub mod config;
pub mod counter;
pub mod dev;
pub mod id;
pub mod logging;
pub mod reach;
mod serve;
mod store;
pub mod terms;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::{Config, ConfigError, Loaded, Sources};

/// It failed.
const FAILURE: u8 = 1;
/// The usage or the configuration is wrong.
const MISUSE: u8 = 2;

/// Unique IDs and counters in several regions at once.
#[derive(Debug, Parser)]
#[command(name = "snowtide", version, propagate_version = true, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  snowtide dev up
  snowtide serve --region eu-west --node 0
  snowtide id new -n 3 --at eu-west
  snowtide counter incr visits --by 5
  snowtide cluster status
  snowtide --config prod.toml --set log.filter=debug config check

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

/// What every subcommand understands.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// A configuration file, laid over the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the region files are; the same as --set regions_dir=DIR.
    #[arg(long, global = true, value_name = "DIR")]
    pub regions_dir: Option<String>,

    /// Sets one key, over files and environment, such as --set gossip.interval=50ms; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,

    /// Answers in JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Command),
    Id(id::Command),
    Counter(counter::Command),
    Cluster(cluster::Command),
    Config(config::Command),
    Store(store::Command),
    Dev(dev::Command),
}

/// The usage is wrong in a way that parsing alone could not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

impl Global {
    /// What the configuration is loaded from: files, this process's environment, and these flags. A command that has
    /// flags of its own for some keys adds them.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(std::env::vars_os());
        sources.file.clone_from(&self.config);
        if let Some(dir) = &self.regions_dir {
            sources.flag("--regions-dir", "regions_dir", dir);
        }
        for (key, value) in &self.set {
            sources.flag("--set", key, value);
        }
        sources
    }

    /// Loads the configuration.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(&self.sources())
    }
}

impl Command {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::Serve(command) => command.run(global),
            Self::Id(command) => command.run(global),
            Self::Counter(command) => command.run(global),
            Self::Cluster(command) => command.run(global),
            Self::Config(command) => command.run(global),
            Self::Store(command) => command.run(global),
            Self::Dev(command) => command.run(global),
        }
    }
}

/// Parses `arguments`, the program's name first, does what they say, and reports what went wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command.run(&cli.global),
        Err(asked) => {
            // Help and version come this way too, on standard output and with 0. If nobody can read it, so be it.
            let _ = asked.print();
            return ExitCode::from(if asked.use_stderr() { MISUSE } else { 0 });
        }
    };
    outcome.map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
}

fn report(error: &anyhow::Error) -> ExitCode {
    // If standard error is closed, the exit code still tells.
    let _ = io::stderr().lock().write_all(complaint(error).as_bytes());
    ExitCode::from(exit_code(error))
}

/// One line an error, its causes after it; for a configuration, one line a problem.
fn complaint(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ConfigError>() {
        Some(refused) => refused.problems().iter().map(|problem| format!("error: {problem}\n")).collect(),
        None => format!("error: {error:#}\n"),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let misuse = error.downcast_ref::<ConfigError>().is_some() || error.downcast_ref::<Misuse>().is_some();
    if misuse { MISUSE } else { FAILURE }
}

/// Writes a line to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever read it, such as `head`, has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Writes `value` to standard output, as JSON for people.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("allowed: KEY=VALUE, such as commit.bytes_max=1MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_configuration_exits_with_2_and_a_line_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = Sources::default();
        sources.flag("--regions-dir", "regions_dir", "regions");
        sources.flag("--set", "commit.bytes", "1MiB");
        sources.flag("--set", "log.format", "xml");
        sources.default_file = Some(dir.path().join("absent.toml"));
        let error = anyhow::Error::from(Config::load(&sources).unwrap_err());
        assert_eq!(
            complaint(&error),
            "error: flag --set: commit.bytes is not a key; the keys here are bytes_max, interval\n\
             error: flag --set: log.format = \"xml\": allowed: \"text\" or \"json\"\n"
        );
        assert_eq!(exit_code(&error), 2);
        assert_eq!(exit_code(&error.context("while starting")), 2);
    }

    #[test]
    fn any_other_error_exits_with_1_and_names_its_causes_on_one_line() {
        let error = anyhow::Error::from(io::Error::other("no route")).context("cannot reach 127.0.0.1:7400");
        assert_eq!(complaint(&error), "error: cannot reach 127.0.0.1:7400: no route\n");
        assert_eq!(exit_code(&error), 1);
        assert_eq!(exit_code(&Misuse("region eu-north is not in the map".into()).into()), 2);
    }

    #[test]
    fn global_flags_stand_before_or_after_the_subcommand() {
        let before = ["snowtide", "--set", "log.format = json", "--json", "config", "check"];
        let after = ["snowtide", "config", "check", "--json", "--set", "log.format=json"];
        for arguments in [before, after] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert!(cli.global.json);
            assert_eq!(cli.global.set, [("log.format".to_owned(), "json".to_owned())]);
        }
    }

    #[test]
    fn an_assignment_without_a_key_is_refused() {
        assert!(Cli::try_parse_from(["snowtide", "--set", "=1", "config", "check"]).is_err());
        assert!(Cli::try_parse_from(["snowtide", "--set", "log.format", "config", "check"]).is_err());
    }
}
