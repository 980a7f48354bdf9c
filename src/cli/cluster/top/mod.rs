//! `snowtide cluster top`: all nodes at a glance, again and again.

mod frame;
mod reading;
mod screen;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::Access;
use super::status::{NodeReport, ask_each};
use crate::cli::{Global, Misuse, paint, terms};
use crate::clock::Stopwatch;
use crate::config::map::ClusterMap;
use crate::identity::WorkerId;
use crate::probe::Probe;

use self::frame::{Frame, Size};
use self::reading::{Rates, Reading};
use self::screen::{Input, Screen};

/// In milliseconds. More often would cost the nodes more than it shows.
const EVERY_MS_MIN: u64 = 100;

/// Show all nodes: state, rates, lag, disk; once a second, until q.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// How often to look.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = terms::interval::<EVERY_MS_MIN>)]
    every: Duration,

    /// Looks twice, that far apart, prints one frame and ends.
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    access: Access,
}

const EXAMPLES: &str = "\
Examples:
  snowtide cluster top
  snowtide cluster top --every 5s
  snowtide cluster top --once
  snowtide cluster top --once --json | jq '.nodes[].increments_per_second'

Columns:
  INCR/S   increments acknowledged, a second
  IDS/S    IDs handed out, a second
  SYNC     what the sync of a commit takes, on average
  LAG      how far a peer is behind at most: commits, and for how long
  PEERS    linked, of all
  FREE     bytes free on the disk of the data
  JOURNAL  bytes that the journal takes

q, Esc and Ctrl-C end it.";

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let live = !self.once;
        if live && (global.json || !io::stdout().is_terminal()) {
            let text = "this is for a terminal; into a pipe or as JSON, take one frame: --once";
            return Err(Misuse(text.to_owned()).into());
        }
        let loaded = global.load()?;
        let probe = self.access.probe(&loaded.config)?;
        let mut watch = Watch { map: loaded.map, probe, last: BTreeMap::new() };
        let lines = watch.look().await?;
        if live {
            return watch.live(lines, self.every).await;
        }
        tokio::time::sleep(self.every).await;
        let lines = watch.look().await?;
        let nodes = || json!({ "nodes": lines.iter().map(NodeSample::as_json).collect::<Vec<_>>() });
        let frame = Frame { samples: &lines, every: self.every, coloured: paint::on_stdout(), keys: false };
        global.print(nodes, || frame.lines(Size::of_pipe()).join("\n").trim_end().to_owned())?;
        Ok(super::verdict(lines.iter().map(|sample| &sample.line))?)
    }
}

/// Looks at all nodes, and remembers what they had counted before.
struct Watch {
    map: ClusterMap,
    probe: Probe,
    last: BTreeMap<WorkerId, (Reading, Stopwatch)>,
}

/// One node as it is seen now.
struct NodeSample {
    line: NodeReport,
    reading: Option<Reading>,
    /// Since it was looked at last; not if it was not, or has been started since.
    rates: Option<Rates>,
}

impl Watch {
    async fn look(&mut self) -> anyhow::Result<Vec<NodeSample>> {
        let answers = ask_each(&self.map, |worker, region, node| {
            let (line, probe, http) =
                (NodeReport::ask(self.probe.clone(), worker, region, node), self.probe.clone(), node.http.clone());
            async move {
                tokio::join!(line, async { Some((Reading::of(&probe.metrics(http).await.ok()?), Stopwatch::start())) })
            }
        });
        let samples = answers.await?.into_iter().map(|(line, now)| {
            let before = self.last.remove(&line.worker);
            let rates = now.as_ref().zip(before).and_then(|((now, watch), (before, since))| {
                let elapsed = since.elapsed_us().saturating_sub(watch.elapsed_us());
                now.since(&before, Duration::from_micros(elapsed))
            });
            let reading = now.as_ref().map(|(reading, _)| reading.clone());
            self.last.extend(now.map(|now| (line.worker, now)));
            NodeSample { line, reading, rates }
        });
        Ok(samples.collect())
    }

    /// Draws until somebody has seen enough. The terminal is as it was afterwards, however this ends.
    async fn live(mut self, mut samples: Vec<NodeSample>, every: Duration) -> anyhow::Result<()> {
        let catch = |kind| signal(kind).context("signals cannot be caught; take one frame: --once");
        let (mut terminate, mut hangup) = (catch(SignalKind::terminate())?, catch(SignalKind::hangup())?);
        let coloured = paint::on_stdout();
        let mut screen = Screen::enter()?;
        let mut inputs = screen::inputs();
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let frame = Frame { samples: &samples, every, coloured, keys: true };
            screen.draw(&frame.lines(screen.size()))?;
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Quit) | None => return Ok(()),
                    Some(Input::Resized) => {}
                },
                _ = terminate.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                samples_now = async { ticks.tick().await; self.look().await } => samples = samples_now?,
            }
        }
    }
}

impl NodeSample {
    fn as_json(&self) -> serde_json::Value {
        let rates = self.rates.as_ref();
        let reading = self.reading.as_ref();
        json!({
            "node": self.line.name(),
            "reachable": self.line.ready.is_some(),
            "ready": self.line.ready.unwrap_or(false),
            "stage": self.line.answer().map(|view| &view.node.stage),
            "increments_per_second": rates.map(|rates| rates.increments),
            "ids_per_second": rates.map(|rates| rates.ids),
            "sync_seconds": rates.and_then(|rates| rates.sync_seconds),
            "disk_free_bytes": reading.and_then(|reading| reading.disk_free),
            "journal_bytes": reading.and_then(|reading| reading.journal),
            "peers": self.line.peers(),
            "error": self.line.view.as_ref().err().map(ToString::to_string),
        })
    }
}
