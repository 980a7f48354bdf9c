//! Several processes: each sends its part of the load, and hands what it measured and wrote down to the first.
//!
//! The first process starts the others as copies of itself and reads each one's standard output: a line when it is
//! connected, and its [`Parcel`] at the end. They begin together, when the first writes a line to each, and end early when
//! the first closes what it wrote to, so that whoever tells the first to stop has told all. Histograms are added and books summed up; nothing is averaged. Values can be judged at the end only, since no process knows what
//! the others have attempted.

use std::io::{self, BufRead as _};
use std::process::Stdio;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::figures::Figures;
use crate::finding::Finding;
use crate::generator::Strain;
use crate::ids::{Finder, Found, Full, Run};
use crate::keys::Kind;
use crate::lane::Books;
use crate::ledger::{Entry, Ledger};
use crate::measure::Phases;
use crate::run::{self, Sent, Setup};
use crate::timeline::Timeline;

/// Said when connected, and when to begin.
const READY: &str = "ready\n";
const BEGIN: &str = "begin\n";

/// Which part of the load a process sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub number: u32,
    /// Of so many.
    pub of: u32,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').map(|(number, of)| (number.parse(), of.parse()));
        match numbers {
            Some((Ok(number), Ok(of))) if number < of => Ok(Self { number, of }),
            _ => Err("write NUMBER/OF".into()),
        }
    }
}

/// What a process hands to the first.
#[derive(Serialize, Deserialize)]
struct Parcel {
    /// By target, then by kind as in [`Kind::ALL`].
    measured: Vec<Vec<(Figures, Timeline)>>,
    ledger: Vec<Entry>,
    found: Found,
    runs: Vec<Run>,
    full: Option<usize>,
    findings: Vec<Finding>,
    findings_by_kind: std::collections::BTreeMap<String, u64>,
    strain: Strain,
    measured_s: f64,
}

impl Parcel {
    fn of(args: &Args, sent: Sent) -> Self {
        let (findings, counts) = sent.books.findings.parts();
        let board = &sent.books.board;
        let cell = |target: u16, kind: Kind| (board.copy(target, kind), board.timeline(target, kind));
        let targets = (0_u16..).take(args.targets.len());
        Self {
            measured: targets.map(|target| Kind::ALL.map(|kind| cell(target, kind)).into()).collect(),
            ledger: sent.books.ledger.entries(),
            found: sent.found,
            runs: sent.runs,
            full: sent.full.map(|full| full.runs_max),
            findings,
            findings_by_kind: counts.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            strain: sent.strain,
            measured_s: sent.measured_s,
        }
    }

    fn unpack(self, into: &mut Sent, finder: &mut Finder) {
        for (target, kinds) in (0_u16..).zip(&self.measured) {
            for (kind, (figures, timeline)) in Kind::ALL.into_iter().zip(kinds) {
                into.books.board.absorb(target, kind, figures, timeline);
            }
        }
        into.books.ledger.absorb(&self.ledger);
        into.books.findings.absorb(&self.findings, &self.findings_by_kind);
        into.strain.add(&self.strain);
        into.measured_s = into.measured_s.max(self.measured_s);
        into.full = into.full.or(self.full.map(|runs_max| Full { runs_max }));
        into.full = into.full.or(finder.absorb(self.found, self.runs).err());
    }
}

/// Sends this process's part, beginning when told, and writes the parcel to standard output.
pub async fn send(args: &Args) -> anyhow::Result<()> {
    let setup = run::connect(args).await?;
    let begin = async {
        let mut out = tokio::io::stdout();
        out.write_all(READY.as_bytes()).await?;
        out.flush().await?;
        let stop = run::until_ctrl_c();
        ensure!(first_line(stop.clone()).await? == BEGIN, "the first process is gone");
        anyhow::Ok(stop)
    };
    let sent = run::send(&setup, Ledger::new(args.keys), None, begin).await?;
    let parcel = serde_json::to_vec(&Parcel::of(args, sent))?;
    let mut out = tokio::io::stdout();
    out.write_all(&parcel).await?;
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
pub(crate) async fn send_all(
    setup: &Setup,
    ledger: Ledger,
    begin: impl FnOnce() -> CancellationToken,
) -> anyhow::Result<Sent> {
    let args = &setup.args;
    let mut workers = Vec::new();
    for number in 0..args.processes {
        workers.push(Worker::start(setup, Part { number, of: args.processes })?);
    }
    for worker in &mut workers {
        worker.ready().await?;
    }
    let phases = Phases::starting_now(args);
    let mut sent = Sent::none(Books::new(setup, ledger, phases, false), phases);
    let stop = begin();
    let mut gathering = JoinSet::new();
    for mut worker in workers {
        worker.begin().await?;
        gathering.spawn(worker.parcel(stop.clone()));
    }
    let mut finder = Finder::new(args.id_runs_max);
    while let Some(parcel) = gathering.join_next().await {
        parcel??.unpack(&mut sent, &mut finder);
    }
    (sent.found, sent.runs) = finder.finish();
    Ok(sent)
}

impl Worker {
    fn start(setup: &Setup, part: Part) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program to start it again")?;
        let Part { number, of } = part;
        let mut child = Command::new(program)
            .args(&setup.args.given)
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

    async fn parcel(mut self, stop: CancellationToken) -> anyhow::Result<Parcel> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_of_several() {
        assert_eq!("1/3".parse(), Ok(Part { number: 1, of: 3 }));
        for text in ["3/3", "1", "-1/3", "a/b", ""] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
