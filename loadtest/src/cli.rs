//! The command line: a load, or one of the commands beside it.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

use crate::args::{Args, EXAMPLES};
use crate::compare::Compare;
use crate::drill::Drill;
use crate::scenario;

/// Load for Snowtide, and the proof that nothing was lost: an open-loop generator with a conservation check.
#[derive(Clone, Debug, Parser)]
#[command(name = "snowtide-loadtest", version, args_override_self = true, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of a plain load.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// The load.
    #[command(flatten)]
    pub load: Args,
}

/// What can be done instead of a plain load.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Compare two runs by their --json files.
    Compare(Compare),
    /// Kill, pause and cut off regions during a load.
    Drill(Box<Drill>),
}

impl Cli {
    /// What the process was given; ends it with a sentence and code 2 if that makes no sense.
    pub fn of_this_process() -> Self {
        Self::of(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    /// What `given` says, the program's name first: options of the scenario, and over them those that were given.
    pub fn of(given: Vec<OsString>) -> Result<Self, clap::Error> {
        let command = Self::command();
        let matches = command.clone().try_get_matches_from(&given)?;
        let invalid = |sentence: String| Self::command().error(ErrorKind::ValueValidation, sentence);
        let all = scenario::resolve(&command, &matches).map_err(invalid)?.unwrap_or(given);
        let mut cli = Self::from_arg_matches(&command.try_get_matches_from(&all)?)?;
        cli.load.given = all.into_iter().skip(1).collect();
        cli.check().map_err(invalid)?;
        Ok(cli)
    }

    fn check(&self) -> Result<(), String> {
        match &self.action {
            None => self.load.check(),
            Some(Action::Compare(_)) => Ok(()),
            Some(Action::Drill(drill)) => drill.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let name = ["snowtide-loadtest"];
        Cli::of(name.iter().chain(arguments).map(OsString::from).collect())
    }

    #[test]
    fn the_command_is_sound_and_its_help_has_examples_and_exit_codes() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("--rate 200k") && help.contains("\n  99  no findings"), "{help}");
    }

    #[test]
    fn flags_count_more_than_a_scenario() {
        let target = ["--target", "http://127.0.0.1:1"];
        let cli = parse(&[&["--scenario", "views"], &target[..]].concat()).unwrap();
        let of_scenario = cli.load.rate;
        assert!(cli.load.celebrity > 0.0 && !cli.load.thresholds.is_empty());
        let flags = ["--scenario", "views", "--rate", "7", "--threshold", "p50<1s", "--threshold", "max<9s"];
        let cli = parse(&[&flags[..], &target[..]].concat()).unwrap();
        assert!(cli.load.rate != of_scenario && cli.load.celebrity > 0.0);
        assert_eq!(cli.load.thresholds.len(), 2, "lists are replaced, not joined");
        assert_eq!(cli.load.scenario.as_deref(), Some("views"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        for (arguments, word) in [
            (&["--rate", "5"][..], "--target"),
            (&["--scenario", "nosuch", "--target", "http://a:1"], "likes"),
            (&["compare", "a.json"], "B.json"),
            (&["drill"], "--fault"),
            (&["drill", "--scenario", "failover", "--rate", "max"], "--rate"),
            (&["drill", "--scenario", "failover", "--duration", "5s"], "--duration"),
            (&["drill", "--scenario", "failover", "--target", "http://a:1"], "--target"),
            (&["--scenario", "failover", "--target", "http://a:1"], "drill"),
            (&["--scenario", "likes", "--target", "http://a:1", "--target", "x"], "quic://HOST:PORT"),
        ] {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
}
