//! Looks at the room on the disk, often where it is short, and tells everybody what may still be written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::engine::EngineHandle;
use crate::replica::{Disk, Event, Headroom};
use crate::store::{Look, Store, StoreError};
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
    /// Hears of a flush that has failed.
    pub(super) alarm: mpsc::UnboundedSender<String>,
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
    /// Runs until aborted, or until the store has failed, which it reports (I9).
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
            relieve(&store, &look, last.headroom, judgement.disk.headroom).map(|()| (look, judgement))
        });
        let (look, judgement) = match looked.await.ok()? {
            Ok(looked) => looked,
            Err(error) => {
                let _ = self.alarm.send(format!("the flush that was to make room: {error}"));
                return None;
            }
        };
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
/// new coming nobody else would do so, and the logs that go with it may be what fills the disk.
fn relieve(store: &Store, look: &Look, last: Headroom, headroom: Headroom) -> Result<(), StoreError> {
    let turns = last == Headroom::Ample && look.flush > 0;
    if headroom == Headroom::Low && (turns || look.flush > FLUSHED_BYTES) { store.tidy() } else { Ok(()) }
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
