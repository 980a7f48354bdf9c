//! The command `snowtide-structure`: see [`snowtide_structure`].

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use snowtide_structure::shape::Shape;
use snowtide_structure::{checkout, report, source};

/// How large the parts of the code are, and which of them import each other in a circle.
#[derive(Debug, Parser)]
#[command(name = "snowtide-structure", version)]
struct Arguments {
    /// The checkout to read; any commit will do.
    #[arg(default_value = ".")]
    checkout: PathBuf,

    /// Write the figures as JSON, for --against.
    #[arg(long)]
    json: bool,

    /// Show beside each figure what it was in this file, which --json wrote.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    against: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With nowhere to write to, the exit code has to say it.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let packages = checkout::read(&arguments.checkout)?;
    let crates = packages.iter().map(source::read).collect::<anyhow::Result<Vec<_>>>()?;
    let shape = Shape::of(&crates);
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &shape)?;
        return Ok(writeln!(out)?);
    }
    let before = arguments.against.as_ref().map(before).transpose()?;
    Ok(report::write(&mut out, &shape, before.as_ref())?)
}

fn before(path: &PathBuf) -> anyhow::Result<Shape> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} was not written by --json", path.display()))
}
