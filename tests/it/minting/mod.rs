//! IDs under everything that can befall a clock and a process: real nodes, minting as fast as they can, whose clock is
//! stepped, stopped and set right, and which are killed, restarted and doubled meanwhile (G5).
//!
//! Each node here stands alone, but for the twins: nobody helps it to know what it has minted.

mod faketime;
mod ledger;
mod twins;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use snowtide_client::{Config, Connection, Error};
use snowtide_dev::{Ending, Options};
use snowtide_protocol::Code;
use snowtide_protocol::wire::IDS_MAX;
use tokio::task::JoinSet;

use super::clones;
use super::harness::{self, Bed, DEADLINE, EAST, ensure, eventually};

use faketime::FakeClock;
use ledger::{Ledger, Stream};

pub(crate) use twins::twins;

/// Callers at once, each with one request after the other.
const STREAMS: usize = 3;
/// A caller that is refused or has lost its node tries again this often.
const PACE: Duration = Duration::from_millis(5);
const YEAR_MS: i64 = 365 * 24 * 3_600_000;
/// Between two harms at least so many IDs are minted.
pub(crate) const PROGRESS: u64 = 3 * IDS_MAX as u64;

/// What befalls the node or its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// `kill -9`, and a new start.
    Kill,
    /// The same again, as soon as the first IDs came.
    KillTwice,
    /// SIGTERM, and a new start.
    Restart,
    /// The clock stands still, the node is killed and starts within the same millisecond.
    KillFrozen,
    /// The clock goes back by less than is tolerated, and stays there.
    Back(i64),
    /// The clock goes back by more: IDs are refused until it is right again.
    Stray(i64),
    /// The node is killed while its clock is behind.
    KillStrayed(i64),
    /// The clock goes ahead by less than is believed, and stays there.
    Ahead(i64),
    /// The clock goes ahead by more than is believed: IDs are refused until it is right again.
    Leap(i64),
}

/// A round of everything.
pub(crate) const HARMS: [Harm; 12] = [
    Harm::Kill,
    Harm::Back(300),
    Harm::Stray(5_000),
    Harm::KillTwice,
    Harm::Leap(10 * YEAR_MS),
    Harm::Restart,
    Harm::Stray(10 * YEAR_MS),
    Harm::Ahead(2_500),
    Harm::KillFrozen,
    Harm::Back(900),
    Harm::KillStrayed(3 * 3_600_000),
    Harm::Leap(2 * 3_600_000),
];

/// What became of everything that was minted.
#[derive(Debug, Default)]
#[allow(dead_code)] // some of it is for the soak, and for the report of a failure
pub(crate) struct Outcome {
    pub(crate) harms: usize,
    pub(crate) ids: u64,
    pub(crate) duplicates: u64,
    /// Ranges that the checker had to keep.
    pub(crate) stretches: usize,
    pub(crate) findings: Vec<String>,
}

/// What the callers share.
struct Field {
    ledger: Mutex<Ledger>,
    over: AtomicBool,
    config: Config,
    behind: AtomicU64,
    ahead: AtomicU64,
    otherwise: AtomicU64,
}

impl Field {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Mints until all is over, whatever becomes of the node.
    async fn mint(self: Arc<Self>) {
        let mut stream = Stream::default();
        while !self.is_over() {
            if let Ok(client) = Connection::open(self.config.clone()).await {
                self.mint_from(&client, &mut stream).await;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    async fn mint_from(&self, client: &Connection, stream: &mut Stream) {
        while !self.is_over() && !client.is_closed() {
            match client.id_runs(IDS_MAX).await {
                Ok(runs) => self.ledger().note(stream, &runs),
                Err(error) => {
                    let count = match error {
                        Error::Refused { code: Code::ClockRegressed, .. } => &self.behind,
                        Error::Refused { code: Code::ClockAhead, .. } => &self.ahead,
                        _ => &self.otherwise,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PACE).await;
                }
            }
        }
    }

    /// Waits until so many more IDs came.
    async fn progress(&self, ids: u64) {
        let before = self.ledger().ids();
        eventually(DEADLINE, "more IDs are minted", async || {
            let now = self.ledger().ids();
            ensure(now >= before + ids, || format!("{before} are now {now}"))
        })
        .await;
    }

    /// Waits until one more request was refused for this reason.
    async fn refused(&self, count: &AtomicU64, reason: &str) {
        let before = count.load(Ordering::Relaxed);
        eventually(DEADLINE, reason, async || {
            ensure(count.load(Ordering::Relaxed) > before, || "no request was refused for it".to_owned())
        })
        .await;
    }
}

/// A node on its own, and its clock.
struct Stage {
    bed: Bed,
    clock: FakeClock,
    field: Arc<Field>,
    progress: u64,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new(progress: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = FakeClock::new(dir.path());
        let env = clock.env();
        let alone = |options: Options| {
            let options = options.set("ids.claim_wait", "10ms").set("ids.wait_max", "100ms");
            Options { regions: Some(1), env, ..options }
        };
        let bed = Bed::start(alone).await;
        let config = bed.cluster.client_config(EAST).unwrap();
        let config = config.connect_timeout(Duration::from_secs(1)).idle_timeout(Duration::from_secs(2));
        let zero = || AtomicU64::new(0);
        let (ledger, over) = (Mutex::default(), AtomicBool::new(false));
        let field = Arc::new(Field { ledger, over, config, behind: zero(), ahead: zero(), otherwise: zero() });
        Self { bed, clock, field, progress, _dir: dir }
    }

    async fn restart(&mut self) {
        let pid = self.bed.cluster.endpoints().into_iter().find_map(|node| node.pid);
        self.bed.cluster.kill(EAST).await.unwrap();
        pid.into_iter().for_each(FakeClock::forget);
        self.bed.start_node(EAST).await;
    }

    async fn suffer(&mut self, harm: Harm) {
        match harm {
            Harm::Kill => self.restart().await,
            Harm::KillTwice => {
                self.restart().await;
                self.field.progress(1).await;
                self.restart().await;
            }
            Harm::Restart => {
                assert_eq!(self.bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
                self.bed.start_node(EAST).await;
            }
            Harm::KillFrozen => {
                self.clock.freeze();
                self.restart().await;
                self.clock.thaw();
            }
            Harm::Back(ms) => self.clock.step(-ms),
            Harm::Stray(ms) => {
                self.clock.step(-ms);
                self.field.refused(&self.field.behind, "the clock is found to be behind").await;
                self.clock.step(ms);
            }
            Harm::KillStrayed(ms) => {
                self.clock.step(-ms);
                self.restart().await;
                self.field.refused(&self.field.behind, "the clock is found to be behind").await;
                self.clock.step(ms);
            }
            Harm::Ahead(ms) => self.clock.step(ms),
            Harm::Leap(ms) => {
                self.clock.step(ms);
                self.field.refused(&self.field.ahead, "the clock is found to be ahead").await;
                self.clock.step(-ms);
            }
        }
        self.field.progress(self.progress).await;
    }
}

/// One node, minting under these harms, one after the other, `progress` IDs at least after each.
pub(crate) async fn mint_under(harms: impl IntoIterator<Item = Harm>, progress: u64) -> Outcome {
    let mut stage = Stage::new(progress).await;
    let mut minters = JoinSet::new();
    for _ in 0..STREAMS {
        minters.spawn(stage.field.clone().mint());
    }
    stage.field.progress(1).await;
    let mut done = 0;
    for harm in harms {
        stage.suffer(harm).await;
        done += 1 + usize::from(harm == Harm::KillTwice);
    }
    stage.field.over.store(true, Ordering::Relaxed);
    while let Some(ended) = minters.join_next().await {
        ended.unwrap();
    }
    let ledger = stage.field.ledger();
    Outcome {
        harms: done,
        ids: ledger.ids(),
        duplicates: ledger.duplicates(),
        stretches: ledger.stretches(),
        findings: ledger.findings().to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_unique_and_increase_whatever_befalls_the_clock_and_the_process() {
    let outcome = mint_under(HARMS, PROGRESS).await;
    println!("{outcome:?}");
    assert!(outcome.findings.is_empty() && outcome.duplicates == 0, "{outcome:#?}");
    assert!(outcome.ids >= PROGRESS * HARMS.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_and_its_copy_never_give_the_same_id() {
    let outcome = twins(2).await;
    println!("{outcome:?}");
    assert!(outcome.findings.is_empty() && outcome.duplicates == 0, "{outcome:#?}");
    assert!(outcome.ids > 0);
}

/// Switched off for longer than `ids.max_absence`, and nobody there to ask: the node cannot tell its clock from a wrong
/// one, and an operator has to.
#[tokio::test]
async fn a_lone_node_after_a_long_absence_mints_once_an_operator_vouches_for_its_clock() {
    // Shorter than certificates are good for.
    const ABSENCE_MS: i64 = 30 * 24 * 3_600_000;
    let mut stage = Stage::new(1).await;
    stage.bed.cluster.set_of(EAST, &[("ids.max_absence", "7d")]);
    let before = stage.bed.client(EAST).await.ids(1).await.unwrap()[0];
    stage.clock.step(ABSENCE_MS);
    stage.restart().await;
    let refused = stage.bed.client(EAST).await.ids(1).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { code: Code::ClockAhead, .. }), "{refused:?}");
    assert!(refused.to_string().contains("--confirm-clock"), "{refused}");

    stage.bed.cluster.flag_of(EAST, &["--confirm-clock"]);
    stage.restart().await;
    let (bed, mint) = (&stage.bed, "a node whose clock was confirmed mints");
    let vouched = eventually(DEADLINE, mint, async || bed.client(EAST).await.ids(1).await).await[0];
    let apart_ms = (vouched >> 22) - (before >> 22);
    assert!(apart_ms >= ABSENCE_MS.unsigned_abs(), "{apart_ms} ms");

    // What it has minted is on disk, so that the next start needs nobody's word.
    stage.bed.cluster.flag_of(EAST, &[]);
    stage.restart().await;
    let bed = &stage.bed;
    let after = eventually(DEADLINE, "it mints without the flag", async || bed.client(EAST).await.ids(1).await).await;
    assert!(after[0] > vouched);
}
