//! More than a node can do.

use std::time::Duration;

use snowtide_dev::Cluster;

use crate::book::{Book, Goal};
use crate::drive::{self, Pool, REGION};
use crate::{doors, tools};

/// For each run.
const LASTING: Duration = Duration::from_secs(5);

pub(crate) async fn measure(book: &mut Book, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = drive::node(&dir.path().join("overload"), |options| options).await;
    for round in 1..=rounds {
        tools::say(&format!("overload, round {round} of {rounds}"));
        flooded(book, &cluster).await;
    }
    doors::stop(cluster).await;
}

/// Three times as much as it can do: what fits is done, the rest is refused at once.
async fn flooded(book: &mut Book, cluster: &Cluster) {
    // As many that most of the work is the node's, not that of offering it.
    const KEYS: u32 = 1_000_000;
    const CLIENTS: usize = 16;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(drive::client(cluster, REGION).await);
    }
    drive::fill(&clients[0], KEYS).await;
    let pool = Pool::of(KEYS);
    let capacity = drive::capacity(&clients, &pool, LASTING).await;
    let flooded = drive::flood(&clients, &pool, capacity * 3.0, LASTING).await;
    book.note("capacity by sixteen clients of the benchmark, 1 M keys", "/s", Goal::None, capacity);
    book.note("  offered, of which nobody waits for an answer", "×", Goal::None, flooded.offered / capacity);
    book.note("  done: ratio to capacity", "×", Goal::AtLeast(0.95), flooded.done / capacity);
    book.note("  refused: ratio to capacity", "×", Goal::None, flooded.refused_rate / capacity);
    if let Some(p99) = flooded.refused.get(flooded.refused.len() * 99 / 100) {
        book.note("  time to a refusal then, p99", "ms", Goal::AtMost(10.0), p99.as_secs_f64() * 1e3);
    }
}
