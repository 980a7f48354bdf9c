//! `snowtide-dev demo`: what Snowtide promises, shown and checked on three regions of real processes.
//!
//! It needs no keyboard and leaves nothing behind, unless it finds something: then it names the finding, says where the
//! logs are, and exits with 1. The last line is printed only if every check before it was true.

mod minted;
mod poll;
mod regions;
mod story;
mod witness;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use snowtide::cli::{Global, note as tell, print};
use snowtide::clock::Stopwatch;
use snowtide_loadtest::drill::Drill;
use tokio::time::timeout;

use super::drilling;
use super::server::Server;
use super::stop::{self, Stop};
use crate::cluster::Cluster;
use crate::options::Options;
use story::Story;

/// Where the demo's counters live.
const NAMESPACE: &str = "default";
/// Every wait inside has a bound of its own; this one is for what nobody thought of.
const DEMO_WITHIN: Duration = Duration::from_secs(300);

/// Show what Snowtide promises on three regions, and check it; takes about a minute.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// How long the load test measures in which a node is killed; without it, 8s.
    #[arg(long, value_name = "DURATION")]
    duration: Option<String>,

    /// How many operations a second the load test asks for, over all regions; without it, 30k.
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,

    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  snowtide-dev demo
  snowtide-dev demo --duration 30s --rate 100k

Exits with 0 only if every acknowledged increment was counted in every region and no ID was given twice.";

impl Command {
    /// Tells the story.
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut stop = Stop::listen()?;
        let drill = drilling::scenario("demo", &self.options())?;
        let folder = fresh_folder("demo")?;
        let options = Options { settings: global.set.clone(), ..Options::new(self.server.program()?, &folder) };
        let outcome = tell_story(options, &drill, &mut stop).await;
        conclude(outcome, &folder)
    }

    /// Of the load test.
    fn options(&self) -> Vec<String> {
        let given = [("duration", &self.duration), ("rate", &self.rate)];
        given.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?))).collect()
    }
}

/// Runs the cluster for as long as the story takes; whatever happens, no node is left.
async fn tell_story(options: Options, drill: &Drill, stop: &mut Stop) -> anyhow::Result<Vec<String>> {
    let watch = Stopwatch::start();
    let mut cluster = Cluster::prepare(options)?;
    let mut story = Story::default();
    let outcome = tokio::select! {
        outcome = timeout(DEMO_WITHIN, story.tell(&mut cluster, drill)) => {
            outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the demo is not done after {DEMO_WITHIN:?}")))
        }
        () = stop.asked() => Err(anyhow::anyhow!("told to stop before the end")),
    };
    let drained = stop::wind_down(&mut cluster, stop).await;
    let mut lines = outcome?;
    drained?;
    lines.push(format!("All nodes drained; the demo took {} s.", watch.elapsed_ms() / 1_000));
    Ok(lines)
}

/// The end: the totals and the last line, or where to look.
fn conclude(outcome: anyhow::Result<Vec<String>>, folder: &Path) -> anyhow::Result<()> {
    match outcome {
        Ok(lines) => {
            if let Err(error) = std::fs::remove_dir_all(folder) {
                tell(&format!("{} could not be removed: {error}", folder.display()));
            }
            lines.iter().try_for_each(|line| print(line))?;
            print("acknowledged = counted in each of three regions, 0 duplicate IDs")
        }
        Err(finding) => Err(finding.context(format!("the demo failed; logs and data are in {}", folder.display()))),
    }
}

/// A folder that nobody has, for a command of this name.
pub(super) fn fresh_folder(name: &str) -> anyhow::Result<PathBuf> {
    let random = getrandom::u32().context("no randomness")?;
    let folder = std::env::temp_dir().join(format!("snowtide-{name}-{}-{random:08x}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_demo_keeps_its_folder_and_names_it() {
        let folder = fresh_folder("demo").unwrap();
        let error = conclude(Err(anyhow::anyhow!("LOST: x")), &folder).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("the demo failed; logs and data are in {}: LOST: x", folder.display())
        );
        assert!(folder.exists());
        std::fs::remove_dir(folder).unwrap();
    }
}
