//! A drill: regions are killed, paused and cut off on a schedule while the load goes on, and then it is counted what
//! was acknowledged and what was not.
//!
//! The cluster is one that `snowtide-dev up` runs ([`cluster`]), or that of a program which carries out the drill's orders
//! itself, as the demo does. What came of it is a part of the usual report.

pub mod cluster;

use std::path::PathBuf;

use anyhow::ensure;
use cluster::{Cluster, Launch};
use tokio_util::sync::CancellationToken;

use crate::faults::fault::Fault;
use crate::faults::orders::{self, Orders};
use crate::plan::Plan;
use crate::report::{self, Summary};
use crate::run;
use crate::schedule::Rate;
use crate::target::{Door, Endpoint};

const HELP: &str = "\
Examples:
  A kill, a pause and a cut of one region each, under 3 000 operations a second:
    snowtide-loadtest drill --scenario failover

  A limit under ten times the demand, while regions fail:
    snowtide-loadtest drill --scenario limits --limit gcra:100/1s:50

  Faults of one's own, over HTTP, with one page of charts:
    snowtide-loadtest drill --rate 2000 --duration 12s --door http \\
      --html drill.html \\
      --fault 'kill eu-west at 2s for 3s' --fault 'cut us-east at 3s for 4s'

An increment whose answer never came is in doubt: it may be counted or not. Lost is what was acknowledged and is not \
    counted, doubled what is counted beyond all that was acknowledged or in doubt. A region is unavailable while it \
    acknowledges nothing, as its clients see it: finding out that a connection is dead (--silence) is a part of that.

Exit codes: those of a load; 2 also if a fault could not be carried out.";

/// Kill, pause and cut off regions on a schedule during a load, and count what came of it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Drill {
    /// The program that runs the cluster; unless given, snowtide-dev beside this program, or else by PATH.
    #[arg(long, value_name = "FILE")]
    snowtide_dev: Option<PathBuf>,

    /// Where the cluster keeps its data and logs; unless given, in a new folder that is removed afterwards.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// How many regions.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    regions: u8,

    /// Given to every node, such as gossip.interval=50ms; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,

    /// What happens, such as 'kill eu-west at 3s for 4s', also pause and cut; times from the end of the warm-up. May be
    /// repeated.
    #[arg(long = "fault", value_name = "SENTENCE")]
    faults: Vec<Fault>,

    /// Which front door the load takes.
    #[arg(long, value_enum, default_value_t = Door::Quic)]
    door: Door,

    /// The load.
    #[command(flatten)]
    pub load: Plan,
}

/// A cluster that is running.
#[derive(Clone, Debug)]
pub struct RunningCluster {
    /// One node of each region.
    pub targets: Vec<Endpoint>,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Whom to tell what is to be done to it.
    pub orders: Orders,
}

impl Drill {
    /// A sentence if the options do not fit together.
    pub fn check(&self) -> anyhow::Result<()> {
        let Plan { network, pace, .. } = &self.load;
        ensure!(network.targets.is_empty(), "a drill has a cluster of its own: no --target");
        ensure!(!self.faults.is_empty(), "a drill needs --fault, or --scenario failover");
        ensure!(pace.rate != Rate::Max, "a drill needs a --rate: with max a dead region is asked nothing");
        ensure!(network.processes == 1, "a drill is sent by one process");
        for fault in &self.faults {
            ensure!(fault.until() < pace.duration, "`{fault}` does not end within --duration");
        }
        Ok(())
    }

    /// Starts the cluster, runs the load with its faults and the check, and ends the cluster.
    pub async fn run(&self) -> anyhow::Result<Summary> {
        let temporary = tempfile::tempdir()?;
        let folder = self.dir.clone().unwrap_or_else(|| temporary.path().join("drill"));
        let program = self.program();
        let launch = Launch { program: &program, folder: &folder, regions: self.regions, settings: &self.settings };
        let mut cluster = Cluster::start(&launch).await?;
        let regions = cluster.regions();
        for fault in &self.faults {
            let known = regions.contains(&fault.region.as_str());
            ensure!(known, "`{fault}`: there is no such region, only {}", regions.join(", "));
        }
        let (orders, given) = orders::channel();
        let running = RunningCluster { targets: cluster.endpoints(self.door)?, ca: cluster.ready.ca.clone(), orders };
        let (summary, ()) = tokio::join!(self.run_at(running, run::until_ctrl_c), cluster.carry_out(given));
        let summary = summary?;
        cluster.quit().await?;
        Ok(summary)
    }

    /// Runs the load with its faults and the check in a cluster of the caller's, who carries the orders out meanwhile. What
    /// `begin` gives ends the sending early.
    pub async fn run_at(
        &self,
        cluster: RunningCluster,
        begin: impl FnOnce() -> CancellationToken,
    ) -> anyhow::Result<Summary> {
        let RunningCluster { targets, ca, orders } = cluster;
        let mut load = self.load.clone();
        load.network.targets = targets;
        load.network.ca = Some(ca);
        load.check()?;
        report::of(&run::run_with(&load, Some((orders, self.faults.clone())), begin).await?)
    }

    fn program(&self) -> PathBuf {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name("snowtide-dev"));
        let beside = || beside.filter(|program| program.is_file());
        self.snowtide_dev.clone().or_else(beside).unwrap_or_else(|| "snowtide-dev".into())
    }
}
