//! The commands of the README, and those of the book: every block marked `sh` or `python` is run as it stands, in order, in
//! one shell and a fresh folder for the README, and in others for the pages of the book.
//!
//! Only the ports differ: the sample regions' are replaced by free ones, in the copied region files and in the commands
//! alike, since somebody may be using the sample regions.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::docs;
use crate::harness::beside;

/// A whole session, with a load test in it.
const SESSION: Duration = Duration::from_secs(150);
const PORTS: [&str; 12] =
    ["7400", "7410", "7420", "8400", "8410", "8420", "6400", "6410", "6420", "9400", "9410", "9420"];
/// Ends what runs in the background, however the session ends, and waits for it.
const PRELUDE: &str = "set -eu -o pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n";

/// The increments that both sessions make, once the region that is asked has heard of all of them.
const EPILOGUE: &str = "echo '== sum'
until sum=$(curl -sf http://127.0.0.1:8420/v1/counters/default/likes%2F42); echo \"$sum\"; [[ $sum == *'\"value\":\"16\"'* ]]; do
  sleep 0.1
done
";

/// The blocks of a Markdown text that are fenced as `sh` or `python`, as a shell runs them.
fn blocks(text: &str) -> Vec<String> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced
        .filter_map(|block| match block.split_once('\n')? {
            ("sh", commands) => Some(commands.to_owned()),
            ("python", program) => Some(format!("python3 - <<'END'\n{program}\nEND")),
            _ => None,
        })
        .collect()
}

/// A free port for each that the sample regions name; they are held until all are chosen, so that none comes twice.
fn free_ports() -> BTreeMap<&'static str, String> {
    let mut held = Vec::new();
    let mut free = || loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
            held.push((tcp, udp));
            return port.to_string();
        }
    };
    PORTS.map(|port| (port, free())).into()
}

fn with_ports(text: &str, ports: &BTreeMap<&str, String>) -> String {
    ports.iter().fold(text.to_owned(), |text, (from, to)| {
        // A port stands after a colon in an address, or in a list of ports.
        text.replace(&format!(":{from}"), &format!(":{to}"))
            .replace(&format!(" {from} "), &format!(" {to} "))
            .replace(&format!(" {from};"), &format!(" {to};"))
    })
}

fn copy_folder(name: &str, to: &Path, ports: &BTreeMap<&str, String>) {
    fs::create_dir(to.join(name)).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(to.join(name).join(path.file_name().unwrap()), with_ports(&text, ports)).unwrap();
    }
}

/// A shell and all that it started, in a process group of their own, which ends with this.
struct Session(Child);

impl Session {
    fn start(script: &str, dir: &Path) -> Self {
        let programs = ["snowtide-dev", "snowtide-loadtest"].map(beside);
        let path = format!("{}:{}", programs[0].parent().unwrap().display(), std::env::var("PATH").unwrap());
        fs::write(dir.join("session.sh"), script).unwrap();
        let output = fs::File::create(dir.join("output")).unwrap();
        let child = Command::new("bash")
            .arg("session.sh")
            .current_dir(dir)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .process_group(0)
            .spawn();
        Self(child.unwrap())
    }

    async fn end(&mut self) -> Option<ExitStatus> {
        timeout(SESSION, self.0.wait()).await.ok().map(Result::unwrap)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // As long as the shell is not reaped, the group's number is nobody else's.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Runs the blocks of these documents in one session, and returns what they print. They have to have commands with all these
/// words.
async fn output_of(documents: &[PathBuf], words: &[&str]) -> String {
    let blocks: Vec<String> = documents.iter().flat_map(|document| blocks(&docs::read(document))).collect();
    for word in words {
        assert!(blocks.iter().any(|block| block.contains(word)), "{documents:?} have lost their commands with {word}");
    }
    let (dir, ports) = (tempfile::tempdir().unwrap(), free_ports());
    for folder in ["config", "regions"] {
        copy_folder(folder, dir.path(), &ports);
    }
    let marked = blocks.iter().enumerate().map(|(at, block)| format!("echo '== block {at}'\n{block}\n"));
    let script = format!("{PRELUDE}{}", with_ports(&(marked.collect::<String>() + EPILOGUE), &ports));
    assert!(PORTS.iter().all(|port| !script.contains(port)), "a port was left: {script}");
    let mut session = Session::start(&script, dir.path());
    let status = session.end().await;
    let output = fs::read_to_string(dir.path().join("output")).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}:\n{script}\n{output}");
    output
}

/// Lines of the nodes' logs stand between, so each output is looked for by itself.
fn assert_contains(output: &str, all: &[&str]) {
    for expected in all {
        assert!(output.contains(expected), "{expected} is missing:\n{output}");
    }
}

#[tokio::test]
async fn the_readmes_commands_work_as_they_stand() {
    let words = ["curl ", "redis-cli ", "snowtide id ", "--ack regions:2", "snowtide-loadtest "];
    let output = output_of(&[PathBuf::from("README.md")], &words).await;
    assert_contains(&output, &["\"ids\":[", "\"value\":\"16\"", "ap-south/0   ready", "0 duplicate IDs"]);
}

#[tokio::test]
async fn the_commands_of_the_book_work_as_they_stand() {
    let words = ["curl ", "redis-cli ", "python3 ", "snowtide-loadtest ", "cluster top", "id bounds", "config check"];
    let output = output_of(&docs::pages(), &words).await;
    let expected = ["\"ids\":[", "\"value\":\"16\"", "ap-south", "views: 3\nviews: 3\n", "3 of 3 nodes ready"];
    assert_contains(&output, &expected);
}
