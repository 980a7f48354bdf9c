//! Several processes: each sends its part of the load, and hands what it measured and wrote down to the first.
//!
//! The first process starts the others as copies of itself and reads each one's standard output: a line when it is
//! connected, and its [`PartResult`] at the end. They begin together, when the first writes a line to each, and end early when
//! the first closes what it wrote to, so that whoever tells the first to stop has told all. Histograms are added and ledgers
//! summed up; nothing is averaged. Values can be judged at the end only, since no process knows what the others have attempted.

use std::io::{self, BufRead as _};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::sending::{self, Ids, Sent};
use super::setup::Setup;
use crate::finding::Log;
use crate::generator::Usage;
use crate::ids::Finder;
use crate::keys::KINDS;
use crate::ledger::{Entry, Ledger};
use crate::limits::books::Entries;
use crate::measure::{Cell, Phases};
use crate::plan::{Part, Plan};

/// Said when connected, and when to begin.
const READY: &str = "ready\n";
const BEGIN: &str = "begin\n";

/// What a process hands to the first.
#[derive(Serialize, Deserialize)]
struct PartResult {
    measured: Vec<[Cell; KINDS]>,
    ledger: Vec<Entry>,
    admissions: Entries,
    ids: Ids,
    findings: Log,
    usage: Usage,
    measured_s: f64,
}

impl PartResult {
    fn of(sent: Sent) -> Self {
        let Sent { record, ids, usage, measured_s, .. } = sent;
        let Record { recorder, ledger, books, findings, .. } = record;
        let (measured, findings, admissions) = (recorder.copy(), findings.so_far(), books.into_entries());
        Self { measured, ledger: ledger.entries(), admissions, ids, findings, usage, measured_s }
    }

    fn add_to(self, sent: &mut Sent, finder: &mut Finder) {
        sent.record.recorder.absorb(&self.measured);
        sent.record.ledger.absorb(&self.ledger);
        sent.record.books.absorb(self.admissions);
        sent.record.findings.absorb(self.findings);
        sent.usage.add(&self.usage);
        sent.measured_s = sent.measured_s.max(self.measured_s);
        let full = sent.ids.full.or(self.ids.full);
        sent.ids.full = full.or(finder.absorb(self.ids.found, self.ids.runs).err());
    }
}

/// Sends this process's part, beginning when told, and writes its result to standard output.
pub async fn send_part(plan: &Plan) -> anyhow::Result<()> {
    let setup = Setup::connect(plan).await?;
    let begin = async {
        let mut out = tokio::io::stdout();
        out.write_all(READY.as_bytes()).await?;
        out.flush().await?;
        let stop = super::until_ctrl_c();
        ensure!(first_line(stop.clone()).await? == BEGIN, "the first process is gone");
        anyhow::Ok(stop)
    };
    let sent = sending::send(&setup, Ledger::new(plan.operations.keys), None, begin).await?;
    let result = serde_json::to_vec(&PartResult::of(sent))?;
    let mut out = tokio::io::stdout();
    out.write_all(&result).await?;
    out.flush().await.context("the first process is gone")
}

/// The first line of standard input; what comes after it ends with `stop`. Reads on a thread that the runtime knows nothing
/// of: such a read cannot be given up, and the runtime would wait for it before it ends.
async fn first_line(stop: CancellationToken) -> anyhow::Result<String> {
    let (sender, line) = oneshot::channel();
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut line = String::new();
        // An input that breaks has ended, too.
        let _ = input.read_line(&mut line);
        let _ = sender.send(line);
        let _ = io::copy(&mut input, &mut io::sink());
        stop.cancel();
    });
    line.await.context("standard input cannot be read")
}

/// One of the others.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Lets `--processes` other processes send, and gathers what they did.
pub(super) async fn send_all(
    setup: &Setup,
    ledger: Ledger,
    begin: impl FnOnce() -> CancellationToken,
) -> anyhow::Result<Sent> {
    let of = setup.plan.network.processes;
    let mut workers = (0..of).map(|number| Worker::start(setup, Part { number, of })).collect::<Result<Vec<_>, _>>()?;
    for worker in &mut workers {
        worker.ready().await?;
    }
    let phases = Phases::starting_now(&setup.plan);
    let mut sent = Sent::none(Record::new(setup, ledger, phases), phases);
    let stop = begin();
    let mut gathering = JoinSet::new();
    for mut worker in workers {
        worker.begin().await?;
        gathering.spawn(worker.result(stop.clone()));
    }
    let mut finder = Finder::new(setup.plan.checks.id_runs_max);
    while let Some(result) = gathering.join_next().await {
        result??.add_to(&mut sent, &mut finder);
    }
    (sent.ids.found, sent.ids.runs) = finder.finish();
    Ok(sent)
}

impl Worker {
    fn start(setup: &Setup, part: Part) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program to start it again")?;
        let Part { number, of } = part;
        let mut child = Command::new(program)
            .args(&setup.plan.given)
            // What comes later counts.
            .args(["--quiet".into(), format!("--part={number}/{of}"), format!("--seed={}", setup.seed)])
            .arg(format!("--key-prefix={}", setup.dial.names.prefix))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start another process")?;
        let output = child.stdout.take().map(BufReader::new).context("it has no output")?;
        Ok(Self { input: child.stdin.take(), child, output })
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        ensure!(line == READY, "one of the processes could not begin");
        Ok(())
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("it has no input")?;
        input.write_all(BEGIN.as_bytes()).await.context("one of the processes is gone")
    }

    async fn result(mut self, stop: CancellationToken) -> anyhow::Result<PartResult> {
        let mut bytes = Vec::new();
        let input = self.input.take();
        let holding = tokio::spawn(async move {
            stop.cancelled().await;
            drop(input);
        });
        self.output.read_to_end(&mut bytes).await?;
        holding.abort();
        let status = self.child.wait().await?;
        ensure!(status.success(), "one of the processes ended with {status}");
        serde_json::from_slice(&bytes).context("one of the processes said what makes no sense")
    }
}
