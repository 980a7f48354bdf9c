//! The examples of the Rust client against real nodes, over QUIC and over HTTP.

use std::process::Stdio;

use snowtide::dev::Options;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Bed, DEADLINE, EAST, WEST, executable};

/// What an example prints.
async fn run(name: &str, arguments: &[&str]) -> String {
    let example = executable().parent().unwrap().join("examples").join(name);
    let build = "first: cargo build --release -p snowtide-client --examples --all-features";
    assert!(example.exists(), "{} is missing; {build}", example.display());
    let mut command = Command::new(example);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}{complaint}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_client_do_what_they_say() {
    let mut bed = Bed::start(|options| Options { regions: Some(2), ..options }).await;
    let ca = bed.cluster.folder().ca_file().display().to_string();
    let (quic, other) = (bed.quic(EAST).to_string(), bed.quic(WEST).to_string());
    let http = format!("http://{}", bed.http(EAST));

    assert_eq!(run("count", &[&ca, "visits", &quic]).await, format!("visits = 1\ncounted at {EAST}/0\n"));
    assert_eq!(run("count", &[&ca, "visits", &http]).await, format!("visits = 2\ncounted at {EAST}/0\n"));
    assert_eq!(run("views", &[&ca, &quic]).await, "100000 views of 7 pages\n");
    assert_eq!(run("views", &[&ca, &http]).await, "200000 views of 7 pages\n");
    assert_eq!(run("careful", &[&ca, &quic, &other]).await, "seat 1\n1 taken\n");

    // With the first region gone, the second answers, which may not have heard of all seats yet.
    bed.cluster.kill(EAST).await.unwrap();
    let said = run("count", &[&ca, "elsewhere", &quic, &other]).await;
    assert_eq!(said, format!("elsewhere = 1\ncounted at {WEST}/0\n"));
    let said = run("careful", &[&ca, &quic, &other]).await;
    assert!(said.starts_with("seat "), "{said}");
}
