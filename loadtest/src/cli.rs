//! The command line: a load, or one of the commands beside it, and how it ends.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

use crate::compare::{Compare, Outcome};
use crate::drill::Drill;
use crate::plan::{EXAMPLES, Plan};
use crate::report::drill::DrillReport;
use crate::report::{self, Summary};
use crate::{run, scenario};

/// Bad usage, or a target that cannot be reached.
const EXIT_UNTESTED: u8 = 2;

/// Nothing was found, but a bound on the figures was not kept, or a run is worse than another.
const EXIT_CROSSED: u8 = 99;

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
    pub load: Plan,
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
        let all = scenario::resolve(&command, &matches, given.clone()).map_err(invalid)?.unwrap_or(given);
        let mut cli = Self::from_arg_matches(&command.try_get_matches_from(&all)?)?;
        cli.load.given = all.into_iter().skip(1).collect();
        cli.check().map_err(|error| invalid(error.to_string()))?;
        Ok(cli)
    }

    fn check(&self) -> anyhow::Result<()> {
        match &self.action {
            None => self.load.check(),
            Some(Action::Compare(_)) => Ok(()),
            Some(Action::Drill(drill)) => drill.check(),
        }
    }

    /// Does what was asked, writes what came out, and says how it ended.
    pub async fn execute(&self) -> anyhow::Result<ExitCode> {
        match &self.action {
            None if self.load.part.is_some() => run::send_part(&self.load).await.map(|()| ExitCode::SUCCESS),
            None => finish(&self.load, &report::of(&run::run(&self.load).await?)?),
            Some(Action::Compare(command)) => compare(command),
            Some(Action::Drill(drill)) => finish(&drill.load, &drill.run().await?),
        }
    }
}

/// The exit code of a run that could not take place.
pub fn untested() -> ExitCode {
    ExitCode::from(EXIT_UNTESTED)
}

fn compare(command: &Compare) -> anyhow::Result<ExitCode> {
    let comparison = command.run()?;
    writeln!(io::stdout().lock(), "{}", comparison.text)?;
    Ok(match comparison.outcome {
        Outcome::Good => ExitCode::SUCCESS,
        Outcome::Worse => ExitCode::from(EXIT_CROSSED),
        Outcome::Wrong => ExitCode::FAILURE,
    })
}

fn finish(plan: &Plan, summary: &Summary) -> anyhow::Result<ExitCode> {
    write(plan, summary)?;
    if let Some(error) = summary.drill.as_ref().and_then(DrillReport::error) {
        anyhow::bail!("the drill could not be carried out: {error}");
    }
    Ok(match (summary.ok, summary.kept()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(EXIT_CROSSED),
        (true, true) => ExitCode::SUCCESS,
    })
}

fn write(plan: &Plan, summary: &Summary) -> anyhow::Result<()> {
    let json = plan.output.json.as_deref();
    let json_to_stdout = json.is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = json {
        let mut text = serde_json::to_vec_pretty(summary)?;
        text.push(b'\n');
        let written = if json_to_stdout { io::stdout().write_all(&text) } else { std::fs::write(path, text) };
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out: Box<dyn io::Write> = if json_to_stdout { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    report::text::write(&mut out, plan.output.quiet, summary).context("cannot write the report")
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
        let of_scenario = cli.load.pace.rate;
        assert!(cli.load.operations.celebrity > 0.0 && !cli.load.checks.thresholds.is_empty());
        let flags = ["--scenario", "views", "--rate", "7", "--threshold", "p50<1s", "--threshold", "max<9s"];
        let cli = parse(&[&flags[..], &target[..]].concat()).unwrap();
        assert!(cli.load.pace.rate != of_scenario && cli.load.operations.celebrity > 0.0);
        assert_eq!(cli.load.checks.thresholds.len(), 2, "lists are replaced, not joined");
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
