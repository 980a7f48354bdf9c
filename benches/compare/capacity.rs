//! Ten million counters: what each takes, how a node starts with them, and whether it is slower for it.

use std::path::Path;
use std::time::Duration;

use snowtide::clock;
use snowtide::dev::Cluster;

use crate::book::{Book, Goal};
use crate::drive::{self, REGION};
use crate::tools;

const KEYS: u32 = 10_000_000;
const FEW_KEYS: u32 = 10_000;
const LASTING: Duration = Duration::from_secs(8);

pub(crate) async fn measure(book: &mut Book) {
    tools::say("capacity: 10 M counters in memory");
    in_memory(book).await;
    tools::say("capacity: 10 M counters on disk");
    on_disk(book).await;
}

/// With a cache that holds all of them.
async fn in_memory(book: &mut Book) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = drive::node(dir.path(), |options| options.set("cache.rows_max", "20000000")).await;
    let (client, pid) = (drive::client(&cluster, REGION).await, drive::endpoint(&cluster).pid.unwrap());
    drive::fill(&client, FEW_KEYS).await;
    let empty = tools::resident(pid);
    drive::fill(&client, KEYS).await;
    let each = (tools::resident(pid) - empty) as f64 / f64::from(KEYS);
    book.note("memory a cached key, 20 bytes of it its name", "B", Goal::AtMost(120.0), each);
    drop(cluster);
}

/// With a cache for a fifth of them, as the default is.
async fn on_disk(book: &mut Book) {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = drive::node(dir.path(), |options| options).await;
    let client = drive::client(&cluster, REGION).await;
    drive::churn(&client, FEW_KEYS, LASTING / 4).await;
    let few = drive::churn(&client, FEW_KEYS, LASTING).await;
    drive::fill(&client, KEYS).await;
    drive::churn(&client, KEYS, LASTING / 4).await;
    let many = drive::churn(&client, KEYS, LASTING).await;
    book.note("increments over QUIC, 10 k keys", "/s", Goal::None, few);
    book.note("increments over QUIC, 10 M keys, a fifth of them cached", "/s", Goal::None, many);
    book.note("  ratio", "×", Goal::AtLeast(0.5), many / few);
    drop(client);

    cluster.terminate(REGION).await.unwrap();
    let clean = restart(&mut cluster).await;
    book.note("start after a clean stop, 10 M keys", "s", Goal::AtMost(5.0), clean);
    kill_under_load(&mut cluster).await;
    let crashed = restart(&mut cluster).await;
    book.note("start after kill -9 at full load, 10 M keys", "s", Goal::AtMost(10.0), crashed);
    cluster.terminate(REGION).await.unwrap();
    let each = data_bytes(&cluster) as f64 / f64::from(KEYS);
    book.note("disk a key, 20 bytes of it its name", "B", Goal::AtMost(60.0), each);
}

fn data_bytes(cluster: &Cluster) -> u64 {
    let dir: &Path = &cluster.folder().data_dir(REGION);
    tools::disk(dir)
}

/// Seconds until it is ready.
async fn restart(cluster: &mut Cluster) -> f64 {
    let begun = clock::monotonic();
    cluster.start_node(REGION).await.unwrap_or_else(|error| panic!("{error}"));
    begun.elapsed().as_secs_f64()
}

async fn kill_under_load(cluster: &mut Cluster) {
    let client = drive::client(cluster, REGION).await;
    let load = tokio::spawn(async move { drive::churn(&client, KEYS, LASTING * 2).await });
    tokio::time::sleep(LASTING).await;
    cluster.kill(REGION).await.unwrap();
    // Whoever was served then has lost its connection.
    assert!(load.await.is_err());
}
