//! One node, through each of its doors; beside Redis where both keep the same promise, and beside the machine.

use snowtide_dev::{Cluster, Endpoint};

use crate::book::{Book, Goal};
use crate::drive;
use crate::tools::{self, Promise, Redis};

/// For each run of the load generator.
const SECONDS: &str = "8s";
/// Of counters that are in memory already, since they are read before the run.
const PREFIX: &str = "warm:";

pub(crate) async fn measure(book: &mut Book, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    // Each part has a node of its own, or one would be measured while it writes what another has changed.
    let mut clusters = Vec::new();
    for name in ["alone", "redis", "quic"] {
        clusters.push(drive::node(&dir.path().join(name), |options| options).await);
    }
    let nodes: Vec<Endpoint> = clusters.iter().map(drive::endpoint).collect();
    let ca = |index: usize| clusters[index].folder().ca_file().display().to_string();
    let (synced, unsynced) = (Redis::start(Promise::Synced).await, Redis::start(Promise::Nothing).await);
    for round in 1..=rounds {
        tools::say(&format!("doors, round {round} of {rounds}"));
        alone(book, &nodes[0], &ca(0), dir.path()).await;
        redis(book, &nodes[1], &synced, &unsynced).await;
        quic(book, &nodes[2], &ca(2)).await;
    }
    for cluster in clusters {
        stop(cluster).await;
    }
}

pub(crate) async fn stop(mut cluster: Cluster) {
    cluster.stop_all().await;
}

/// One client, one request at a time.
async fn alone(book: &mut Book, node: &Endpoint, ca: &str, dir: &std::path::Path) {
    let sync_ms = tools::fdatasync_ms(dir);
    let url = tools::url("quic", node.quic);
    let common = ["--ca", ca, "--target", &url, "--mix", "1:0:0", "--rate", "max", "--duration", SECONDS];
    let one = tools::loadtest(&[&common[..], &["--connections", "1", "--in-flight", "1"]].concat()).await;
    let p50 = tools::latency_ms(&one, "increment", "p50");
    book.note("fdatasync of the machine, p50", "ms", Goal::None, sync_ms);
    book.note("one client, one increment at a time over QUIC, p50", "ms", Goal::None, p50);
    book.note("  ratio to fdatasync", "×", Goal::AtMost(3.0), p50 / sync_ms);
}

/// Each increment to a key of its own choice, in requests of a thousand; and at a rate that does not wait for answers.
async fn quic(book: &mut Book, node: &Endpoint, ca: &str) {
    let url = tools::url("quic", node.quic);
    for (keys, dist, goal) in [("1000000", "uniform", 1.3e6), ("1000000", "zipf", 2e6), ("10000", "uniform", 6e6)] {
        let shape = ["--connections", "2", "--in-flight", "4", "--batch", "1000", "--keys", keys];
        let common = ["--ca", ca, "--target", &url, "--mix", "1:0:0", "--dist", dist, "--duration", SECONDS];
        let most = tools::loadtest(&[&common[..], &shape, &["--rate", "max", "--key-prefix", PREFIX]].concat()).await;
        let rate = tools::rate(&most, "increment");
        book.note(&format!("durable increments over QUIC, {keys} keys, {dist}"), "/s", Goal::AtLeast(goal), rate);
        let p99 = tools::latency_ms(&most, "increment", "p99");
        book.note(&format!("  p99, {keys} keys, {dist}"), "ms", Goal::AtMost(20.0), p99);
    }
    let shape = ["--connections", "2", "--batch", "100", "--keys", "1000000", "--key-prefix", PREFIX];
    let common = ["--ca", ca, "--target", &url, "--mix", "1:0:0", "--rate", "400000", "--duration", SECONDS];
    let offered = tools::loadtest(&[&common[..], &shape].concat()).await;
    for (percentile, goal) in [("p50", 2.0), ("p99", 15.0), ("max", 60.0)] {
        let of = format!("400 000 increments a second in batches of 100, 1 M keys: {percentile}");
        book.note(&of, "ms", Goal::AtMost(goal), tools::latency_ms(&offered, "increment", percentile));
    }
}

async fn redis(book: &mut Book, node: &Endpoint, synced: &Redis, unsynced: &Redis) {
    let Some(ours) = node.redis.map(|address| address.port()) else { return };
    for (shape, operations, goal) in [
        ((1, 1), 15_000, 1.0),
        ((50, 1), 150_000, 1.0),
        ((500, 1), 150_000, 1.0),
        ((50, 16), 1_500_000, 1.5),
        ((50, 64), 3_000_000, 2.0),
    ] {
        let own = tools::redis_benchmark(ours, shape, operations).await;
        let theirs = tools::redis_benchmark(synced.port, shape, operations / 2).await;
        let (connections, pipeline) = shape;
        let of = |who: &str| format!("redis-benchmark -t incr -c {connections} -P {pipeline}: {who}");
        book.note(&of("snowtide"), "/s", Goal::None, own);
        book.note(&of("Redis, appendfsync always"), "/s", Goal::None, theirs);
        let ratio = format!("  ratio, {connections} clients, P = {pipeline}");
        book.note(&ratio, "×", Goal::AtLeast(goal), own / theirs);
        if pipeline == 64 {
            let fastest = tools::redis_benchmark(unsynced.port, shape, operations).await;
            book.note(&of("Redis, no persistence"), "/s", Goal::None, fastest);
            book.note("  ratio to that, P = 64", "×", Goal::AtLeast(1.0), own / fastest);
        }
    }
}
