//! The load generator as a part of the demo: it has a ledger and a verdict of its own.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::Cluster;

/// Until all regions agree.
const AGREE_WITHIN: Duration = Duration::from_secs(30);
/// Connecting, warming up, reading every counter, printing.
const BESIDES: Duration = Duration::from_secs(60);

/// What to run.
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) duration: Duration,
    pub(super) rate: String,
}

/// Whether there is a load generator at all; better to know before the story begins.
pub(super) fn present(program: &Path) -> anyhow::Result<()> {
    if program.is_file() {
        return Ok(());
    }
    anyhow::bail!(
        "there is no load generator at {}: build it (cargo build --release -p snowtide-loadtest), or name it with --loadtest",
        program.display()
    )
}

/// Runs it against every region, its output among ours. An error unless it found nothing.
pub(super) async fn run(plan: &Plan, cluster: &Cluster) -> anyhow::Result<()> {
    let targets: Vec<_> = cluster.endpoints().iter().map(|node| format!("quic://{}", node.quic)).collect();
    let mut child = Command::new(&plan.program)
        .args(arguments(plan, &targets, &cluster.folder().ca_file()))
        .stdin(Stdio::null())
        // In our process group, so that Ctrl-C ends it too, and never without us.
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", plan.program.display()))?;
    let bound = plan.duration.saturating_add(AGREE_WITHIN).saturating_add(BESIDES);
    let status = timeout(bound, child.wait()).await;
    verdict(status.with_context(|| format!("the load test is not done after {bound:?}"))??)
}

fn verdict(status: ExitStatus) -> anyhow::Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => anyhow::bail!("FOUND BY THE LOAD TEST: what it says above"),
        _ => anyhow::bail!("the load test could not be run: it ended with {status}"),
    }
}

fn arguments(plan: &Plan, targets: &[String], ca: &Path) -> Vec<String> {
    let seconds = |duration: Duration| humantime::format_duration(duration).to_string().replace(' ', "");
    let fixed = ["--warmup", "1s", "--mix", "8:1:1", "--batch", "50", "--keys", "1000"].map(str::to_owned);
    let mut arguments: Vec<_> = targets.iter().flat_map(|target| ["--target".to_owned(), target.clone()]).collect();
    arguments.extend(fixed);
    for (flag, value) in [
        ("--ca", ca.display().to_string()),
        ("--rate", plan.rate.clone()),
        ("--duration", seconds(plan.duration)),
        ("--agree-timeout", seconds(AGREE_WITHIN)),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_missing_generator_is_named_with_what_to_do() {
        let error = present(Path::new("/nowhere/snowtide-loadtest")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/snowtide-loadtest") && error.contains("cargo build"), "{error}");
    }

    #[test]
    fn a_finding_is_told_from_a_run_that_failed() {
        let verdict = |code: i32| verdict(ExitStatus::from_raw(code << 8));
        assert!(verdict(0).is_ok());
        assert!(verdict(1).unwrap_err().to_string().starts_with("FOUND"));
        assert!(verdict(2).unwrap_err().to_string().contains("could not be run"));
    }

    #[test]
    fn every_region_is_a_target() {
        let plan = Plan { program: "x".into(), duration: Duration::from_secs(8), rate: "30k".into() };
        let arguments = arguments(&plan, &["quic://a:1".into(), "quic://b:2".into()], Path::new("ca.pem")).join(" ");
        assert!(arguments.starts_with("--target quic://a:1 --target quic://b:2 "), "{arguments}");
        assert!(arguments.ends_with("--ca ca.pem --rate 30k --duration 8s --agree-timeout 30s"), "{arguments}");
    }
}
