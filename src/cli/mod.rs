//! The command line: one module a subcommand, in which its parsing, its documentation and its effect live together.
//!
//! What is asked for goes to standard output, everything else to standard error: an error on one line, and what to do next
//! on another. The exit code tells what kind of error it was ([`exit`]).

pub mod cluster;
pub mod completions;
pub mod config;
pub mod counter;
mod data_dir;
mod dev;
mod exit;
pub mod id;
mod limit;
pub mod logging;
pub mod man;
mod output;
mod paint;
pub mod reach;
mod serve;
mod signals;
mod store;
pub mod terms;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;

use self::exit::Exit;
use self::output::ReadEnough;
use self::paint::Tone;
use crate::config::{Config, ConfigError, Loaded, Sources};

pub use self::exit::CODES as EXIT_CODES;
pub use self::output::{print, print_json, table};
pub use self::paint::Color;

/// Unique IDs and counters in several regions at once.
#[derive(Debug, Parser)]
#[command(name = "snowtide", version, propagate_version = true, after_help = after_help())]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  snowtide serve --region eu-west --node 0
  snowtide id new -n 3 --at eu-west
  snowtide counter incr visits --by 5
  snowtide limit check default alice
  snowtide cluster status
  snowtide cluster top
  snowtide --config prod.toml --set log.filter=debug config check";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::CODES)
}

/// What stands above the flags of [`Global`] in every help, so that a command's own come first.
const EVERYWHERE: &str = "Options of every command";

/// What every subcommand understands.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// A configuration file, laid over the defaults.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the region files are; the same as --set regions_dir=DIR.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub regions_dir: Option<String>,

    /// Sets one key, over files and environment, such as --set gossip.interval=50ms; may be repeated.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,

    /// Answers in JSON.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,

    /// When to colour: auto (on a terminal, unless NO_COLOR is set), always or never.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "WHEN", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub color: Color,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Command),
    Id(id::Command),
    Counter(counter::Command),
    Limit(limit::Command),
    Cluster(cluster::Command),
    Config(config::Command),
    Store(store::Command),
    #[command(hide = true)]
    Dev(dev::Command),
    Completions(completions::Command),
    Man(man::Command),
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

    /// Prints what was asked for: in JSON if that was asked for, too, or for people.
    fn print(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json { print_json(&json()) } else { print(&text()) }
    }

    /// The same in JSON of one line.
    fn print_line(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        print(&if self.json { json().to_string() } else { text() })
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
            Self::Limit(command) => command.run(global),
            Self::Cluster(command) => command.run(global),
            Self::Config(command) => command.run(global),
            Self::Store(command) => command.run(global),
            Self::Dev(command) => command.run(),
            Self::Completions(command) => command.run::<Cli>(),
            Self::Man(command) => command.run::<Cli>(),
        }
    }
}

/// Parses `arguments`, the program's name first, does what they say, and reports what went wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_program(arguments, |cli: Cli| cli.command.run(&cli.global))
}

/// The same for a program beside the server, whose command line is `C`: so that it colours, complains and ends as this one.
pub fn run_program<C: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = OsString>,
    act: impl FnOnce(C) -> anyhow::Result<()>,
) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    paint::choose(paint::flag(&arguments));
    let outcome = match parse(&arguments) {
        Ok(cli) => act(cli),
        Err(answer) => {
            // Help and version come this way too, on standard output and with 0. If nobody can read it, so be it.
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { Exit::Misuse as u8 } else { 0 });
        }
    };
    match outcome {
        Err(error) if !error.is::<ReadEnough>() => report(&error),
        _ => ExitCode::SUCCESS,
    }
}

fn parse<C: CommandFactory + FromArgMatches>(arguments: &[OsString]) -> Result<C, clap::Error> {
    let mut command = C::command().color(paint::flag(arguments).into());
    let matches = command.try_get_matches_from_mut(arguments)?;
    C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn report(error: &anyhow::Error) -> ExitCode {
    // If standard error is closed, the exit code still tells.
    let _ = io::stderr().lock().write_all(complaint(error, paint::on_stderr()).as_bytes());
    ExitCode::from(Exit::of(error) as u8)
}

/// One line an error, its causes after it, and one with what to do next; for a configuration, one line a problem.
fn complaint(error: &anyhow::Error, coloured: bool) -> String {
    let head = Tone::Bad.paint("error:", coloured);
    if let Some(refused) = error.downcast_ref::<ConfigError>() {
        return refused.problems().iter().map(|problem| format!("{head} {problem}\n")).collect();
    }
    let next = exit::advice(error).map(|advice| format!("{} {advice}\n", Tone::Strong.paint("next:", coloured)));
    format!("{head} {error:#}\n{}", next.unwrap_or_default())
}

/// Says something to people, beside what was asked for.
pub fn note(text: &str) {
    // If standard error is closed, nobody wants to know.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("allowed: KEY=VALUE, such as commit.bytes_max=1MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
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
            complaint(&error, false),
            "error: flag --set: commit.bytes is not a key; the keys here are bytes_max, interval\n\
             error: flag --set: log.format = \"xml\": allowed: \"text\" or \"json\"\n"
        );
        assert_eq!(Exit::of(&error), Exit::Misuse);
        assert_eq!(Exit::of(&error.context("while starting")), Exit::Misuse);
    }

    #[test]
    fn any_other_error_exits_with_1_and_names_its_causes_on_one_line() {
        let error = anyhow::Error::from(io::Error::other("no route")).context("cannot reach 127.0.0.1:7400");
        assert_eq!(complaint(&error, false), "error: cannot reach 127.0.0.1:7400: no route\n");
        assert_eq!(Exit::of(&error), Exit::Failed);
        assert_eq!(Exit::of(&Misuse("region eu-north is not in the map".into()).into()), Exit::Misuse);
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
