//! A node that may have few files open: clients take up what is left of them, and never what the store needs (G7).

use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use snowtide_dev::{Ending, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::http::get;
use crate::harness::{Bed, DEADLINE, EAST, ensure, eventually, executable};

/// More than any of these nodes may have.
const SILENT: usize = 1_100;

/// Increments in one write.
const TOGETHER: usize = 50;

/// The binary under test, as it is where no more files may be open: `ulimit` takes `which`.
fn limited(dir: &Path, which: &str) -> PathBuf {
    let path = dir.join("limited");
    let script = format!("#!/bin/sh\nulimit {which} && exec {} \"$@\"\n", executable().display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn node(dir: &Path, which: &str) -> Bed {
    let executable = limited(dir, which);
    let bed = Bed::start(|options| Options { executable, regions: Some(1), ..options });
    bed.await
}

/// This process has to have as many open as the node, and more.
fn raise_own() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// The value of a metric without labels, or with these.
async fn metric(bed: &Bed, name: &str) -> Result<f64, String> {
    let text = get(bed.http(EAST), "/metrics").await.map_err(|error| error.to_string())?.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.ok_or_else(|| format!("no {name} in {text}"))
}

fn redis(bed: &Bed) -> SocketAddr {
    bed.cluster.endpoints().into_iter().find(|node| node.region == EAST).unwrap().redis.unwrap()
}

/// Increments counters that nobody used before, with names of 400 bytes.
async fn increment(client: &mut TcpStream, numbers: Range<usize>) {
    let command = |number| format!("*2\r\n$4\r\nINCR\r\n$400\r\n{number:0400}\r\n");
    client.write_all(numbers.clone().map(command).collect::<String>().as_bytes()).await.unwrap();
    let mut answers = vec![0; 4 * numbers.len()];
    timeout(DEADLINE, client.read_exact(&mut answers)).await.expect("no answer").unwrap();
    assert_eq!(answers, b":1\r\n".repeat(numbers.len()));
}

#[tokio::test]
async fn silent_connections_leave_the_store_and_other_clients_what_they_need() {
    raise_own();
    let dir = tempfile::tempdir().unwrap();
    for limit in [1_024, 400] {
        let mut bed = node(dir.path(), &format!("-n {limit}")).await;
        bed.logged(EAST, &["WARN", "http.connections_max", "ulimit -n"]).await;
        let mut client = TcpStream::connect(redis(&bed)).await.unwrap();
        increment(&mut client, 0..1).await;
        let mut silent = Vec::new();
        for door in [bed.http(EAST), redis(&bed)] {
            for _ in 0..SILENT {
                silent.push(TcpStream::connect(door).await.unwrap());
            }
        }
        // One commit for many: what matters is that every one is answered, and how much the store has to write.
        for first in (1..2_000).step_by(TOGETHER) {
            increment(&mut client, first..2_000.min(first + TOGETHER)).await;
        }
        assert!(bed.lines(EAST, &["cannot be accepted"]).is_empty(), "the bounds of the doors come first");
        bed.cluster.check().unwrap_or_else(|error| panic!("{error}"));
        // Every table is written while all of them are still there.
        assert_eq!(bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
        drop(silent);
        bed.start_node(EAST).await;
        bed.counted(&[EAST], &format!("{:0400}", 1_999), 1).await;
        assert!(metric(&bed, "process_open_fds").await.unwrap() < f64::from(limit));
    }
}

#[tokio::test]
async fn a_soft_limit_is_raised_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let bed = node(dir.path(), "-Sn 256").await;
    let shown = eventually(DEADLINE, "the limit is shown", async || metric(&bed, "process_max_fds").await).await;
    assert!(shown > 256.0, "{shown}");
    assert_eq!(metric(&bed, "snowtide_connections_max{door=\"http\"}").await, Ok(4_096.0));
    eventually(DEADLINE, "open files are shown", async || {
        let open = metric(&bed, "process_open_fds").await?;
        ensure(open > 10.0 && open < shown, || format!("{open} are open"))
    })
    .await;
}

#[tokio::test]
async fn a_start_with_too_few_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let executable = limited(dir.path(), "-n 200");
    let mut bed = Bed::prepare(|options| Options { executable, regions: Some(1), ..options });
    let error = bed.cluster.start_all(|_| {}).await.unwrap_err().to_string();
    assert!(error.contains("may have 200 files open") && error.contains("ulimit -n"), "{error}");
}
