//! The steps, each with what it shows and why.

use std::time::Duration;

use anyhow::Context;
use comfy_table::{Table, presets};
use snowtide::cli::{id, print};
use snowtide::clock::Stopwatch;
use snowtide::config::Config;
use snowtide::ids::layout_of;
use snowtide::probe::Probe;
use tokio::time::timeout;

use super::ledger::Totals;
use super::load::{Books, Load};
use super::regions::{self, Regions};
use super::{NAMESPACE, loadtest};
use crate::cli::console;
use crate::cluster::Cluster;

/// The counter that everybody watches.
const VISITS: &str = "visits";
/// The region that is cut off.
const CUT: &str = "eu-west";
/// The region whose node is killed.
const KILLED: &str = "us-east";
const IDS_EACH: u32 = 10_000;
const STEPS: usize = 7;
/// A link that is silent for `peer.idle_timeout`, 4 s, is down.
const DOWN_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// How many increments are acknowledged before the kill, and again after the node is back.
const LOAD_INCREMENTS: u64 = 2_000;
const LOAD_WITHIN: Duration = Duration::from_secs(30);

/// What was done so far.
#[derive(Default)]
pub(super) struct Story {
    books: Books,
    step: usize,
}

impl Story {
    /// All steps; returns the lines with the totals.
    pub(super) async fn tell(&mut self, cluster: &mut Cluster, load: &loadtest::Plan) -> anyhow::Result<Vec<String>> {
        self.start(cluster).await?;
        self.mint(cluster).await?;
        self.count(cluster).await?;
        self.cut(cluster).await?;
        self.heal(cluster).await?;
        self.kill(cluster).await?;
        self.load(cluster, load).await?;
        self.totals(cluster).await
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
        for (_, client) in regions.iter() {
            let ids = client.ids(2).await?;
            self.books.seen().add(None, &ids)?;
            first.extend(ids);
        }
        print(&id::table_of(&first, layout, cluster.map())?)?;
        for (_, client) in regions.iter() {
            let ids = client.ids(IDS_EACH).await?;
            self.books.seen().add(None, &ids)?;
        }
        print(&format!(
            "{IDS_EACH} more from each: {} IDs, all different, ascending at each node.",
            self.books.seen().count()
        ))
    }

    async fn count(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.head("Counting everywhere", "An increment is on the disk of its own region before it is acknowledged.")?;
        let regions = Regions::connect(cluster).await?;
        self.increment(&regions, &[("us-east", 5), ("eu-west", 7), ("ap-south", 11)]).await?;
        self.equal(&regions, 23).await
    }

    async fn cut(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let why = "Nothing passes between it and the others any more. Both sides go on counting, and differ.";
        self.head(&format!("{CUT} is cut off"), why)?;
        cluster.cut(CUT)?;
        let regions = Regions::connect(cluster).await?;
        self.increment(&regions, &[("us-east", 100), ("ap-south", 200), ("eu-west", 1_000)]).await?;
        isolated(cluster).await?;
        let wanted = |region: &str| if region == CUT { 1_023 } else { 323 };
        let keys = [VISITS.to_owned()];
        let readings =
            regions.until(&keys, |all| all.iter().all(|(region, values)| values.get(VISITS) == Some(&wanted(region))));
        show(&readings.await?)
    }

    async fn heal(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        self.head(
            &format!("{CUT} is back"),
            "Each side sends what the other lacks; merging is adding up, nothing conflicts.",
        )?;
        let regions = Regions::connect(cluster).await?;
        cluster.heal(CUT)?;
        self.equal(&regions, 1_323).await
    }

    async fn kill(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let why = "kill -9 under load: what was acknowledged is on disk, what got no answer counts once or not at all.";
        self.head(&format!("{KILLED} dies and returns"), why)?;
        let configs = cluster.regions().map(|region| Ok((region.to_owned(), cluster.client_config(region)?)));
        let configs = configs.collect::<anyhow::Result<_>>()?;
        let load = Load::start(configs, &self.books);
        self.acknowledged_more(LOAD_INCREMENTS).await?;
        cluster.kill(KILLED).await?;
        let (before, down) = (self.books.ledger().increments(), Stopwatch::start());
        cluster.start_node(KILLED).await?;
        let (meanwhile, down_ms) = (self.books.ledger().increments().saturating_sub(before), down.elapsed_ms());
        self.acknowledged_more(LOAD_INCREMENTS).await?;
        load.finish().await?;
        print(&format!(
            "{KILLED} was away for {down_ms} ms; the others acknowledged {meanwhile} increments meanwhile."
        ))?;
        let watch = Stopwatch::start();
        let totals = self.audit(cluster).await?;
        let (late, lapsed) = (totals.late.0, totals.lapsed);
        print(&format!(
            "All regions agree after {} ms: {} acknowledged increments are counted; of {} without an answer {late} are.",
            watch.elapsed_ms(),
            totals.increments,
            late.saturating_add(lapsed),
        ))
    }

    async fn load(&mut self, cluster: &mut Cluster, load: &loadtest::Plan) -> anyhow::Result<()> {
        let why = "At a fixed rate; latency counts from when a request was meant to be sent, so a stall is not hidden.";
        self.head("A load test", why)?;
        loadtest::run(load, cluster).await?;
        Ok(cluster.check()?)
    }

    async fn totals(&mut self, cluster: &Cluster) -> anyhow::Result<Vec<String>> {
        let totals = self.audit(cluster).await?;
        let (late, sum) = (totals.late, totals.acknowledged.saturating_add(totals.late.1));
        Ok(vec![
            String::new(),
            format!("Besides the load test, which keeps books of its own, {} increments were", totals.increments),
            format!("acknowledged, and they add up to {}. {} without an answer", totals.acknowledged, late.0),
            format!("turned out to be counted and add {}. Every region counts {sum} in all.", late.1),
            format!("{} IDs were minted, all different.", self.books.seen().count()),
        ])
    }

    /// Waits until all regions agree on every counter, and compares each region with the ledger.
    async fn audit(&self, cluster: &Cluster) -> anyhow::Result<Totals> {
        let regions = Regions::connect(cluster).await?;
        let ledger = self.books.ledger().clone();
        let keys = ledger.keys();
        let whole = |all: &[(String, regions::Values)]| {
            regions::agree(all) && all.iter().all(|(region, values)| ledger.judge(region, values).is_ok())
        };
        let waited = regions.until(&keys, whole).await;
        // If the wait was in vain, a broken promise is a better answer than that.
        let readings = match &waited {
            Ok(readings) => readings.clone(),
            Err(_) => regions.read(&keys).await?,
        };
        let mut totals = Totals::default();
        for (region, values) in &readings {
            totals = ledger.judge(region, values)?;
        }
        waited.map(|_| totals)
    }

    async fn increment(&self, regions: &Regions, amounts: &[(&str, u64)]) -> anyhow::Result<()> {
        for (region, by) in amounts {
            let answer = self.books.increment(regions.at(region)?, VISITS, *by).await;
            let value = answer.with_context(|| format!("{region} does not count"))?;
            print(&format!("{region}: + {by} acknowledged, and now {value} there"))?;
        }
        Ok(())
    }

    /// Waits until every region counts `value`.
    async fn equal(&self, regions: &Regions, value: i128) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        let keys = [VISITS.to_owned()];
        let equal =
            |all: &[(String, regions::Values)]| all.iter().all(|(_, values)| values.get(VISITS) == Some(&value));
        let readings = regions.until(&keys, equal).await?;
        let ms = watch.elapsed_ms();
        show(&readings)?;
        print(&format!("All regions agree after {ms} ms."))
    }

    /// Waits until that many more increments are acknowledged.
    async fn acknowledged_more(&self, count: u64) -> anyhow::Result<()> {
        let wanted = self.books.ledger().increments().saturating_add(count);
        let waiting = async {
            while self.books.ledger().increments() < wanted {
                tokio::time::sleep(POLL).await;
            }
        };
        timeout(LOAD_WITHIN, waiting)
            .await
            .with_context(|| format!("{count} increments take longer than {LOAD_WITHIN:?}"))
    }

    fn head(&mut self, what: &str, why: &str) -> anyhow::Result<()> {
        self.step = self.step.saturating_add(1);
        let title = format!("── {} of {STEPS} · {what} ", self.step);
        print(&format!("\n{title}{}\n{why}\n", "─".repeat(78_usize.saturating_sub(title.chars().count()))))
    }
}

/// Waits until the region that was cut off sees no other.
async fn isolated(cluster: &Cluster) -> anyhow::Result<()> {
    let node = cluster.endpoints().into_iter().find(|node| node.region == CUT).context("it is on the map")?;
    let probe = Probe::anonymous();
    let waiting = async {
        loop {
            let view = probe.cluster(node.http).await?;
            if view.peers.iter().all(|peer| peer.state != "up") {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    timeout(DOWN_WITHIN, waiting)
        .await
        .with_context(|| format!("{CUT} still sees the others after {DOWN_WITHIN:?}"))??;
    print(&format!("{CUT} sees no other region any more."))
}

fn show(readings: &[(String, regions::Values)]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["region", &format!("{NAMESPACE}/{VISITS}")]);
    table.add_rows(readings.iter().map(|(region, values)| {
        [region.clone(), values.get(VISITS).map_or_else(|| "-".to_owned(), ToString::to_string)]
    }));
    print(&table.trim_fmt())
}
