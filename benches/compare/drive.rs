//! Clients of our own, where the load generator's ledger of every counter would be in the way.

use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide::clock;
use snowtide::dev::{Cluster, Endpoint, Options};
use snowtide_client::{Batch, Connection, Error};
use tokio::task::JoinSet;

use crate::snowtide;

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const REGION: &str = "us-east";
const BATCH: u32 = 1_000;
/// Requests that are unanswered at any time.
const IN_FLIGHT: u32 = 16;

/// One node in this folder.
pub(crate) async fn node(dir: &Path, shape: impl FnOnce(Options) -> Options) -> Cluster {
    let options = Options { regions: Some(1), ..Options::new(snowtide(), dir) };
    start(shape(options)).await
}

pub(crate) async fn start(options: Options) -> Cluster {
    let options = Options { ready_within: Duration::from_secs(120), drain_within: Duration::from_secs(120), ..options };
    Cluster::start(options).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn endpoint(cluster: &Cluster) -> Endpoint {
    cluster.endpoints().into_iter().next().unwrap()
}

pub(crate) async fn client(cluster: &Cluster, region: &str) -> Connection {
    Connection::open(cluster.client_config(region).unwrap()).await.unwrap()
}

pub(crate) fn key(index: u32) -> String {
    format!("counter:{index:012}")
}

/// Increments each of so many counters once, in order.
pub(crate) async fn fill(client: &Connection, keys: u32) {
    let mut next = 0;
    let made = std::iter::from_fn(move || {
        let upto = keys.min(next + BATCH);
        let batch = (next < upto).then(|| batch(next..upto));
        next = upto;
        batch
    });
    each(client, made).await;
}

/// Increments counters of the first `keys`, chosen at random, for so long; increments a second.
pub(crate) async fn churn(client: &Connection, keys: u32, lasting: Duration) -> f64 {
    let begun = clock::monotonic();
    let mut random = SmallRng::seed_from_u64(u64::from(keys));
    let made = std::iter::from_fn(|| {
        (begun.elapsed() < lasting).then(|| batch((0..BATCH).map(|_| random.random_range(0..keys))))
    });
    let batches = each(client, made).await;
    f64::from(batches) * f64::from(BATCH) / begun.elapsed().as_secs_f64()
}

/// What became of more than a node can do.
pub(crate) struct Flooded {
    /// Increments a second that were acknowledged.
    pub(crate) done: f64,
    /// How long the node took to refuse, ascending.
    pub(crate) refused: Vec<Duration>,
}

/// Offers so many increments a second, whatever comes of them, for so long.
pub(crate) async fn flood(clients: &[Connection], keys: u32, rate: f64, lasting: Duration) -> Flooded {
    /// Requests that nobody waits for any more.
    const WAITING_MAX: usize = 16_384;
    let (begun, mut random) = (clock::monotonic(), SmallRng::seed_from_u64(1));
    let (mut offered, mut tasks, mut flooded) = (0.0, JoinSet::new(), Flooded { done: 0.0, refused: Vec::new() });
    let mut settle = |(result, took): (Result<_, Error>, Duration), in_time| match result {
        Ok(()) if in_time => flooded.done += f64::from(BATCH),
        Ok(()) => {}
        Err(Error::Refused { .. }) => flooded.refused.push(took),
        Err(error) => panic!("{error}"),
    };
    while begun.elapsed() < lasting {
        while offered < rate * begun.elapsed().as_secs_f64() {
            offered += f64::from(BATCH);
            let (client, batch) = (
                clients[random.random_range(0..clients.len())].clone(),
                batch((0..BATCH).map(|_| random.random_range(0..keys))),
            );
            if tasks.len() < WAITING_MAX {
                tasks.spawn(async move {
                    let asked = clock::monotonic();
                    (client.batch(&batch).await.map(|_| ()), asked.elapsed())
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(ended) = tasks.try_join_next() {
            settle(ended.unwrap(), true);
        }
    }
    let lasted = begun.elapsed().as_secs_f64();
    while let Some(ended) = tasks.join_next().await {
        settle(ended.unwrap(), false);
    }
    flooded.done /= lasted;
    flooded.refused.sort_unstable();
    flooded
}

fn batch(keys: impl IntoIterator<Item = u32>) -> Batch {
    let mut batch = Batch::new();
    for index in keys {
        batch.increment(NAMESPACE, &key(index), 1).unwrap();
    }
    batch
}

/// Sends each, a few at a time, until all are acknowledged; how many.
async fn each(client: &Connection, batches: impl Iterator<Item = Batch>) -> u32 {
    let (mut sent, mut tasks) = (0, JoinSet::new());
    for batch in batches {
        if tasks.len() >= IN_FLIGHT as usize {
            tasks.join_next().await.unwrap().unwrap();
        }
        let client = client.clone();
        tasks.spawn(async move { acknowledged(&client, &batch).await });
        sent += 1;
    }
    tasks.join_all().await;
    sent
}

/// Until it is: a node that is busy says when to come again.
async fn acknowledged(client: &Connection, batch: &Batch) {
    loop {
        match client.batch(batch).await {
            Ok(results) => return results.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}")),
            Err(Error::Refused { retry_after: Some(after), .. }) => tokio::time::sleep(after).await,
            Err(error) => panic!("{error}"),
        }
    }
}
