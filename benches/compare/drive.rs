//! Clients of our own, where the load generator's ledger of every counter would be in the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use snowtide::clock;
use snowtide_client::{Batch, Connection, Error};
use snowtide_dev::{Cluster, Endpoint, Options};
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
        let batch = (next < upto).then(|| Arc::new(batch(next..upto)));
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
        (begun.elapsed() < lasting).then(|| Arc::new(batch((0..BATCH).map(|_| random.random_range(0..keys)))))
    });
    let batches = each(client, made).await;
    f64::from(batches) * f64::from(BATCH) / begun.elapsed().as_secs_f64()
}

/// Batches for increments of random counters, made beforehand: offering one then costs little beside answering it.
pub(crate) struct Pool(Vec<Arc<Batch>>);

impl Pool {
    /// Of the first `keys`.
    pub(crate) fn of(keys: u32) -> Self {
        const BATCHES: usize = 1_000;
        let mut random = SmallRng::seed_from_u64(u64::from(keys));
        Self((0..BATCHES).map(|_| Arc::new(batch((0..BATCH).map(|_| random.random_range(0..keys))))).collect())
    }

    fn endless(&self) -> impl Iterator<Item = Arc<Batch>> + Send + use<> {
        self.0.clone().into_iter().cycle()
    }
}

/// Increments a second that all clients together have done, each with the same number of requests unanswered.
pub(crate) async fn capacity(clients: &[Connection], pool: &Pool, lasting: Duration) -> f64 {
    let begun = clock::monotonic();
    let each_of = |(at, client): (usize, &Connection)| {
        let (client, batches) = (client.clone(), pool.endless().skip(at * 50));
        async move { each(&client, batches.take_while(|_| begun.elapsed() < lasting)).await }
    };
    let done = clients.iter().enumerate().map(each_of).collect::<JoinSet<_>>().join_all().await;
    f64::from(done.iter().sum::<u32>()) * f64::from(BATCH) / begun.elapsed().as_secs_f64()
}

/// What became of more than a node can do. Rates are increments a second.
pub(crate) struct Flooded {
    pub(crate) offered: f64,
    pub(crate) done: f64,
    pub(crate) refused_rate: f64,
    /// How long the node took to refuse, ascending.
    pub(crate) refused: Vec<Duration>,
}

/// Offers so many increments a second, whatever comes of them, for so long.
pub(crate) async fn flood(clients: &[Connection], pool: &Pool, rate: f64, lasting: Duration) -> Flooded {
    /// Requests that nobody waits for any more.
    const WAITING_MAX: usize = 16_384;
    let begun = clock::monotonic();
    let (mut due, mut offered, mut done, mut refused) = (0.0, 0_u32, 0_u32, Vec::new());
    let (mut tasks, mut batches) = (JoinSet::new(), pool.endless());
    let mut settle = |(result, took): (Result<_, Error>, Duration)| match result {
        Ok(()) => done += 1,
        Err(Error::Refused { .. }) => refused.push(took),
        Err(error) => panic!("{error}"),
    };
    while begun.elapsed() < lasting {
        while due < rate * begun.elapsed().as_secs_f64() {
            due += f64::from(BATCH);
            if tasks.len() < WAITING_MAX {
                let (client, batch) = (clients[offered as usize % clients.len()].clone(), batches.next().unwrap());
                offered += 1;
                tasks.spawn(async move {
                    let asked = clock::monotonic();
                    (client.batch(&batch).await.map(|_| ()), asked.elapsed())
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(ended) = tasks.try_join_next() {
            settle(ended.unwrap());
        }
    }
    // What is answered later counts for nothing.
    let a_second = |batches: f64| batches * f64::from(BATCH) / begun.elapsed().as_secs_f64();
    let rates = [f64::from(offered), f64::from(done), refused.len() as f64].map(a_second);
    tasks.join_all().await.into_iter().for_each(|(result, _)| match result {
        Ok(()) | Err(Error::Refused { .. }) => {}
        Err(error) => panic!("{error}"),
    });
    refused.sort_unstable();
    Flooded { offered: rates[0], done: rates[1], refused_rate: rates[2], refused }
}

fn batch(keys: impl IntoIterator<Item = u32>) -> Batch {
    let mut batch = Batch::new();
    for index in keys {
        batch.increment(NAMESPACE, &key(index), 1).unwrap();
    }
    batch
}

/// Sends each, a few at a time, until all are acknowledged; how many.
async fn each(client: &Connection, batches: impl Iterator<Item = Arc<Batch>>) -> u32 {
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
