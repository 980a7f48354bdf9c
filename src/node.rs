//! A node: the composition root. It knows everything else, and nothing knows it but the command line.
//!
//! A start goes: certificates, sockets, recovery, engine, links, front doors. Nothing is served before the engine says
//! so (I3); until then `/livez` answers and every door says `starting`. A stop goes the other way: refuse new work,
//! commit what is in hand, wait until another region has it, close.

mod assembly;
mod certificates;
mod descriptors;
mod doorway;
mod expiring;
mod horizon;
mod ids;
mod limits;
mod limits_seen;
mod memory;
mod notices;
mod orders;
mod peer_ceilings;
mod reading;
mod recovery;
pub mod reload;
mod settings;
mod space;
mod supervisor;
mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch as stage};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api::{Doors, Stage};
use crate::config::Loaded;
use crate::engine::News;
use crate::limiter::Keeper;
use crate::peer::Links;
use crate::replica::Disk;
use crate::store::Store;

use certificates::Certificates;
use doorway::Sockets;
use expiring::Expiring;
use notices::Notices;
use orders::{Attendant, Ordered};
use peer_ceilings::PeerCeilings;
pub use reading::{Ended, Reader};
use reload::{Asker, Reloader, Reloads};
use space::Lookout;
use supervisor::{Readiness, Supervisor};
use watch::Watch;

/// How long a node that stops waits for its disk.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// A node whose sockets are bound and whose data is recovered.
pub struct Node {
    doors: Doors,
    stage: stage::Sender<Stage>,
    store: Arc<Store>,
    disk: stage::Sender<Disk>,
    peer_ceilings: Arc<PeerCeilings>,
    sockets: Sockets,
    links: Links,
    certificates: Certificates,
    keeper: Keeper,
    engine: JoinHandle<()>,
    news: mpsc::UnboundedReceiver<News>,
    clock_confirmed: bool,
}

/// What a start comes to.
pub enum Start {
    /// A whole node.
    Whole(Box<Node>),
    /// The disk has no room for more than this.
    Reading(Box<Reader>),
}

/// How a node ended, when it ended as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The region of this name holds everything that was acknowledged here.
    HeldBy(String),
    /// No other region confirmed within `drain.timeout`; it is on this disk, and travels at the next start.
    HereOnly,
}

impl Node {
    /// Binds, recovers and starts everything but the doors, as far as the disk has room for it.
    pub async fn open(loaded: Loaded, region: &str, node: u8) -> anyhow::Result<Start> {
        assembly::assemble(loaded, region, node).await
    }

    /// An operator vouches for the clock as it stands when IDs begin.
    pub fn confirm_clock(&mut self) {
        self.clock_confirmed = true;
    }

    /// Serves until `shutdown`, then drains. An error means that the node has stopped itself (I9).
    pub async fn run(mut self, shutdown: CancellationToken, reloads: Reloads) -> anyhow::Result<Farewell> {
        let (alarm, alarms) = mpsc::unbounded_channel();
        let (order, orders) = mpsc::channel(1);
        let (reload, asked) = mpsc::channel(1);
        let (watch, lookout) = (self.watch(alarm.clone()), self.lookout(alarm));
        let (attendant, mut supervisor) = (self.attendant(reload), self.supervisor(alarms, orders));
        let mut open = self.sockets.open(&self.doors, Some(self.links.clone()), self.certificates.doors());
        let mut reloader = Reloader::new(reloads, &self.doors, self.certificates);
        let mut beside = JoinSet::new();
        beside.spawn(watch.keep());
        beside.spawn(lookout.keep());
        beside.spawn(attendant.attend(order));
        beside.spawn(async move { reloader.serve(asked).await });
        let farewell = supervisor.serve(&mut self.news, &shutdown).await;
        beside.abort_all();
        open.close();
        if farewell.is_ok() {
            self.stage.send_replace(Stage::Drained);
            open.see_off().await;
        }
        self.links.stop();
        open.end().await;
        drop(self.keeper);
        self.doors.engine.stop();
        let tidies = farewell.is_ok() && !self.disk.borrow().is_out();
        end(self.engine, self.store, tidies).await;
        farewell
    }

    fn watch(&self, alarm: mpsc::UnboundedSender<String>) -> Watch {
        Watch {
            doors: self.doors.clone(),
            store: self.store.clone(),
            peer_ceilings: self.peer_ceilings.clone(),
            disk: self.disk.subscribe(),
            expiring: Expiring::new(self.certificates.expiries(), self.doors.config.tls.expiry_warning),
            alarm,
        }
    }

    fn lookout(&self, alarm: mpsc::UnboundedSender<String>) -> Lookout {
        Lookout {
            store: self.store.clone(),
            engine: self.doors.engine.clone(),
            min_free: self.doors.config.disk.min_free.as_u64(),
            disk: self.disk.clone(),
            alarm,
        }
    }

    fn attendant(&self, reload: mpsc::Sender<Asker>) -> Attendant {
        Attendant {
            doors: self.doors.clone(),
            store: self.store.clone(),
            peer_ceilings: self.peer_ceilings.clone(),
            reload,
        }
    }

    fn supervisor(&self, alarms: mpsc::UnboundedReceiver<String>, orders: mpsc::Receiver<Ordered>) -> Supervisor {
        Supervisor {
            notices: Notices::new(&self.doors),
            doors: self.doors.clone(),
            peer_ceilings: self.peer_ceilings.clone(),
            store: self.store.clone(),
            stage: self.stage.clone(),
            links: self.links.clone(),
            alarms,
            orders,
            clock_confirmed: self.clock_confirmed,
            readiness: Readiness::default(),
        }
    }
}

/// The engine has nothing in hand any more, or has failed; either way its thread is ending, and the store's after it. Only
/// a sync that never returns can hold them up.
async fn end(engine: JoinHandle<()>, store: Arc<Store>, tidies: bool) {
    let ended = tokio::task::spawn_blocking(move || {
        let _ = engine.join();
        if tidies && let Err(error) = store.tidy() {
            warn!(%error, "the next start will take longer");
        }
    });
    let _ = timeout(ENGINE_TIMEOUT, ended).await;
}
