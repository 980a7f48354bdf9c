//! What a node costs, by what the system counts: processor time, sleeps of its threads, system calls, memory.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use snowtide_dev::Endpoint;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Of what `/proc` counts in ticks, Linux says 100 a second everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process had taken when it was looked at.
pub(crate) struct Meter {
    pid: u32,
    processor_s: f64,
    sleeps: f64,
}

/// For each request.
pub(crate) struct Cost {
    pub(crate) processor_us: f64,
    pub(crate) sleeps: f64,
}

impl Meter {
    pub(crate) fn of(node: &Endpoint) -> Self {
        let pid = node.pid.unwrap();
        Self { pid, processor_s: processor_s(pid), sleeps: sleeps(pid) }
    }

    /// What each of so many requests took since then.
    pub(crate) fn since(self, requests: f64) -> Cost {
        let processor_s = processor_s(self.pid) - self.processor_s;
        Cost { processor_us: processor_s * 1e6 / requests, sleeps: (sleeps(self.pid) - self.sleeps) / requests }
    }
}

/// In user and in system mode.
fn processor_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The program's name may hold anything but a last parenthesis.
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks = after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

/// How often its threads have waited for something: each time somebody had to wake them.
fn sleeps(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread that ends meanwhile is not there any more.
    let slept = threads.filter_map(|thread| told(&thread.ok()?.path(), "voluntary_ctxt_switches:"));
    slept.sum::<u64>() as f64
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    told(Path::new(&format!("/proc/{pid}")), "VmRSS:").unwrap() * 1_024
}

/// The number that the status of a process or a thread tells under this name.
fn told(folder: &Path, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Counts the system calls of a process; slows it down as well.
pub(crate) struct Strace(Child);

impl Strace {
    /// `None` where strace is not installed, or may not look at other processes.
    pub(crate) async fn attach(node: &Endpoint) -> Option<Self> {
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-p", &node.pid?.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut said = BufReader::new(strace.stderr.as_mut()?).lines();
        said.next_line().await.ok()?.filter(|line| line.contains("attached")).map(|_| Self(strace))
    }

    /// How many there were.
    pub(crate) async fn detach(self) -> f64 {
        let pid = i32::try_from(self.0.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        let output = self.0.wait_with_output().await.unwrap();
        let table = String::from_utf8_lossy(&output.stderr);
        let total = table.lines().find(|line| line.trim_end().ends_with("total")).unwrap();
        total.split_whitespace().nth(3).unwrap().parse().unwrap()
    }
}
