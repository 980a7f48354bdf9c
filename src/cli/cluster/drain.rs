//! `snowtide cluster drain`: take the node of this machine out of service.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::orders::tell;
use crate::cli::data_dir::DataDir;
use crate::cli::exit::{Ended, Exit};
use crate::cli::{Global, note};
use crate::clock::Stopwatch;
use crate::control::{Answer, Order};

/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// Have the node of this machine refuse new work, and wait until another region holds what it has.
#[derive(Debug, Args)]
#[command(after_help = DRAIN)]
pub(super) struct Drain {
    #[command(flatten)]
    dir: DataDir,

    /// How long to wait for another region. The node stays drained after that, too.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    within: Duration,
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

impl Drain {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = self.dir.path(global)?;
        let watch = Stopwatch::start();
        let mut answer = tell(&dir, Order::Drain).await?;
        let mut waits = false;
        let shown = dir.display();
        let later = |text: String| Err(Ended::new(Exit::Later, text).into());
        loop {
            match answer {
                Answer::Drained { held_by } => return drained(global, &shown.to_string(), held_by.as_deref()),
                Answer::Resumed => {
                    return later(format!("the node of {shown} serves again: somebody has resumed it meanwhile"));
                }
                _ if Duration::from_millis(watch.elapsed_ms()) >= self.within => {
                    return later(format!(
                        "the node of {shown} refuses new work, but no other region holds all of it within {}; see snowtide \
                         cluster peers, and run this again, or take it back with snowtide cluster resume (what its directory \
                         holds of namespaces that are not configured counts as held nowhere else; its log names them)",
                        humantime::format_duration(self.within)
                    ));
                }
                _ if !std::mem::replace(&mut waits, true) => note("new work is refused; waiting for another region"),
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
            answer = tell(&dir, Order::Look).await?;
        }
    }
}

fn drained(global: &Global, dir: &str, held_by: Option<&str>) -> anyhow::Result<()> {
    let held = held_by.map_or("there is no other region to hold what it has".to_owned(), |region| {
        format!("{region} holds everything that it acknowledged")
    });
    global.print_line(
        || json!({ "data_dir": dir, "drained": true, "held_by": held_by }),
        || format!("the node of {dir} refuses new work; {held}"),
    )
}
