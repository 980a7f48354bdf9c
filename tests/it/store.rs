//! `snowtide store`: a node is backed up, compacted, damaged, checked, restored, purged of a namespace, and starts as somebody
//! new.

use std::fs;

use snowtide_dev::{Ending, Options};

use crate::harness::site::run;
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, WEST, eventually};

#[tokio::test]
async fn a_node_is_backed_up_and_restored_under_a_new_incarnation() {
    let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (bed.cluster.folder().data_dir(EAST), dir.path().join("copy"));
    let (data, copy) = (data.to_str().unwrap(), copy.to_str().unwrap());
    let client = bed.client(EAST).await;
    client.increment(NAMESPACE, "kept", 41).await.unwrap();
    let stop_first = ["another process is using it", "next: if that is a node, stop it: kill "];
    for arguments in
        [&["store", "backup", "--data-dir", data, copy][..], &["store", "check", data], &["store", "compact", data]]
    {
        run(dir.path(), arguments, &[]).await.refused(75, &stop_first);
    }

    assert_eq!(bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
    let compacted = run(dir.path(), &["store", "compact", data], &[]).await;
    assert!(compacted.code == Some(0) && compacted.stdout.contains("now, it was"), "{compacted:?}");
    let checked = run(dir.path(), &["store", "check", data, "--json"], &[]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let before = report["replica"].as_str().expect("an incarnation").to_owned();
    let made = run(dir.path(), &["store", "backup", "--data-dir", data, copy], &[]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("a start there mints a new incarnation") && made.stdout.contains("journal"));

    bed.start_node(EAST).await;
    bed.client(EAST).await.increment(NAMESPACE, "kept", 1).await.unwrap();
    bed.cluster.kill(EAST).await.unwrap();
    damage(data);
    let damaged = run(dir.path(), &["store", "check", data], &[]).await;
    damaged.refused(65, &["damaged", ".log"]);
    fs::remove_dir_all(data).unwrap();
    let restored = run(dir.path(), &["store", "restore", copy, data], &[]).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    bed.start_node(EAST).await;
    bed.counted(&[EAST], "kept", 41).await;
    bed.client(EAST).await.increment(NAMESPACE, "kept", 100).await.unwrap();
    bed.counted(&[EAST], "kept", 141).await;
    assert_eq!(bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
    let checked = run(dir.path(), &["store", "check", data, "--json"], &[]).await;
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_ne!(report["replica"].as_str(), Some(before.as_str()), "a new incarnation");
    assert_eq!(report["logs"].as_array().unwrap().len(), 2, "the old log stays, as somebody else's: {report}");
}

#[tokio::test]
async fn a_namespace_is_purged_on_an_operators_word_and_comes_back_from_others_as_somebody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snowtide.toml");
    fs::write(&file, "[namespace.default]\n\n[namespace.orders]\n").unwrap();
    let config_file = Some(file.clone());
    let mut bed = Bed::start(|options| Options { regions: Some(2), config_file, ..options }).await;
    let data = bed.cluster.folder().data_dir(EAST);
    let data = data.to_str().unwrap();
    let purge = |arguments: &[&'static str]| {
        let line: Vec<_> = [&["store", "purge", "--data-dir", data], arguments].concat();
        let dir = dir.path().to_owned();
        async move { run(&dir, &line, &[]).await }
    };
    let client = bed.client(EAST).await;
    client.increment("orders", "k", 7).await.unwrap();
    client.increment(NAMESPACE, "k", 5).await.unwrap();
    let west = bed.client(WEST).await;
    eventually(DEADLINE, "the other region has it", async || match west.get("orders", "k").await {
        Ok(7) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    purge(&["orders", "--yes"]).await.refused(75, &["another process is using it"]);
    bed.cluster.kill(EAST).await.unwrap();

    // Without the namespace, the node keeps what it has of it.
    fs::write(&file, "[namespace.default]\n").unwrap();
    bed.start_node(EAST).await;
    bed.logged(EAST, &["holds a namespace that is not configured", "orders"]).await;
    assert_eq!(bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
    let checked = run(dir.path(), &["store", "check", data, "--json"], &[]).await;
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(report["namespaces"].as_array().unwrap().len(), 2, "{report}");

    purge(&["order", "--yes"]).await.refused(1, &[r#"nothing of a namespace "order"; it holds "#, "orders"]);
    purge(&["orders"]).await.refused(2, &["type the namespace's name", "nothing was purged"]);
    let purged = purge(&["orders", "--yes"]).await;
    assert_eq!(purged.code, Some(0), "{purged:?}");
    let told = purged.stdout.contains(" journal records of orders in ") && purged.stdout.contains("is retired");
    assert!(purged.stdout.starts_with("purged ") && told, "{purged:?}");

    fs::write(&file, "[namespace.default]\n\n[namespace.orders]\n").unwrap();
    bed.start_node(EAST).await;
    let client = bed.client(EAST).await;
    eventually(DEADLINE, "what others hold comes back", async || match client.get("orders", "k").await {
        Ok(7) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(client.increment("orders", "k", 1).await, Ok(8));
    eventually(DEADLINE, "and goes on", async || match west.get("orders", "k").await {
        Ok(8) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    bed.counted(&[EAST, WEST], "k", 5).await;
}

/// Breaks the first record of the largest write-ahead log.
fn damage(data: &str) {
    let paths = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let logs = paths.filter(|path| path.extension().is_some_and(|found| found == "log"));
    let log = logs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&log).unwrap();
    bytes[9] ^= 1;
    fs::write(log, bytes).unwrap();
}
