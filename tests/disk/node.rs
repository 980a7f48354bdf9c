//! The real node under load, recorded: its power is cut, and one of its syncs fails.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use snowtide::clock::Stopwatch;
use snowtide::config::{Config, TreeSecret};
use snowtide::crdt::Row;
use snowtide::identity::{NamespaceId, WorkerId};
use snowtide::ids::layout_of;
use snowtide::merkle::Hasher;
use snowtide::store::{self, Memory, Store};
use snowtide_client::{Connection, Error};
use snowtide_dev::{Cluster, Ending, Options};
use snowtide_protocol::Key;
use tokio::task::JoinSet;

use crate::Scale;
use crate::cuts;
use crate::ledger::Ledger;
use crate::model::{self, CUTS, Cut, Disk, Image, Lie};
use crate::processes::harness::{DEADLINE, EAST, NAMESPACE, eventually, executable};
use crate::record::{self, Entry, Notes};
use crate::shim::Recording;
use crate::table::{Tally, Verdict};

/// Each increments a counter of its own, one at a time.
const LOADERS: usize = 8;
const IDS: u32 = 100;
/// In IDs, under the default layout.
const TIMESTAMP_SHIFT: u32 = 22;

/// A cluster of one, of which everything in the data directory is recorded.
struct Ground {
    cluster: Cluster,
    recording: Recording,
    _dir: tempfile::TempDir,
}

pub(crate) fn run(scale: Scale) -> Vec<Tally> {
    crate::runtime().block_on(async { vec![cut(scale).await, fail(scale).await] })
}

impl Ground {
    fn new(fail: Option<usize>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(dir.path()).unwrap();
        let data = folder.join("nodes").join(EAST).join("data");
        let recording = Recording { root: data, record: folder.join("record") };
        let options =
            Options::new(executable(), &folder).set("checkpoint.interval", "200ms").set("ids.claim_wait", "10ms");
        let env = recording.environment(fail);
        let options = Options { regions: Some(1), env, ready_within: DEADLINE, drain_within: DEADLINE, ..options };
        Self { cluster: Cluster::prepare(options).unwrap(), recording, _dir: dir }
    }

    async fn client(&self) -> Result<Connection, String> {
        let config = self.cluster.client_config(EAST).map_err(|error| error.to_string())?;
        Connection::open(config.request_timeout(Duration::from_secs(5))).await.map_err(|error| error.to_string())
    }

    /// Loads the node until each loader has had `enough` increments acknowledged, or the node no longer answers.
    async fn load(&self, enough: u64) {
        let shared = Arc::new((Notes::open(&self.recording.record), AtomicBool::new(false)));
        shared.0.write(&format!("will ceiling {}", i64::MAX));
        let mut loaders = JoinSet::new();
        for number in 0..LOADERS {
            let (shared, client) = (shared.clone(), self.client().await);
            loaders.spawn(async move {
                let (notes, over) = &*shared;
                if let Ok(client) = client
                    && one_by_one(notes, &client, &counter(number), enough, over).await.is_err()
                {
                    over.store(true, Ordering::Relaxed);
                }
            });
        }
        while let Some(ended) = loaders.join_next().await {
            ended.unwrap();
        }
    }

    /// The record so far: what the node did, and what it acknowledged.
    fn entries(&self) -> Vec<Entry> {
        record::read(&self.recording.record)
    }

    /// Waits until the node has ended by itself, and says how.
    async fn ended(&mut self) -> String {
        eventually(DEADLINE, "the node ends by itself", async || match self.cluster.check() {
            Ok(()) => Err("it lives"),
            Err(error) => Ok(error.to_string()),
        })
        .await
    }

    /// Starts the real node on an image and reads every counter from it.
    async fn judge_by_node(&mut self, image: &Image, ledger: &Ledger) -> Verdict {
        let data = self.recording.root.clone();
        fs::remove_dir_all(&data).unwrap();
        model::write(image, &data, &data);
        if let Err(error) = self.cluster.start_node(EAST).await {
            return Verdict::Refused(error.to_string());
        }
        let client = self.client().await.unwrap();
        let mut verdict = Verdict::Fine;
        for number in 0..LOADERS {
            let value = client.get(NAMESPACE, &counter(number)).await.unwrap();
            if let Err(bad) = ledger.within(&counter(number), u64::try_from(value).unwrap()) {
                verdict = bad;
            }
        }
        self.cluster.kill(EAST).await.unwrap();
        verdict
    }
}

fn counter(number: usize) -> String {
    format!("counter:{number}")
}

/// Goes on from what the counter holds: an increment that was not answered may count.
async fn one_by_one(
    notes: &Notes,
    client: &Connection,
    counter: &str,
    enough: u64,
    over: &AtomicBool,
) -> Result<(), Error> {
    let from = u64::try_from(client.get(NAMESPACE, counter).await?).unwrap();
    for value in from + 1..=from + enough {
        if over.load(Ordering::Relaxed) {
            break;
        }
        notes.write(&format!("will {counter} {value}"));
        client.increment(NAMESPACE, counter, 1).await?;
        notes.write(&format!("did {counter} {value}"));
        let ids = client.ids(IDS).await?;
        let latest = ids.iter().max().map_or(0, |id| id >> TIMESTAMP_SHIFT);
        notes.write(&format!("did ceiling {latest}"));
    }
    Ok(())
}

/// Power cuts: all looked at through the store, some by starting the node.
async fn cut(scale: Scale) -> Tally {
    let watch = Stopwatch::start();
    let mut ground = Ground::new(None);
    let (starts, enough) = (scale.of(2, 4), scale.of(60, 400) as u64);
    for _ in 0..starts {
        ground.cluster.start_all(|_| {}).await.unwrap();
        ground.load(enough).await;
        // Not by a kill, which may come between an operation and its entry in the record.
        assert_eq!(ground.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
    }
    let entries = ground.entries();
    let (count, mut random) = (scale.of(30, 500), scale.random());
    let by_node = scale.of(2, 25);
    let mut places: Vec<usize> = (0..count).map(|_| random.random_range(0..=entries.len())).collect();
    places.sort_unstable();
    let (mut disk, mut ledger, mut at) = (Disk::new(Lie::None), Ledger::default(), 0);
    let mut tally = Tally::new("power cuts of a node");
    for (number, place) in places.into_iter().enumerate() {
        for entry in &entries[at..place] {
            disk.replay(entry);
            ledger.hear(entry);
        }
        at = place;
        let (cut, seed) = (*CUTS.choose(&mut random).unwrap(), random.random());
        let image = disk.cut(cut, seed);
        let verdict = if number % (count / by_node) == 0 {
            ground.judge_by_node(&image, &ledger).await
        } else {
            let scratch = cuts::scratch();
            model::write(&image, &ground.recording.root, scratch.path());
            judge(&ledger, scratch.path())
        };
        tally.add(&format!("entry {place} of {}, {cut:?}, seed {seed}", entries.len()), verdict);
    }
    tally.remarks =
        format!("{} operations, {} acknowledged, {by_node} by a start", entries.len(), acknowledged(&ledger));
    tally.took = Duration::from_millis(watch.elapsed_ms());
    tally
}

fn acknowledged(ledger: &Ledger) -> u64 {
    (0..LOADERS).map(|number| ledger.promise(&counter(number)).acknowledged).sum()
}

/// A failing sync: the node ends by itself, says why, and has lost nothing.
async fn fail(scale: Scale) -> Tally {
    let watch = Stopwatch::start();
    let mut tally = Tally::new("failing syncs of a node");
    for number in 0..scale.of(2, 20) {
        // In its start, or under load.
        let fail = 5 + number * 67 % 200;
        let mut ground = Ground::new(Some(fail));
        let place = format!("sync {fail}");
        let ended = match ground.cluster.start_all(|_| {}).await {
            Err(error) => error.to_string(),
            Ok(()) => {
                ground.load(1_000).await;
                ground.ended().await
            }
        };
        let log = fs::read_to_string(ground.cluster.folder().log_file(EAST)).unwrap();
        if !log.contains("Input/output error") || !ended.contains("exit status: 1") {
            tally.silent.push(format!("{place}: {ended}"));
        }
        let (mut disk, mut ledger) = (Disk::new(Lie::None), Ledger::default());
        for entry in &ground.entries() {
            disk.replay(entry);
            ledger.hear(entry);
        }
        let scratch = cuts::scratch();
        model::write(&disk.cut(Cut::Nothing, 0), &ground.recording.root, scratch.path());
        tally.add(&place, judge(&ledger, scratch.path()));
    }
    tally.took = Duration::from_millis(watch.elapsed_ms());
    tally
}

/// What the store holds, with the engine's eyes: rows as of the checkpoint, and over them what the journal changed.
fn judge(ledger: &Ledger, data: &Path) -> Verdict {
    let (space, config) = (NamespaceId::of(NAMESPACE), Config::default());
    let secret = TreeSecret::of(&config.cluster);
    let options = store::Options {
        path: data.to_path_buf(),
        cluster_id: config.cluster.id.clone(),
        layout: layout_of(&config.ids).unwrap().to_string(),
        hasher: Hasher::new(*secret.bytes()),
        secret: secret.fingerprint(),
        worker: WorkerId::new(0, 0).unwrap(),
        namespaces: vec![space],
        boot_nonce: 1,
        memory: Memory { cache: 8 << 20, memtables: store::MEMTABLE_BYTES_MAX, open_files: store::OPEN_FILES_MAX },
    };
    let (store, recovered) = match Store::open(&options) {
        Ok(opened) => opened,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let keys: Vec<Key> = (0..LOADERS).map(|number| Key::new(counter(number)).unwrap()).collect();
    let rows = match store.load(space, &keys) {
        Ok(rows) => rows,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let dirty = &recovered.spaces[0].dirty;
    let value =
        |key: &Key, row: &Row| dirty.iter().find(|found| found.key == *key).map_or(row, |found| &found.row).value();
    let counted = rows.iter().map(|(key, row)| (key.to_string(), u64::try_from(value(key, row)).unwrap()));
    let numbers = counted.chain([("ceiling".to_owned(), recovered.ceiling)]);
    let wrong = numbers.into_iter().find_map(|(name, number)| ledger.within(&name, number).err());
    wrong.unwrap_or(Verdict::Fine)
}
