//! The node's ID source: one generator behind a short lock, its ceiling kept ahead by a task of its own.
//!
//! Promises: what [`crate::snowflake`] promises (G5), and that no ID leaves before a ceiling above it is durable (I10).
//! A request waits at most `ids.wait_max`; requests that must wait do so in the order in which they came, and only as
//! many as the clock can serve within that time (I6). Never: keeps the lock across an await or a write.

mod guarded;
mod keeper;
mod line;
mod moment;
mod peers;
mod refusal;
mod scheme;
mod setting;

use std::collections::BTreeMap;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snowtide_protocol::wire::{IDS_MAX, IdRun};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock::{self, Stopwatch};
use crate::config;
use crate::identity::WorkerId;
use crate::snowflake::{self, Generator, Layout, Limits, Misfit, NotAnId, Parts, Reading, Run, Verdict};

use guarded::Guarded;
use keeper::Signals;
use line::Line;
use peers::PeerClocks;

pub use keeper::CeilingStore;
pub use moment::{RangeError, TimeRange};
pub use peers::PeerClock;
pub use refusal::IdRefusal;
pub use scheme::scheme_of;
pub use setting::{SettingError, layout_of};

/// A number whose timestamp is further ahead of our clock than this is no ID: no two clocks of a cluster that mints
/// are a day apart.
const DECODE_SLACK_MS: u64 = 24 * 60 * 60 * 1_000;

/// Mints IDs for every front door; cheap to clone. The last clone takes the keeper of the ceiling with it.
#[derive(Clone)]
pub struct IdSource {
    shared: Arc<Shared>,
    _keeper: Arc<AbortOnDrop>,
}

/// What the front doors, the node and the keeper share.
struct Shared {
    generator: Guarded,
    layout: Layout,
    watch: Stopwatch,
    wait_max: Duration,
    line: Line,
    signals: Signals,
    minted: AtomicU64,
    peers: PeerClocks,
    max_leap_ms: u64,
    fenced: watch::Sender<Option<String>>,
}

/// A request while it is being served.
struct Order {
    /// When it came; if nobody was before it, the first look at the clock tells.
    since_unix_ms: Option<u64>,
    left: u32,
    runs: Vec<Run>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl IdSource {
    /// A source that mints nothing until [`Self::claim`]. `ceiling` is the last durable one, 0 if there was none;
    /// `store` makes later ones durable, and `observer` is told of each that is. Ceilings are in milliseconds since
    /// the layout's epoch.
    ///
    /// # Panics
    /// Outside a tokio runtime, which carries the keeper.
    pub fn new(
        layout: Layout,
        worker: WorkerId,
        config: &config::Ids,
        ceiling: u64,
        store: Arc<dyn CeilingStore>,
        observer: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Self, Misfit> {
        let generator = Generator::new(layout, worker, limits(config), ceiling)?;
        let shared = Arc::new(Shared {
            generator: Guarded::new(Mutex::new(generator)),
            layout,
            watch: Stopwatch::start(),
            wait_max: config.wait_max,
            line: Line::new(u64::from(layout.ids_per_ms()).saturating_mul(millis(config.wait_max))),
            signals: Signals::default(),
            minted: AtomicU64::new(0),
            peers: PeerClocks::default(),
            max_leap_ms: millis(config.max_leap),
            fenced: watch::Sender::new(None),
        });
        let keeper = tokio::spawn(keeper::keep(shared.clone(), store, observer));
        Ok(Self { shared, _keeper: Arc::new(AbortOnDrop(keeper.abort_handle())) })
    }

    /// `count` IDs as ascending runs, waiting for the clock and the disk as long as `ids.wait_max`.
    ///
    /// IDs of a request that is refused, or given up while it waits, may be lost; they are never issued again.
    pub async fn mint(&self, count: u32) -> Result<Vec<IdRun>, IdRefusal> {
        if !(1..=IDS_MAX).contains(&count) {
            return Err(IdRefusal::count(count));
        }
        let mut order = Order { since_unix_ms: None, left: count, runs: Vec::with_capacity(1) };
        self.shared.serve(&mut order).await?;
        self.shared.minted.fetch_add(u64::from(count), Ordering::Relaxed);
        Ok(order.runs.into_iter().map(|run| IdRun { first: run.first, count: run.count }).collect())
    }

    /// The worker id is ours: IDs begin above `ceiling`, the highest that peers saw for it, and our own last one.
    pub fn claim(&self, ceiling: u64) {
        let now = self.shared.reading();
        self.shared.lock().claim(now, ceiling);
        self.refresh();
    }

    /// [`Self::claim`], where `ceiling` is `ids.quarantine` above what somebody else had under this worker id.
    pub fn claim_quarantined(&self, ceiling: u64) {
        let now = self.shared.reading();
        self.shared.lock().claim_quarantined(now, ceiling);
        self.refresh();
    }

    /// A quarantine of an earlier start still lasts, and what our own last ceiling was before it. To be told before the
    /// claim.
    pub fn resume_quarantine(&self, before: u64) {
        self.shared.lock().resume_quarantine(before);
    }

    /// What peers told of ceilings is taken back, on an operator's word; whether a quarantine ended with that, and our own
    /// ceiling. Returns once that is the durable one again; `None` if it cannot be written.
    pub async fn forget_claims(&self) -> Option<(bool, u64)> {
        self.shared.lock().forget_witnesses();
        let ended = self.shared.signals.forget().await.ok()?;
        Some((ended, self.shared.lock().ceiling()))
    }

    /// The highest ceiling that any node can have by now, by the clocks that are known here; see [`snowflake::ceiling_max`].
    pub fn ceiling_max(&self) -> u64 {
        let wall_us = clock::wall_us();
        let believed = self.shared.peers.all().into_values().filter(|clock| clock.believed);
        let theirs = believed.map(|clock| wall_us.saturating_add_signed(clock.offset.us) / 1_000);
        snowflake::ceiling_max(self.shared.layout, theirs.chain([wall_us / 1_000]).collect(), self.shared.max_leap_ms)
    }

    /// A peer's ceiling, as digests tell it: evidence of where that peer's clock stands, should ours leap.
    pub fn witness(&self, peer: WorkerId, ceiling: u64) {
        let now = self.shared.reading();
        self.shared.lock().witness(now, peer, ceiling);
    }

    /// What our clock says, in microseconds of Unix time, and whether we believe it.
    pub fn read_clock(&self) -> (u64, bool) {
        let mut generator = self.shared.lock();
        let unix_us = clock::wall_us();
        let now = Reading { wall_ms: unix_us / 1_000, mono_ms: self.shared.watch.elapsed_ms() };
        (unix_us, generator.believes(now))
    }

    /// A linked peer's clock stands here. If that peer believes it, it counts for or against ours.
    pub fn hear_clock(&self, peer: WorkerId, clock: PeerClock) {
        self.shared.peers.put(peer, clock);
        if clock.believed {
            let mut generator = self.shared.lock();
            let now = self.shared.reading();
            generator.hear_clock(now, now.wall_ms.saturating_add_signed(clock.offset.us / 1_000));
        }
    }

    /// A peer's link is lost, and its clock out of sight.
    pub fn lose_clock(&self, peer: WorkerId) {
        self.shared.peers.remove(peer);
    }

    /// The clocks of all linked peers, as far as they have been measured.
    pub fn peer_clocks(&self) -> BTreeMap<WorkerId, PeerClock> {
        self.shared.peers.all()
    }

    /// An operator says that the clock is right: ends a refusal with `clock_ahead`.
    pub fn confirm_clock(&self) {
        let now = self.shared.reading();
        self.shared.lock().confirm_clock(now);
    }

    /// Extends the ceiling once, even if no IDs are asked for. A ceiling that moves shows a peer that has just started
    /// where our clock stands; an idle node's does not move otherwise.
    pub fn refresh(&self) {
        self.shared.signals.extend();
    }

    /// There is no room on the disk, so that no ceiling can be written.
    pub fn disk_full(&self) {
        self.shared.signals.tell_room(false);
    }

    /// No more IDs: the node shuts down.
    pub fn drain(&self) {
        self.shared.generator.drain();
        self.shared.signals.tell_moved();
    }

    /// No more IDs, for good. When this returns, none is being issued.
    pub fn fence(&self, reason: &str) {
        self.shared.fence(reason);
    }

    /// Why the source has fenced itself or was fenced. It fences itself when a ceiling cannot be made durable, which
    /// is final for the whole node (I9).
    pub fn fenced(&self) -> watch::Receiver<Option<String>> {
        self.shared.fenced.subscribe()
    }

    /// IDs minted since the start.
    pub fn minted(&self) -> u64 {
        self.shared.minted.load(Ordering::Relaxed)
    }

    /// How IDs are split.
    pub fn layout(&self) -> Layout {
        self.shared.layout
    }

    /// Takes an ID of any node apart, or says why it cannot be one.
    pub fn decode(&self, id: u64) -> Result<Parts, NotAnId> {
        self.shared.layout.decode_as_of(id, clock::wall_ms(), DECODE_SLACK_MS)
    }
}

impl Shared {
    /// At once, if nobody waits and nothing is missing; else in line.
    async fn serve(&self, order: &mut Order) -> Result<(), IdRefusal> {
        if self.line.is_empty() {
            match self.attempt(order) {
                Verdict::Done => return Ok(()),
                Verdict::Wait { .. } => {}
                Verdict::NeedsCeiling if !self.signals.is_disk_full() => {}
                refused => return Err(self.refusal(refused)),
            }
        }
        order.since_unix_ms.get_or_insert_with(clock::wall_ms);
        let Some(_place) = self.line.join(order.left) else { return Err(self.refusal(Verdict::Wait { ms: 1 })) };
        match tokio::time::timeout(self.wait_max, self.serve_in_turn(order)).await {
            Ok(served) => served,
            Err(_elapsed) => self.serve_at_last(order),
        }
    }

    /// One request at a time waits for the clock or a ceiling, the others for their turn.
    async fn serve_in_turn(&self, order: &mut Order) -> Result<(), IdRefusal> {
        let _turn = self.line.turn().await;
        loop {
            // Made before the attempt, so that a ceiling that moves in between is not missed.
            let moved = self.signals.moved();
            match self.attempt(order) {
                Verdict::Done => return Ok(()),
                Verdict::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
                Verdict::NeedsCeiling if !self.signals.is_disk_full() => moved.await,
                refused => return Err(self.refusal(refused)),
            }
        }
    }

    /// A request whose time is up gets what there is, or hears what is missing.
    fn serve_at_last(&self, order: &mut Order) -> Result<(), IdRefusal> {
        match self.attempt(order) {
            Verdict::Done => Ok(()),
            refused => Err(self.refusal(refused)),
        }
    }

    fn attempt(&self, order: &mut Order) -> Verdict {
        let (verdict, due) = self.generator.attempt(|| self.reading(), order);
        if due {
            self.signals.wake();
        }
        verdict
    }

    /// The ceiling to make durable now, if any.
    fn next_ceiling(&self) -> Option<u64> {
        self.generator.next_ceiling(|| self.reading(), self.signals.take_eager())
    }

    /// This ceiling is durable.
    fn raise_ceiling(&self, ceiling: u64) {
        self.generator.raise_ceiling(ceiling);
        self.signals.tell_moved();
    }

    fn fence(&self, reason: &str) {
        self.generator.fence(|| {
            self.fenced.send_if_modified(|told| {
                let first = told.is_none();
                told.get_or_insert_with(|| reason.to_owned());
                first
            });
        });
        self.signals.tell_moved();
    }

    fn refusal(&self, verdict: Verdict) -> IdRefusal {
        if matches!(verdict, Verdict::NeedsCeiling | Verdict::Unclaimed) && self.signals.is_disk_full() {
            return IdRefusal::disk_low();
        }
        IdRefusal::of(verdict, self.fenced.borrow().as_deref(), self.wait_max)
    }

    fn reading(&self) -> Reading {
        Reading { wall_ms: clock::wall_ms(), mono_ms: self.watch.elapsed_ms() }
    }

    fn lock(&self) -> impl DerefMut<Target = Generator> {
        self.generator.lock()
    }
}

fn limits(config: &config::Ids) -> Limits {
    Limits {
        max_backstep_ms: millis(config.max_backstep),
        max_leap_ms: millis(config.max_leap),
        max_absence_ms: millis(config.max_absence),
        probation_ms: millis(config.claim_wait),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
