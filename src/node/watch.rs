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
use crate::store::Store;
use crate::telemetry;

use super::descriptors;
use super::expiring::Expiring;
use super::horizon::Horizon;
use super::peer_ceilings::PeerCeilings;

const PERIOD_MS: u64 = 1_000;

/// Runs until aborted, or until the store's health is gone, which it reports once (I9).
pub(super) async fn keep(
    doors: Doors,
    store: Arc<Store>,
    peer_ceilings: Arc<PeerCeilings>,
    disk: watch::Receiver<Disk>,
    mut expiring: Expiring,
    alarm: mpsc::UnboundedSender<String>,
) {
    let mut ticks = interval(Duration::from_millis(PERIOD_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let quarantine_ms = u64::try_from(doors.config.ids.quarantine.as_millis()).unwrap_or(u64::MAX);
    let (mut written, mut writing) = (Stopwatch::start(), tokio::spawn(async {}));
    let (mut horizon, uptime) = (Horizon::new(&doors.config), Stopwatch::start());
    loop {
        ticks.tick().await;
        horizon.look(clock::wall_ms(), uptime.elapsed_ms());
        expiring.look(clock::wall_ms(), uptime.elapsed_ms());
        audit::sweep();
        // At least three times in a quarantine, unless the disk is full. It is not waited for: RocksDB may hold a write back
        // for ever after an error, which only a look at the store's health tells.
        let writes = !disk.borrow().is_out() && (written.elapsed_ms() + PERIOD_MS) * 3 > quarantine_ms;
        if writes
            && writing.is_finished()
            && let Some(ceilings) = peer_ceilings.take()
        {
            written = Stopwatch::start();
            writing = tokio::task::spawn_blocking(write_down(store.clone(), ceilings));
        }
        let looked = tokio::task::spawn_blocking({
            let store = store.clone();
            move || {
                telemetry::descriptors_counted(descriptors::open().ok(), descriptors::limit());
                (store.health(), store.journal_bytes())
            }
        });
        let Ok((health, journal)) = looked.await else { return };
        if let Err(error) = health {
            let _ = alarm.send(error.to_string());
            return;
        }
        telemetry::client_bytes_held(doors.budget.used());
        telemetry::journal_measured(journal);
        tell_clocks(&doors);
        if let Some(status) = doors.engine.status().await {
            telemetry::observe(&status, &doors.map);
            telemetry::observe_namespaces(&status, &doors.config.namespace);
        }
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
