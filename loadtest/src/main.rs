//! The command `snowtide-loadtest`: see [`snowtide_loadtest`].

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use snowtide_loadtest::args::Args;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    if let Err(sentence) = args.check() {
        Args::command().error(ErrorKind::ValueValidation, sentence).exit();
    }
    let run = || -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(snowtide_loadtest::execute(&args))
    };
    run().unwrap_or_else(|error| {
        // With nowhere to write to, the exit code has to say it.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        snowtide_loadtest::untested()
    })
}
