//! A node that nobody's journal can serve any more is repaired, row by row, while it serves (G4).

use snowtide_client::{Batch, Connection};

use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, REGIONS, SOUTH, WEST, ensure, eventually, http};

const KEYS: usize = 500;

fn keys() -> Vec<String> {
    (0..KEYS).map(|key| format!("repaired/{key}")).collect()
}

/// Adds to every counter.
async fn add_all(client: &Connection, by: u64) {
    let mut batch = Batch::new();
    for key in keys() {
        batch.increment(NAMESPACE, &key, by).unwrap();
    }
    let answers = client.batch(&batch).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Journals are cut soon; nodes compare so rarely that only a gap begins a session.
async fn forgetful() -> Bed {
    Bed::start(|options| {
        let options = options.set("hints.max_age", "1s").set("checkpoint.interval", "100ms");
        // The newest records are in memory, too, twice as many as may be on their way to a peer.
        let options = options.set("gossip.inflight_bytes_max", "64KiB");
        options.set("repair.interval", "1d").set("incarnation.proof_timeout", "2s")
    })
    .await
}

/// Lets the region miss so much that it has to be repaired.
async fn miss(bed: &mut Bed, region: &str, clients: &[Connection], wipe: bool) -> u64 {
    let mut added = 0;
    eventually(DEADLINE, "a journal that no longer reaches back", async || {
        bed.cluster.kill(region).await.unwrap();
        if wipe {
            std::fs::remove_dir_all(bed.cluster.folder().data_dir(region)).unwrap();
        }
        // Time passes by checkpoints: each moves the cut on once it is due.
        for _ in 0..20 {
            add_all(&clients[0], 3).await;
            add_all(&clients[1], 4).await;
            added += 7;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        bed.start_node(region).await;
        bed.agreed(&REGIONS, &keys()).await;
        ensure(!bed.lines(region, &["a repair session has ended", "whole=true"]).is_empty(), || {
            "gossip was enough".into()
        })
    })
    .await;
    added
}

/// Three regions of which eu-west missed so much that it was repaired, and how much each counter holds now.
async fn repaired(wipe: bool) -> (Bed, i128) {
    let mut bed = forgetful().await;
    let clients = [bed.client(EAST).await, bed.client(SOUTH).await];
    add_all(&bed.client(WEST).await, 1).await;
    bed.agreed(&REGIONS, &keys()).await;
    let added = i128::from(miss(&mut bed, WEST, &clients, wipe).await) + 1;
    let values = bed.agreed(&REGIONS, &keys()).await;
    assert!(values.iter().all(|value| *value == added), "{added} were added: {values:?}");
    (bed, added)
}

#[tokio::test]
async fn a_region_that_was_away_for_too_long_is_repaired() {
    let (bed, added) = repaired(false).await;
    add_all(&bed.client(WEST).await, 1_000).await;
    bed.counted(&REGIONS, "repaired/0", added + 1_000).await;
}

#[tokio::test]
async fn a_region_whose_disk_was_lost_is_repaired_from_nothing() {
    let (bed, _) = repaired(true).await;
    let ready = http::get(bed.http(WEST), "/readyz?verbose").await.unwrap().json();
    assert_eq!((&ready["ready"], &ready["repairs"]), (&true.into(), &serde_json::json!([])));
}

#[tokio::test]
async fn nodes_that_agree_say_when_they_last_compared() {
    let bed = Bed::start(|options| options.set("repair.interval", "200ms")).await;
    add_all(&bed.client(EAST).await, 1).await;
    bed.agreed(&REGIONS, &keys()).await;
    eventually(DEADLINE, "every pair compared", async || {
        for region in REGIONS {
            let cluster = http::get(bed.http(region), "/v1/cluster").await.map_err(|error| error.to_string())?.json();
            let peers = cluster["peers"].as_array().ok_or("no peers")?;
            ensure(peers.iter().all(|peer| peer["compared_seconds"].is_number()), || cluster.to_string())?;
        }
        Ok::<(), String>(())
    })
    .await;
}
