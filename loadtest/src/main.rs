//! The command `snowtide-loadtest`: see [`snowtide_loadtest`].

use std::io::Write as _;
use std::process::ExitCode;

use snowtide_loadtest::cli::{self, Cli};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let command = Cli::of_this_process();
    let run = || -> anyhow::Result<ExitCode> {
        // One thread: what it sends and receives then wakes no other. Where one is not enough, there are --processes.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(command.execute())
    };
    run().unwrap_or_else(|error| {
        // With nowhere to write to, the exit code has to say it.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        cli::untested()
    })
}
