//! Strangers at the doors: a node that anybody reaches, with many clients that take what they can and give nothing back,
//! beside ordinary clients that go on (G7).
//!
//! Each attack meets a node of its own. The short pass is part of `make test`; `make strangers` takes a minute for each with
//! 2 000 clients and prints the table. `STRANGERS_SECONDS` and `STRANGERS_CLIENTS` say how long and how many,
//! `STRANGERS_ONLY` which. Speed is told and never judged; nor is how many are refused meanwhile, which on a machine whose
//! processors the strangers take as well says more about those. Memory is, and that everybody is served afterwards.

mod attacks;
mod http2;
mod ordinary;
mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use snowtide_dev::Options;
use tokio::time::sleep;

use crate::harness::{Bed, DEADLINE, EAST, ensure, eventually};
use attacks::{Attack, Target};
use ordinary::Ordinary;
use process::Process;

/// What an attack may cost in memory.
const GROWTH_MAX: u64 = 64 << 20;
/// How long ordinary clients are alone first, and after the attack.
const ALONE: Duration = Duration::from_secs(1);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// What one attack did.
struct Row {
    name: &'static str,
    before: u64,
    peak: u64,
    after: u64,
    descriptors: usize,
    answered: usize,
    refused: Vec<String>,
    alone_ms: f64,
    beside_ms: f64,
}

async fn suffer(attack: Attack, clients: usize, seconds: u64) -> Row {
    let bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let node = bed.cluster.endpoints().into_iter().find(|node| node.region == EAST).unwrap();
    let process = Process(node.pid.unwrap());
    let certs = bed.cluster.folder().certs_dir();
    let target =
        Target { http: node.http, redis: node.redis.unwrap(), grpc: node.grpc.unwrap(), quic: node.quic, certs };
    let ordinary = Ordinary::start(&bed, &target).await;
    sleep(ALONE).await;
    let alone = ordinary.so_far();
    assert!(alone.refused.is_empty(), "before anything was done: {:?}", alone.refused);
    let before = process.resident();
    let peak = process.watch();
    let attackers = attacks::begin(attack, &target, clients);
    sleep(Duration::from_secs(seconds)).await;
    let beside = ordinary.so_far();
    drop(attackers);
    sleep(ALONE).await;
    let (peak, descriptors) = peak.most();
    let after = process.resident();
    assert!(bed.lines(EAST, &["panick"]).is_empty(), "{:?}", bed.lines(EAST, &["panick"]));
    eventually(DEADLINE, "ordinary clients are served as before", async || {
        ordinary.so_far();
        sleep(ALONE).await;
        let again = ordinary.so_far();
        ensure(again.answered > 0 && again.refused.is_empty(), || format!("{:?}", again.refused))
    })
    .await;
    ordinary.stop().await;
    Row {
        name: attack.name(),
        before,
        peak,
        after,
        descriptors,
        answered: beside.answered,
        refused: beside.refused,
        alone_ms: alone.p99_ms,
        beside_ms: beside.p99_ms,
    }
}

/// In MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn table(rows: &[Row], clients: usize, seconds: u64) -> String {
    let mut text = format!("\n{clients} clients, {seconds} s each\n");
    text += "| Attack | Resident before, MiB | most | after | Files open, most | Answered | Refused | p99 alone, ms | beside |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        text += &format!(
            "| {} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {:.1} | {:.1} |\n",
            row.name,
            mib(row.before),
            mib(row.peak),
            mib(row.after),
            row.descriptors,
            row.answered,
            row.refused.len(),
            row.alone_ms,
            row.beside_ms
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cost_little_memory_and_ordinary_clients_are_served_beside_them() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let clients = usize::try_from(setting("STRANGERS_CLIENTS", 200)).unwrap();
    let seconds = setting("STRANGERS_SECONDS", 2);
    let only = std::env::var("STRANGERS_ONLY").unwrap_or_default();
    let mut rows = Vec::new();
    for attack in Attack::ALL.into_iter().filter(|attack| attack.name().contains(&only)) {
        rows.push(suffer(attack, clients, seconds).await);
        println!("{}", table(&rows[rows.len() - 1..], clients, seconds));
    }
    assert!(!rows.is_empty(), "no attack is named {only:?}");
    println!("{}", table(&rows, clients, seconds));
    for row in &rows {
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        row.refused.iter().for_each(|reason| *reasons.entry(reason.chars().take(300).collect()).or_default() += 1);
        reasons.iter().for_each(|(reason, times)| println!("{}: {times} times: {reason}", row.name));
    }
    for row in &rows {
        let growth = row.peak.saturating_sub(row.before);
        assert!(growth <= GROWTH_MAX, "{}: {:.1} MiB more", row.name, mib(growth));
        assert!(row.answered > 0, "{}: nobody was served", row.name);
    }
}
