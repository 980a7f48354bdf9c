//! kill -9 under load: what was acknowledged is counted exactly once, everywhere; no ID comes twice (G1, G2, G3, G5).
//!
//! The ledger is kept outside of the system. Increment `n` adds 4^(n mod 31) to counter n / 31, so that each digit of a
//! counter's value, in base 4, says how often one increment was counted: a lost or doubled one can be named.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use snowtide_client::{Batch, Config, Connection, Error};
use tokio::task::JoinSet;

use super::harness::{Bed, DEADLINE, NAMESPACE, REGIONS, ensure, eventually};

/// Increments a counter, so that its value stays within 63 bits.
const DIGITS: usize = 31;
/// Kills of one node at a time, round and round; then all are killed at once.
const KILLS: usize = 21;
/// Acknowledged increments, and IDs, that a node must give between its start and its next kill.
const PROGRESS: u64 = 20;
/// Each with one increment after the other.
const SINGLES: usize = 3;
const BATCH: usize = 20;
/// A loader whose node does not answer tries again this often.
const PACE: Duration = Duration::from_millis(20);
const MINT_PACE: Duration = Duration::from_millis(2);

/// What is known of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Sent, or about to be; without an answer it may or may not count.
    Attempted,
    Acknowledged,
    /// Surely not carried out.
    Refused,
}

/// Written before anything is sent, and before an acknowledgement counts.
#[derive(Default)]
struct Ledger {
    fates: Vec<Fate>,
    ids: HashSet<u64>,
    /// By region: acknowledged increments, IDs.
    progress: [(u64, u64); 3],
    findings: Vec<String>,
}

impl Ledger {
    /// Numbers of increments that are about to be sent.
    fn attempt(&mut self, count: usize) -> std::ops::Range<usize> {
        let first = self.fates.len();
        self.fates.resize(first + count, Fate::Attempted);
        first..first + count
    }

    fn settle(&mut self, region: usize, number: usize, outcome: Result<(), bool>) {
        self.fates[number] = match outcome {
            Ok(()) => {
                self.progress[region].0 += 1;
                Fate::Acknowledged
            }
            Err(true) => Fate::Attempted,
            Err(false) => Fate::Refused,
        };
    }

    fn minted(&mut self, region: usize, last: &mut u64, ids: &[u64]) {
        for id in ids {
            if id <= last {
                self.findings.push(format!("{}: ID {id} after {last}", REGIONS[region]));
            }
            if !self.ids.insert(*id) {
                self.findings.push(format!("{}: ID {id} comes twice", REGIONS[region]));
            }
            *last = *id;
            self.progress[region].1 += 1;
        }
    }

    fn counters(&self) -> usize {
        self.fates.len().div_ceil(DIGITS)
    }

    fn sum(&self, counter: usize, counts: impl Fn(Fate) -> bool) -> i128 {
        let increments = self.fates.iter().enumerate().skip(counter * DIGITS).take(DIGITS);
        increments.filter(|(_, fate)| counts(**fate)).map(|(number, _)| i128::from(delta(number))).sum()
    }

    /// Every read is at most what was attempted.
    fn attempted(&self, counter: usize) -> i128 {
        self.sum(counter, |fate| fate != Fate::Refused)
    }

    fn acknowledged(&self, counter: usize) -> i128 {
        self.sum(counter, |fate| fate == Fate::Acknowledged)
    }

    /// What is wrong with a value that all regions agree on.
    fn judge(&self, counter: usize, value: i128) -> Vec<String> {
        let mut findings = Vec::new();
        let (acknowledged, attempted) = (self.acknowledged(counter), self.attempted(counter));
        if value < acknowledged || value > attempted {
            findings.push(format!("{}: {acknowledged} <= {value} <= {attempted} does not hold", name(counter)));
        }
        for (number, fate) in self.fates.iter().enumerate().skip(counter * DIGITS).take(DIGITS) {
            let times = value / i128::from(delta(number)) % 4;
            let right = match fate {
                Fate::Acknowledged => times == 1,
                Fate::Attempted => times <= 1,
                Fate::Refused => times == 0,
            };
            if !right {
                findings.push(format!("{}: increment {number} ({fate:?}) counts {times} times", name(counter)));
            }
        }
        findings
    }
}

fn delta(number: usize) -> i64 {
    1 << (2 * (number % DIGITS))
}

fn name(counter: usize) -> String {
    format!("ledger/{counter}")
}

/// What the loaders share.
struct Field {
    ledger: Mutex<Ledger>,
    over: AtomicBool,
    configs: Vec<Config>,
}

impl Field {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Runs `work` against a region's node, connecting anew whenever it fails, until the load is over.
    async fn keep(self: Arc<Self>, region: usize, mut work: impl AsyncFnMut(&Field, &Connection) -> Result<(), Error>) {
        while !self.is_over() {
            if let Ok(client) = Connection::open(self.configs[region].clone()).await {
                while !self.is_over() && work(&self, &client).await.is_ok() {}
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

async fn single(field: &Field, region: usize, client: &Connection) -> Result<(), Error> {
    let number = field.ledger().attempt(1).start;
    let answer = client.increment(NAMESPACE, &name(number / DIGITS), delta(number).unsigned_abs()).await;
    let outcome = answer.as_ref().map(|_| ()).map_err(Error::is_ambiguous);
    field.ledger().settle(region, number, outcome);
    answer.map(|_| ())
}

async fn batch(field: &Field, region: usize, client: &Connection) -> Result<(), Error> {
    let numbers = field.ledger().attempt(BATCH);
    let mut batch = Batch::new();
    for number in numbers.clone() {
        batch.add(NAMESPACE, &name(number / DIGITS), delta(number))?;
    }
    let answer = client.batch(&batch).await;
    let mut ledger = field.ledger();
    for (at, number) in numbers.enumerate() {
        let outcome = match &answer {
            Ok(results) => results[at].map(|_| ()).map_err(|_| false),
            Err(error) => Err(error.is_ambiguous()),
        };
        ledger.settle(region, number, outcome);
    }
    answer.map(|_| ())
}

/// The only one who mints at its region, one request after the other: so the order of answers is that of minting.
async fn mint(field: &Field, region: usize, last: &mut u64, client: &Connection) -> Result<(), Error> {
    let ids = client.ids(7).await?;
    field.ledger().minted(region, last, &ids);
    // Minting is cheap; unpaced, the set of all IDs would become the load.
    tokio::time::sleep(MINT_PACE).await;
    Ok(())
}

/// Reads the newest counters and old ones, and checks that no value goes back or is more than was attempted.
async fn read(
    field: &Field,
    region: usize,
    seen: &mut BTreeMap<usize, i128>,
    client: &Connection,
) -> Result<(), Error> {
    let counters = field.ledger().counters().max(1);
    for counter in [counters - 1, counters.saturating_sub(2), counters / 2] {
        let value = client.get(NAMESPACE, &name(counter)).await?;
        let mut ledger = field.ledger();
        let attempted = ledger.attempted(counter);
        let last = seen.insert(counter, value).unwrap_or(0);
        if value < last || value > attempted {
            let reader = REGIONS[region];
            ledger.findings.push(format!("{reader}: {} is {value} after {last}, {attempted} attempted", name(counter)));
        }
    }
    Ok(())
}

fn load(field: &Arc<Field>) -> JoinSet<()> {
    let mut loaders = JoinSet::new();
    for region in 0..REGIONS.len() {
        for _ in 0..SINGLES {
            loaders.spawn(field.clone().keep(region, async move |field, client| single(field, region, client).await));
        }
        loaders.spawn(field.clone().keep(region, async move |field, client| batch(field, region, client).await));
        let mut last = 0;
        let minting = async move |field: &Field, client: &Connection| mint(field, region, &mut last, client).await;
        loaders.spawn(field.clone().keep(region, minting));
        let mut seen = BTreeMap::new();
        let reading = async move |field: &Field, client: &Connection| read(field, region, &mut seen, client).await;
        loaders.spawn(field.clone().keep(region, reading));
    }
    loaders
}

/// Waits until every region has acknowledged and minted anew.
async fn under_load(field: &Field) {
    let before = field.ledger().progress;
    eventually(DEADLINE, "every region makes progress", async || {
        let ledger = field.ledger();
        assert!(ledger.findings.is_empty(), "{:#?}", ledger.findings);
        let made = |region: usize| {
            let ((increments, ids), (increments_before, ids_before)) = (ledger.progress[region], before[region]);
            increments >= increments_before + PROGRESS && ids >= ids_before + PROGRESS
        };
        ensure((0..REGIONS.len()).all(made), || format!("{before:?} is now {:?}", ledger.progress))
    })
    .await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills_under_load() {
    let outcome = kill_under_load(KILLS).await;
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    let Outcome { kills, acknowledged, unknown, refused, ids, .. } = outcome;
    println!("{kills} kills: {acknowledged} acknowledged, {unknown} unknown, {refused} refused, {ids} ids");
    assert!(kills >= 20 && unknown > 0, "no kill met a request on its way");
}

/// What became of everything that was sent while nodes were killed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) kills: usize,
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) refused: usize,
    pub(crate) ids: usize,
    /// Whatever was lost, doubled or went back.
    pub(crate) findings: Vec<String>,
}

/// Kills one node after the other, and in the end all at once.
pub(crate) async fn kill_under_load(rounds: usize) -> Outcome {
    let mut bed = Bed::start(|options| options.set("checkpoint.interval", "1s")).await;
    let config = |region: &&str| {
        let config = bed.cluster.client_config(region).unwrap();
        let (connect, request) = (Duration::from_secs(1), Duration::from_secs(5));
        config.connect_timeout(connect).request_timeout(request).idle_timeout(Duration::from_secs(2))
    };
    let configs = REGIONS.iter().map(config).collect();
    let field = Arc::new(Field { ledger: Mutex::default(), over: AtomicBool::new(false), configs });
    let mut loaders = load(&field);
    let mut kills = 0;
    for round in 0..rounds {
        under_load(&field).await;
        let region = REGIONS[round % REGIONS.len()];
        bed.cluster.kill(region).await.unwrap();
        kills += 1;
        bed.start_node(region).await;
    }
    under_load(&field).await;
    for region in REGIONS {
        bed.cluster.kill(region).await.unwrap();
        kills += 1;
    }
    bed.start_all().await;
    under_load(&field).await;
    field.over.store(true, Ordering::Relaxed);
    while let Some(ended) = loaders.join_next().await {
        ended.unwrap();
    }
    let findings = check(&bed, &field).await;
    let ledger = field.ledger();
    let count = |wanted: Fate| ledger.fates.iter().filter(|fate| **fate == wanted).count();
    let (acknowledged, unknown, refused) = (count(Fate::Acknowledged), count(Fate::Attempted), count(Fate::Refused));
    Outcome { kills, acknowledged, unknown, refused, ids: ledger.ids.len(), findings }
}

async fn check(bed: &Bed, field: &Field) -> Vec<String> {
    let keys: Vec<String> = (0..field.ledger().counters()).map(name).collect();
    let values = bed.agreed(&REGIONS, &keys).await;
    let ledger = field.ledger();
    let wrong = |(counter, value): (usize, &i128)| ledger.judge(counter, *value);
    let findings = values.iter().enumerate().flat_map(wrong);
    findings.chain(ledger.findings.iter().cloned()).collect()
}
