//! A load generator for Snowtide that proves nothing was lost.
//!
//! It sends at times fixed in advance (an *open loop*), measures every latency from the intended time, and at the end
//! compares each counter in each region with its own ledger of what was acknowledged and what was attempted. Every ID
//! it is given goes through a duplicate finder.
//!
//! The pure parts take time, randomness and answers as arguments: [`schedule`] (when), [`keys`] (what), [`ledger`] and
//! [`ids`] (what must be true). The shell around them: [`target`] (the two front doors), [`lane`] (one connection's
//! requests), [`run`] (all of it), [`part`] (several processes), [`drill`] (faults meanwhile), [`conserve`] (the check at
//! the end), [`generator`] (whether it was itself the bottleneck), [`report`] and [`compare`] (what people and programs
//! read). A [`scenario`] is a load with a name.
//!
//! It links the client crate only; it shares no code with the server that it tests, whose clusters it drives as a person
//! would. What runs clusters may link it, as the demo does, to have a drill in one of its own ([`drill::Site`]).

pub mod args;
pub mod cli;
pub mod compare;
pub mod conserve;
pub mod drill;
pub mod figures;
pub mod finding;
pub mod generator;
pub mod ids;
pub mod keys;
pub mod lane;
pub mod ledger;
pub mod measure;
pub mod packed;
pub mod part;
mod progress;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
mod summary;
pub mod target;
pub mod threshold;
pub mod ticker;
pub mod timeline;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use args::Args;
use cli::{Action, Cli};
use compare::{Compare, Outcome};
use drill::report::DrillReport;
use report::{Summary, table};

/// Bad usage, or a target that cannot be reached.
const EXIT_UNTESTED: u8 = 2;

/// Nothing was found, but a bound on the figures was not kept, or a run is worse than another.
const EXIT_CROSSED: u8 = 99;

/// Does what was asked, writes what came out, and says how it ended.
pub async fn execute(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.action {
        None if cli.load.part.is_some() => part::send(&cli.load).await.map(|()| ExitCode::SUCCESS),
        None => load(&cli.load).await,
        Some(Action::Compare(command)) => compare(command),
        Some(Action::Drill(drill)) => finish(&drill.load, &drill.run().await?),
    }
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

async fn load(args: &Args) -> anyhow::Result<ExitCode> {
    finish(args, &run::run(args).await?)
}

fn finish(args: &Args, summary: &Summary) -> anyhow::Result<ExitCode> {
    write(args, summary)?;
    if let Some(error) = summary.drill.as_ref().and_then(DrillReport::error) {
        anyhow::bail!("the drill could not be carried out: {error}");
    }
    Ok(match (summary.ok, summary.kept()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(EXIT_CROSSED),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// The exit code of a run that could not take place.
pub fn untested() -> ExitCode {
    ExitCode::from(EXIT_UNTESTED)
}

fn write(args: &Args, summary: &Summary) -> anyhow::Result<()> {
    let json_to_stdout = args.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    match &args.json {
        Some(_) if json_to_stdout => {
            let mut out = io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, summary)?;
            writeln!(out)?;
        }
        Some(path) => std::fs::write(path, serde_json::to_vec_pretty(summary)?)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => {}
    }
    if json_to_stdout {
        write_text(&mut io::stderr().lock(), args.quiet, summary)
    } else {
        write_text(&mut io::stdout().lock(), args.quiet, summary)
    }
    .context("cannot write the report")
}

/// Writes what people read of a run, the verdict last; if `quiet`, only what was found and the verdict.
pub fn write_text(out: &mut impl Write, quiet: bool, summary: &Summary) -> io::Result<()> {
    if !quiet {
        let settings = &summary.settings;
        writeln!(out, "seed {}, counters {}/{}*", settings.seed, settings.namespace, settings.key_prefix)?;
        table::write(out, summary)?;
        if let Some(drill) = &summary.drill {
            drill.write(out)?;
        }
    }
    for judged in summary.thresholds.iter().filter(|judged| judged.crossed || !quiet) {
        writeln!(out, "{judged}")?;
    }
    for finding in &summary.findings {
        writeln!(out, "{finding}")?;
    }
    if let Some(drill) = &summary.drill {
        writeln!(out, "{}", drill.verdict())?;
    }
    writeln!(out, "{}", summary.verdict())
}
