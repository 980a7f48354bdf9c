//! Starts on a directory that is not what the node left behind: wiped, and rolled back. Each goes on under a new
//! incarnation, hides no increment, and mints above every ID that it ever gave out (I3, I10).

use std::fs;

use crate::clones;
use crate::harness::{Bed, EAST, NAMESPACE, SOUTH, WEST, ensure, eventually, http};

const KEY: &str = "kept";

/// The incarnation that eu-west works under.
async fn replica(bed: &Bed) -> String {
    let answer = http::get(bed.http(WEST), "/v1/cluster").await.unwrap();
    answer.json()["node"]["replica"].as_str().unwrap().to_owned()
}

async fn add(bed: &Bed, by: u64) {
    bed.client(WEST).await.increment(NAMESPACE, KEY, by).await.unwrap();
}

async fn last_id(bed: &Bed) -> u64 {
    let client = bed.client(WEST).await;
    let ids = eventually(crate::harness::DEADLINE, "IDs are minted", async || client.ids(100).await).await;
    *ids.last().unwrap()
}

/// An ID that the peers know of: the ceiling above it has left before the increment that follows it.
async fn known_id(bed: &Bed) -> u64 {
    let id = last_id(bed).await;
    bed.client(WEST).await.increment(NAMESPACE, "after-the-id", 1).await.unwrap();
    bed.counted(&[EAST, SOUTH], "after-the-id", 1).await;
    id
}

#[tokio::test]
async fn a_wiped_directory() {
    let mut bed = Bed::start(|options| options).await;
    add(&bed, 1_000_003).await;
    bed.counted(&[EAST, SOUTH], KEY, 1_000_003).await;
    let (before, minted) = (replica(&bed).await, known_id(&bed).await);
    bed.cluster.kill(WEST).await.unwrap();
    fs::remove_dir_all(bed.cluster.folder().data_dir(WEST)).unwrap();
    bed.start_node(WEST).await;
    assert_ne!(replica(&bed).await, before);
    // What only others hold now comes back as somebody else's, and new increments come on top of it.
    add(&bed, 1_000_033).await;
    bed.counted(&[EAST, WEST, SOUTH], KEY, 2_000_036).await;
    assert!(last_id(&bed).await > minted, "peers have told how far its IDs had come");
}

#[tokio::test]
async fn a_directory_that_was_rolled_back() {
    let mut bed = Bed::start(|options| options).await;
    add(&bed, 1_000_003).await;
    bed.counted(&[EAST, SOUTH], KEY, 1_000_003).await;
    bed.cluster.kill(WEST).await.unwrap();
    let (data, old) = (bed.cluster.folder().data_dir(WEST), bed.cluster.folder().node_dir(WEST).join("old"));
    clones::copy(&data, &old);
    bed.start_node(WEST).await;
    let before = replica(&bed).await;
    add(&bed, 1_000_033).await;
    bed.counted(&[EAST, SOUTH], KEY, 2_000_036).await;
    let minted = known_id(&bed).await;
    bed.cluster.kill(WEST).await.unwrap();

    fs::remove_dir_all(&data).unwrap();
    fs::rename(&old, &data).unwrap();
    bed.start_node(WEST).await;
    // A peer shows more of its log than it has itself.
    let line = bed.logged(WEST, &["WARN", "is not proven; a new incarnation takes over"]).await;
    assert!(line.contains("the data directory is older than its history"), "{line}");
    assert_ne!(replica(&bed).await, before);
    // These would be taken for ones that the peers have, and be swallowed, under the old one.
    add(&bed, 1_000_037).await;
    bed.counted(&[EAST, WEST, SOUTH], KEY, 3_000_073).await;
    assert!(last_id(&bed).await > minted);
    let stage = http::get(bed.http(WEST), "/readyz").await.unwrap();
    ensure(stage.status == 200, || format!("{stage:?}")).unwrap();
}
