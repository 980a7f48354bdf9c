//! The steps, each with what it shows and why.

use std::time::Duration;

use anyhow::Context;
use snowtide::cli::{id, print, table};
use snowtide::clock::Stopwatch;
use snowtide::config::Config;
use snowtide::ids::layout_of;
use snowtide::probe::Probe;
use snowtide_client::Connection;
use snowtide_loadtest::drill::Drill;
use snowtide_loadtest::report::Summary;

use super::NAMESPACE;
use super::minted::Minted;
use super::poll::poll;
use super::regions::{Regions, Values};
use super::witness::Witness;
use crate::cli::{console, drilling};
use crate::cluster::Cluster;

/// The counter that everybody watches.
const VISITS: &str = "visits";
/// The region that is cut off.
const CUT: &str = "eu-west";
/// The region whose node the drill kills.
const KILLED: &str = "us-east";
const IDS_EACH: u32 = 10_000;
const STEPS: usize = 7;
/// What all regions together have added to the counter before the cut, and in all.
const BEFORE_THE_CUT: i128 = 23;
const IN_ALL: i128 = 1_323;
/// A link that is silent for `peer.idle_timeout`, 4 s, is down.
const DOWN_WITHIN: Duration = Duration::from_secs(20);
const MINT_WITHIN: Duration = Duration::from_secs(30);

/// What was done so far.
#[derive(Default)]
pub(super) struct Story {
    minted: Minted,
    step: usize,
}

impl Story {
    /// All steps; returns the lines with the totals.
    pub(super) async fn tell(&mut self, cluster: &mut Cluster, drill: &Drill) -> anyhow::Result<Vec<String>> {
        self.start(cluster).await?;
        self.mint(cluster).await?;
        self.count(cluster).await?;
        self.cut(cluster).await?;
        self.heal(cluster).await?;
        let summary = self.kill(cluster, drill).await?;
        self.look_back(cluster).await?;
        self.totals(&summary)
    }

    async fn start(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        self.head(
            "Three regions",
            "Each is a real process with a RocksDB of its own; they speak QUIC with mutual TLS.",
        )?;
        let watch = Stopwatch::start();
        cluster.start_all(|_| {}).await?;
        print(&console::endpoints(&cluster.endpoints()))?;
        print(&format!("All are ready after {} ms.", watch.elapsed_ms()))
    }

    async fn mint(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.head(
            "IDs",
            "No region asks another: time, region and node are part of every ID, so none can come twice.",
        )?;
        let regions = Regions::connect(cluster).await?;
        let layout = layout_of(&Config::builtin().ids)?;
        let mut first = Vec::new();
        for (node, client) in regions.clients() {
            let ids = mint(client, 2).await?;
            self.minted.add(node, &ids)?;
            first.extend(ids);
        }
        print(&id::table_of(&first, layout, cluster.map())?)?;
        self.mint_more(&regions).await
    }

    async fn mint_more(&mut self, regions: &Regions) -> anyhow::Result<()> {
        for (node, client) in regions.clients() {
            self.minted.add(node, &mint(client, IDS_EACH).await?)?;
        }
        let all = self.minted.all_different()?;
        print(&format!("{IDS_EACH} more from each: {all} IDs, all different, ascending at each node."))
    }

    async fn count(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.head("Counting everywhere", "An increment is on the disk of its own region before it is acknowledged.")?;
        let regions = Regions::connect(cluster).await?;
        increment(&regions, &[("us-east", 5), (CUT, 7), ("ap-south", 11)]).await?;
        equal(&regions, BEFORE_THE_CUT).await
    }

    async fn cut(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let why = "Nothing passes between it and the others any more. Both sides go on counting, and differ.";
        self.head(&format!("{CUT} is cut off"), why)?;
        cluster.cut(CUT)?;
        let regions = Regions::connect(cluster).await?;
        increment(&regions, &[("us-east", 100), ("ap-south", 200), (CUT, 1_000)]).await?;
        isolated(cluster).await?;
        let wanted = |region: &str| BEFORE_THE_CUT + if region == CUT { 1_000 } else { 300 };
        show(&regions.until(VISITS, wanted).await?)
    }

    async fn heal(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        self.head(
            &format!("{CUT} is back"),
            "Each side sends what the other lacks; merging is adding up, nothing conflicts.",
        )?;
        let regions = Regions::connect(cluster).await?;
        cluster.heal(CUT)?;
        equal(&regions, IN_ALL).await
    }

    async fn kill(&mut self, cluster: &mut Cluster, drill: &Drill) -> anyhow::Result<Summary> {
        let why = "kill -9 in the middle of a load test: what was acknowledged is on disk, what\n\
                   got no answer counts or does not. Latency runs from when a request was meant\n\
                   to be sent, so no stall is hidden.";
        self.head(&format!("{KILLED} dies under load and returns"), why)?;
        let witness = Witness::start(cluster, KILLED).await?;
        let summary = drilling::run(drill, cluster).await?;
        cluster.check()?;
        print(&witness.testify(cluster).await?)?;
        for fault in summary.drill.iter().flat_map(|report| &report.faults) {
            if let (Some(began), Some(ended), Some(whole)) = (fault.began_s, fault.ended_s, fault.converged_after_s) {
                print(&format!(
                    "{KILLED} was away for {:.1} s, and every region had everything {whole:.1} s after it was back.",
                    ended - began
                ))?;
            }
        }
        Ok(summary)
    }

    async fn look_back(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.head("What was there before", "The kill took nothing with it, and no ID comes again after it.")?;
        let regions = Regions::connect(cluster).await?;
        show(&regions.until(VISITS, |_| IN_ALL).await?)?;
        self.mint_more(&regions).await
    }

    fn totals(&self, summary: &Summary) -> anyhow::Result<Vec<String>> {
        let (conservation, ids) = (&summary.conservation, self.minted.all_different()?);
        let all = ids.saturating_add(conservation.ids);
        Ok(vec![
            String::new(),
            format!("Every region counts {IN_ALL} visits, as it was told to, and at least all that the load test was"),
            format!("acknowledged, which adds up to {}. {all} IDs were minted.", conservation.acknowledged_sum),
        ])
    }

    fn head(&mut self, what: &str, why: &str) -> anyhow::Result<()> {
        self.step = self.step.saturating_add(1);
        let title = format!("── {} of {STEPS} · {what} ", self.step);
        print(&format!("\n{title}{}\n{why}\n", "─".repeat(78_usize.saturating_sub(title.chars().count()))))
    }
}

/// A node that was just started may have to hear from its peers before it mints.
async fn mint(client: &Connection, count: u32) -> anyhow::Result<Vec<u64>> {
    let ids = poll(MINT_WITHIN, async || match client.ids(count).await {
        Err(error) if error.is_retryable() => Ok(None),
        outcome => Ok(Some(outcome?)),
    });
    ids.await?.with_context(|| format!("a node mints nothing for {MINT_WITHIN:?}"))
}

async fn increment(regions: &Regions, amounts: &[(&str, u64)]) -> anyhow::Result<()> {
    for (region, by) in amounts {
        let answer = regions.at(region)?.increment(NAMESPACE, VISITS, *by).await;
        let value = answer.with_context(|| format!("{region} does not count"))?;
        print(&format!("{region}: + {by} acknowledged, and now {value} there"))?;
    }
    Ok(())
}

/// Waits until every region counts `value`.
async fn equal(regions: &Regions, value: i128) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let values = regions.until(VISITS, |_| value).await?;
    let ms = watch.elapsed_ms();
    show(&values)?;
    print(&format!("All regions agree after {ms} ms."))
}

/// Waits until the region that was cut off sees no other.
async fn isolated(cluster: &Cluster) -> anyhow::Result<()> {
    let node = cluster.endpoints().into_iter().find(|node| node.region == CUT).context("it is on the map")?;
    let probe = Probe::anonymous();
    let alone = poll(DOWN_WITHIN, async || {
        let view = probe.cluster(node.http).await?;
        Ok(view.peers.iter().all(|peer| peer.state != "up").then_some(()))
    });
    alone.await?.with_context(|| format!("{CUT} still sees the others after {DOWN_WITHIN:?}"))?;
    print(&format!("{CUT} sees no other region any more."))
}

fn show(values: &Values) -> anyhow::Result<()> {
    let mut table = table(["region", &format!("{NAMESPACE}/{VISITS}")]);
    table.add_rows(values.iter().map(|(region, value)| [region.clone(), value.to_string()]));
    print(&table.trim_fmt())
}
