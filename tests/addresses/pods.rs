//! Three pods of one StatefulSet, each a network namespace on one bridge.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use snowtide::clock::Stopwatch;

/// A bridge that leads nowhere else, in the range for such tests (RFC 2544) and a local one of IPv6 (RFC 4193).
pub(crate) const GROUND: &str = "mount -t tmpfs none /run && ip link set lo up && ip link add br0 type bridge && \
     ip addr add 198.18.0.1/24 dev br0 && (ip -6 addr add fd00:18::1/64 dev br0 nodad || true) && ip link set br0 up";

const PODS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(60);
const KEY: &str = "/v1/counters/default/visits";

/// A pod: its namespace, its addresses, and its process if it runs.
struct Pod {
    number: usize,
    at: Vec<IpAddr>,
    hosts: PathBuf,
    process: Option<Child>,
}

struct StatefulSet {
    dir: tempfile::TempDir,
    pods: Vec<Pod>,
    /// What was acknowledged in all.
    counted: u64,
}

pub(crate) fn run() {
    sh(GROUND);
    let mut set = StatefulSet::new();
    for pod in 0..PODS {
        set.start(pod);
    }
    set.agree("all find each other by name");
    for pod in 0..PODS {
        set.increment(pod, 10);
    }
    set.agree("counts travel");
    // What only this pod has when it dies is on its disk.
    set.increment(1, 7);
    set.kill(1);
    set.increment(0, 100);
    set.move_to(1, &["198.18.0.77"]);
    set.start(1);
    set.increment(1, 1_000);
    set.agree("a pod is found again at another address, with what it had");
    set.increment(2, 3);
    set.agree("and hears of what others count");
    if !has_ipv6() {
        println!("addresses: IPv6 NOT RUN: this system has none");
        return;
    }
    set.kill(1);
    set.increment(2, 10_000);
    set.move_to(1, &["fd00:18::77"]);
    set.start(1);
    set.increment(1, 100_000);
    set.agree("a pod is found again at an address of IPv6");
    set.kill_all();
}

impl StatefulSet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pods = (0..PODS).map(|number| {
            let hosts = dir.path().join(format!("hosts-{number}"));
            sh(&format!(
                "ip netns add n{number} && ip link add v{number} type veth peer name eth0 netns n{number} && \
                 ip link set v{number} master br0 up && ip -n n{number} link set lo up && ip -n n{number} link set eth0 up"
            ));
            let mut at: Vec<IpAddr> = vec![format!("198.18.0.{}", 10 + number).parse().unwrap()];
            if has_ipv6() {
                at.push(format!("fd00:18::{}", 10 + number).parse().unwrap());
            }
            at.iter().for_each(|at| add_address(number, *at));
            Pod { number, at, hosts, process: None }
        });
        let pods: Vec<Pod> = pods.collect();
        let regions = dir.path().join("regions");
        fs::create_dir(&regions).unwrap();
        let mut map = "name = \"prod\"\nid = 0\n".to_owned();
        for number in 0..PODS {
            let name = name(number);
            let (quic, http) = (format!("{name}:7400"), format!("{name}:8400"));
            write!(map, "[[node]]\nid = {number}\nquic = \"{quic}\"\nhttp = \"{http}\"\n").unwrap();
        }
        fs::write(regions.join("prod.toml"), map).unwrap();
        let set = Self { dir, pods, counted: 0 };
        set.publish();
        // It is built beside the server.
        let program = Path::new(env!("CARGO_BIN_EXE_snowtide")).with_file_name("snowtide-dev");
        let made = set.snowtide(Command::new(program)).arg("certs").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        set
    }

    /// The settings of every pod are the same, and come from the environment.
    fn snowtide(&self, mut command: Command) -> Command {
        let dir = self.dir.path();
        let stay =
            [("SNOWTIDE_NODE", "auto"), ("SNOWTIDE_PEER__BACKOFF_MAX", "400ms"), ("SNOWTIDE_PEER__IDLE_TIMEOUT", "2s")];
        command
            .current_dir(dir)
            .envs(stay)
            .env("SNOWTIDE_REGIONS_DIR", dir.join("regions"))
            .env("SNOWTIDE_TLS__DIR", dir.join("certs"))
            .stdin(Stdio::null());
        command
    }

    fn start(&mut self, number: usize) {
        let log = File::options().append(true).create(true).open(self.log(number)).unwrap();
        let pod = &self.pods[number];
        let script = format!(
            "mount --bind {} /etc/hosts && exec {} serve --region prod",
            pod.hosts.display(),
            env!("CARGO_BIN_EXE_snowtide")
        );
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/n{number}")).args(["unshare", "--mount", "sh", "-c", &script]);
        let mut command = self.snowtide(command);
        command
            .env("SNOWTIDE_HOST_NAME", format!("snowtide-{number}"))
            .env("SNOWTIDE_DATA_DIR", self.dir.path().join(format!("data-{number}")))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if number == 2 {
            // One of them is told where to listen; for the others it follows from their being named.
            command.env("SNOWTIDE_QUIC__LISTEN", "[::]:7400").env("SNOWTIDE_HTTP__LISTEN", "0.0.0.0:8400");
        }
        self.pods[number].process = Some(command.spawn().unwrap());
        self.eventually("a pod is ready", |set| match set.ask(number, "GET", "/readyz", "") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("pod {number}: {other:?}")),
        });
    }

    fn kill(&mut self, number: usize) {
        let mut process = self.pods[number].process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn kill_all(&mut self) {
        for pod in &mut self.pods {
            if let Some(mut process) = pod.process.take() {
                let _ = process.kill().and_then(|()| process.wait());
            }
        }
    }

    /// The pod is rescheduled: other addresses, the same name, and whoever asks is told.
    fn move_to(&mut self, number: usize, at: &[&str]) {
        sh(&format!("ip -n n{number} addr flush dev eth0"));
        let at: Vec<IpAddr> = at.iter().map(|at| at.parse().unwrap()).collect();
        at.iter().for_each(|at| add_address(number, *at));
        self.pods[number].at = at;
        self.publish();
    }

    /// Each pod's file of hosts, changed in place: it is bound over the system's.
    fn publish(&self) {
        let line = |pod: &Pod| pod.at.iter().map(|at| format!("{at} {}\n", name(pod.number))).collect::<String>();
        let lines = self.pods.iter().map(line);
        let text: String = ["127.0.0.1 localhost\n".to_owned()].into_iter().chain(lines).collect();
        for pod in &self.pods {
            fs::write(&pod.hosts, &text).unwrap();
        }
    }

    fn increment(&mut self, number: usize, by: u64) {
        let body = format!("{{\"by\": \"{by}\"}}");
        self.eventually("an increment is taken", |set| {
            // Refused for certain, so it may be sent again.
            match set.ask(number, "POST", &format!("{KEY}/increment"), &body) {
                Ok((200, _)) => Ok(()),
                Ok((503, answer)) => Err(answer.to_string()),
                other => panic!("pod {number}: {other:?}"),
            }
        });
        self.counted += by;
    }

    /// Every pod's links are up, and all count what was acknowledged.
    fn agree(&self, what: &str) {
        let counted = self.counted.to_string();
        self.eventually(what, |set| {
            for number in 0..PODS {
                let (_, cluster) = set.ask(number, "GET", "/v1/cluster", "").map_err(|error| error.to_string())?;
                let peers = cluster["peers"].as_array().cloned().unwrap_or_default();
                let up = peers.iter().filter(|peer| peer["state"] == "up").count();
                if up != PODS - 1 {
                    return Err(format!("pod {number} has {up} peers: {cluster}"));
                }
                if self.counted > 0 {
                    let (_, counter) = set.ask(number, "GET", KEY, "").map_err(|error| error.to_string())?;
                    if counter["value"] != counted.as_str() {
                        return Err(format!("pod {number} counts {counter}, not {counted}"));
                    }
                }
            }
            Ok(())
        });
        println!("addresses: {what}");
    }

    fn ask(&self, number: usize, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let address = SocketAddr::from((self.pods[number].at[0], 8_400));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || io::Error::other(format!("no answer of HTTP: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
        Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    fn eventually(&self, what: &str, mut look: impl FnMut(&Self) -> Result<(), String>) {
        let begun = Stopwatch::start();
        while let Err(why) = look(self) {
            if Duration::from_millis(begun.elapsed_ms()) > DEADLINE {
                let logs: String = (0..PODS)
                    .map(|number| {
                        format!("--- pod {number}\n{}\n", fs::read_to_string(self.log(number)).unwrap_or_default())
                    })
                    .collect();
                panic!("in vain: {what}: {why}\n{logs}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("log-{number}"))
    }
}

impl Drop for StatefulSet {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn name(number: usize) -> String {
    format!("snowtide-{number}.snowtide.default.svc.cluster.local")
}

fn has_ipv6() -> bool {
    fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().contains("br0")
}

fn add_address(number: usize, at: IpAddr) {
    match at {
        IpAddr::V4(at) => sh(&format!("ip -n n{number} addr add {at}/24 dev eth0")),
        IpAddr::V6(at) => sh(&format!("ip -n n{number} -6 addr add {at}/64 dev eth0 nodad")),
    }
}

fn sh(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
