//! A real node on a file system of its own that runs out of room: because the node fills it, or because somebody else
//! does. It goes on answering reads, loses nothing, starts again, and takes writes by itself once there is room.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use snowtide::clock::Stopwatch;
use snowtide_client::{Batch, Connection, Error};
use snowtide_dev::{Cluster, Options};
use snowtide_protocol::Code;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::Scale;
use crate::processes::harness::{DEADLINE, EAST, NAMESPACE, eventually, executable, http};
use crate::table::{Tally, Verdict};

const KEY_BYTES: usize = 400;
/// Who fills the disk at once.
const LOADERS: usize = 4;
/// New counters in one batch.
const BATCH: usize = 250;
/// Whoever is refused for so long without a break has filled the disk.
const REFUSED_FOR: Duration = Duration::from_secs(4);
/// The file of somebody else.
const HOG: &str = "hog";
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node that lives takes to answer, at most.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Between a start, a full disk and all others.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node alone on its file system.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) data: PathBuf,
    next: Arc<AtomicUsize>,
    /// The numbers of the counters that were acknowledged.
    pub(crate) acknowledged: Vec<usize>,
    /// How often the node ended by itself.
    ends: usize,
    _dir: TempDir,
}

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    if !crate::may_mount() {
        println!("SKIPPED: nodes on full disks: this user may not mount");
        return vec![];
    }
    crate::runtime().block_on(async { vec![own(scale).await, others(scale).await, read_only().await] })
}

/// The node itself fills its disk.
async fn own(scale: Scale) -> Tally {
    let watch = Stopwatch::start();
    let mib = scale.of(160, 2_600);
    let mut tally = Tally::new("disks that a node fills");
    let mut ground = Ground::start(mib).await;
    ground.fill().await;
    let place = format!("{mib} MiB");
    let free = ground.free_mib();
    tally.add(&place, ground.judge("full").await);
    ground.cluster.kill(EAST).await.unwrap();
    ground.cluster.start_node(EAST).await.unwrap();
    tally.add(&place, ground.judge("killed and started").await);
    ground.grow(2 * mib);
    ground.until_writes().await;
    tally.add(&place, ground.judge("with room").await);
    tally.remarks = format!("{} acknowledged, {free} MiB left", ground.acknowledged.len());
    tally.took = Duration::from_millis(watch.elapsed_ms());
    tally
}

/// Somebody else fills the disk to its last byte: while the node rests, and while it is written to.
async fn others(scale: Scale) -> Tally {
    let watch = Stopwatch::start();
    let mut tally = Tally::new("disks that others fill");
    let mut ground = Ground::start(200).await;
    for number in 0..scale.of(1, 10) {
        let place = format!("round {number}");
        ground.count(20).await;
        ground.until_written().await;
        ground.hog();
        tally.add(&place, ground.judge("filled at rest").await);
        tally.add(&place, ground.judge_ids().await);
        ground.cluster.kill(EAST).await.unwrap();
        ground.cluster.start_node(EAST).await.unwrap();
        tally.add(&place, ground.judge("killed and started full").await);
        tally.add(&place, ground.judge_ids().await);
        ground.cluster.terminate(EAST).await.unwrap();
        ground.cluster.start_node(EAST).await.unwrap();
        tally.add(&place, ground.judge("stopped and started full").await);
        ground.unhog();
        ground.until_writes().await;
        tally.add(&place, ground.judge("with room").await);
        ground.fill_and_hog().await;
        tally.add(&place, ground.judge("filled under load, and with room").await);
    }
    tally.remarks =
        format!("{} acknowledged, {} ends while the disk was being filled", ground.acknowledged.len(), ground.ends);
    tally.took = Duration::from_millis(watch.elapsed_ms());
    tally
}

/// The file system may only be read.
async fn read_only() -> Tally {
    let watch = Stopwatch::start();
    let mut tally = Tally::new("disks that may only be read");
    let mut ground = Ground::start(200).await;
    ground.count(20).await;
    ground.cluster.terminate(EAST).await.unwrap();
    mount(&["-o", "remount,ro"], &ground.data);
    ground.cluster.start_node(EAST).await.unwrap();
    tally.add("a start", ground.judge("read-only").await);
    mount(&["-o", "remount,rw"], &ground.data);
    ground.until_writes().await;
    tally.add("a start", ground.judge("writable again").await);
    tally.took = Duration::from_millis(watch.elapsed_ms());
    tally
}

impl Ground {
    async fn start(mib: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut ground = Self::prepare(dir, mib, |options| options.set("disk.min_free", "1MiB"));
        ground.cluster.start_all(|_| {}).await.unwrap();
        ground
    }

    /// Where in a folder the node's data is.
    pub(crate) fn data_in(dir: &TempDir) -> PathBuf {
        let data = fs::canonicalize(dir.path()).unwrap().join("nodes").join(EAST).join("data");
        fs::create_dir_all(&data).unwrap();
        data
    }

    /// A node that has not started.
    pub(crate) fn prepare(dir: TempDir, mib: usize, change: impl FnOnce(Options) -> Options) -> Self {
        let folder = fs::canonicalize(dir.path()).unwrap();
        let options =
            Options::new(executable(), &folder).set("checkpoint.interval", "1s").set("ids.claim_wait", "10ms");
        let options = Options { regions: Some(1), ready_within: DEADLINE, drain_within: DEADLINE, ..options };
        let cluster = Cluster::prepare(change(options)).unwrap();
        let (next, data) = (Arc::default(), Self::data_in(&dir));
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"], &data);
        Self { cluster, data, next, acknowledged: Vec::new(), ends: 0, _dir: dir }
    }

    pub(crate) async fn client(&self) -> Connection {
        let config = self.cluster.client_config(EAST).unwrap().request_timeout(DEADLINE);
        // A node that has found room closes its doors for a moment.
        eventually(DEADLINE, "the node takes connections", async || Connection::open(config.clone()).await).await
    }

    /// Counts new counters until nobody may any more.
    pub(crate) async fn fill(&mut self) {
        let clients = self.loaders().await;
        self.fill_by(clients).await;
    }

    /// Clients for [`Self::fill_by`], connected.
    pub(crate) async fn loaders(&self) -> Vec<Connection> {
        let mut clients = Vec::new();
        for _ in 0..LOADERS {
            clients.push(self.client().await);
        }
        clients
    }

    /// The same, by these.
    pub(crate) async fn fill_by(&mut self, clients: Vec<Connection>) {
        let mut loaders = JoinSet::new();
        for client in clients {
            loaders.spawn(fill(client, self.next.clone()));
        }
        while let Some(counted) = loaders.join_next().await {
            self.acknowledged.extend(counted.unwrap());
        }
    }

    /// Counts so many batches of new counters.
    pub(crate) async fn count(&mut self, batches: usize) {
        let client = self.client().await;
        for _ in 0..batches {
            let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
            let values = client.batch(&increments(first)).await.unwrap();
            assert!(values.iter().all(Result::is_ok));
            self.acknowledged.extend(first..first + BATCH);
        }
    }

    /// Until a checkpoint has written all rows.
    async fn until_written(&self) {
        let address = self.cluster.endpoints()[0].http;
        eventually(PATIENCE, "all rows are written", async || {
            let metrics = http::get(address, "/metrics").await.map_err(|error| error.to_string())?.body;
            if metrics.lines().any(|line| line == "snowtide_rows_dirty 0") {
                Ok(())
            } else {
                Err("some are not".to_owned())
            }
        })
        .await;
    }

    /// Takes every byte that is left.
    fn hog(&self) {
        let mut hog = File::create(self.data.join(HOG)).unwrap();
        let mut bytes = 1 << 20;
        while bytes > 0 {
            match hog.write(&vec![0; bytes]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => bytes /= 2,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn unhog(&self) {
        fs::remove_file(self.data.join(HOG)).unwrap();
    }

    /// The disk is filled while it is written to. A node that does not notice in time ends, and says why (I9).
    async fn fill_and_hog(&mut self) {
        let mut loaders = JoinSet::new();
        for _ in 0..LOADERS {
            loaders.spawn(fill(self.client().await, self.next.clone()));
        }
        tokio::time::sleep(PAUSE).await;
        self.hog();
        while let Some(counted) = loaders.join_next().await {
            self.acknowledged.extend(counted.unwrap());
        }
        self.start_if_ended().await;
        self.unhog();
        // One whose writes have failed may have been on its way out still.
        eventually(PATIENCE, "writes are taken again", async || {
            self.start_if_ended().await;
            self.answer().await?.map_err(|error| error.to_string())
        })
        .await;
    }

    /// A node that has ended for want of room is started again.
    async fn start_if_ended(&mut self) {
        let Err(error) = self.cluster.check() else { return };
        let log = fs::read_to_string(self.cluster.folder().log_file(EAST)).unwrap();
        assert!(error.to_string().contains("exit status: 1") && log.contains("No space left"), "{error}\n{log}");
        self.ends += 1;
        self.cluster.start_node(EAST).await.unwrap();
    }

    /// IDs come, or are refused for the disk.
    async fn judge_ids(&self) -> Verdict {
        match self.client().await.ids(10).await {
            Ok(_) | Err(Error::Refused { code: Code::DiskLow, .. }) => Verdict::Fine,
            Err(error) => Verdict::Silent(format!("IDs: {error}")),
        }
    }

    /// The node lives, every counter that was acknowledged is there, once, and the node says how its disk stands.
    pub(crate) async fn judge(&mut self, when: &str) -> Verdict {
        self.said().await;
        if let Err(error) = self.cluster.check() {
            return Verdict::Silent(format!("{when}: {error}"));
        }
        let client = self.client().await;
        for numbers in self.acknowledged.chunks(1_000) {
            let mut batch = Batch::new();
            for number in numbers {
                batch.get(NAMESPACE, &counter(*number)).unwrap();
            }
            let values = match client.batch(&batch).await {
                Ok(values) => values,
                Err(error) => return Verdict::Silent(format!("{when}: {error}")),
            };
            if let Some((number, value)) = numbers.iter().zip(values).find(|(_, value)| *value != Ok(1)) {
                return Verdict::Lost(format!("{when}: counter {number} is {value:?}"));
            }
        }
        Verdict::Fine
    }

    /// Whether probe, view and metrics tell what a write is told.
    async fn said(&mut self) {
        let address = self.cluster.endpoints()[0].http;
        eventually(PATIENCE, "all say the same of the disk", async || {
            // What the node was writing when somebody else took the last byte has failed.
            if self.data.join(HOG).exists() {
                self.start_if_ended().await;
            }
            let refused = match self.answer().await? {
                Ok(_) => false,
                Err(Error::Refused { code: Code::DiskLow, .. }) => true,
                Err(error) => return Err(error.to_string()),
            };
            let probe = json(address, "/readyz?verbose").await?;
            let room =
                probe["checks"].as_array().and_then(|checks| checks.iter().find(|check| check["name"] == "room"));
            let room = room.map(|check| check["ok"] == true);
            let reason = json(address, "/v1/cluster").await?["node"]["reason"].is_string();
            let metrics = http::get(address, "/metrics").await.map_err(|error| error.to_string())?.body;
            let low = metrics.lines().any(|line| line == "snowtide_disk_low 1");
            if (room, reason, low) == (Some(!refused), refused, refused) {
                return Ok(());
            }
            Err(format!("refused: {refused}, room: {room:?}, reason: {reason}, low: {low}"))
        })
        .await;
    }

    async fn write(&self) -> Result<i128, Error> {
        self.client().await.increment(NAMESPACE, "another", 1).await
    }

    /// What a node says to a write that may be on its way out.
    async fn answer(&self) -> Result<Result<i128, Error>, String> {
        tokio::time::timeout(ANSWERED_WITHIN, self.write()).await.map_err(|_| "no answer".to_owned())
    }

    pub(crate) async fn until_writes(&self) {
        eventually(PATIENCE, "writes are taken again", async || self.write().await).await;
    }

    fn grow(&self, mib: usize) {
        mount(&["-o", &format!("remount,size={mib}m")], &self.data);
    }

    fn free_mib(&self) -> u64 {
        let stats = nix::sys::statvfs::statvfs(&self.data).unwrap();
        (stats.blocks_available() * stats.fragment_size()) >> 20
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.data).status();
    }
}

/// Counts a batch of new counters after the other; returns which were acknowledged.
async fn fill(client: Connection, next: Arc<AtomicUsize>) -> Vec<usize> {
    let (mut acknowledged, mut refused) = (Vec::new(), None::<Stopwatch>);
    while refused.as_ref().is_none_or(|since| Duration::from_millis(since.elapsed_ms()) < REFUSED_FOR) {
        let first = next.fetch_add(BATCH, Ordering::Relaxed);
        match client.batch(&increments(first)).await {
            Ok(values) => {
                refused = None;
                acknowledged.extend((first..).zip(values).filter(|(_, value)| value.is_ok()).map(|(number, _)| number));
            }
            Err(Error::Refused { code: Code::DiskLow, .. }) => {
                refused.get_or_insert_with(Stopwatch::start);
                tokio::time::sleep(PAUSE).await;
            }
            Err(Error::Refused { code: Code::Throttled | Code::Overloaded, .. }) => tokio::time::sleep(PAUSE).await,
            // The node has ended, which its judge sees.
            Err(_) => break,
        }
    }
    acknowledged
}

fn increments(first: usize) -> Batch {
    let mut batch = Batch::new();
    for number in first..first + BATCH {
        batch.increment(NAMESPACE, &counter(number), 1).unwrap();
    }
    batch
}

/// A key of 400 bytes that no compression makes small.
fn counter(number: usize) -> String {
    let mut seed = number as u64;
    let rest = (0..KEY_BYTES - 10).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (seed >> 58) as u8)
    });
    format!("{number:0>10}{}", rest.collect::<String>())
}

async fn json(address: std::net::SocketAddr, path: &str) -> Result<Value, String> {
    let answer = http::get(address, path).await.map_err(|error| error.to_string())?;
    serde_json::from_str(&answer.body).map_err(|error| format!("{path}: {error}"))
}

fn mount(arguments: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(mounted.success(), "mount {arguments:?} {}", at.display());
}
