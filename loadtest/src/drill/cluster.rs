//! The cluster of a drill: `snowtide-dev up --json`, told what to do line by line, as a person would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::faults::orders::Order;
use crate::target::{Door, Endpoint};

/// Until all nodes are ready; an order to start a node waits for it as well.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Until all nodes have drained.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);

/// How to start it.
pub struct Launch<'a> {
    /// The program `snowtide-dev`.
    pub program: &'a Path,
    /// Where data and logs are kept.
    pub folder: &'a Path,
    /// How many regions.
    pub regions: u8,
    /// Given to every node as `--set`.
    pub settings: &'a [String],
}

/// A cluster that runs. It drains, at last, when this is dropped, and if this program ends in whatever way: its standard
/// input closes then.
pub struct Cluster {
    process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Where to find it.
    pub ready: Ready,
}

/// The process that runs the nodes, ready or not. It is told to stop when this is dropped.
struct Process(Child);

/// What the cluster says once it is ready.
#[derive(Deserialize)]
pub struct Ready {
    nodes: Vec<Node>,
    /// The authority's certificate.
    pub ca: PathBuf,
}

#[derive(Deserialize)]
struct Node {
    region: String,
    http: String,
    quic: String,
}

/// What it says to each order.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(String),
    Error(String),
}

impl Cluster {
    /// Starts all nodes and waits until they are ready.
    pub async fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let log = launch.folder.join("dev.log");
        std::fs::create_dir_all(launch.folder).with_context(|| format!("cannot make {}", launch.folder.display()))?;
        let errors = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(launch.program)
            .args(["up", "--json", "--exit-with-stdin", "--regions", &launch.regions.to_string(), "--dir"])
            .arg(launch.folder)
            .args(launch.settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // In a group of its own: Ctrl-C is for the load, and the nodes are still needed for the check.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}: name it with --snowtide-dev", launch.program.display()))?;
        let mut process = Process(child);
        let input = process.0.stdin.take().context("the cluster has no input")?;
        let mut output = BufReader::new(process.0.stdout.take().context("the cluster has no output")?).lines();
        let line = timeout(READY_WITHIN, output.next_line()).await.context("the cluster is not ready in time")??;
        let Some(line) = line else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("the cluster did not start: {}", said.lines().last().unwrap_or("it says nothing"));
        };
        let ready = serde_json::from_str(&line).context("the cluster does not say where it is")?;
        Ok(Self { process, input, output, ready })
    }

    /// Where to send to.
    pub fn endpoints(&self, door: Door) -> anyhow::Result<Vec<Endpoint>> {
        let address = |node: &Node| match door {
            Door::Quic => format!("quic://{}", node.quic),
            Door::Http => format!("http://{}", node.http),
        };
        let all = self.ready.nodes.iter().map(|node| address(node).parse());
        all.collect::<Result<_, _>>().context("the cluster names no addresses")
    }

    /// The regions' names.
    pub fn regions(&self) -> Vec<&str> {
        self.ready.nodes.iter().map(|node| node.region.as_str()).collect()
    }

    /// Carries orders out until there are no more.
    pub async fn carry_out(&mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            let outcome = self.order(&order.text).await;
            order.answer(outcome);
        }
    }

    /// Gives an order and waits until it is carried out.
    async fn order(&mut self, order: &str) -> anyhow::Result<()> {
        self.input.write_all(format!("{order}\n").as_bytes()).await.context("the cluster is gone")?;
        let line = timeout(READY_WITHIN, self.output.next_line()).await;
        let line = line.with_context(|| format!("`{order}` is not done in time"))??;
        let line = line.context("the cluster is gone")?;
        match serde_json::from_str(&line).with_context(|| format!("the cluster answers `{order}` with {line}"))? {
            Answer::Done(done) => {
                tracing::debug!("{done}");
                Ok(())
            }
            Answer::Error(error) => bail!("`{order}`: {error}"),
        }
    }

    /// Lets all nodes drain and end.
    pub async fn quit(mut self) -> anyhow::Result<()> {
        self.input.write_all(b"quit\n").await.context("the cluster is gone")?;
        let status = timeout(DRAINED_WITHIN, self.process.0.wait()).await.context("the cluster does not end")??;
        ensure!(status.success(), "the cluster ended with {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            // It drains its nodes; if it is gone already, there is nothing to tell.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    async fn appears(path: &Path) {
        let there = async {
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WITHIN, there).await.unwrap_or_else(|_| panic!("{} does not appear", path.display()));
    }

    #[tokio::test]
    async fn a_cluster_that_is_given_up_before_it_is_ready_is_told_and_loses_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let program = file("program");
        let script = "#!/bin/sh\ncd \"${0%/*}\"\ntrap '>told' TERM\necho \"$*\" >said\n>begun\ncat\n>ended\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let begun = file("begun");
        let launch = Launch { program: &program, folder: &file("cluster"), regions: 1, settings: &[] };
        tokio::select! {
            started = Cluster::start(&launch) => panic!("it never says that it is ready: {:?}", started.err()),
            () = appears(&begun) => {}
        }
        appears(&file("ended")).await;
        assert!(file("told").exists());
        let said = std::fs::read_to_string(file("said")).unwrap();
        assert!(said.starts_with("up ") && said.contains(" --exit-with-stdin"), "{said}");
    }
}
