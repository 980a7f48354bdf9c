//! `snowtide serve`: one node, in the foreground.

use std::io;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Global, Misuse, logging, signals};
use crate::config::{Config, Loaded};
use crate::node::reload::Reloads;
use crate::node::{Ended, Farewell, Node, Start};
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  snowtide serve --region eu-west
  snowtide serve --region eu-west --node auto
  snowtide serve --region eu-west --node 1 --data-dir /var/lib/snowtide
  snowtide serve --region eu-west --config prod.toml

SIGTERM, SIGINT, SIGQUIT and SIGABRT drain: new work is refused, what is in hand is committed, another region is given \
    what it lacks, and the exit code is 0. Told again, a second later or more, the process ends at once: only namespaces of \
    durability interval can lose what they acknowledged, within commit.interval. \
    SIGHUP reads tokens, certificates and log.filter again. Other signals are ignored.";

/// Run one node of a region until it is told to stop.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// The region that the node belongs to, by its name in the region files.
    #[arg(long, value_name = "NAME")]
    region: String,

    /// The node's number in its region, or `auto` for the one at the end of the host's name (snowtide-3 is node 3); the
    /// same as --set node=NUMBER. Without it, node 0.
    #[arg(long, value_name = "NUMBER")]
    node: Option<String>,

    /// The name from which `auto` takes the number, where it is not that of the system.
    #[arg(long, value_name = "NAME", env = "SNOWTIDE_HOST_NAME")]
    host_name: Option<String>,

    /// Where the data is; the same as --set data_dir=DIR.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Vouches for this machine's clock, where it stands so far past the last ID that it is not believed by itself.
    #[arg(long)]
    confirm_clock: bool,

    /// Drains when standard input ends, so that the node does not outlive the program that started it.
    #[arg(long)]
    exit_with_stdin: bool,
}

/// How long the end waits for what is still being done, such as a look at the disk.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

impl Command {
    /// Serves; returns when the node has drained or failed.
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the threads that serve connections")?;
        // Before anything else: a signal that comes during the start must not end it without a word.
        let signals = runtime.block_on(async { signals::catch() });
        let mut sources = global.sources();
        if let Some(dir) = &self.data_dir {
            sources.flag("--data-dir", "data_dir", dir);
        }
        if let Some(node) = &self.node {
            sources.flag("--node", "node", node);
        }
        let loaded = Config::load(&sources)?;
        let number = self.number(&loaded.config)?;
        let relog = logging::init(&loaded.config.log)?;
        telemetry::install();
        let configured = loaded.config.clone();
        let reloads = Reloads { sources, configured, asked: signals.reload, relog };
        if self.exit_with_stdin {
            stop_with_stdin(signals.shutdown.clone());
        }
        let outcome = runtime.block_on(self.serve(loaded, number, reloads, signals.shutdown));
        // Whatever still holds the store lets go of it now: a process that exits while RocksDB is open may abort.
        runtime.shutdown_timeout(CLOSING_TIMEOUT);
        outcome
    }

    /// Runs the node, for as long as its disk is full as one that only reads.
    async fn serve(
        &self,
        mut loaded: Loaded,
        number: u8,
        mut reloads: Reloads,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut node = loop {
            match Node::open(loaded.clone(), &self.region, number).await? {
                Start::Whole(node) => break node,
                Start::Reading(reader) => match reader.run(shutdown.clone(), reloads.clone()).await? {
                    Ended::Room(config) => {
                        reloads.configured = (*config).clone();
                        loaded.config = *config;
                    }
                    Ended::Asked => {
                        info!("stopped; nothing was written");
                        return Ok(());
                    }
                },
            }
        };
        if self.confirm_clock {
            node.confirm_clock();
        }
        match node.run(shutdown, reloads).await? {
            Farewell::HeldBy(region) => info!(region, "stopped; the region named holds everything from here"),
            Farewell::HereOnly => {
                warn!("stopped; no other region confirmed in time: what is new is on this disk only");
            }
        }
        Ok(())
    }

    fn number(&self, config: &Config) -> anyhow::Result<u8> {
        let host = || {
            let system = || nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
            self.host_name.clone().unwrap_or_else(system)
        };
        config.node.resolve(host).map_err(|error| Misuse(error.to_string()).into())
    }
}

/// Reads on a thread that the runtime knows nothing of: such a read cannot be cancelled, and the runtime would wait for
/// it before it ends.
fn stop_with_stdin(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        // An input that breaks has ended, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        shutdown.cancel();
    });
}
