//! Looks at the disk and at the gauges once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::Doors;
use crate::clock::{self, Stopwatch};
use crate::replica::Event;
use crate::store::Store;
use crate::telemetry;

use super::horizon::Horizon;

const PERIOD: Duration = Duration::from_secs(1);

/// Runs until aborted, or until the store's health is gone, which it reports once (I9).
pub(super) async fn keep(doors: Doors, store: Arc<Store>, alarm: mpsc::UnboundedSender<String>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut low = false;
    let (mut horizon, uptime) = (Horizon::new(&doors.config), Stopwatch::start());
    loop {
        ticks.tick().await;
        horizon.look(clock::wall_ms(), uptime.elapsed_ms());
        let looked = tokio::task::spawn_blocking({
            let store = store.clone();
            move || (store.health(), store.disk_free(), store.journal_bytes())
        });
        let Ok((health, free, journal)) = looked.await else { return };
        if let Err(error) = health {
            let _ = alarm.send(error.to_string());
            return;
        }
        telemetry::disk_measured(journal, free);
        let is_low = free < doors.config.disk.min_free.as_u64();
        if is_low != low {
            low = is_low;
            log(low, free);
            doors.engine.notify(Event::DiskLow(low));
        }
        tell_clocks(&doors);
        if let Some(status) = doors.engine.status().await {
            telemetry::observe(&status, &doors.map);
        }
    }
}

fn tell_clocks(doors: &Doors) {
    telemetry::clock_believed(doors.ids.read_clock().1);
    let clocks = doors.ids.peer_clocks();
    for (peer, ..) in doors.map.nodes().filter(|(peer, ..)| *peer != doors.worker) {
        telemetry::peer_clock(&doors.map.name(peer), clocks.get(&peer).map(|clock| clock.offset));
    }
}

fn log(low: bool, free_bytes: u64) {
    if low {
        tracing::error!(free_bytes, "less than disk.min_free is left: writes are refused until there is room");
    } else {
        tracing::info!(free_bytes, "there is room on the disk again: writes are taken");
    }
}
