//! kill -9 and durability: with `interval` it may lose what was not synced, with `fsync` nothing, ever.

use snowtide_dev::Options;

use crate::harness::{Bed, EAST, NAMESPACE};

const FAST: &str = "fast";

/// One region, so that nothing comes back from a peer; the longest interval, so that a commit on which nobody waits is
/// surely open when the node is killed.
async fn alone() -> Bed {
    Bed::start(|options| {
        let options = options.set(&format!("namespace.{FAST}.durability"), "interval").set("commit.interval", "10s");
        Options { regions: Some(1), ..options }
    })
    .await
}

async fn values(bed: &Bed) -> (i128, i128) {
    let client = bed.client(EAST).await;
    (client.get(NAMESPACE, "safe").await.unwrap(), client.get(FAST, "fast").await.unwrap())
}

#[tokio::test]
async fn a_kill_loses_unsynced_increments_of_interval_namespaces_and_no_others() {
    let mut bed = alone().await;
    let client = bed.client(EAST).await;
    for _ in 0..20 {
        client.increment(FAST, "fast", 1_000).await.unwrap();
    }
    // This one waits for its sync, and takes along what came before it.
    assert_eq!(client.increment(NAMESPACE, "safe", 1).await.unwrap(), 1);
    for round in 1..=50 {
        client.increment(FAST, "fast", 1).await.unwrap();
        assert_eq!(client.get(FAST, "fast").await.unwrap(), 20_000 + round, "what was acknowledged is read");
    }
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    let (safe, fast) = values(&bed).await;
    assert_eq!(safe, 1);
    assert!((20_000..=20_050).contains(&fast), "{fast}");
    // A sync for each would have kept all; a machine that took ten seconds for these lines would, too.
    println!("{} of 50 unsynced increments survived", fast - 20_000);
}

#[tokio::test]
async fn a_drain_loses_nothing() {
    let mut bed = alone().await;
    let client = bed.client(EAST).await;
    client.increment(FAST, "fast", 77).await.unwrap();
    bed.cluster.terminate(EAST).await.unwrap();
    bed.start_node(EAST).await;
    assert_eq!(values(&bed).await, (0, 77));
}
