//! Ten million counters: what each takes, how a node starts with them, and whether it is slower for it.

use std::path::Path;
use std::time::Duration;

use snowtide::clock;
use snowtide_client::Connection;
use snowtide_dev::Cluster;

use crate::book::{Book, Goal};
use crate::cost;
use crate::drive::{self, REGION};
use crate::tools;

const KEYS: u32 = 10_000_000;
const FEWER_KEYS: u32 = 1_000_000;
const FEW_KEYS: u32 = 10_000;
const LASTING: Duration = Duration::from_secs(8);
/// Room for less than half of the rows.
const LITTLE_MEMORY: &str = "768MiB";

pub(crate) async fn measure(book: &mut Book) {
    tools::say("capacity: 10 M counters");
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = drive::node(dir.path(), |options| options).await;
    let many = in_memory(book, &cluster).await;
    tools::say("capacity: stops and starts");
    let begun = clock::monotonic();
    cluster.terminate(REGION).await.unwrap();
    book.note("clean stop right after full load, 10 M keys", "s", Goal::AtMost(3.0), begun.elapsed().as_secs_f64());
    let each = data_bytes(&cluster) as f64 / f64::from(KEYS);
    book.note("disk a key, 20 bytes of it its name", "B", Goal::AtMost(60.0), each);
    let clean = restart(&mut cluster).await;
    book.note("start after a clean stop, 10 M keys", "s", Goal::AtMost(5.0), clean);
    kill_under_load(&mut cluster).await;
    let crashed = restart(&mut cluster).await;
    book.note("start after kill -9 at full load, 10 M keys", "s", Goal::AtMost(4.0), crashed);
    tools::say("capacity: most of 10 M counters on disk alone");
    cluster.terminate(REGION).await.unwrap();
    cluster.set_of(REGION, &[("memory.bytes_max", LITTLE_MEMORY)]);
    restart(&mut cluster).await;
    let cold = rate(&drive::client(&cluster, REGION).await, KEYS).await;
    book.note("increments over QUIC, 10 M keys, most of them on disk alone", "/s", Goal::None, cold);
    book.note("  against all of them in memory", "×", Goal::None, cold / many);
}

/// Increments a second with 10 M keys, all of them in memory.
async fn in_memory(book: &mut Book, cluster: &Cluster) -> f64 {
    let (client, pid) = (drive::client(cluster, REGION).await, drive::endpoint(cluster).pid.unwrap());
    drive::fill(&client, FEW_KEYS).await;
    let empty = cost::resident(pid);
    drive::fill(&client, FEWER_KEYS).await;
    let fewer = rate(&client, FEWER_KEYS).await;
    book.note("increments over QUIC, one client, 1 M keys", "/s", Goal::None, fewer);
    drive::fill(&client, KEYS).await;
    let each = (cost::resident(pid) - empty) as f64 / f64::from(KEYS);
    book.note("memory a cached key, 20 bytes of it its name", "B", Goal::AtMost(100.0), each);
    let many = rate(&client, KEYS).await;
    book.note("increments over QUIC, one client, 10 M keys", "/s", Goal::None, many);
    book.note("  ratio", "×", Goal::AtLeast(0.6), many / fewer);
    many
}

async fn rate(client: &Connection, keys: u32) -> f64 {
    drive::churn(client, keys, LASTING / 4).await;
    drive::churn(client, keys, LASTING).await
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
