//! Two live processes under one worker id: exactly one is fenced, and nothing that either acknowledged is lost (I3, G5).

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use snowtide::config::map::ClusterMap;
use snowtide::control::{self, Answer, Order};
use snowtide_client::{Connection, Error};
use snowtide_protocol::Code;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::harness::{Bed, DEADLINE, EAST, NAMESPACE, SOUTH, WEST, ensure, eventually, executable, http};

const KEY: &str = "kept";
/// How often each of two works.
const PACE: Duration = Duration::from_millis(5);

/// Two addresses that are free for now.
fn free() -> (SocketAddr, SocketAddr) {
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    (udp.local_addr().unwrap(), tcp.local_addr().unwrap())
}

/// Copies a data directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A second process of eu-west, on a copy of its data.
pub(crate) struct Twin {
    dir: TempDir,
    quic: SocketAddr,
    pub(crate) http: SocketAddr,
    process: Option<Child>,
}

impl Twin {
    pub(crate) fn new() -> Self {
        let (quic, http) = free();
        Self { dir: tempfile::tempdir().unwrap(), quic, http, process: None }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("twin.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts it. It finds the others at these addresses, and is itself found at its own.
    pub(crate) fn start(&mut self, bed: &Bed, others: &[(&str, SocketAddr)]) {
        let mut map = ClusterMap::load(&bed.cluster.folder().regions_dir()).unwrap();
        let regions = self.dir.path().join("regions");
        fs::create_dir_all(&regions).unwrap();
        for region in &mut map.regions {
            let node = region.nodes.first_mut().unwrap();
            let other = others.iter().find(|(name, _)| *name == region.name);
            node.quic = other.map_or(self.quic, |(_, quic)| *quic).into();
            if other.is_none() {
                node.http = self.http.into();
                // The original has it.
                node.redis = None;
                node.grpc = None;
            }
            fs::write(regions.join(format!("{}.toml", region.name)), toml::to_string(&region).unwrap()).unwrap();
        }
        let text = |path: &Path| path.display().to_string();
        let settings = [
            ("regions_dir", text(&regions)),
            ("data_dir", text(&self.data_dir())),
            ("tls.dir", text(&bed.cluster.folder().certs_dir())),
            ("gossip.digest_interval", "200ms".into()),
            ("peer.idle_timeout", "1500ms".into()),
            ("ids.quarantine", "4s".into()),
            ("peer.backoff_max", "400ms".into()),
            ("incarnation.proof_timeout", "500ms".into()),
            ("ids.claim_wait", "500ms".into()),
        ];
        let settings = settings.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let log = fs::File::create(self.log_file()).unwrap();
        let process = Command::new(executable())
            .args(settings)
            .args(["serve", "--region", WEST, "--node", "0"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.process = Some(process.unwrap());
    }

    async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }

    pub(crate) fn config(&self, bed: &Bed) -> snowtide_client::Config {
        let pem = fs::read(bed.cluster.folder().ca_file()).unwrap();
        let config = snowtide_client::Config::new(self.quic.to_string()).ca_pem(&pem).unwrap();
        config.server_name("node-0.eu-west.snowtide")
    }

    async fn client(&self, bed: &Bed) -> Connection {
        let config = self.config(bed);
        eventually(DEADLINE, "the twin listens", async || Connection::open(config.clone()).await).await
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the twin's log:\n{}", self.log());
        }
    }
}

/// What a node says of itself.
async fn node(http: SocketAddr) -> Result<Value, String> {
    let answer = http::get(http, "/v1/cluster").await.map_err(|error| error.to_string())?;
    Ok(answer.json()["node"].clone())
}

pub(crate) async fn stage(http: SocketAddr) -> Result<String, String> {
    Ok(node(http).await?["stage"].as_str().unwrap_or_default().to_owned())
}

/// A fenced node refuses counters and IDs alike, and says why.
async fn is_fenced(http: SocketAddr, client: &Connection) {
    let reason = node(http).await.unwrap()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("duplicate worker"), "{reason}");
    let readiness = http::get(http, "/readyz?verbose").await.unwrap();
    assert_eq!(readiness.status, 503);
    let told = readiness.json();
    assert_eq!((&told["stage"], &told["reason"]), (&"fenced".into(), &reason.as_str().into()), "{told}");
    assert_eq!(told["checks"][2], serde_json::json!({ "name": "unfenced", "ok": false }), "{told}");
    for refused in [client.increment(NAMESPACE, KEY, 1).await.map(|_| ()), client.ids(1).await.map(|_| ())] {
        assert!(matches!(refused, Err(Error::Refused { code: Code::Fenced, .. })), "{refused:?}");
    }
}

pub(crate) fn swift(options: snowtide_dev::Options) -> snowtide_dev::Options {
    options.set("incarnation.proof_timeout", "500ms").set("ids.claim_wait", "500ms")
}

#[tokio::test]
async fn a_copy_that_calls_a_peer_of_the_original_is_fenced_at_once() {
    let mut bed = Bed::start(swift).await;
    bed.client(WEST).await.increment(NAMESPACE, KEY, 1_000_003).await.unwrap();
    bed.counted(&[EAST, SOUTH], KEY, 1_000_003).await;
    bed.cluster.kill(WEST).await.unwrap();
    let mut twin = Twin::new();
    copy(&bed.cluster.folder().data_dir(WEST), &twin.data_dir());
    bed.start_node(WEST).await;
    for other in [EAST, SOUTH] {
        bed.logged(other, &["INFO", "peer=\"eu-west/0\"", "its link to this node is up", "boot=2"]).await;
    }

    twin.start(&bed, &[(EAST, bed.quic(EAST)), (SOUTH, bed.quic(SOUTH))]);
    eventually(DEADLINE, "the twin is fenced", async || {
        let stage = stage(twin.http).await?;
        ensure(stage == "fenced", || stage)
    })
    .await;
    is_fenced(twin.http, &twin.client(&bed).await).await;
    assert_ne!(stage(bed.http(WEST)).await.unwrap(), "fenced");
    bed.client(WEST).await.increment(NAMESPACE, KEY, 1_000_033).await.unwrap();
    bed.counted(&[EAST, WEST, SOUTH], KEY, 2_000_036).await;
    bed.serves(WEST).await;

    // A restart changes nothing, even when the original is gone, until an operator says so.
    let others = [(EAST, bed.quic(EAST)), (SOUTH, bed.quic(SOUTH))];
    bed.cluster.kill(WEST).await.unwrap();
    for (cleared, expected) in [(false, "fenced"), (true, "ready")] {
        if cleared {
            let answer = control::tell(&twin.data_dir(), Order::ClearFence).await.unwrap();
            assert!(
                matches!(&answer, Answer::FenceCleared { reason } if reason.contains("duplicate worker")),
                "{answer:?}"
            );
        }
        twin.kill().await;
        twin.start(&bed, &others);
        eventually(DEADLINE, &format!("the twin is {expected}"), async || {
            let stage = stage(twin.http).await?;
            ensure(stage == expected, || stage)
        })
        .await;
    }
    let refused = control::tell(&twin.data_dir(), Order::ClearFence).await.unwrap();
    assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
    twin.client(&bed).await.ids(1).await.unwrap();
}

/// What came of work at a node.
#[derive(Default)]
struct Worked {
    acknowledged: u64,
    /// Of what is unknown whether it counts: the fence met the request on its way.
    unknown: u64,
    ids: Vec<u64>,
}

impl Worked {
    /// What was acknowledged counts once, everywhere; what is unknown counts so, or nowhere.
    async fn is_counted(&self, bed: &Bed, regions: &[&str], key: &str) {
        let least = i128::from(self.acknowledged);
        eventually(DEADLINE, &format!("{key} is {least} everywhere, or {} more", self.unknown), async || {
            let mut found = Vec::new();
            for region in regions {
                found.push(bed.values(region, &[key.to_owned()]).await?[0]);
            }
            let is_whole = |value: &i128| *value == least || *value == least + i128::from(self.unknown);
            ensure(found.iter().all(|value| is_whole(value) && *value == found[0]), || format!("{found:?}"))
        })
        .await;
    }
}

/// Mints and increments until this node or the other refuses because it is fenced.
async fn work(client: &Connection, key: &str, by: u64, over: &AtomicBool, works: &AtomicBool) -> Worked {
    let mut worked = Worked::default();
    while !over.load(Ordering::Relaxed) {
        match client.increment(NAMESPACE, key, by).await {
            Ok(_) => {
                worked.acknowledged += by;
                works.store(true, Ordering::Relaxed);
            }
            Err(Error::Refused { code: Code::Fenced, .. }) => over.store(true, Ordering::Relaxed),
            Err(error) if error.is_ambiguous() => {
                assert_eq!(worked.unknown, 0, "only the request that meets the fence: {error}");
                worked.unknown = by;
            }
            Err(_) => {}
        }
        if let Ok(minted) = client.ids(1).await {
            worked.ids.extend(minted);
        }
        tokio::time::sleep(PACE).await;
    }
    worked
}

#[tokio::test]
async fn two_that_share_no_peer_hear_of_each_other_and_one_is_fenced() {
    let mut twin = Twin::new();
    let mut bed = Bed::prepare(swift);
    // eu-west speaks with us-east only. ap-south knows eu-west at the address of the twin, which speaks with it only.
    bed.cluster.cut_between(WEST, SOUTH).unwrap();
    let map = bed.cluster.folder().node_regions_dir(SOUTH).join("eu-west.toml");
    let mut west: snowtide::config::map::Region = toml::from_str(&fs::read_to_string(&map).unwrap()).unwrap();
    west.nodes[0].quic = twin.quic.into();
    fs::write(&map, toml::to_string(&west).unwrap()).unwrap();
    bed.start_all().await;
    bed.client(WEST).await.increment(NAMESPACE, KEY, 1_000_003).await.unwrap();
    bed.counted(&[EAST, SOUTH], KEY, 1_000_003).await;

    // Until both have worked, nothing leads from one to the other.
    bed.cluster.cut_between(EAST, SOUTH).unwrap();
    bed.cluster.kill(WEST).await.unwrap();
    copy(&bed.cluster.folder().data_dir(WEST), &twin.data_dir());
    bed.start_node(WEST).await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    twin.start(&bed, &[(EAST, silent.local_addr().unwrap()), (SOUTH, bed.quic(SOUTH))]);
    let (one, other) = (bed.client(WEST).await, twin.client(&bed).await);
    let (over, works) = (AtomicBool::new(false), [AtomicBool::new(false), AtomicBool::new(false)]);
    let heal = eventually(DEADLINE, "both work", async || {
        ensure(works.iter().all(|works| works.load(Ordering::Relaxed)), || format!("{works:?}"))?;
        bed.cluster.heal_between(EAST, SOUTH).map_err(|error| error.to_string())
    });
    let both = async {
        tokio::join!(work(&one, "one", 3, &over, &works[0]), work(&other, "other", 5, &over, &works[1]), heal)
    };
    let (first, second, ()) = tokio::time::timeout(DEADLINE, both).await.expect("one of them is fenced");
    assert!(first.acknowledged > 0 && second.acknowledged > 0, "both have worked");

    let stages = eventually(DEADLINE, "one is fenced", async || {
        let stages = [stage(bed.http(WEST)).await?, stage(twin.http).await?];
        ensure(stages.iter().any(|stage| stage == "fenced"), || format!("{stages:?}")).map(|()| stages)
    })
    .await;
    assert_eq!(stages.iter().filter(|stage| *stage == "fenced").count(), 1, "{stages:?}");
    let original_stays = stages[1] == "fenced";
    let (loser, loser_http) = if original_stays { (&other, twin.http) } else { (&one, bed.http(WEST)) };
    is_fenced(loser_http, loser).await;
    let reason = node(loser_http).await.unwrap()["reason"].to_string();
    assert!(reason.contains("by way of peers that hear both"), "no peer has seen both: {reason}");

    // From now on one of them mints, above everything that both have minted.
    let survivor = if original_stays { &one } else { &other };
    // If it is the copy, what the peers knew of the original may keep it waiting for `ids.quarantine`.
    let minted = eventually(DEADLINE, "the survivor mints", async || survivor.ids(1_000).await).await;
    let before: HashSet<u64> = first.ids.iter().chain(&second.ids).copied().collect();
    assert!(minted.iter().all(|id| !before.contains(id)));
    // What either has acknowledged counts once, everywhere, whatever became of it.
    survivor.increment(NAMESPACE, KEY, 1_000_033).await.unwrap();
    bed.counted(&[EAST, SOUTH], KEY, 2_000_036).await;
    first.is_counted(&bed, &[EAST, SOUTH], "one").await;
    second.is_counted(&bed, &[EAST, SOUTH], "other").await;
    println!(
        "{} stays; {} and {} were acknowledged",
        if original_stays { "the original" } else { "the copy" },
        first.acknowledged,
        second.acknowledged
    );
}
