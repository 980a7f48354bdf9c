//! Cut links: both sides go on counting, and agree once there is any way between them (G1, G4).

use snowtide_client::Connection;

use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, REGIONS, SOUTH, WEST, ensure, eventually, http};

/// Adds powers of ten, so that a missing one can be read off the sum.
async fn add(client: &Connection, key: &str, by: u64) {
    client.increment(NAMESPACE, key, by).await.unwrap();
}

/// How a node sees its link to a peer.
async fn link(bed: &Bed, at: &str, to: &str) -> Result<String, String> {
    let cluster = http::get(bed.http(at), "/v1/cluster").await.map_err(|error| error.to_string())?.json();
    let peer = cluster["peers"].as_array().and_then(|peers| peers.iter().find(|peer| peer["region"] == to));
    peer.and_then(|peer| peer["state"].as_str()).map(str::to_owned).ok_or_else(|| cluster.to_string())
}

async fn until_link(bed: &Bed, at: &str, to: &str, wanted: &str) {
    eventually(DEADLINE, &format!("{to} is {wanted} to {at}"), async || {
        let state = link(bed, at, to).await?;
        ensure(state == wanted, || state)
    })
    .await;
}

#[tokio::test]
async fn a_region_that_was_cut_off_and_the_others_agree_once_healed() {
    let mut bed = Bed::start(|options| options).await;
    let clients = [bed.client(EAST).await, bed.client(WEST).await, bed.client(SOUTH).await];
    for (client, by) in clients.iter().zip([1, 10, 100]) {
        add(client, "before", by).await;
    }
    bed.counted(&REGIONS, "before", 111).await;

    bed.cluster.cut(WEST).unwrap();
    for (client, by) in clients.iter().zip([1, 10, 100]) {
        add(client, "during", by).await;
        add(client, "before", by * 1_000).await;
    }
    bed.counted(&[EAST, SOUTH], "during", 101).await;
    bed.counted(&[WEST], "during", 10).await;
    bed.counted(&[WEST], "before", 10_111).await;
    until_link(&bed, WEST, EAST, "down").await;
    until_link(&bed, SOUTH, WEST, "down").await;
    assert!(bed.cluster.passed().cut > 0, "the cut took nothing away");

    bed.cluster.heal(WEST).unwrap();
    bed.counted(&REGIONS, "during", 111).await;
    bed.counted(&REGIONS, "before", 111_111).await;
}

#[tokio::test]
async fn regions_cut_from_each_other_agree_through_a_third() {
    let mut bed = Bed::start(|options| options).await;
    let clients = [bed.client(EAST).await, bed.client(WEST).await, bed.client(SOUTH).await];
    bed.cluster.cut_between(EAST, SOUTH).unwrap();
    until_link(&bed, EAST, SOUTH, "down").await;
    until_link(&bed, SOUTH, EAST, "down").await;
    for round in 0..20 {
        for (client, by) in clients.iter().zip([1, 1_000, 1_000_000]) {
            add(client, &format!("relayed/{}", round % 4), by).await;
        }
    }
    for key in 0..4 {
        bed.counted(&REGIONS, &format!("relayed/{key}"), 5_005_005).await;
    }
    assert_eq!(link(&bed, EAST, SOUTH).await.unwrap(), "down", "they agreed while they were cut");
    assert_eq!(link(&bed, SOUTH, EAST).await.unwrap(), "down", "they agreed while they were cut");

    bed.cluster.heal_between(EAST, SOUTH).unwrap();
    until_link(&bed, EAST, SOUTH, "up").await;
    until_link(&bed, SOUTH, EAST, "up").await;
    add(&clients[0], "relayed/0", 7).await;
    bed.counted(&REGIONS, "relayed/0", 5_005_012).await;
}

#[tokio::test]
async fn a_region_alone_restarts_and_goes_on_by_itself() {
    // A node that nobody confirms goes on under a new replica id; how long it waits is not what is tested.
    let mut bed = Bed::start(|options| options.set("incarnation.proof_timeout", "500ms")).await;
    add(&bed.client(WEST).await, "alone", 1).await;
    bed.cluster.cut(WEST).unwrap();
    bed.cluster.kill(WEST).await.unwrap();
    bed.start_node(WEST).await;
    let client = bed.client(WEST).await;
    add(&client, "alone", 10).await;
    assert_eq!(client.get(NAMESPACE, "alone").await.unwrap(), 11);
    bed.logged(WEST, &["not proven", "new incarnation"]).await;
    bed.cluster.heal(WEST).unwrap();
    bed.counted(&REGIONS, "alone", 11).await;
}
