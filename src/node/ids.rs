//! The ID source, and what stands between it and others: the store that keeps its ceiling, and the links that ask for its clock.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::offset::Offset;
use crate::config::Config;
use crate::engine::EngineHandle;
use crate::identity::WorkerId;
use crate::ids::{CeilingStore, IdSource, PeerClock, layout_of};
use crate::peer::{ClockReading, Clockwork};
use crate::replica::{Disk, Event, Recovered};
use crate::store::Store;

/// What mints this node's IDs, from where it had come.
pub(super) fn source(
    config: &Config,
    worker: WorkerId,
    recovered: &Recovered,
    ceilings: impl CeilingStore + 'static,
    engine: &EngineHandle,
) -> anyhow::Result<IdSource> {
    let observer = {
        let engine = engine.clone();
        move |ceiling| engine.notify(Event::Ceiling(ceiling))
    };
    let layout = layout_of(&config.ids)?;
    let ids = IdSource::new(layout, worker, &config.ids, recovered.ceiling, Arc::new(ceilings), observer)?;
    recovered.before_quarantine.into_iter().for_each(|before| ids.resume_quarantine(before));
    Ok(ids)
}

/// The store, as far as the ID source needs it.
pub(super) struct Ceilings {
    pub(super) store: Arc<Store>,
    pub(super) disk: watch::Receiver<Disk>,
}

impl CeilingStore for Ceilings {
    fn has_room(&self) -> bool {
        !self.disk.borrow().is_out()
    }

    fn persist(&self, ceiling: u64) -> Result<(), String> {
        self.store.put_ceiling(ceiling).map_err(|error| error.to_string())
    }

    fn persist_quarantine(&self, ceiling: u64, before: u64) -> Result<(), String> {
        self.store.put_quarantine(ceiling, before).map_err(|error| error.to_string())
    }
}

/// What a node has that only reads: no ceiling is ever durable.
pub(super) struct NoCeilings;

impl CeilingStore for NoCeilings {
    fn has_room(&self) -> bool {
        false
    }

    fn persist(&self, _ceiling: u64) -> Result<(), String> {
        Err("the disk has no room".to_owned())
    }
}

/// Links tell the ID source of clocks, since it judges them.
impl Clockwork for IdSource {
    fn read(&self) -> ClockReading {
        let (unix_us, believed) = self.read_clock();
        ClockReading { unix_us, believed }
    }

    fn heard(&self, peer: WorkerId, offset: Offset, believed: bool) {
        self.hear_clock(peer, PeerClock { offset, believed });
    }

    fn lost(&self, peer: WorkerId) {
        self.lose_clock(peer);
    }

    fn ceiling_max(&self) -> u64 {
        self.ceiling_max()
    }
}
