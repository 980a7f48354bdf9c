//! `snowtide cluster drain`: take the node of this machine out of the cluster in good order.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::cli::exit::{Ended, Exit};
use crate::cli::{Global, Misuse, note, print};
use crate::clock::Stopwatch;
use crate::store::{self, User};

/// How often it is seen whether the node has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Drain the node of this machine that has a data directory open, and wait until it has ended.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// The node's data directory; without it, data_dir of the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// How long to wait for it. It goes on draining after that.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    within: Duration,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster drain
  snowtide cluster drain --data-dir /var/lib/snowtide --within 2m

The same as SIGTERM to the node: it refuses new work, commits what is in hand, waits up to drain.timeout until another \
    region has it, and ends. That cannot be taken back: start it again with snowtide serve. Where a supervisor starts what \
    ends, tell the supervisor to stop it instead. \
    Exits with 75 if the node has not ended in time.";

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.data_dir.map_or_else(|| Ok::<_, anyhow::Error>(global.load()?.config.data_dir), Ok)?;
        let shown = dir.display();
        let process = match store::user(&dir)? {
            User::Nobody => {
                let text = format!(
                    "no node has {shown} open on this machine; name the directory of one that runs: --data-dir DIR"
                );
                return Err(Misuse(text).into());
            }
            User::Process(process) if is_node(process) => process,
            User::Process(process) => {
                let text = format!("{shown} is in use by process {process}, which is no node; wait until it has ended");
                return Err(Ended::new(Exit::Later, text).into());
            }
            User::Somebody => {
                let text = format!(
                    "{shown} is in use, and this system does not tell by whom; send SIGTERM to the node yourself"
                );
                return Err(Ended::new(Exit::Failed, text).into());
            }
        };
        let watch = Stopwatch::start();
        let id = i32::try_from(process)
            .context("the system tells an impossible process id; send SIGTERM to the node yourself")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).with_context(|| {
            format!("cannot tell process {process} to drain; run this as the user that runs the node")
        })?;
        note(&format!("draining the node of {shown}, process {process}"));
        while store::user(&dir)? == User::Process(process) {
            if Duration::from_millis(watch.elapsed_ms()) >= self.within {
                let text = format!(
                    "process {process} has not ended within {}; wait longer with --within, or look into its log; kill -9 loses \
                     nothing that it acknowledged",
                    humantime::format_duration(self.within)
                );
                return Err(Ended::new(Exit::Later, text).into());
            }
            tokio::time::sleep(LOOK).await;
        }
        if global.json {
            return print(&json!({ "data_dir": shown.to_string(), "process": process, "ended": true }).to_string());
        }
        print(&format!("the node of {shown} has ended; its log tells which region holds what it had"))
    }
}

/// Something else that has a directory open, such as a backup, is not to be told to end.
fn is_node(process: u32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"serve")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_are_told_to_end() {
        assert!(!is_node(std::process::id()));
        assert!(!is_node(u32::MAX));
    }
}
