//! The examples of the Rust client against real nodes, over QUIC and over HTTP.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use snowtide_dev::Options;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::docs;
use crate::harness::{Bed, DEADLINE, EAST, WEST, executable, http};

/// What an example prints, in a folder.
async fn run_in(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let example = executable().parent().unwrap().join("examples").join(name);
    let build = "first: cargo build --release -p snowtide-client --examples --all-features";
    assert!(example.exists(), "{} is missing; {build}", example.display());
    let mut command = Command::new(example);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}{complaint}");
    said
}

async fn run(name: &str, arguments: &[&str]) -> String {
    run_in(Path::new("."), name, arguments).await
}

/// What a gateway answers to this key: the status, and when to come again.
async fn through(gateway: SocketAddr, key: &str) -> (u16, bool) {
    let request = format!("GET / HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nx-api-key: {key}\r\n\r\n");
    let answer = http::raw(gateway, request.as_bytes()).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.to_lowercase().contains("\r\nretry-after: "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_denies_a_key_that_has_had_enough_and_lets_all_pass_when_no_node_decides() {
    let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let ca = bed.cluster.folder().ca_file().display().to_string();
    let example = executable().parent().unwrap().join("examples/gateway");
    let mut gateway = Command::new(example)
        .args(["127.0.0.1:0", &ca, &bed.quic(EAST).to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let address: SocketAddr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
    for expected in [(200, false), (200, false), (200, false), (429, true)] {
        assert_eq!(through(address, "alice").await, expected);
    }
    assert_eq!(through(address, "bob").await, (200, false));
    bed.cluster.kill(EAST).await.unwrap();
    assert_eq!(through(address, "alice").await, (200, false));
}

/// The lines of the Rust snippet in `docs/client.md`, without those that it does not show.
fn snippet() -> Vec<String> {
    let page = docs::read(Path::new("docs/client.md"));
    let (_, rest) = page.split_once("\n```rust,no_run\n").expect("the page has a snippet in Rust");
    let (shown, _) = rest.split_once("\n```\n").unwrap();
    let lines = shown.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_of_the_book_does_what_it_says() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("client/examples/first.rs");
    let example = fs::read_to_string(example).unwrap();
    let mut lines = example.lines().map(str::trim);
    for shown in snippet() {
        // The addresses of a test are its own.
        let begins = shown.split_once("[\"").map_or(shown.as_str(), |(before, _)| before);
        assert!(lines.any(|line| line.starts_with(begins)), "the example lacks {shown:?}, or has it elsewhere");
    }
    let mut bed = Bed::start(|options| Options { regions: Some(2), ..options }).await;
    let addresses = [bed.quic(WEST).to_string(), bed.quic(EAST).to_string()];
    let addresses = [addresses[0].as_str(), &addresses[1]];
    let folder = bed.cluster.folder().path().to_owned();
    assert_eq!(run_in(&folder, "first", &addresses).await, "1 likes, 100 ids\n");
    bed.counted(&[EAST], "likes/42", 1).await;
    bed.cluster.kill(WEST).await.unwrap();
    assert_eq!(run_in(&folder, "first", &addresses).await, "2 likes, 100 ids\n");
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
