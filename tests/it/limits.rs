//! Limits over several regions, in real processes.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use snowtide_dev::Options;

use crate::harness::http::{Answer, ask};
use crate::harness::{Bed, DEADLINE, EAST, SOUTH, WEST, ensure, eventually};

/// A policy of one window a second, so that a side has formed within a moment.
fn policy(limit: u64) -> String {
    format!("[limits.policy.shared]\nalgorithm = \"fixed\"\nlimit = {limit}\nwindow = \"2s\"\n")
}

/// Regions with this configuration in a file that may be changed.
async fn start(dir: &Path, text: &str, regions: u8) -> Bed {
    let file = dir.join("snowtide.toml");
    std::fs::write(&file, text).unwrap();
    Bed::start(|options| Options { regions: Some(regions), config_file: Some(file), ..options }).await
}

async fn limit(bed: &Bed, region: &str, method: &str, key: &str, body: &str) -> Result<Value, String> {
    let Answer { status, body, .. } =
        ask(bed.http(region), method, &format!("/v1/limits/shared/{key}"), body).await.map_err(|e| e.to_string())?;
    if status == 200 { serde_json::from_str(&body).map_err(|e| e.to_string()) } else { Err(body) }
}

/// Until what one region admits is known in another within the same window.
async fn counts_together(bed: &Bed, one: &str, other: &str, limit_units: u64) {
    let mut round = 0;
    eventually(DEADLINE, &format!("{one} and {other} count together"), async || {
        round += 1;
        let key = format!("{one}-{other}-{round}");
        let admitted = limit(bed, one, "POST", &key, r#"{"cost":40}"#).await?;
        ensure(admitted["allowed"] == true, || admitted.to_string())?;
        // A message takes a moment; a window, two seconds.
        for _ in 0..20 {
            let seen = limit(bed, other, "GET", &key, "").await?;
            if seen["remaining"] == limit_units - 40 {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        Err("not in this window".to_owned())
    })
    .await;
}

#[tokio::test]
async fn regions_count_together_and_apart_when_they_are_cut_and_together_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = start(dir.path(), &policy(90), 3).await;
    counts_together(&bed, EAST, WEST, 90).await;
    counts_together(&bed, WEST, SOUTH, 90).await;

    bed.cluster.cut(WEST).unwrap();
    // By itself it has its share, and so have the others together.
    eventually(DEADLINE, "west is alone", async || {
        let seen = limit(&bed, WEST, "GET", "alone", "").await?;
        ensure(seen["remaining"] == 30, || seen.to_string())
    })
    .await;
    eventually(DEADLINE, "the others have the rest", async || {
        let seen = limit(&bed, EAST, "GET", "alone", "").await?;
        ensure(seen["remaining"] == 60, || seen.to_string())
    })
    .await;

    bed.cluster.heal(WEST).unwrap();
    counts_together(&bed, WEST, EAST, 90).await;
    bed.cluster.kill(WEST).await.unwrap();
    bed.start_node(WEST).await;
    counts_together(&bed, WEST, SOUTH, 90).await;
    bed.cluster.check().unwrap();
}

#[tokio::test]
async fn a_policy_that_differs_parts_nodes_and_one_that_is_changed_everywhere_joins_them() {
    let dir = tempfile::tempdir().unwrap();
    let bed = start(dir.path(), &policy(90), 2).await;
    counts_together(&bed, EAST, WEST, 90).await;
    let file = dir.path().join("snowtide.toml");
    std::fs::write(&file, policy(120)).unwrap();
    bed.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    eventually(DEADLINE, "east has the new policy, by itself", async || {
        let seen = limit(&bed, EAST, "GET", "differs", "").await?;
        ensure(seen["remaining"] == 60, || seen.to_string())
    })
    .await;
    eventually(DEADLINE, "west is alone with the old one", async || {
        let seen = limit(&bed, WEST, "GET", "differs", "").await?;
        ensure(seen["remaining"] == 45, || seen.to_string())
    })
    .await;
    bed.cluster.signal(WEST, Signal::SIGHUP).unwrap();
    counts_together(&bed, WEST, EAST, 120).await;
}
