//! Looks at the room on the disk, often where it is short, and tells everybody what may still be written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::EngineHandle;
use crate::replica::{Disk, Event, Headroom};
use crate::store::{Look, Store};
use crate::telemetry;

/// Between two looks while there is much room.
const PERIOD: Duration = Duration::from_secs(1);
/// Between two looks while there is not: no node writes so much in that time that it matters.
const PERIOD_SHORT: Duration = Duration::from_millis(100);
/// What may stay in memory while room is short.
const FLUSHED_BYTES: u64 = 4 << 20;
/// With so much more free than is needed, there is much.
const MUCH_BYTES: u64 = 1 << 30;

/// Who looks, and who hears of it.
pub(super) struct Lookout {
    pub(super) store: Arc<Store>,
    pub(super) engine: EngineHandle,
    /// `disk.min_free`
    pub(super) min_free: u64,
    pub(super) disk: watch::Sender<Disk>,
}

/// The first look, before anything is written.
pub(super) fn first(store: &Store, min_free: u64) -> Disk {
    let look = store.look();
    let disk = look.judge(&look, Headroom::Ample, min_free).disk;
    if disk.is_low() {
        log(&disk);
    }
    disk
}

impl Lookout {
    /// Runs until aborted, or until the store can no longer be asked.
    pub(super) async fn keep(self) {
        let mut before = None;
        loop {
            let Some(look) = self.look(before.as_ref()).await else { return };
            before = Some(look);
            let disk = *self.disk.borrow();
            let much = disk.free_bytes > disk.needed_bytes.saturating_add(MUCH_BYTES);
            tokio::time::sleep(if much { PERIOD } else { PERIOD_SHORT }).await;
        }
    }

    async fn look(&self, before: Option<&Look>) -> Option<Look> {
        let (store, min_free) = (self.store.clone(), self.min_free);
        let (before, last) = (before.copied(), *self.disk.borrow());
        let looked = tokio::task::spawn_blocking(move || {
            let look = store.look();
            let judgement = look.judge(&before.unwrap_or(look), last.headroom, min_free);
            store.allow_compactions(judgement.compacts);
            relieve(&store, &look, last.headroom, judgement.disk.headroom);
            (look, judgement)
        });
        let (look, judgement) = looked.await.ok()?;
        telemetry::disk_judged(&judgement.disk, judgement.compacts);
        self.tell(last, judgement.disk);
        Some(look)
    }

    /// The replica hears of every change; of the numbers only while they matter.
    fn tell(&self, last: Disk, disk: Disk) {
        self.disk.send_replace(disk);
        if disk.headroom != last.headroom {
            log(&disk);
        }
        if disk.headroom != last.headroom || disk.is_low() {
            self.engine.notify(Event::Disk(disk));
        }
    }
}

/// As soon as room is short, and as long as it is and much gathers all the same, what is in memory is flushed: with nothing
/// new coming nobody else would do so, and the logs that go with it may be what fills the disk. A failure shows in the
/// store's health.
fn relieve(store: &Store, look: &Look, last: Headroom, headroom: Headroom) {
    let turns = last == Headroom::Ample && look.flush > 0;
    if headroom == Headroom::Low
        && (turns || look.flush > FLUSHED_BYTES)
        && let Err(error) = store.tidy()
    {
        tracing::error!(%error, "the flush that was to make room has failed");
    }
}

fn log(disk: &Disk) {
    let Disk { free_bytes, needed_bytes, .. } = *disk;
    match disk.headroom {
        Headroom::None => tracing::error!(
            free_bytes,
            needed_bytes,
            "the disk is full: nothing is written until there is room; reads are answered"
        ),
        Headroom::Low => tracing::error!(
            free_bytes,
            needed_bytes,
            "the disk is nearly full: writes of clients and deltas of peers are refused until there is room"
        ),
        Headroom::Ample => tracing::info!(free_bytes, needed_bytes, "there is room on the disk: writes are taken"),
    }
}
