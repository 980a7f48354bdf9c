//! Other programs: Redis and its benchmark, and our own load generator.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use snowtide::clock;
use tokio::process::{Child, Command};

use crate::snowtide;

/// A Redis server of its own; it ends when this is dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    _process: Child,
    _dir: tempfile::TempDir,
}

/// What Redis promises of a write that it has acknowledged.
#[derive(Clone, Copy)]
pub(crate) enum Promise {
    /// It is synced, as with Snowtide.
    Synced,
    /// Nothing.
    Nothing,
}

impl Redis {
    pub(crate) async fn start(promise: Promise) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let appendonly = match promise {
            Promise::Synced => ["--appendonly", "yes", "--appendfsync", "always"].as_slice(),
            Promise::Nothing => &["--appendonly", "no"],
        };
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path())
            .args(appendonly)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed (apt-get install redis-server)");
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { port, _process: process, _dir: dir }
    }
}

/// Operations a second by `redis-benchmark -t incr` over 100 000 keys, with so many connections and commands in a pipeline.
pub(crate) async fn redis_benchmark(port: u16, (connections, pipeline): (u32, u32), operations: u64) -> f64 {
    benchmark(port, (connections, pipeline), operations, &["-t", "incr"]).await
}

/// The same of any command, in which `__rand_int__` stands for one of 100 000 numbers.
pub(crate) async fn redis_benchmark_of(port: u16, shape: (u32, u32), operations: u64, command: &[&str]) -> f64 {
    benchmark(port, shape, operations, command).await
}

/// The name by which a Redis calls this script from now on.
pub(crate) async fn redis_script(port: u16, script: &str) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-p", &port.to_string(), "SCRIPT", "LOAD", script]).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn benchmark(port: u16, (connections, pipeline): (u32, u32), operations: u64, what: &[&str]) -> f64 {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-r", "100000", "--csv"])
        .args(["-c", &connections.to_string(), "-P", &pipeline.to_string(), "-n", &operations.to_string()])
        .args(what)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("redis-benchmark is installed (apt-get install redis-tools)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The name of what was asked, and the rate, come first on the last line.
    let rate = text.lines().last().and_then(|line| line.split("\",\"").nth(1)).and_then(|rate| rate.parse().ok());
    rate.unwrap_or_else(|| panic!("redis-benchmark told no rate: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The summary of a run of the load generator; anything lost, invented or given twice is fatal.
pub(crate) async fn loadtest(arguments: &[&str]) -> Value {
    let program = snowtide().with_file_name("snowtide-loadtest");
    let output = Command::new(&program)
        .args(["--json", "-", "--quiet"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}; build it first (make bench does)", program.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "snowtide-loadtest {arguments:?}: {text}{told}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{told}"))
}

/// The totals of one kind of operation in a summary.
pub(crate) fn total<'a>(summary: &'a Value, operation: &str) -> &'a Value {
    let totals = summary["totals"].as_array().unwrap();
    totals.iter().find(|row| row["operation"] == operation).unwrap()
}

pub(crate) fn rate(summary: &Value, operation: &str) -> f64 {
    total(summary, operation)["achieved_per_s"].as_f64().unwrap()
}

pub(crate) fn latency_ms(summary: &Value, operation: &str, percentile: &str) -> f64 {
    total(summary, operation)["latency_ms"][percentile].as_f64().unwrap()
}

/// The median of syncing a small append with fdatasync, in milliseconds: what the machine itself takes.
pub(crate) fn fdatasync_ms(dir: &Path) -> f64 {
    const SYNCS: u64 = 1_000;
    const BYTES: usize = 256;
    let file = File::create(dir.join("synced")).unwrap();
    let mut took: Vec<Duration> = (0..SYNCS)
        .map(|index| {
            let begun = clock::monotonic();
            file.write_all_at(&[7; BYTES], index * BYTES as u64).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2].as_secs_f64() * 1e3
}

/// Bytes of all files below, as `du` counts them.
pub(crate) fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let each = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // A file that has gone meanwhile takes none.
        Err(_) => 0,
    });
    each.sum()
}

/// The URL by which the load generator calls a door.
pub(crate) fn url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}

/// Says what is going on, since it takes minutes.
pub(crate) fn say(what: &str) {
    let mut to = std::io::stderr().lock();
    // Nobody listening is no reason to stop.
    let _ = writeln!(to, "{what}");
}
