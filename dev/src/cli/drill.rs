//! `snowtide-dev drill`: limits on three regions of real processes, while one is cut off, one is killed and one stands still.
//!
//! Each algorithm has a load of its own, of ten times its limit at every region. What was admitted is held to what nodes may
//! admit that do not know all of each other, by the load test's own books.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use snowtide::cli::{Global, note as tell, print, table};
use snowtide_client::Algorithm;
use snowtide_loadtest::limits::Closest;
use snowtide_loadtest::report::Summary;
use snowtide_loadtest::report::limits::LimitsReport;

use super::demo::fresh_folder;
use super::drilling;
use super::server::Server;
use super::stop::{self, Stop};
use crate::cluster::Cluster;
use crate::options::Options;

/// How long it takes at most until a node knows what another admitted, on this machine.
const AWARE: Duration = Duration::from_millis(100);
/// The part of a limit that has to be admitted where there is demand and nothing is amiss.
const USED_MIN: f64 = 0.95;

/// Hold limits to their bounds on three regions while one is cut off, one is killed and one stands still.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Only this algorithm, fixed, sliding or gcra; without it, each of them.
    #[arg(long, value_name = "WORD")]
    algorithm: Option<Algorithm>,

    /// Units in a window of a second, to each of three keys.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    limit: u64,

    /// Hold everything between two regions back for so long, each way.
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = humantime::parse_duration)]
    delay: Duration,

    /// Drill each algorithm so many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Keep the cluster's folder, and say where it is.
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  snowtide-dev drill
  snowtide-dev drill --algorithm gcra --limit 1000
  snowtide-dev drill --delay 40ms --rounds 5

Exits with 0 only if no key was admitted more than its bound and limits were used up where there was demand.";

impl Command {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut stop = Stop::listen()?;
        let folder = fresh_folder("drill")?;
        let options = Options { settings: global.set.clone(), ..Options::new(self.server.program()?, &folder) };
        let mut cluster = Cluster::prepare(options)?;
        let outcome = tokio::select! {
            outcome = self.drill_all(&mut cluster) => outcome,
            () = stop.asked() => Err(anyhow::anyhow!("told to stop before the end")),
        };
        let drained = stop::wind_down(&mut cluster, &mut stop).await;
        let kept = || format!("the drill failed; logs and data are in {}", folder.display());
        outcome.and(drained).with_context(kept)?;
        if self.keep {
            tell(&format!("logs and data are in {}", folder.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&folder) {
            tell(&format!("{} could not be removed: {error}", folder.display()));
        }
        print("admitted ≤ bound at three regions, cut off and not")
    }

    async fn drill_all(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        cluster.start_all(|_| {}).await?;
        cluster.delay(self.delay)?;
        let algorithms = Algorithm::ALL.into_iter().filter(|each| self.algorithm.is_none_or(|one| one == *each));
        let mut reports = Vec::new();
        for algorithm in (0..self.rounds).flat_map(|_| algorithms.clone()) {
            print(&format!("\n── {algorithm}: {} a second to each of three keys\n", self.limit))?;
            let drill = drilling::scenario("limits", &self.options(algorithm))?;
            let summary = drilling::run(&drill, cluster).await?;
            cluster.check()?;
            reports.push(report_of(&summary)?);
        }
        print(&format!("\n{}", lines(&reports)))?;
        reports.iter().try_for_each(used_up)
    }

    /// Of the load test. Ten times the limit of three keys is asked for.
    fn options(&self, algorithm: Algorithm) -> Vec<String> {
        let burst = if algorithm == Algorithm::Gcra { format!(":{}", self.limit.div_ceil(2)) } else { String::new() };
        let rate = self.limit.saturating_mul(30);
        let aware = humantime::format_duration(AWARE + self.delay);
        let limit = format!("--limit={algorithm}:{}/1s{burst}", self.limit);
        vec![limit, format!("--rate={rate}"), format!("--limit-delay={aware}")]
    }
}

fn report_of(summary: &Summary) -> anyhow::Result<LimitsReport> {
    let report = summary.limits.clone().context("nothing was asked of a limit")?;
    for (closest, when) in [(report.undisturbed, "in calm"), (report.disturbed, "while regions were away")] {
        if closest.judged == 0 {
            bail!("NOTHING TO JUDGE {when}, of {}", report.policy);
        }
    }
    Ok(report)
}

/// Where there was demand and nothing amiss, the limit was used up.
fn used_up(report: &LimitsReport) -> anyhow::Result<()> {
    match report.used() {
        Some(used) if used >= USED_MIN => Ok(()),
        Some(used) => bail!("TOO LITTLE: {used:.3} of {} was admitted where there was demand", report.policy),
        None => bail!("NO DEMAND: no window of {} was asked for enough", report.policy),
    }
}

fn lines(reports: &[LimitsReport]) -> String {
    let mut table = table(["policy", "admitted", "denied", "of its bound", "while regions are away", "used"]);
    let closest = |Closest { admitted, bound, .. }: Closest| format!("{admitted} of {bound}");
    table.add_rows(reports.iter().map(|report| {
        [
            report.policy.clone(),
            report.admitted.to_string(),
            report.denied.to_string(),
            closest(report.undisturbed),
            closest(report.disturbed),
            report.used().map_or_else(|| "-".to_owned(), |used| format!("{used:.3}")),
        ]
    }));
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use snowtide_loadtest::limits::Fair;
    use snowtide_loadtest::limits::bounds::Mode;

    use super::*;

    fn report(admitted: u64) -> LimitsReport {
        let closest = Closest { judged: 3, admitted: 90, bound: 120 };
        LimitsReport {
            policy: "fixed:100/1s".into(),
            mode: Mode::Shared,
            nodes: 3,
            admitted: 5,
            denied: 50,
            undisturbed: closest,
            disturbed: closest,
            fair: Some(Fair { windows: 10, least: 80, admitted, limit: 100 }),
            judged: "windows",
        }
    }

    #[test]
    fn a_limit_that_is_not_used_up_is_a_finding() {
        assert!(used_up(&report(950)).is_ok());
        assert!(used_up(&report(949)).unwrap_err().to_string().starts_with("TOO LITTLE: 0.949"));
        let idle = LimitsReport { fair: None, ..report(950) };
        assert!(used_up(&idle).unwrap_err().to_string().starts_with("NO DEMAND"));
        assert!(lines(&[report(950)]).contains("90 of 120"));
    }

    #[test]
    fn every_algorithm_has_its_load() {
        let (delay, server) = (Duration::from_millis(40), Server::default());
        let command = Command { algorithm: None, limit: 100, delay, rounds: 1, keep: false, server };
        for algorithm in Algorithm::ALL {
            let drill = drilling::scenario("limits", &command.options(algorithm)).unwrap();
            assert_eq!(drill.load.limits.numbers.0.algorithm, algorithm);
            assert_eq!(drill.load.limits.delay, Duration::from_millis(140));
            assert_eq!(drill.load.pace.rate.per_second(), Some(3_000.0));
        }
    }
}
