//! Drills: scenarios of the load test, against a cluster of the command's own.

use std::ffi::OsString;

use anyhow::{Context, bail};
use snowtide::cli::{Misuse, print};
use snowtide_loadtest::cli::{Action, Cli};
use snowtide_loadtest::drill::{Drill, RunningCluster};
use snowtide_loadtest::faults::orders;
use snowtide_loadtest::report::{Summary, text};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::console;
use crate::cluster::Cluster;

/// The scenario of this name, with these options of the load test over it.
pub(super) fn scenario(name: &str, options: &[String]) -> Result<Drill, Misuse> {
    let words = ["snowtide-loadtest", "drill", "--scenario", name].map(str::to_owned);
    let words = words.iter().chain(options).map(OsString::from).collect();
    match Cli::of(words) {
        Ok(Cli { action: Some(Action::Drill(drill)), .. }) => Ok(*drill),
        Ok(_) => Err(Misuse("this is no drill".to_owned())),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Err(Misuse(line.trim_start_matches("error: ").to_owned()))
        }
    }
}

/// Runs it, and prints what came of it; an error unless nothing was found.
pub(super) async fn run(drill: &Drill, cluster: &mut Cluster) -> anyhow::Result<Summary> {
    let nodes = cluster.endpoints();
    let targets = nodes.iter().map(|node| format!("quic://{}", node.quic).parse());
    let targets = targets.collect::<Result<_, _>>().context("a node has no address")?;
    let (orders, given) = orders::channel();
    let running = RunningCluster { targets, ca: cluster.folder().ca_file(), orders };
    // The command itself sees to it that it is told to stop.
    let (summary, ()) = tokio::join!(drill.run_at(running, CancellationToken::new), obey(cluster, given));
    let summary = summary.context("the drill could not be carried out")?;
    let mut report = Vec::new();
    text::write(&mut report, false, &summary)?;
    print(String::from_utf8_lossy(&report).trim_end())?;
    match summary.drill.as_ref().and_then(|report| report.error()) {
        Some(error) => bail!("the drill could not be carried out: {error}"),
        None if !summary.ok => bail!("FOUND BY THE DRILL: what it says above"),
        None => Ok(summary),
    }
}

/// Carries orders out as if they were typed while `snowtide-dev up` runs.
async fn obey(cluster: &mut Cluster, mut orders: mpsc::Receiver<orders::Order>) {
    while let Some(order) = orders.recv().await {
        let outcome = console::carry_out(&order.text, cluster).await;
        order.answer(outcome.map(drop));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_fits_together_and_options_count_more() {
        assert!(scenario("demo", &[]).is_ok() && scenario("limits", &[]).is_ok());
        let drill = scenario("demo", &["--rate=100k".to_owned(), "--duration=30s".to_owned()]).unwrap();
        assert_eq!(drill.load.pace.duration.as_secs(), 30);
        let refused = scenario("demo", &["--duration=1s".to_owned()]).unwrap_err().to_string();
        assert_eq!(refused, "`kill us-east` does not end within --duration");
    }

    #[tokio::test]
    async fn an_order_that_cannot_be_carried_out_is_answered_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::prepare(crate::Options::new("snowtide", dir.path())).unwrap();
        let (orders, given) = orders::channel();
        let asking = async move {
            let unknown = orders.order("cut mars").await.unwrap_err().to_string();
            assert!(unknown.contains("there is no region mars"), "{unknown}");
            assert!(orders.order("burn us-east").await.is_err());
            orders.order("cut us-east").await.unwrap();
        };
        tokio::join!(obey(&mut cluster, given), asking);
        assert!(cluster.endpoints()[0].cut_off);
    }
}
