//! `snowtide cluster drain` and `snowtide cluster resume`: take the node of this machine out of service, and back.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::cli::exit::{Ended, Exit};
use crate::cli::{Global, Misuse, note, print};
use crate::clock::Stopwatch;
use crate::control::{self, Answer, Order};

/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// Have the node of this machine refuse new work, and wait until another region holds what it has.
#[derive(Debug, Args)]
#[command(after_help = DRAIN)]
pub(super) struct Drain {
    #[command(flatten)]
    place: Place,

    /// How long to wait for another region. The node stays drained after that, too.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    within: Duration,
}

/// Have a drained node serve again.
#[derive(Debug, Args)]
#[command(after_help = RESUME)]
pub(super) struct Resume {
    #[command(flatten)]
    place: Place,
}

/// Which node.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The node's data directory; without it, data_dir of the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const DRAIN: &str = "\
Examples:
  snowtide cluster drain
  snowtide cluster drain --data-dir /var/lib/snowtide --within 2m

The node answers what it has accepted, refuses what comes after with `draining`, so that clients go elsewhere, and is not \
    ready (/readyz), so that load balancers leave it out. It goes on exchanging state with the others. What is in namespaces \
    that no other region has stays on its disk alone. The node stays drained until \
    snowtide cluster resume, or its next start. To end it, send it SIGTERM, before this or after: that drains, too. \
    Exits with 75 if no other region holds everything in time.";

const RESUME: &str = "\
Examples:
  snowtide cluster resume
  snowtide cluster resume --data-dir /var/lib/snowtide";

impl Drain {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.place.dir(global)?;
        let watch = Stopwatch::start();
        let mut answer = tell(&dir, Order::Drain).await?;
        let mut waits = false;
        loop {
            match answer {
                Answer::Drained { held_by } => return tell_of_drain(global, &dir, held_by.as_deref()),
                Answer::Resumed => {
                    let text = format!("the node of {} serves again: somebody has resumed it meanwhile", dir.display());
                    return Err(Ended::new(Exit::Later, text).into());
                }
                _ if Duration::from_millis(watch.elapsed_ms()) >= self.within => {
                    let text = format!(
                        "the node of {} refuses new work, but no other region holds all of it within {}; see snowtide cluster \
                         peers, and run this again, or take it back with snowtide cluster resume (what its directory holds of \
                         namespaces that are not configured counts as held nowhere else; its log names them)",
                        dir.display(),
                        humantime::format_duration(self.within)
                    );
                    return Err(Ended::new(Exit::Later, text).into());
                }
                _ if !std::mem::replace(&mut waits, true) => note("new work is refused; waiting for another region"),
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
            answer = tell(&dir, Order::Look).await?;
        }
    }
}

fn tell_of_drain(global: &Global, dir: &Path, held_by: Option<&str>) -> anyhow::Result<()> {
    let dir = dir.display();
    if global.json {
        return print(&json!({ "data_dir": dir.to_string(), "drained": true, "held_by": held_by }).to_string());
    }
    let held = held_by.map_or("there is no other region to hold what it has".to_owned(), |region| {
        format!("{region} holds everything that it acknowledged")
    });
    print(&format!("the node of {dir} refuses new work; {held}"))
}

impl Resume {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.place.dir(global)?;
        tell(&dir, Order::Resume).await?;
        let dir = dir.display();
        if global.json {
            return print(&json!({ "data_dir": dir.to_string(), "drained": false }).to_string());
        }
        print(&format!("the node of {dir} serves again"))
    }
}

impl Place {
    pub(super) fn dir(self, global: &Global) -> anyhow::Result<PathBuf> {
        self.data_dir.map_or_else(|| Ok(global.load()?.config.data_dir), Ok)
    }
}

/// A refusal is an error.
pub(super) async fn tell(dir: &Path, order: Order) -> anyhow::Result<Answer> {
    let shown = dir.display();
    match control::tell(dir, order).await {
        Ok(Answer::Refused(reason)) => {
            Err(Ended::new(Exit::Refused, format!("the node of {shown} refuses: {reason}")).into())
        }
        Ok(answer) => Ok(answer),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Err(Misuse(format!(
            "no node has {shown} open on this machine; name the directory of one that runs: --data-dir DIR"
        ))
        .into()),
        Err(error) => Err(error).with_context(|| {
            format!("cannot speak with the node of {shown}; run this as the user that runs the node, or see whether it hangs")
        }),
    }
}
