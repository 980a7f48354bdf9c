//! Requests one by one: what most clients send. Beside the latency and the rate, what each costs the node.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use snowtide_dev::Endpoint;
use tokio::process::Command;

use crate::book::{Book, Goal};
use crate::cost::{Meter, Strace};
use crate::doors;
use crate::drive;
use crate::tools;

/// For each run.
const SECONDS: &str = "6s";
/// Increments a second over QUIC, whether or not answers come.
const OFFERED: &str = "20000";

pub(crate) async fn measure(book: &mut Book, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = drive::node(&dir.path().join("singles"), |options| options).await;
    let node = drive::endpoint(&cluster);
    let ca = cluster.folder().ca_file().display().to_string();
    for round in 1..=rounds {
        tools::say(&format!("singles, round {round} of {rounds}"));
        for (connections, p99) in [("1", 3.0), ("4", 3.0), ("16", 5.0), ("64", 8.0)] {
            offered(book, &node, &ca, connections, p99).await;
        }
        most(book, &node, &ca).await;
        http(book, &node, dir.path()).await;
        calls(book, &node).await;
    }
    doors::stop(cluster).await;
}

/// At a rate that does not wait for answers.
async fn offered(book: &mut Book, node: &Endpoint, ca: &str, connections: &str, p99: f64) {
    let meter = Meter::of(node);
    let run = quic(node, ca, &["--connections", connections, "--rate", OFFERED]).await;
    let cost = meter.since(tools::total(&run, "increment")["acknowledged"].as_f64().unwrap());
    let of = |what: &str| format!("{OFFERED} increments a second over QUIC, {connections} connections: {what}");
    book.note(&of("p99"), "ms", Goal::AtMost(p99), tools::latency_ms(&run, "increment", "p99"));
    book.note(&of("p50"), "ms", Goal::None, tools::latency_ms(&run, "increment", "p50"));
    book.note(&of("the node's processor time for each"), "µs", Goal::AtMost(12.0), cost.processor_us);
    book.note(&of("times that a thread of the node slept, for each"), "", Goal::None, cost.sleeps);
}

/// As fast as answers come back.
async fn most(book: &mut Book, node: &Endpoint, ca: &str) {
    let run = quic(node, ca, &["--connections", "64", "--rate", "max"]).await;
    let rate = tools::rate(&run, "increment");
    book.note("single increments over QUIC, 64 connections", "/s", Goal::AtLeast(250_000.0), rate);
}

async fn quic(node: &Endpoint, ca: &str, how: &[&str]) -> Value {
    let url = tools::url("quic", node.quic);
    let common = ["--ca", ca, "--target", &url, "--mix", "1:0:0", "--warmup", "0s", "--duration", SECONDS];
    tools::loadtest(&[&common[..], how].concat()).await
}

/// By turns with a request that does nothing.
async fn http(book: &mut Book, node: &Endpoint, dir: &Path) {
    let post = dir.join("post.lua");
    std::fs::write(&post, "wrk.method = \"POST\"\n").unwrap();
    let url = tools::url("http", node.http);
    let nothing = wrk(&format!("{url}/livez"), None).await;
    book.note("GET /livez, by wrk -t1 -c64", "/s", Goal::None, nothing);
    for (what, path, script, goal) in [
        ("one increment", "/v1/counters/default/visits/increment", Some(&*post), 0.7),
        ("one read", "/v1/counters/default/visits", None, 0.85),
        ("one ID", "/v1/ids", Some(&*post), 0.95),
        ("one decision of a limit", "/v1/limits/default/visits", Some(&*post), 0.9),
    ] {
        let rate = wrk(&format!("{url}{path}"), script).await;
        book.note(&format!("{what} a request over HTTP"), "/s", Goal::None, rate);
        book.note(&format!("  ratio to /livez, {what}"), "×", Goal::AtLeast(goal), rate / nothing);
    }
}

async fn wrk(url: &str, script: Option<&Path>) -> f64 {
    let script = script.map(|path| ["-s".as_ref(), path.as_os_str()]);
    let output = Command::new("wrk")
        .args(["-t1", "-c64", "-d", SECONDS])
        .args(script.into_iter().flatten())
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("wrk is installed (apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "wrk was refused: {text}");
    let rate =
        text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).and_then(|rate| rate.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("wrk told no rate: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// System calls for each increment over the Redis protocol. Who counts them slows the node, so the rate says nothing.
async fn calls(book: &mut Book, node: &Endpoint) {
    const OPERATIONS: u64 = 60_000;
    let (Some(redis), Some(strace)) = (node.redis, Strace::attach(node).await) else { return };
    let _ = tools::redis_benchmark(redis.port(), (50, 1), OPERATIONS).await;
    let calls = strace.detach().await / OPERATIONS as f64;
    book.note("system calls for each increment, redis-benchmark -c 50 -P 1", "", Goal::None, calls);
}
