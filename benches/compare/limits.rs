//! Decisions of limits: one node, beside Redis with the same algorithm in a script; and three regions, with what that costs
//! on the wire.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide::clock;
use snowtide_client::{Algorithm, Connection, LimitBatch, Numbers};
use snowtide_dev::{Cluster, Options};
use tokio::task::JoinSet;

use crate::book::{Book, Goal};
use crate::tools::{self, Promise, Redis};
use crate::{drive, snowtide};

const LASTING: Duration = Duration::from_secs(8);
const KEYS: u32 = 1_000_000;
/// One of so many keys is hot, and has as much as all others together.
const HOT_PART: u32 = 100;
const BATCH: u32 = 1_000;
const BATCHES: usize = 1_000;
/// Batches that are unanswered on each connection.
const IN_FLIGHT: usize = 4;
const ONE_WAY: Duration = Duration::from_millis(40);
/// The hot keys of all regions together are asked for about as much as there is; the others stay far below.
const POLICY: Numbers = Numbers { algorithm: Algorithm::Sliding, limit: 6_000, window_ms: 60_000, burst: 6_000 };
/// In Redis's own time, as in `CL.THROTTLE k 15 30 60`.
const SCRIPT: &str = include_str!("gcra.lua");

pub(crate) async fn measure(book: &mut Book, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=rounds {
        tools::say(&format!("limits, round {round} of {rounds}"));
        alone(book, &dir.path().join(format!("alone{round}"))).await;
        redis(book, &dir.path().join(format!("redis{round}"))).await;
    }
    tools::say("limits: three regions, 80 ms apart");
    regions(book, &dir.path().join("regions")).await;
}

/// Keys of a batch: any of them alike, or half of the time one of the hot ones.
fn batches(hot: bool) -> Vec<Arc<LimitBatch>> {
    let mut random = SmallRng::seed_from_u64(u64::from(hot));
    let mut key =
        || if hot && random.random() { random.random_range(0..KEYS / HOT_PART) } else { random.random_range(0..KEYS) };
    let mut batch = || {
        let mut batch = LimitBatch::new();
        (0..BATCH).for_each(|_| _ = batch.check(POLICY, &drive::key(key()), 1).unwrap());
        Arc::new(batch)
    };
    (0..BATCHES).map(|_| batch()).collect()
}

/// Decisions a second that all clients together were answered.
async fn decisions(clients: &[Connection], pool: &[Arc<LimitBatch>]) -> f64 {
    let begun = clock::monotonic();
    let mut lanes = JoinSet::new();
    for (at, client) in clients.iter().enumerate().flat_map(|of| std::iter::repeat_n(of, IN_FLIGHT)) {
        let (client, pool) = (client.clone(), pool.to_vec());
        let skipped = at * 50 + lanes.len();
        lanes.spawn(async move {
            let mut answered = 0_u32;
            for batch in pool.iter().cycle().skip(skipped).take_while(|_| begun.elapsed() < LASTING) {
                let results = client.limits(batch).await.unwrap();
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                answered += BATCH;
            }
            answered
        });
    }
    let answered: f64 = lanes.join_all().await.into_iter().map(f64::from).sum();
    answered / begun.elapsed().as_secs_f64()
}

async fn alone(book: &mut Book, dir: &std::path::Path) {
    let cluster = drive::node(dir, |options| options).await;
    let clients = [drive::client(&cluster, drive::REGION).await, drive::client(&cluster, drive::REGION).await];
    let rate = decisions(&clients, &batches(false)).await;
    book.note("decisions over QUIC in batches of 1 000, 1 M keys", "/s", Goal::AtLeast(2e6), rate);
    crate::doors::stop(cluster).await;
}

async fn redis(book: &mut Book, dir: &std::path::Path) {
    let cluster = drive::node(dir, |options| options).await;
    let Some(ours) = drive::endpoint(&cluster).redis.map(|address| address.port()) else { return };
    let redis = Redis::start(Promise::Nothing).await;
    let script = tools::redis_script(redis.port, SCRIPT).await;
    for (pipeline, decisions, goal) in [(1, 150_000, 1.0), (16, 1_500_000, 2.0), (64, 3_000_000, 3.0)] {
        let own = ["CL.THROTTLE", "k:__rand_int__", "15", "30", "60"];
        let own = tools::redis_benchmark_of(ours, (50, pipeline), decisions, &own).await;
        let theirs = ["EVALSHA", &script, "1", "k:__rand_int__", "16", "30", "60", "1"];
        let theirs = tools::redis_benchmark_of(redis.port, (50, pipeline), decisions / 4, &theirs).await;
        let of = |who: &str| format!("redis-benchmark, GCRA, -c 50 -P {pipeline}: {who}");
        book.note(&of("snowtide, CL.THROTTLE"), "/s", Goal::None, own);
        book.note(&of("Redis, EVALSHA, no persistence"), "/s", Goal::None, theirs);
        book.note(&format!("  ratio, GCRA, P = {pipeline}"), "×", Goal::AtLeast(goal), own / theirs);
    }
    crate::doors::stop(cluster).await;
}

async fn regions(book: &mut Book, dir: &std::path::Path) {
    let cluster = drive::start(Options { regions: Some(3), ..Options::new(snowtide(), dir) }).await;
    cluster.delay(ONE_WAY).unwrap();
    let clients = all_clients(&cluster).await;
    let before = cluster.passed().bytes;
    let rate = decisions(&clients, &batches(true)).await;
    let bytes = (cluster.passed().bytes - before) as f64 / (rate * LASTING.as_secs_f64());
    book.note("decisions of three regions together, 80 ms apart", "/s", Goal::AtLeast(1e6), rate);
    book.note("  bytes between regions for each, 1 % of the keys hot", "B", Goal::AtMost(1.0), bytes);
    crate::doors::stop(cluster).await;
}

async fn all_clients(cluster: &Cluster) -> Vec<Connection> {
    let mut clients = Vec::new();
    for region in cluster.regions() {
        clients.push(drive::client(cluster, region).await);
    }
    clients
}
