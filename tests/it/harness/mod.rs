//! What the tests stand on: clusters of real processes, waiting with a deadline, and callers that can misbehave.

pub(crate) mod http;
pub(crate) mod quic;
pub(crate) mod site;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use snowtide::clock::Stopwatch;
use snowtide_client::{Batch, Connection};
use snowtide_dev::{Cluster, Options};
use tempfile::TempDir;

/// Far longer than anything takes, so that only what never happens fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Counters asked for in one batch.
const READ_KEYS: usize = 1_000;

pub(crate) const EAST: &str = "us-east";
pub(crate) const WEST: &str = "eu-west";
pub(crate) const SOUTH: &str = "ap-south";
/// By region number.
pub(crate) const REGIONS: [&str; 3] = [EAST, WEST, SOUTH];
/// The namespace that every configuration has.
pub(crate) const NAMESPACE: &str = "default";

/// The binary under test.
pub(crate) fn executable() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_snowtide"))
}

/// A program that was built beside it.
#[track_caller]
pub(crate) fn beside(name: &str) -> PathBuf {
    let program = executable().with_file_name(name);
    assert!(program.exists(), "first: cargo build --release --workspace --bins");
    program
}

/// Tries until it succeeds; fails with the last reason once `within` has passed.
pub(crate) async fn eventually<T, E: Display>(
    within: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let watch = Stopwatch::start();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(reason) if Duration::from_millis(watch.elapsed_ms()) > within => {
                panic!("in vain for {within:?}: {what}: {reason}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Success, or the sentence.
pub(crate) fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// A cluster in a folder of its own; both are gone at the end of the test, however it ends.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    _dir: TempDir,
}

impl Bed {
    /// Three regions that serve. `shape` may change what they are to be.
    pub(crate) async fn start(shape: impl FnOnce(Options) -> Options) -> Self {
        let mut bed = Self::prepare(shape);
        bed.start_all().await;
        bed
    }

    /// Three regions of which no node runs yet.
    pub(crate) fn prepare(shape: impl FnOnce(Options) -> Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Lost links are noticed and tried again sooner than by default, since the tests cut many.
        let options = Options::new(executable(), dir.path())
            .set("gossip.digest_interval", "200ms")
            .set("peer.idle_timeout", "1500ms")
            .set("ids.quarantine", "4s")
            .set("peer.backoff_max", "400ms");
        let options = Options { ready_within: DEADLINE, drain_within: DEADLINE, ..options };
        Self { cluster: Cluster::prepare(shape(options)).unwrap(), _dir: dir }
    }

    /// Starts what does not run.
    pub(crate) async fn start_all(&mut self) {
        self.cluster.start_all(|_| {}).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts a node that was stopped.
    pub(crate) async fn start_node(&mut self, region: &str) {
        self.cluster.start_node(region).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) async fn client(&self, region: &str) -> Connection {
        Connection::open(self.cluster.client_config(region).unwrap()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where the region's node answers HTTP.
    pub(crate) fn http(&self, region: &str) -> SocketAddr {
        self.cluster.endpoints().into_iter().find(|node| node.region == region).unwrap().http
    }

    /// Where the region's node answers QUIC.
    pub(crate) fn quic(&self, region: &str) -> SocketAddr {
        self.cluster.endpoints().into_iter().find(|node| node.region == region).unwrap().quic
    }

    /// Everything that the region's node has logged, over all its starts.
    pub(crate) fn log(&self, region: &str) -> String {
        std::fs::read_to_string(self.cluster.folder().log_file(region)).unwrap_or_default()
    }

    /// The log lines that hold all of these words.
    pub(crate) fn lines(&self, region: &str, words: &[&str]) -> Vec<String> {
        let log = self.log(region);
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    /// Waits until the region's node has logged a line with all of these words; returns the first.
    pub(crate) async fn logged(&self, region: &str, words: &[&str]) -> String {
        eventually(DEADLINE, &format!("{region} logs {words:?}"), async || {
            self.lines(region, words).into_iter().next().ok_or("no such line")
        })
        .await
    }

    /// The values of these counters as a region knows them.
    pub(crate) async fn values(&self, region: &str, keys: &[String]) -> Result<Vec<i128>, String> {
        let config = self.cluster.client_config(region).map_err(|error| error.to_string())?;
        let client = Connection::open(config).await.map_err(|error| error.to_string())?;
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_KEYS) {
            let mut batch = Batch::new();
            for key in keys {
                batch.get(NAMESPACE, key).unwrap();
            }
            for result in client.batch(&batch).await.map_err(|error| error.to_string())? {
                values.push(result.map_err(|code| code.to_string())?);
            }
        }
        Ok(values)
    }

    /// Waits until these regions know the same values of these counters, and returns them.
    pub(crate) async fn agreed(&self, regions: &[&str], keys: &[String]) -> Vec<i128> {
        eventually(DEADLINE, &format!("{regions:?} agree"), async || {
            let mut all = Vec::new();
            for region in regions {
                all.push(self.values(region, keys).await.map_err(|reason| format!("{region}: {reason}"))?);
            }
            let first = all.swap_remove(0);
            let differs = all.iter().find_map(|other| first.iter().zip(other).position(|(one, two)| one != two));
            match differs {
                Some(at) => Err(format!("{} is {} in one region and differs in another", keys[at], first[at])),
                None => Ok(first),
            }
        })
        .await
    }

    /// Waits until this counter has this value in these regions.
    pub(crate) async fn counted(&self, regions: &[&str], key: &str, value: i128) {
        for region in regions {
            eventually(DEADLINE, &format!("{key} is {value} in {region}"), async || {
                let found = self.values(region, &[key.to_owned()]).await?[0];
                ensure(found == value, || format!("it is {found}"))
            })
            .await;
        }
    }

    /// Waits until the region's node serves and has not panicked.
    pub(crate) async fn serves(&mut self, region: &str) {
        self.cluster.check().unwrap_or_else(|error| panic!("{error}"));
        let client = self.client(region).await;
        client.increment(NAMESPACE, "still-alive", 1).await.unwrap();
        eventually(DEADLINE, &format!("{region} mints"), async || match client.ids(1).await {
            Ok(_) => Ok(()),
            // A node that not all of its peers speak with waits for `ids.claim_wait` first.
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => panic!("{error}"),
        })
        .await;
        assert!(self.lines(region, &["panick"]).is_empty(), "{:?}", self.lines(region, &["panick"]));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for region in self.cluster.regions() {
                println!("the end of {region}'s log:\n{}", self.cluster.folder().log_tail(region));
            }
        }
    }
}
