//! Looks at the store's health and at the gauges once a second, and writes down how far other nodes' IDs have come.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::api::Doors;
use crate::audit;
use crate::clock::{self, Stopwatch};
use crate::identity::WorkerId;
use crate::replica::Disk;
use crate::section::Milliseconds;
use crate::store::Store;
use crate::telemetry;

use super::descriptors;
use super::expiring::Expiring;
use super::horizon::Horizon;
use super::limits_seen::Seen;
use super::peer_ceilings::PeerCeilings;

const PERIOD_MS: u64 = 1_000;

/// What is looked at, and who hears of it.
pub(super) struct Watch {
    pub(super) doors: Doors,
    pub(super) store: Arc<Store>,
    pub(super) peer_ceilings: Arc<PeerCeilings>,
    pub(super) disk: watch::Receiver<Disk>,
    pub(super) expiring: Expiring,
    /// Hears of a store whose health is gone.
    pub(super) alarm: mpsc::UnboundedSender<String>,
}

impl Watch {
    /// Runs until aborted, or until the store's health is gone, which it reports once (I9).
    pub(super) async fn keep(mut self) {
        let mut ticks = interval(Duration::from_millis(PERIOD_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut written, mut writing) = (Stopwatch::start(), tokio::spawn(async {}));
        let limits = &self.doors.config.limits;
        let mut seen = Seen::new(self.doors.limiter.clone(), limits.keys_max, limits.interval.ms());
        let (mut horizon, uptime) = (Horizon::new(&self.doors.config), Stopwatch::start());
        loop {
            ticks.tick().await;
            horizon.look(clock::wall_ms(), uptime.elapsed_ms());
            self.expiring.look(clock::wall_ms(), uptime.elapsed_ms());
            audit::sweep();
            seen.look(PERIOD_MS);
            // It is not waited for: RocksDB may hold a write back for ever after an error, which only a look at the
            // store's health tells.
            if self.is_due(&written)
                && writing.is_finished()
                && let Some(ceilings) = self.peer_ceilings.take()
            {
                written = Stopwatch::start();
                writing = tokio::task::spawn_blocking(write_down(self.store.clone(), ceilings));
            }
            if self.measure().await.is_none() {
                return;
            }
        }
    }

    /// Whether what peers' IDs have come to is to be written down again: at least three times in a quarantine, unless the
    /// disk is full.
    fn is_due(&self, written: &Stopwatch) -> bool {
        !self.disk.borrow().is_out() && (written.elapsed_ms() + PERIOD_MS) * 3 > self.doors.config.ids.quarantine.ms()
    }

    /// `None` if the store's health is gone.
    async fn measure(&self) -> Option<()> {
        let store = self.store.clone();
        let looked = tokio::task::spawn_blocking(move || {
            descriptors::measure();
            (store.health(), store.journal_bytes())
        });
        let (health, journal) = looked.await.ok()?;
        if let Err(error) = health {
            let _ = self.alarm.send(error.to_string());
            return None;
        }
        telemetry::client_bytes_held(self.doors.budget.used());
        telemetry::journal_measured(journal);
        tell_clocks(&self.doors);
        if let Some(status) = self.doors.engine.status().await {
            telemetry::observe(&status, &self.doors.map, &self.doors.config.namespace);
        }
        Some(())
    }
}

fn write_down(store: Arc<Store>, ceilings: Vec<(WorkerId, u64)>) -> impl FnOnce() + Send + 'static {
    move || match store.put_peer_ceilings(&ceilings) {
        Ok(()) => tracing::debug!(workers = ceilings.len(), "wrote down how far other nodes' IDs have come"),
        // The store's health tells, too.
        Err(error) => tracing::error!(%error, "cannot write down how far other nodes' IDs have come"),
    }
}

fn tell_clocks(doors: &Doors) {
    telemetry::clock_believed(doors.ids.read_clock().1);
    let clocks = doors.ids.peer_clocks();
    for (peer, ..) in doors.map.nodes().filter(|(peer, ..)| *peer != doors.worker) {
        telemetry::peer_clock(&doors.map.name(peer), clocks.get(&peer).map(|clock| clock.offset));
    }
}
