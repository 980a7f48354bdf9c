//! Limits as the Rust client, the load test and its drill see them, at real nodes.

use std::time::Duration;

use serde_json::Value;
use snowtide_client::{Algorithm, Client, Code, Error, LimitBatch, Numbers};
use snowtide_dev::Options;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Bed, EAST, beside};

/// Starting, a few seconds of load, agreeing, draining.
const WITHIN: Duration = Duration::from_secs(120);

/// Long enough for no window to end in a test.
const GIVEN: Numbers = Numbers { algorithm: Algorithm::Gcra, limit: 10, window_ms: 3_600_000, burst: 10 };

#[tokio::test]
async fn decisions_are_the_same_over_quic_and_http() {
    let bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let quic = Client::builder().node(bed.quic(EAST).to_string()).ca_pem_file(bed.cluster.folder().ca_file());
    let http = Client::builder().node(format!("http://{}", bed.http(EAST)));
    let (quic, http) = (quic.connect().await.unwrap(), http.connect().await.unwrap());
    let first = quic.limit(GIVEN, "alice").cost(4).check().await.unwrap();
    assert!(first.admitted && first.limit == 10 && first.remaining == 6, "{first:?}");
    let second = http.limit(GIVEN, "alice").cost(4).check().await.unwrap();
    assert!(second.admitted && second.remaining == 2, "{second:?}");
    for (client, key) in [(&quic, "carol"), (&http, "dave")] {
        let denied = client.limit(GIVEN, "alice").cost(4).check().await.unwrap();
        assert!(!denied.admitted && denied.remaining == 2 && denied.retry_after_ms > 0, "{denied:?}");
        assert_eq!(client.limit(GIVEN, "alice").peek().await.unwrap().remaining, 2);
        let mut batch = LimitBatch::new();
        batch.check(GIVEN, key, 1).unwrap().check("none", key, 1).unwrap().peek(GIVEN, key).unwrap();
        batch.check(GIVEN, key, 11).unwrap().check(GIVEN, key, 10).unwrap();
        let decided = client.limits(&batch).await.unwrap();
        let seen = |at: usize| decided[at].map(|decision| (decision.admitted, decision.remaining));
        assert_eq!([seen(0), seen(2), seen(4)], [Ok((true, 9)), Ok((true, 9)), Ok((false, 9))]);
        assert_eq!([seen(1), seen(3)], [Err(Code::UnknownPolicy), Err(Code::CostTooHigh)]);
        let unknown = client.limit("none", key).check().await;
        assert!(matches!(unknown, Err(Error::Refused { code: Code::UnknownPolicy, .. })), "{unknown:?}");
        let never = client.limit(GIVEN, key).cost(11).check().await;
        assert!(matches!(never, Err(Error::Refused { code: Code::CostTooHigh, .. })), "{never:?}");
    }
}

/// What the load test writes for programs.
async fn load(bed: &Bed, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let ca = bed.cluster.folder().ca_file();
    let output = Command::new(beside("snowtide-loadtest"))
        .args(["--json", "-", "--ca", ca.to_str().unwrap(), "--seed", "1"])
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = timeout(WITHIN, output).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    (output.status.code(), summary, told)
}

#[tokio::test]
async fn a_load_of_decisions_keeps_its_own_books_over_both_doors_and_in_batches() {
    let bed = Bed::start(|options| options).await;
    let targets: Vec<String> = bed.cluster.endpoints().iter().map(|node| format!("quic://{}", node.quic)).collect();
    let http = format!("http://{}", bed.http(EAST));
    let mut arguments = vec!["--duration", "3s", "--warmup", "0s", "--mix", "limits=1", "--keys", "2", "--limit"];
    targets.iter().for_each(|target| arguments.extend(["--target", target]));
    for (limit, rate, batch, other) in [
        ("fixed:50/1s", "1000", "1", None),
        ("sliding:50/1s", "1000", "10", None),
        ("gcra:50/1s:20", "800", "4", Some(&*http)),
    ] {
        let (mut line, at) = (arguments.clone(), 9);
        line.insert(at, limit);
        line.extend(["--rate", rate, "--batch", batch]);
        line.extend(other.iter().flat_map(|other| ["--target", other]));
        let (code, summary, told) = load(&bed, &line).await;
        let limits = &summary["limits"];
        assert_eq!(code, Some(0), "{limit}: {told}");
        assert!(limits["admitted"].as_u64().unwrap() >= 100 && limits["denied"].as_u64().unwrap() > 500, "{limits}");
        assert_eq!(limits["nodes"], 3, "two doors of one node are one");
        let closest = &limits["undisturbed"];
        assert!(closest["judged"].as_u64().unwrap() > 0, "{limits}");
        assert!(closest["admitted"].as_u64() <= closest["bound"].as_u64(), "{limits}");
    }
}

#[tokio::test]
async fn a_limit_that_admits_more_than_it_is_said_to_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snowtide.toml");
    std::fs::write(&file, "[limits.policy.web]\nalgorithm = \"fixed\"\nlimit = 200\nwindow = \"1s\"\n").unwrap();
    let bed = Bed::start(|options| Options { regions: Some(1), config_file: Some(file), ..options }).await;
    let target = format!("quic://{}", bed.quic(EAST));
    let line =
        ["--target", &target, "--duration", "3s", "--warmup", "0s", "--mix", "limits=1", "--keys", "1", "--rate"];
    let kept = [&line[..], &["600", "--limit", "fixed:200/1s", "--limit-policy", "web"]].concat();
    let (code, summary, told) = load(&bed, &kept).await;
    assert_eq!((code, &summary["ok"]), (Some(0), &true.into()), "{told}");
    let above = [&line[..], &["600", "--limit", "fixed:20/1s", "--limit-policy", "web"]].concat();
    let (code, summary, told) = load(&bed, &above).await;
    assert_eq!(code, Some(1), "{told}");
    let finding = &summary["findings"][0];
    assert_eq!((&finding["kind"], &finding["limit"], &finding["slack"]), (&"over_limit".into(), &20.into(), &0.into()));
    assert!(told.contains("OVER THE LIMIT fixed:20/1s: ") && told.contains("OVER THE LIMIT: "), "{told}");
}

#[tokio::test]
async fn a_cut_a_kill_and_a_pause_keep_a_limit_within_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("drill.json");
    let drill = Command::new(beside("snowtide-loadtest"))
        .args(["drill", "--mix", "limits=1", "--limit", "fixed:50/1s", "--keys", "2", "--rate", "1000"])
        .args(["--duration", "9s", "--warmup", "1s", "--silence", "500ms", "--seed", "1", "--quiet"])
        .args(["--fault", "cut ap-south at 3s for 1s", "--fault", "kill us-east at 4500ms for 500ms"])
        .args(["--fault", "pause eu-west at 6s for 1s", "--snowtide-dev"])
        .arg(beside("snowtide-dev"))
        .args([std::ffi::OsStr::new("--dir"), dir.path().join("cluster").as_os_str()])
        .args([std::ffi::OsStr::new("--json"), json.as_os_str()])
        .kill_on_drop(true)
        .output();
    let output = timeout(WITHIN, drill).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let limits = &summary["limits"];
    for when in ["undisturbed", "disturbed"] {
        assert!(limits[when]["judged"].as_u64().unwrap() > 0, "{when}: {limits}");
    }
    let faults = summary["drill"]["faults"].as_array().unwrap();
    assert!(faults.len() == 3 && faults.iter().all(|fault| fault["ended_s"].is_f64()), "{faults:?}");
}
