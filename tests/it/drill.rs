//! A drill of the load generator on a real cluster: a kill, a pause and a cut, and nothing lost or doubled.

use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::beside;

/// Starting, five seconds of load, agreeing, draining.
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_kill_a_pause_and_a_cut_under_load_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("drill.json");
    let drill = Command::new(beside("snowtide-loadtest"))
        .args(["drill", "--rate", "500", "--duration", "5s", "--warmup", "200ms", "--keys", "50", "--silence", "500ms"])
        .args(["--seed", "1"])
        .args(["--fault", "kill us-east at 500ms for 500ms", "--fault", "pause eu-west at 1500ms for 1s"])
        .args(["--fault", "cut ap-south at 3s for 1s", "--quiet", "--snowtide-dev"])
        .arg(beside("snowtide-dev"))
        .args([std::ffi::OsStr::new("--dir"), dir.path().join("cluster").as_os_str()])
        .args([std::ffi::OsStr::new("--json"), json.as_os_str()])
        .kill_on_drop(true)
        .output();
    let output = timeout(WITHIN, drill).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let drill = &summary["drill"];
    let counts = (&drill["lost"], &drill["doubled"], &drill["duplicate_ids"]);
    assert_eq!(counts, (&"0".into(), &"0".into(), &0.into()), "{drill}");
    let faults = drill["faults"].as_array().unwrap();
    let words: Vec<&str> = faults.iter().map(|fault| fault["fault"].as_str().unwrap()).collect();
    assert_eq!(words, ["kill us-east", "pause eu-west", "cut ap-south"]);
    for fault in faults {
        assert!(
            fault["began_s"].is_f64() && fault["ended_s"].is_f64() && fault["converged_after_s"].is_f64(),
            "{fault}"
        );
    }
}
