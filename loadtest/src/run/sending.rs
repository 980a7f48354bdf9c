//! The sending: opens the lanes of this process, lets them run, and collects what they have done.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::lane::{Control, Lane};
use super::progress;
use super::record::Record;
use super::setup::Setup;
use super::ticker::Ticker;
use crate::faults::script::{FaultRecord, Script};
use crate::generator::{Lateness, Stopwatch, Usage};
use crate::ids::{Finder, Found, Full, Run};
use crate::keys::Requests;
use crate::ledger::Ledger;
use crate::measure::Phases;
use crate::plan::Part;
use crate::schedule::{Rate, Schedule};
use crate::target::Link;

/// Answers with IDs that wait for the duplicate finder; then lanes wait for it.
const ID_ANSWERS_WAITING_MAX: usize = 4_096;

/// A run that was ended at once has measured this long, so that nothing is divided by zero.
const SHORTEST_S: f64 = 1e-3;

/// What came of the sending.
pub struct Sent {
    /// What the lanes wrote down.
    pub record: Record,
    /// What became of the IDs.
    pub ids: Ids,
    /// What the generator took of the machine.
    pub usage: Usage,
    /// What was done to the cluster meanwhile.
    pub faults: Option<Vec<FaultRecord>>,
    /// The length of the measured part, shorter than asked for if the run was ended early.
    pub measured_s: f64,
    /// When the measured part began.
    pub started: SystemTime,
}

/// What became of the IDs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ids {
    /// How many there were, and which came twice.
    pub found: Found,
    /// All that came, each once.
    pub runs: Vec<Run>,
    /// There were too many to check.
    pub full: Option<Full>,
}

impl Sent {
    /// Nothing yet.
    pub(super) fn none(record: Record, phases: Phases) -> Self {
        let now = Instant::now();
        let started = SystemTime::now() + phases.measured.saturating_duration_since(now)
            - now.saturating_duration_since(phases.measured);
        let (ids, usage) = (Ids::default(), Usage::default());
        Self { record, ids, usage, faults: None, measured_s: SHORTEST_S, started }
    }
}

/// Opens the lanes, lets them run once `begin` says so and until what it gives is cancelled, and collects what they have
/// done.
pub(super) async fn send(
    setup: &Setup,
    ledger: Ledger,
    script: Option<Script>,
    begin: impl Future<Output = anyhow::Result<CancellationToken>>,
) -> anyhow::Result<Sent> {
    let links = open_links(setup).await?;
    let stop = begin.await?;
    let phases = Phases::starting_now(&setup.plan);
    let record = Arc::new(Record::new(setup, ledger, phases));
    let (lateness, watch) = (Arc::new(Lateness::default()), Stopwatch::start());
    let (ids, checking) = check_ids(setup.plan.checks.id_runs_max, stop.clone());
    let control =
        Control { phases, stop: stop.clone(), ticker: Ticker::start()?, lateness: Arc::clone(&lateness), ids };
    let playing = script.map(|script| script.play(Arc::clone(&record.ledger), phases, stop));
    let playing = playing.map(|playing| AbortOnDropHandle::new(tokio::spawn(playing)));
    let progress = progress::show(progress::bar(&setup.plan), Arc::clone(&record), phases);
    let progress = AbortOnDropHandle::new(tokio::spawn(progress));

    run_lanes(setup, links, &record, control).await?;
    let usage = watch.stop(&lateness);
    let faults = match playing {
        Some(playing) => Some(playing.await.context("the drill ended too early")?),
        None => None,
    };
    let ended = Instant::now().min(phases.end);
    let measured_s = ended.saturating_duration_since(phases.measured).as_secs_f64().max(SHORTEST_S);
    progress.abort();
    // It was told to end, one way or the other.
    let _ = progress.await;
    let ids = checking.await.context("the duplicate finder ended too early")?;
    let record = Arc::into_inner(record).context("a request outlived its lane")?;
    Ok(Sent { ids, usage, faults, measured_s, ..Sent::none(record, phases) })
}

async fn open_links(setup: &Setup) -> anyhow::Result<Vec<(u16, Link)>> {
    let network = &setup.plan.network;
    let mut links = Vec::new();
    // The targets take turns, so that their requests do.
    for _ in 0..network.connections {
        for (position, endpoint) in (0_u16..).zip(&network.targets) {
            links.push((position, Link::open(endpoint, &setup.dial, network.connect_timeout).await?));
        }
    }
    ensure!(!links.is_empty(), "there are no targets");
    Ok(links)
}

/// Returns when the last lane has come to its end.
async fn run_lanes(
    setup: &Setup,
    links: Vec<(u16, Link)>,
    record: &Arc<Record>,
    control: Control,
) -> anyhow::Result<()> {
    let network = &setup.plan.network;
    let mut lanes = JoinSet::new();
    let Part { number: part, of: parts } = setup.plan.part.unwrap_or(Part { number: 0, of: 1 });
    let own = links.len() as u64;
    for (number, (target, link)) in (own * u64::from(part)..).zip(links) {
        let lane = Lane {
            target,
            link,
            schedule: schedule(setup, number, own * u64::from(parts)),
            requests: Requests::new(setup.seed, number, setup.workload),
            batch: setup.workload.batch,
            in_flight: network.targets.get(usize::from(target)).map_or(1, |endpoint| network.window(endpoint)),
            record: Arc::clone(record),
            control: control.clone(),
        };
        lanes.spawn(lane.run());
    }
    drop(control);
    while let Some(ended) = lanes.join_next().await {
        ended.context("a lane ended too early")?;
    }
    Ok(())
}

/// When lane `number` of `count` sends; `None` in a closed loop.
fn schedule(setup: &Setup, number: u64, count: u64) -> Option<Schedule> {
    let pace = &setup.plan.pace;
    let Rate::Milli(milli) = pace.rate else { return None };
    Some(Schedule::new(milli, setup.workload.batch, number, count).arriving(pace.arrivals, setup.seed))
}

/// Takes IDs in until the last lane has gone; when too many would have to be remembered, ends the run.
fn check_ids(runs_max: usize, stop: CancellationToken) -> (mpsc::Sender<Vec<Run>>, JoinHandle<Ids>) {
    let (ids, mut incoming) = mpsc::channel::<Vec<Run>>(ID_ANSWERS_WAITING_MAX);
    let checking = tokio::task::spawn_blocking(move || {
        let (mut finder, mut full) = (Finder::new(runs_max), None);
        while let Some(runs) = incoming.blocking_recv() {
            for run in runs {
                if let Err(error) = finder.add(run) {
                    full = Some(error);
                    stop.cancel();
                }
            }
        }
        let (found, runs) = finder.finish();
        Ids { found, runs, full }
    });
    (ids, checking)
}
