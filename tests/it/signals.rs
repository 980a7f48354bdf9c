//! Signals: those that mean to stop a node drain it, SIGHUP reloads, and no other one that can be caught ends it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;
use snowtide_dev::{DevError, Options};

use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, WEST, ensure, eventually, executable};

/// What is acknowledged in it is not synced yet.
const FAST: &str = "fast";

/// One region, and an interval so long that whatever ends the process without a drain loses increments.
fn alone(options: Options) -> Options {
    let options = options.set(&format!("namespace.{FAST}.durability"), "interval").set("commit.interval", "10s");
    Options { regions: Some(1), ..options }
}

async fn increment(bed: &Bed, times: i64) {
    let client = bed.client(EAST).await;
    for _ in 0..times {
        client.increment(FAST, "k", 1).await.unwrap();
    }
}

async fn value(bed: &Bed) -> i128 {
    bed.client(EAST).await.get(FAST, "k").await.unwrap()
}

fn pid(bed: &Bed) -> u32 {
    bed.cluster.endpoints().into_iter().find_map(|node| node.pid).expect("it runs")
}

/// By the program, which knows numbers that have no name.
fn kill(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "{signal}");
}

/// How a node ends that nobody killed.
async fn ends(bed: &mut Bed) -> std::process::ExitStatus {
    eventually(DEADLINE, "it ends", async || match bed.cluster.check() {
        Err(DevError::Died { status, .. }) => Ok(status),
        other => Err(format!("{other:?}")),
    })
    .await
}

#[tokio::test]
async fn whatever_is_not_meant_to_stop_a_node_does_not() {
    let mut bed = Bed::start(alone).await;
    increment(&bed, 50).await;
    let others =
        ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "PIPE", "IO", "XFSZ", "WINCH", "URG", "CHLD", "34", "50", "64"];
    for signal in others {
        kill(pid(&bed), signal);
    }
    for _ in 0..200 {
        kill(pid(&bed), "HUP");
    }
    for signal in ["SIGUSR1", "SIGALRM", "SIGXFSZ", "SIGRTMIN+0", "SIGRTMIN+30"] {
        bed.logged(EAST, &[signal, "was ignored"]).await;
    }
    bed.logged(EAST, &["reloaded"]).await;
    bed.cluster.check().unwrap();
    increment(&bed, 50).await;
    assert_eq!(value(&bed).await, 100);
    assert!(bed.cluster.terminate(EAST).await.is_ok());
    bed.start_node(EAST).await;
    assert_eq!(value(&bed).await, 100);
}

#[tokio::test]
async fn whatever_is_meant_to_stop_a_node_drains_it() {
    let mut bed = Bed::start(alone).await;
    let mut counted = 0;
    for signal in ["TERM", "INT", "QUIT", "ABRT", "PWR", "XCPU"] {
        increment(&bed, 20).await;
        counted += 20;
        // Told twice at once, as by a terminal and by a wrapper.
        kill(pid(&bed), signal);
        kill(pid(&bed), signal);
        let status = ends(&mut bed).await;
        assert!(status.success(), "{signal}: {status}");
        bed.start_node(EAST).await;
        assert_eq!(value(&bed).await, counted, "{signal}");
    }
}

#[tokio::test]
async fn a_node_that_starts_or_drains_is_not_ended_by_a_hangup() {
    let mut bed = Bed::prepare(|options| options.set("drain.timeout", "10m"));
    bed.cluster.spawn_node(EAST).unwrap();
    bed.cluster.spawn_node(WEST).unwrap();
    let node = pid(&bed);
    eventually(DEADLINE, "signals are caught", async || {
        let status = std::fs::read_to_string(format!("/proc/{node}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap_or_default();
        ensure(caught & 1 == 1, || format!("{caught:x}"))
    })
    .await;
    for _ in 0..50 {
        kill(node, "HUP");
    }
    bed.logged(EAST, &["reloaded"]).await;
    bed.start_all().await;
    // Nobody can take what it has, so it stays in the drain.
    bed.cluster.cut(EAST).unwrap();
    bed.client(EAST).await.increment(NAMESPACE, "k", 1).await.unwrap();
    bed.cluster.signal(EAST, Signal::SIGTERM).unwrap();
    bed.logged(EAST, &["draining: new work is refused"]).await;
    let before = bed.lines(EAST, &["reloaded"]).len();
    bed.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    eventually(DEADLINE, "it reloads", async || {
        let reloads = bed.lines(EAST, &["reloaded"]).len();
        ensure(reloads > before, || format!("{reloads}"))
    })
    .await;
    bed.cluster.heal(EAST).unwrap();
    assert!(ends(&mut bed).await.success());
    bed.counted(&[WEST], "k", 1).await;
}

#[tokio::test]
async fn what_whoever_starts_a_node_has_ignored_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wrapper = dir.path().join("nohup");
    let script = format!("#!/bin/sh\ntrap '' HUP INT QUIT TERM\nexec {} \"$@\"\n", executable().display());
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut bed = Bed::start(|options| Options { executable: wrapper, ..alone(options) }).await;
    bed.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    bed.logged(EAST, &["reloaded"]).await;
    bed.cluster.signal(EAST, Signal::SIGTERM).unwrap();
    assert!(ends(&mut bed).await.success());
}
