//! `snowtide store`: a node is backed up, compacted, damaged, checked, restored, and starts as somebody new.

use std::fs;

use snowtide::dev::{Ending, Options};

use crate::harness::site::run;
use crate::harness::{Bed, EAST, NAMESPACE};

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

/// Breaks the first record of the largest write-ahead log.
fn damage(data: &str) {
    let paths = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let logs = paths.filter(|path| path.extension().is_some_and(|found| found == "log"));
    let log = logs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&log).unwrap();
    bytes[9] ^= 1;
    fs::write(log, bytes).unwrap();
}
