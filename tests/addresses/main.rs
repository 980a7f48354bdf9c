//! Nodes that are known by name and come back at other addresses, as the pods of a StatefulSet without host networking do.
//!
//! Each node runs in a network namespace of its own, with a file of hosts of its own in place of a resolver. That takes
//! the right to make namespaces, as root or by `unshare --user`; where it is missing this says that it did not run, and
//! why, and counts nothing. Everything is made in a namespace that ends with this process, so nothing is left behind.

// What it prints is its report, and nothing where something must be is what a test is for.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod pods;

use std::process::{Command, ExitCode, Stdio};

/// What this program calls itself with, once it is in a namespace.
const INSIDE: &str = "--inside";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(INSIDE) {
        pods::run();
        return ExitCode::SUCCESS;
    }
    let root = nix::unistd::geteuid().is_root();
    let mut unshare: Vec<&str> = vec!["--net", "--mount"];
    if !root {
        unshare.extend(["--user", "--map-root-user"]);
    }
    if let Err(why) = can(&unshare) {
        println!("addresses: 0 run, 1 NOT RUN: no network namespaces can be made here: {why}");
        return ExitCode::SUCCESS;
    }
    let me = std::env::current_exe().unwrap();
    let status = Command::new("unshare").args(&unshare).arg(me).arg(INSIDE).status().unwrap();
    if status.success() {
        println!("addresses: 1 run, 0 not run");
        ExitCode::SUCCESS
    } else {
        println!("addresses: FAILED");
        ExitCode::FAILURE
    }
}

/// Whether a bridge and a namespace behind it can be made; what the system says if not.
fn can(unshare: &[&str]) -> Result<(), String> {
    let try_all = format!(
        "{} && ip netns add probe && ip link add v type veth peer name eth0 netns probe && \
         nsenter --net=/run/netns/probe unshare --mount true",
        pods::GROUND
    );
    let tried = Command::new("unshare").args(unshare).args(["sh", "-c", &try_all]).stdin(Stdio::null()).output();
    let output = tried.map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
