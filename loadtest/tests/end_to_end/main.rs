//! The program as its users run it, against fake nodes that lose, double and stall on request.

#![allow(clippy::unwrap_used, reason = "a test")]

mod fake;

use std::process::{Output, Stdio};
use std::time::Duration;

use fake::{Cluster, Fault, STALL};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// Far longer than anything takes, so that only what never happens fails.
const DEADLINE: Duration = Duration::from_secs(60);

struct Run {
    output: Output,
    json: Value,
}

impl Run {
    fn code(&self) -> i32 {
        self.output.status.code().unwrap()
    }

    fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    fn last_line(&self) -> String {
        self.stdout().lines().last().unwrap().to_owned()
    }

    fn findings(&self) -> Vec<&Value> {
        self.json["findings"].as_array().unwrap().iter().collect()
    }

    /// The figures of everything together.
    fn all(&self) -> &Value {
        self.json["totals"].as_array().unwrap().last().unwrap()
    }
}

async fn command(targets: &[&str], options: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snowtide-loadtest"));
    command.args(targets.iter().flat_map(|target| ["--target", target])).args(options.split_whitespace());
    command.output().await.unwrap()
}

async fn run(targets: &[&str], options: &str) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("summary.json");
    let options = format!(
        "--seed 1 --rate 400 --duration 500ms --warmup 100ms --connections 2 --keys 5 --agree-timeout 2s \
         --json {} {options}",
        path.display()
    );
    let output = command(targets, &options).await;
    let json = std::fs::read(&path).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    Run { output, json: serde_json::from_slice(&json).unwrap() }
}

async fn run_with(faults: impl IntoIterator<Item = (u64, Fault)>, options: &str) -> Run {
    let cluster = Cluster::with(faults);
    let (a, b) = (cluster.node("eu-west").await, cluster.node("us-east").await);
    run(&[&a, &b], options).await
}

#[tokio::test]
async fn an_honest_cluster_passes() {
    for options in ["", "--batch 7", "--dist zipf --mix 1:0:1 --key-prefix a/b%\"c", "--mix 0:1:0", "--rate max"] {
        let run = run_with([], options).await;
        assert_eq!(run.code(), 0, "{options}: {}", run.stdout());
        let line = "acknowledged = counted in each of 2 regions, 0 duplicate IDs (";
        assert!(run.last_line().starts_with(line), "{options}: {}", run.last_line());
        assert!(run.all()["acknowledged"].as_u64().unwrap() > 0);
        assert_eq!(run.json["conservation"]["agreed"], true);
    }
}

#[tokio::test]
async fn an_open_loop_sends_what_was_asked_for() {
    let run = run_with([], "").await;
    assert_eq!(run.all()["acknowledged"], 200);
    assert_eq!(run.all()["latency_ms"]["count"], 200);
    assert_eq!(run.all()["asked_per_s"], 400.0);
    let run = run_with([], "--batch 10").await;
    assert_eq!(run.all()["acknowledged"], 200);
}

#[tokio::test]
async fn one_lost_increment_is_named() {
    for options in ["", "--batch 10"] {
        let run = run_with([(30, Fault::Lost)], &format!("{options} --mix 1:0:0")).await;
        assert_eq!(run.code(), 1, "{}", run.stdout());
        let findings = run.findings();
        assert_eq!(findings.len(), 2, "one for each region: {findings:?}");
        assert_eq!(findings[0]["kind"], "loss");
        assert_eq!(findings[0]["target"], "eu-west/0 http");
        let number = |field: &str| findings[0][field].as_str().unwrap().parse::<i64>().unwrap();
        assert!((1..=1_000).contains(&(number("least") - number("seen"))), "{findings:?}");
        assert!(run.stdout().contains("LOSS default/lt-"), "{}", run.stdout());
        assert_eq!(run.last_line(), "NOT CONSERVED: 2 loss");
    }
}

#[tokio::test]
async fn one_doubled_increment_is_named() {
    let run = run_with([(30, Fault::Doubled)], "").await;
    assert_eq!(run.code(), 1);
    assert_eq!(run.json["findings_by_kind"]["excess"], 2);
    assert!(run.json["findings_by_kind"]["read_above"].as_u64() > Some(0), "seen at once: {}", run.stdout());
}

#[tokio::test]
async fn a_refused_increment_that_was_counted_is_named() {
    let run = run_with([(30, Fault::ThrottledButCounted)], "").await;
    assert_eq!(run.code(), 1);
    assert_eq!(run.json["findings_by_kind"]["excess"], 2);
}

#[tokio::test]
async fn refusals_and_unknown_outcomes_are_no_findings() {
    let faults = [(60, Fault::Throttled), (70, Fault::TimedOut), (80, Fault::Broken)];
    let run = run_with(faults, "--mix 1:0:0 --warmup 0s").await;
    assert_eq!(run.code(), 0, "{}", run.stdout());
    assert_eq!(run.all()["refused_by_code"]["throttled"], 1);
    assert_eq!(run.all()["unknown_by_code"]["timeout"], 1);
    assert_eq!(run.all()["unknown_by_code"]["disconnected"], 1);
    assert_eq!(run.all()["acknowledged"], 197);
    assert!(run.last_line().contains("more from unknown outcomes"), "{}", run.last_line());
}

#[tokio::test]
async fn an_id_given_twice_is_named() {
    let cluster = Cluster::with_ids_period(50);
    let (a, b) = (cluster.node("eu-west").await, cluster.node("us-east").await);
    let run = run(&[&a, &b], "--mix 0:1:0 --warmup 0s").await;
    assert_eq!(run.code(), 1);
    assert_eq!(run.json["conservation"]["duplicate_ids"], 150);
    assert_eq!(run.findings()[0]["kind"], "duplicate_id");
    assert!(run.stdout().contains("DUPLICATE ID"), "{}", run.stdout());
}

#[tokio::test]
async fn more_ids_than_can_be_checked_end_the_run_with_a_finding() {
    let cluster = Cluster::with([]);
    let (a, b) = (cluster.node("eu-west").await, cluster.node("us-east").await);
    let run = run(&[&a, &b], "--mix 0:1:0 --id-runs-max 10 --duration 1h").await;
    assert_eq!(run.code(), 1);
    assert_eq!(run.json["findings_by_kind"]["too_many_id_runs"], 1);
}

#[tokio::test]
async fn regions_that_never_hear_of_each_other_are_named() {
    let (a, b) = (Cluster::with([]).node("eu-west").await, Cluster::with([]).node("us-east").await);
    let run = run(&[&a, &b], "--mix 1:0:0 --agree-timeout 300ms").await;
    assert_eq!(run.code(), 1);
    assert_eq!(run.json["conservation"]["agreed"], false);
    assert!(run.findings().iter().all(|finding| finding["kind"] == "loss"), "{}", run.stdout());
}

#[tokio::test]
async fn counters_are_read_for_as_long_as_targets_answer() {
    let cluster = Cluster::with_reads_taking(Duration::from_millis(200));
    let url = cluster.node("eu-west").await;
    // Five batches, one after the other: longer than it is waited for any one of them.
    let run = run(&[&url], "--mix 1:0:0 --keys 5000 --key-prefix before- --agree-timeout 700ms").await;
    assert_eq!(run.code(), 0, "{}", run.stdout());
}

#[tokio::test]
async fn what_could_not_be_read_is_not_said_to_be_lost() {
    let cluster = Cluster::with_reads_taking(DEADLINE);
    let url = cluster.node("eu-west").await;
    let run = run(&[&url], "--mix 1:0:0 --agree-timeout 300ms").await;
    assert_eq!((run.code(), &*run.last_line()), (1, "NOT CHECKED: 1 unreadable"));
}

/// While one answer is held back, everything due on that connection waits and is sent afterwards: its latency is at
/// least what is left of the stall when the last of it was due. A closed loop would show a single slow request.
#[tokio::test]
async fn a_stall_is_not_hidden() {
    let url = Cluster::with([(1, Fault::Stalled)]).node("eu-west").await;
    let run = run(&[&url], "--mix 1:0:0 --warmup 0s --connections 1 --rate 100 --duration 1s").await;
    assert_eq!(run.code(), 0, "{}", run.stdout());
    assert_eq!(run.all()["acknowledged"], 100, "nothing was skipped");
    assert!(run.all()["latency_ms"]["p50"].as_f64() >= Some(500.0), "{}", run.stdout());
    let uncorrected = &run.all()["uncorrected_ms"];
    assert!(uncorrected["max"].as_f64() >= Some(STALL.as_secs_f64() * 1_000.0), "{uncorrected}");
    assert!(uncorrected["p90"].as_f64() < Some(500.0), "one slow request, as a closed loop sees it: {uncorrected}");
}

#[tokio::test]
async fn what_could_not_be_sent_is_counted_with_the_time_it_waited() {
    let url = Cluster::with([(1, Fault::Stalled)]).node("eu-west").await;
    let options = "--mix 1:0:0 --warmup 0s --connections 1 --rate 100 --duration 200ms --timeout 300ms";
    let run = run(&[&url], options).await;
    assert_eq!(run.code(), 0, "{}", run.stdout());
    let all = run.all();
    let count = |field: &str| all[field].as_u64().unwrap();
    assert_eq!(count("acknowledged") + count("unknown") + count("unsent"), 20);
    assert_eq!(all["latency_ms"]["count"], 20);
}

#[tokio::test]
async fn a_closed_loop_says_so() {
    let run = run_with([], "--rate max").await;
    assert_eq!(run.json["settings"]["open_loop"], false);
    assert!(run.stdout().contains("Closed loop"), "{}", run.stdout());
}

#[tokio::test]
async fn a_given_prefix_starts_from_what_is_there() {
    let cluster = Cluster::with([]);
    let url = cluster.node("eu-west").await;
    for _ in 0..2 {
        let run = run(&[&url], "--key-prefix again-").await;
        assert_eq!(run.code(), 0, "{}", run.stdout());
    }
}

#[tokio::test]
async fn percentile_files_are_written() {
    let directory = tempfile::tempdir().unwrap();
    run_with([], &format!("--hgrm {}", directory.path().display())).await;
    for name in ["increment.hgrm", "id.hgrm", "read.hgrm", "read-eu-west-0-http.hgrm", "id-us-east-0-http.hgrm"] {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(text.contains("#[Mean"), "{name}: {text}");
    }
}

#[tokio::test]
async fn an_interval_log_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.hlog");
    run_with([], &format!("--hlog {}", path.display())).await;
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("#[StartTime: ") && text.contains("Tag=increment/eu-west/0-http,0"), "{text}");
}

#[tokio::test]
async fn thresholds_decide_the_exit_code_unless_something_was_found() {
    let kept = run_with([], "--threshold increment.p99<100s --threshold rate>1 --threshold errors<=0").await;
    assert_eq!(kept.code(), 0, "{}", kept.stdout());
    let crossed = run_with([], "--threshold increment@us-east.max<1us --threshold rate>1").await;
    assert_eq!(crossed.code(), 99, "{}", crossed.stdout());
    assert!(crossed.stdout().contains("threshold increment@us-east.max<1us: CROSSED"), "{}", crossed.stdout());
    assert_eq!(crossed.json["thresholds"][1]["crossed"], false);
    let lost = run_with([(30, Fault::Lost)], "--mix 1:0:0 --threshold max<1us").await;
    assert_eq!(lost.code(), 1, "a finding says more");
}

#[tokio::test]
async fn several_processes_are_one_run() {
    let run = run_with([], "--processes 3 --mix 6:2:2 --arrivals poisson --warmup 0s").await;
    assert_eq!(run.code(), 0, "{}", run.stdout());
    assert_eq!((&run.json["settings"]["processes"], &run.json["settings"]["arrivals"]), (&3.into(), &"poisson".into()));
    let all = run.all();
    assert!((120..=280).contains(&all["acknowledged"].as_u64().unwrap()), "400 a second over half a second: {all}");
    assert_eq!(all["latency_ms"]["count"], all["acknowledged"], "every operation is in the merged histogram");
    assert!(run.json["conservation"]["ids"].as_u64() > Some(0));
}

#[tokio::test]
async fn several_processes_end_early_when_the_first_is_told_to_and_are_still_checked() {
    let cluster = Cluster::with([]);
    let (a, b) = (cluster.node("eu-west").await, cluster.node("us-east").await);
    let mut command = Command::new(env!("CARGO_BIN_EXE_snowtide-loadtest"));
    command.args(["--target", &a, "--target", &b, "--processes", "3", "--duration", "1h", "--warmup", "0s"]);
    command.args(["--rate", "400", "--connections", "2", "--keys", "5", "--agree-timeout", "5s"]).kill_on_drop(true);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let sending = async {
        while cluster.increments() < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, sending).await.expect("they send");
    // Only the first: not everything that stops a program is a terminal.
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = timeout(DEADLINE, child.wait_with_output()).await.expect("all of them end").unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.lines().last().unwrap().starts_with("acknowledged = counted in each of 2 regions"), "{said}");
}

#[tokio::test]
async fn what_several_processes_lose_or_are_given_twice_is_found() {
    let lost = run_with([(30, Fault::Lost)], "--processes 2 --mix 1:0:0").await;
    assert_eq!((lost.code(), lost.last_line().as_str()), (1, "NOT CONSERVED: 2 loss"), "{}", lost.stdout());
    let cluster = Cluster::with_ids_period(50);
    let (a, b) = (cluster.node("eu-west").await, cluster.node("us-east").await);
    let twice = run(&[&a, &b], "--processes 2 --mix 0:1:0 --warmup 0s").await;
    assert_eq!((twice.code(), &twice.json["conservation"]["duplicate_ids"]), (1, &150.into()), "{}", twice.stdout());
}

#[tokio::test]
async fn a_scenario_of_ones_own_is_a_file_and_flags_count_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own.toml");
    std::fs::write(&path, "mix = '1:0:0'\nrate = 50\nbatch = 4\ncelebrity = 1.0\n").unwrap();
    let run = run_with([], &format!("--scenario {} --batch 2", path.display())).await;
    let settings = &run.json["settings"];
    assert_eq!((run.code(), &settings["batch"], &settings["celebrity"]), (0, &2.into(), &1.0.into()));
    assert_eq!(settings["rate_per_s"], 400.0, "the test's own flag");
    assert_eq!(run.json["conservation"]["counters"], 1, "all of it is on one counter");
}

#[tokio::test]
async fn a_report_is_one_page_that_needs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.html");
    run_with([(30, Fault::Throttled)], &format!("--threshold max<1us --html {}", path.display())).await;
    let page = std::fs::read_to_string(path).unwrap();
    for word in
        ["Latency by percentile: increment", "Throughput over time", "Errors over time", "CROSSED", "us-east/0 http"]
    {
        assert!(page.contains(word), "{word}");
    }
    assert!(page.matches("<svg viewBox=\"0 0 960").count() >= 5 && page.contains("prefers-color-scheme: dark"));
    for elsewhere in ["<script", "http-equiv", "@import", "url(", "src=", "href="] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[tokio::test]
async fn runs_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut slower = run_with([], "").await.json;
    std::fs::write(path("a.json"), slower.to_string()).unwrap();
    let compare = async |options: &str| {
        let options = format!("compare {} {} {options}", path("a.json"), path("b.json"));
        command(&[], &options).await
    };
    std::fs::write(path("b.json"), slower.to_string()).unwrap();
    let same = compare("").await;
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    slower["totals"][0]["latency_ms"]["p99"] = 1e6.into();
    std::fs::write(path("b.json"), slower.to_string()).unwrap();
    let worse = compare("").await;
    assert_eq!(worse.status.code(), Some(99));
    assert!(String::from_utf8_lossy(&worse.stdout).contains("WORSE"), "{worse:?}");
    slower["ok"] = false.into();
    std::fs::write(path("b.json"), slower.to_string()).unwrap();
    assert_eq!(compare("--tolerance 1000%").await.status.code(), Some(1), "it had findings");
    std::fs::write(path("b.json"), "{}").unwrap();
    assert_eq!(compare("").await.status.code(), Some(2));
}

#[tokio::test]
async fn what_cannot_be_tested_exits_with_2() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = command(&[&format!("http://{unused}")], "--connect-timeout 200ms").await;
    assert_eq!(away.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&away.stderr).contains("cannot connect to http://127.0.0.1:"), "{away:?}");
    for (targets, options) in [
        (&["quic://127.0.0.1:1"][..], ""),
        (&["ftp://127.0.0.1:1"], ""),
        (&[], ""),
        (&["http://127.0.0.1:1"], "--mix 0:0:0"),
        (&["http://127.0.0.1:1"], "--threshold increment.p99<1parsec"),
    ] {
        assert_eq!(command(targets, options).await.status.code(), Some(2), "{targets:?} {options}");
    }
}
