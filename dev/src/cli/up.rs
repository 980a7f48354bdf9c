//! `snowtide-dev up`: real node processes on loopback, until Ctrl-C.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use snowtide::cli::{Global, note as tell, print};
use snowtide::clock::Stopwatch;
use tokio::sync::mpsc;

use super::console::{self, Typed};
use super::server::Server;
use super::stop::{self, Stop};
use crate::cluster::Cluster;
use crate::options::{Links, Options};
use crate::plan::{Ports, REGIONS_MAX};

/// How often it is seen whether a node has died.
const WATCH: Duration = Duration::from_millis(200);

/// Run a cluster of real node processes on this machine, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// How many regions, each of one node; without it as many as the folder has, or 3.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(REGIONS_MAX)))]
    regions: Option<u8>,

    /// Where region files, certificates, data and logs are kept; a cluster that is there is started again.
    #[arg(long, value_name = "FOLDER", default_value = "data/dev")]
    dir: PathBuf,

    /// How nodes reach each other: through relays, so that regions can be cut off, or directly.
    #[arg(long, value_enum, default_value_t = Links::Relay)]
    links: Links,

    /// Drains when standard input ends, so that the cluster does not outlive the program that started it.
    #[arg(long)]
    exit_with_stdin: bool,

    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  snowtide-dev up
  snowtide-dev up --regions 5 --dir /tmp/five
  snowtide-dev up --links direct --set log.filter=debug
  echo 'cut eu-west' | snowtide-dev up

While it runs, it takes lines on standard input: cut, heal, kill, stop, start, pause, resume, status, quit. \
    With --json it prints one line once it is ready, and one for each of these; \
    a program that starts it gives --exit-with-stdin and keeps standard input open. \
    --set and --config are handed to every node.";

impl Command {
    /// Runs the cluster until it is told to stop, or until a node dies.
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut stop = Stop::listen()?;
        let exit_with_stdin = self.exit_with_stdin;
        let mut cluster = Cluster::prepare(self.options(global)?)?;
        // From the start: who started this may be gone before the nodes are ready.
        let Typed { lines, ended } = console::typed();
        let outcome = tokio::select! {
            outcome = keep_up(&mut cluster, lines, global.json) => outcome,
            () = stop.asked() => Ok(()),
            () = ended.cancelled(), if exit_with_stdin => Ok(()),
        };
        tell("stopping: nodes drain");
        let drained = stop::wind_down(&mut cluster, &mut stop).await;
        outcome.and(drained)
    }

    fn options(self, global: &Global) -> anyhow::Result<Options> {
        let config_file = global.config.as_deref().map(std::path::absolute).transpose();
        Ok(Options {
            regions: self.regions,
            links: self.links,
            ports: Ports::Familiar,
            settings: global.set.clone(),
            config_file: config_file.context("--config")?,
            ..Options::new(self.server.program()?, self.dir)
        })
    }
}

/// Starts all nodes and does what is typed. Returns when told to quit.
async fn keep_up(cluster: &mut Cluster, mut lines: mpsc::Receiver<String>, json: bool) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let names: Vec<_> = cluster.regions().map(str::to_owned).collect();
    tell(&format!("starting {}", names.join(", ")));
    cluster.start_all(|region| tell(&format!("{region} is ready after {} ms", watch.elapsed_ms()))).await?;
    welcome(cluster, json)?;
    let mut more = true;
    let mut beat = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            line = lines.recv(), if more => match line.as_deref().map(str::trim) {
                None => more = false,
                Some("") => {}
                Some("quit" | "exit") => return Ok(()),
                Some(line) => answer(console::carry_out(line, cluster).await, json)?,
            },
            _ = beat.tick() => cluster.check()?,
        }
    }
}

/// An order that could not be carried out changes nothing, and the cluster goes on. A program reads one line for each.
fn answer(outcome: anyhow::Result<String>, json: bool) -> anyhow::Result<()> {
    match outcome {
        Ok(done) if json => print(&json!({ "done": done }).to_string()),
        Err(error) if json => print(&json!({ "error": format!("{error:#}") }).to_string()),
        Ok(done) => print(&done),
        Err(error) => {
            tell(&format!("error: {error:#}"));
            Ok(())
        }
    }
}

fn welcome(cluster: &Cluster, json: bool) -> anyhow::Result<()> {
    let endpoints = cluster.endpoints();
    let config = cluster.folder().config_file();
    if json {
        let ca = cluster.folder().ca_file();
        let (config, ca) = (config.display().to_string(), ca.display().to_string());
        let ready = json!({ "nodes": serde_json::to_value(&endpoints)?, "config": config, "ca": ca });
        // One line, so that a program reads it while the cluster goes on.
        return print(&ready.to_string());
    }
    print(&console::endpoints(&endpoints))?;
    let http = endpoints.first().map(|node| node.http.to_string()).unwrap_or_default();
    let names: Vec<_> = cluster.regions().collect();
    print(&samples(&shown(&config), &http, &names))
}

/// What to try, for the regions that there are.
fn samples(config: &Path, http: &str, regions: &[&str]) -> String {
    let (first, last) = (regions.first().copied().unwrap_or_default(), regions.last().copied().unwrap_or_default());
    let snowtide = format!("snowtide --config {}", config.display());
    format!(
        "\nTry, in another terminal:\n  \
         {snowtide} id new -n 3 --at {first}\n  \
         {snowtide} counter incr visits --by 5 --at {first}\n  \
         {snowtide} counter get visits --at {last}\n  \
         {snowtide} cluster status\n  \
         curl -X POST http://{http}/v1/counters/default/visits/increment\n\n\
         And here (help shows all):\n  \
         cut {last}, heal {last}, kill {first}, start {first}, status, quit\n"
    )
}

/// As short as it can be written from here.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: Command,
    }

    fn parse(line: &[&str]) -> Result<Command, clap::Error> {
        Line::try_parse_from(["up"].iter().chain(line)).map(|line| line.command)
    }

    #[test]
    fn one_to_eight_regions_behind_relays_in_data_dev() {
        let command = parse(&[]).unwrap();
        assert_eq!((command.regions, command.links, command.dir), (None, Links::Relay, PathBuf::from("data/dev")));
        assert_eq!(parse(&["--regions", "8", "--links", "direct"]).unwrap().links, Links::Direct);
        for refused in ["0", "9", "-1", "many"] {
            assert!(parse(&["--regions", refused]).is_err(), "{refused}");
        }
    }

    #[test]
    fn samples_name_regions_that_there_are() {
        let text = samples(Path::new("data/dev/snowtide.toml"), "127.0.0.1:8400", &["us-east"]);
        assert!(text.contains("snowtide --config data/dev/snowtide.toml counter get visits --at us-east"), "{text}");
        assert!(text.contains("curl -X POST http://127.0.0.1:8400/v1/counters/default/visits/increment"), "{text}");
    }
}
