//! Starts that are refused: data directories, ports, certificates; each with a message that says what to do.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use rocksdb::{DB, Options as RocksOptions};
use snowtide_dev::{DevError, Ending, Options};
use tempfile::TempDir;

use crate::clones;
use crate::harness::site::{Ended, run};
use crate::harness::{Bed, EAST, NAMESPACE};

const KEY: &str = "kept";
const VALUE: u64 = 1_000_003;

/// A cluster of one, whose data directory is copied and then spoilt.
struct Ground {
    bed: Bed,
    scratch: TempDir,
}

impl Ground {
    /// With data, and stopped: by SIGTERM, or with -9, which leaves everything in the write-ahead log.
    async fn with_data(kill: bool) -> Self {
        let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
        let client = bed.client(EAST).await;
        client.ids(1).await.unwrap();
        for _ in 0..50 {
            client.increment(NAMESPACE, KEY, VALUE).await.unwrap();
        }
        if kill {
            bed.cluster.kill(EAST).await.unwrap();
        } else {
            assert_eq!(bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
        }
        Self { bed, scratch: tempfile::tempdir().unwrap() }
    }

    fn empty() -> Self {
        let bed = Bed::prepare(|options| Options { regions: Some(1), ..options });
        Self { bed, scratch: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.bed.cluster.folder().data_dir(EAST)
    }

    /// A copy of the data directory.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.scratch.path().join(name);
        clones::copy(&self.data(), &to);
        to
    }

    /// Starts a node on `data`, which must end by itself.
    async fn serve(&self, data: &Path, settings: &[&str]) -> Ended {
        let config = self.bed.cluster.folder().config_file();
        let mut arguments = vec!["--config", config.to_str().unwrap()];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        arguments.extend(["serve", "--region", EAST, "--data-dir", data.to_str().unwrap()]);
        run(self.scratch.path(), &arguments, &[]).await
    }
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
}

/// The largest file with this ending.
fn largest(data: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    wanted.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("there is such a file")
}

#[tokio::test]
async fn somebody_elses_files() {
    let ground = Ground::empty();
    let foreign = ground.scratch.path().join("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "years of work").unwrap();
    let ended = ground.serve(&foreign, &[]).await;
    ended.refused(1, &["no Snowtide node made it (it holds thesis.tex)", "set data_dir to a directory of its own"]);
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "nothing was added");
    let file = foreign.join("thesis.tex");
    ground.serve(&file, &[]).await.refused(1, &["this is a file; set data_dir to a directory"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "years of work");
}

#[tokio::test]
async fn a_directory_of_another_cluster_worker_layout_or_secret() {
    let ground = Ground::with_data(false).await;
    let remedy = "set data_dir to the right or to an empty directory";
    let data = ground.copy("mine");
    let other = ground.serve(&data, &["cluster.id=elsewhere"]).await;
    other.refused(1, &["belongs to cluster snowtide-dev", "says cluster elsewhere", remedy]);
    let other = ground.serve(&data, &["ids.bits.time=42", "ids.bits.sequence=11"]).await;
    other.refused(1, &["belongs to ID layout", "says ID layout", remedy]);
    let other = ground.serve(&data, &["cluster.secret=correct-horse-battery"]).await;
    other.refused(1, &["belongs to cluster secret (fingerprint)", "says cluster secret (fingerprint)", remedy]);
    assert!(!other.stderr.contains("correct-horse-battery"), "{other:?}");
    let map = ground.bed.cluster.folder().regions_dir().join("us-east.toml");
    let text = fs::read_to_string(&map).unwrap();
    // The region's number comes first in its file, the node's after it.
    fs::write(&map, text.replacen("id = 0\n", "id = 4\n", 1)).unwrap();
    let other = ground.serve(&data, &[]).await;
    other.refused(1, &["belongs to worker (region/node) 0/0", "says worker (region/node) 4/0", remedy]);
}

#[tokio::test]
async fn a_directory_in_a_newer_format() {
    let ground = Ground::with_data(false).await;
    let data = ground.copy("newer");
    let families = DB::list_cf(&RocksOptions::default(), &data).unwrap();
    let database = DB::open_cf(&RocksOptions::default(), &data, families).unwrap();
    database.put_cf(database.cf_handle("meta").unwrap(), b"format", [9]).unwrap();
    drop(database);
    let ended = ground.serve(&data, &[]).await;
    ended.refused(1, &["it is in format 9", "knows formats up to 3", "start the newer program that wrote it"]);
}

#[tokio::test]
async fn damaged_files() {
    let ground = Ground::with_data(true).await;
    let remedy = "Nothing was repaired or dropped. Keep a copy of the directory";
    let current = ground.copy("current");
    fs::write(current.join("CURRENT"), "MANIFEST-999999\n").unwrap();
    ground.serve(&current, &[]).await.refused(65, &["data directory", remedy]);
    let absent = ground.copy("absent");
    fs::remove_file(absent.join("CURRENT")).unwrap();
    ground.serve(&absent, &[]).await.refused(65, &["data directory", remedy]);
    let manifest = ground.copy("manifest");
    let name = fs::read_to_string(manifest.join("CURRENT")).unwrap();
    flip(&manifest.join(name.trim()));
    ground.serve(&manifest, &[]).await.refused(65, &["data directory", remedy]);
    let journal = ground.copy("journal");
    flip(&largest(&journal, "log"));
    ground.serve(&journal, &[]).await.refused(65, &["data directory", ".log", remedy]);
}

#[tokio::test]
async fn a_refused_start_ends_by_itself_although_its_starter_lives_on() {
    let mut ground = Ground::with_data(true).await;
    fs::write(ground.data().join("CURRENT"), "MANIFEST-999999\n").unwrap();
    let refused = ground.bed.cluster.start_node(EAST).await.unwrap_err();
    let DevError::Died { status, tail, .. } = refused else { panic!("{refused}") };
    assert_eq!(status.code(), Some(65));
    assert!(tail.contains("Nothing was repaired or dropped"), "{tail}");
}

#[tokio::test]
async fn a_damaged_table() {
    let mut ground = Ground::with_data(true).await;
    // A second start writes what the log held into tables.
    ground.bed.start_node(EAST).await;
    assert_eq!(ground.bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
    let data = ground.copy("table");
    flip(&largest(&data, "sst"));
    ground.serve(&data, &[]).await.refused(65, &["data directory", ".sst", "Nothing was repaired or dropped"]);
}

#[tokio::test]
async fn a_directory_that_another_process_uses() {
    let mut ground = Ground::with_data(false).await;
    let config = ground.bed.cluster.folder().config_file();
    // On ports of its own, or those would be refused first.
    let map = ground.scratch.path().join("regions");
    fs::create_dir(&map).unwrap();
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (quic, http) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let text = format!("name = \"{EAST}\"\nid = 0\n[[node]]\nid = 0\nquic = \"{quic}\"\nhttp = \"{http}\"\n");
    fs::write(map.join("us-east.toml"), text).unwrap();
    ground.bed.start_node(EAST).await;
    drop((udp, tcp));
    let data = ground.data();
    let arguments =
        ["--config", config.to_str().unwrap(), "--regions-dir", map.to_str().unwrap(), "serve", "--region", EAST];
    let arguments: Vec<&str> = arguments.into_iter().chain(["--data-dir", data.to_str().unwrap()]).collect();
    let ended = run(ground.scratch.path(), &arguments, &[]).await;
    ended.refused(75, &["another process is using it", "stop that process (", "or set another data_dir"]);
    ground.bed.counted(&[EAST], KEY, 50 * i128::from(VALUE)).await;
}

#[tokio::test]
async fn an_address_in_use() {
    let ground = Ground::empty();
    let data = ground.scratch.path().join("data");
    let held = UdpSocket::bind(ground.bed.quic(EAST)).unwrap();
    ground.serve(&data, &[]).await.refused(1, &["/udp is in use", &ground.bed.quic(EAST).to_string()]);
    drop(held);
    let held = TcpListener::bind(ground.bed.http(EAST)).unwrap();
    ground
        .serve(&data, &[])
        .await
        .refused(1, &["cannot listen on", "/tcp, which is http.listen, or follows from `http`"]);
    drop(held);
    assert!(!data.exists(), "nothing was made for a node that could not start");
}

#[tokio::test]
async fn certificates_that_are_missing_or_not_ours() {
    let ground = Ground::empty();
    let (data, nowhere) = (ground.scratch.path().join("data"), ground.scratch.path().join("nowhere"));
    let setting = format!("tls.dir={}", nowhere.display());
    let missing = ground.serve(&data, &[&setting]).await;
    missing.refused(1, &["cannot read", "ca.pem", "`snowtide-dev certs` makes certificates"]);

    let certs = ground.bed.cluster.folder().certs_dir();
    let own = certs.join("us-east-0.pem");
    let text = fs::read(&own).unwrap();
    fs::write(&own, "not a certificate").unwrap();
    ground.serve(&data, &[]).await.refused(1, &["us-east-0.pem", "`snowtide-dev certs`"]);
    // The authority's own certificate is no node's.
    fs::copy(certs.join("ca.pem"), &own).unwrap();
    ground.serve(&data, &[]).await.refused(1, &["does not prove that this node is node-0.us-east.snowtide"]);
    fs::write(&own, text).unwrap();
    fs::remove_file(certs.join("us-east-0.key")).unwrap();
    ground.serve(&data, &[]).await.refused(1, &["cannot read", "us-east-0.key", "`snowtide-dev certs`"]);
    assert!(!data.exists(), "nothing was made for a node that could not start");
}
