//! A whole run: connect, send, wait for agreement, compare, sum up.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::args::Args;
use crate::conserve::{self, Reader};
use crate::drill::fault::Fault;
use crate::drill::orders::Orders;
use crate::drill::script::{Course, Script};
use crate::finding::{Finding, Findings};
use crate::generator::{Lateness, Stopwatch, Strain};
use crate::ids::{Finder, Found, Full, Run};
use crate::keys::{Popularity, Requests};
use crate::lane::{Books, Drive, Lane};
use crate::ledger::{Expected, Ledger};
use crate::measure::Phases;
use crate::part::{self, Part};
use crate::progress;
use crate::report::{Origin, Summary, files};
use crate::schedule::{Rate, Schedule};
use crate::summary;
use crate::target::{Dial, Link};
use crate::ticker::Ticker;

/// Answers with IDs that wait for the duplicate finder; then lanes wait for it.
const ID_ANSWERS_WAITING_MAX: usize = 4_096;

/// A run that was ended at once has measured this long, so that nothing is divided by zero.
const SHORTEST_S: f64 = 1e-3;

/// Everything decided before the first request.
pub(crate) struct Setup {
    pub(crate) args: Args,
    pub(crate) seed: u64,
    pub(crate) popularity: Popularity,
    pub(crate) dial: Arc<Dial>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) origins: Vec<Origin>,
}

/// What came out of the sending.
pub(crate) struct Sent {
    pub(crate) books: Books,
    pub(crate) found: Found,
    /// All IDs that came.
    pub(crate) runs: Vec<Run>,
    pub(crate) full: Option<Full>,
    pub(crate) strain: Strain,
    /// What was done to the cluster meanwhile.
    pub(crate) played: Option<Vec<Course>>,
    /// The length of the measured part, shorter than asked for if the run was ended early.
    pub(crate) measured_s: f64,
    /// When the measured part began.
    pub(crate) started: SystemTime,
}

/// Runs the load and the check. An error means that nothing could be tested.
pub async fn run(args: &Args) -> anyhow::Result<Summary> {
    run_with(args, None, until_ctrl_c).await
}

/// The same with faults in a cluster whose operator is reached by the orders. What `begin` gives, once the load begins, ends
/// the sending early.
pub(crate) async fn run_with(
    args: &Args,
    drill: Option<(Orders, Vec<Fault>)>,
    begin: impl FnOnce() -> CancellationToken,
) -> anyhow::Result<Summary> {
    let mut setup = connect(args).await?;
    let ledger = open_ledger(&mut setup).await?;
    let script = drill.map(|(orders, faults)| Script {
        orders,
        faults,
        targets: args.targets.clone(),
        dial: Arc::clone(&setup.dial),
        patience: args.agree_timeout,
    });
    let sent = match args.processes {
        1 => send(&setup, ledger, script, async { Ok(begin()) }).await?,
        _ => part::send_all(&setup, ledger, begin).await?,
    };
    let waiting = progress::spinner(args, "waiting until the regions agree");
    let keys = sent.books.ledger.touched();
    let expected = |key| sent.books.ledger.expected(key);
    let deadline = Instant::now() + args.agree_timeout;
    let agreement = conserve::agree(&mut setup.readers, keys, expected, deadline).await;
    waiting.finish_and_clear();
    conserve::judge(&agreement, &setup.readers, &sent.books.names, expected, &sent.books.findings);
    judge_ids(&sent);
    let summary = summary::of(&setup, &sent, &agreement);
    files::write(&setup, &sent, &summary)?;
    Ok(summary)
}

pub(crate) async fn connect(args: &Args) -> anyhow::Result<Setup> {
    let prefix = args.key_prefix.clone().unwrap_or_else(|| format!("lt-{:08x}-", rand::random::<u32>()));
    let popularity = args.popularity().context("the exponent is out of range")?;
    let mut setup = Setup {
        args: args.clone(),
        seed: args.seed.unwrap_or_else(rand::random),
        popularity,
        dial: Arc::new(args.dial(&prefix)),
        readers: Vec::new(),
        origins: Vec::new(),
    };
    for endpoint in &args.targets {
        let link = Link::open(endpoint, &setup.dial, args.connect_timeout).await?;
        let site = link.site().clone();
        setup.readers.push(Reader::new(format!("{site} {}", endpoint.door), link));
        setup.origins.push(Origin { target: endpoint.to_string(), region: site.region, node: site.node.into() });
    }
    Ok(setup)
}

/// Fresh counters stand at zero; those under a prefix that was given are read first.
async fn open_ledger(setup: &mut Setup) -> anyhow::Result<Ledger> {
    if setup.args.key_prefix.is_none() {
        return Ok(Ledger::new(setup.args.keys));
    }
    let anything = Expected { least: i128::MIN, most: i128::MAX };
    let keys: Vec<u32> = (0..setup.args.keys).collect();
    let deadline = Instant::now() + setup.args.agree_timeout;
    let agreement = conserve::agree(&mut setup.readers, keys, |_| anything, deadline).await;
    if !agreement.settled {
        let findings = Findings::default();
        conserve::judge(&agreement, &setup.readers, &setup.dial.names, |_| anything, &findings);
        let first = findings.parts().0.first().map(Finding::to_string).unwrap_or_default();
        bail!("the regions do not agree about the counters before the run: {first}");
    }
    let values = agreement.values.first().context("there are no targets")?;
    values.iter().copied().collect::<Option<Vec<_>>>().map(Ledger::with_baseline).context("counters without a value")
}

/// Opens the lanes, lets them run once `begin` says so and until what it gives is cancelled, and collects what they have
/// done.
pub(crate) async fn send(
    setup: &Setup,
    ledger: Ledger,
    script: Option<Script>,
    begin: impl Future<Output = anyhow::Result<CancellationToken>>,
) -> anyhow::Result<Sent> {
    let args = &setup.args;
    let links = open_links(setup).await?;
    let stop = begin.await?;
    let phases = Phases::starting_now(args);
    let books = Arc::new(Books::new(setup, ledger, phases, args.part.is_none()));
    let (lateness, watch) = (Arc::new(Lateness::default()), Stopwatch::start());
    let (ids, incoming) = mpsc::channel(ID_ANSWERS_WAITING_MAX);
    let drive = Drive { phases, stop: stop.clone(), ticker: Ticker::start()?, lateness: Arc::clone(&lateness), ids };
    let finder = Finder::new(args.id_runs_max);
    let checker = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || check_ids(finder, incoming, &stop)
    });
    let playing = script.map(|script| script.play(Arc::clone(&books), phases, stop));
    let playing = playing.map(|playing| AbortOnDropHandle::new(tokio::spawn(playing)));
    let progress = progress::show(progress::bar(args), Arc::clone(&books), phases);
    let progress = AbortOnDropHandle::new(tokio::spawn(progress));

    let mut lanes = JoinSet::new();
    let Part { number: part, of: parts } = args.part.unwrap_or(Part { number: 0, of: 1 });
    let (own, all) = (links.len() as u64, links.len() as u64 * u64::from(parts));
    for (number, (target, link)) in (own * u64::from(part)..).zip(links) {
        lanes.spawn(lane(setup, &books, &drive, (number, all), target, link).run());
    }
    drop(drive);
    while let Some(ended) = lanes.join_next().await {
        ended.context("a lane ended too early")?;
    }
    let strain = watch.stop(&lateness);
    let played = match playing {
        Some(playing) => Some(playing.await.context("the drill ended too early")?),
        None => None,
    };
    let ended = Instant::now().min(phases.end);
    progress.abort();
    // It was told to end, one way or the other.
    let _ = progress.await;
    let ((found, runs), full) = checker.await.context("the duplicate finder ended too early")?;
    let books = Arc::into_inner(books).context("a request outlived its lane")?;
    let measured_s = ended.saturating_duration_since(phases.measured).as_secs_f64().max(SHORTEST_S);
    Ok(Sent { found, runs, full, measured_s, strain, played, ..Sent::none(books, phases) })
}

impl Sent {
    /// Nothing yet.
    pub(crate) fn none(books: Books, phases: Phases) -> Self {
        let now = Instant::now();
        let started = SystemTime::now() + phases.measured.saturating_duration_since(now)
            - now.saturating_duration_since(phases.measured);
        Self {
            books,
            found: Found::default(),
            runs: Vec::new(),
            full: None,
            measured_s: SHORTEST_S,
            started,
            strain: Strain::none(),
            played: None,
        }
    }
}

async fn open_links(setup: &Setup) -> anyhow::Result<Vec<(u16, Link)>> {
    let args = &setup.args;
    let mut links = Vec::new();
    // The targets take turns, so that their requests do.
    for _ in 0..args.connections {
        for (position, endpoint) in (0_u16..).zip(&args.targets) {
            links.push((position, Link::open(endpoint, &setup.dial, args.connect_timeout).await?));
        }
    }
    ensure!(!links.is_empty(), "there are no targets");
    Ok(links)
}

fn lane(
    setup: &Setup,
    books: &Arc<Books>,
    drive: &Drive,
    (number, count): (u64, u64),
    target: u16,
    link: Link,
) -> Lane {
    let args = &setup.args;
    let schedule = match args.rate {
        Rate::Max => None,
        Rate::Milli(milli) => Some(Schedule::new(milli, args.batch, number, count).arriving(args.arrivals, setup.seed)),
    };
    let requests = Requests::new(setup.seed, number, args.mix, setup.popularity, args.batch);
    Lane {
        target,
        link,
        schedule,
        requests: requests.in_turns(args.turns).with_celebrity(args.celebrity),
        batch: args.batch,
        in_flight: args.targets.get(usize::from(target)).map_or(1, |endpoint| args.window(endpoint)),
        books: Arc::clone(books),
        drive: drive.clone(),
    }
}

/// Takes IDs in until the last lane has gone; when too many would have to be remembered, ends the run.
fn check_ids(
    mut finder: Finder,
    mut incoming: mpsc::Receiver<Vec<Run>>,
    stop: &CancellationToken,
) -> ((Found, Vec<Run>), Option<Full>) {
    let mut full = None;
    while let Some(runs) = incoming.blocking_recv() {
        for run in runs {
            if let Err(error) = finder.add(run) {
                full = Some(error);
                stop.cancel();
            }
        }
    }
    (finder.finish(), full)
}

/// What the first Ctrl-C from now on cancels, so that what was sent is still checked; the second ends the program.
pub(crate) fn until_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_ctrl_c(stop.clone()));
    stop
}

async fn stop_on_ctrl_c(stop: CancellationToken) {
    for exit in [false, true] {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        stop.cancel();
        if exit {
            std::process::exit(130);
        }
    }
}

fn judge_ids(sent: &Sent) {
    let name = |target: u16| sent.books.name(target);
    for duplicate in &sent.found.named {
        let targets = (name(duplicate.targets.0), name(duplicate.targets.1));
        sent.books.findings.push(Finding::DuplicateId {
            id: duplicate.id.to_string(),
            count: duplicate.count,
            targets,
        });
    }
    if let Some(Full { runs_max }) = sent.full {
        sent.books.findings.push(Finding::TooManyIdRuns { runs_max });
    }
}
