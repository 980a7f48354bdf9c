//! A node whose disk has no room to be opened for writing: it recovers all the same, answers reads of what is there, and
//! refuses everything else with `disk_low`, until there is room.
//!
//! It has no links: whatever a node tells its peers of itself is on its disk before (I3), and here nothing can be. It takes up
//! another configuration as every node does. Once there is room it ends, and the process starts the node anew, with a
//! recovery of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::api::{Doors, Stage};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::engine::News;
use crate::limiter::Keeper;
use crate::replica::Event;
use crate::store::{self, Shortage, Store};
use crate::telemetry;

use super::certificates::Certificates;
use super::doorway::Sockets;
use super::orders;
use super::reload::{Reloader, Reloads};

/// How often it looks for room.
const PERIOD: Duration = Duration::from_secs(1);
/// How long it waits for its own sockets to close.
const CLOSING_MS: u64 = 5_000;
/// How long a disk that seemed to have room, and had none, is left alone.
const PAUSE_MS: u64 = 5_000;

/// A node that only reads.
pub struct Reader {
    pub(super) doors: Doors,
    pub(super) sockets: Sockets,
    pub(super) certificates: Certificates,
    pub(super) keeper: Keeper,
    pub(super) options: store::Options,
    pub(super) shortage: Shortage,
    /// There seemed to be room, and there was none.
    pub(super) tried: bool,
    pub(super) stage: watch::Sender<Stage>,
    pub(super) engine: JoinHandle<()>,
    pub(super) news: mpsc::UnboundedReceiver<News>,
}

/// Why it has ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// There is room: the node can be opened, with what was taken up meanwhile.
    Room(Box<Config>),
    /// It was told to.
    Asked,
}

impl Reader {
    /// Answers reads until there is room, or `shutdown`.
    pub async fn run(self, shutdown: CancellationToken, reloads: Reloads) -> anyhow::Result<Ended> {
        error!(
            shortage = %self.shortage,
            "the disk has no room for a start: reads are answered, nothing is written, until there is room"
        );
        let addresses = Addresses::of(&self.sockets)?;
        let mut open = self.sockets.open(&self.doors, None, self.certificates.doors());
        let mut reloader = Reloader::new(reloads, &self.doors, self.certificates);
        let (reload, asked) = mpsc::channel(1);
        let waiting = Waiting { options: Arc::new(self.options), doors: self.doors.clone(), tried: self.tried };
        let ended = tokio::select! {
            () = waiting.room() => Ok(true),
            () = shutdown.cancelled() => Ok(false),
            reason = failure(self.news) => Err(anyhow::anyhow!("the store has failed: {reason}")),
            () = reloader.serve(asked) => Ok(false),
            () = orders::attend_reading(&self.doors, reload) => Ok(false),
        };
        self.stage.send_replace(Stage::Drained);
        open.close();
        open.see_off().await;
        open.end().await;
        drop(self.keeper);
        self.doors.engine.stop();
        let engine = self.engine;
        // The directory must be free before it is opened again.
        tokio::task::spawn_blocking(move || engine.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the engine has panicked"))?;
        if !ended? {
            return Ok(Ended::Asked);
        }
        // With the certificates goes the last handle of the endpoint, and so its socket.
        let config = Box::new(reloader.into_config());
        addresses.are_free().await;
        Ok(Ended::Room(config))
    }
}

/// Where it has listened, and the node will.
struct Addresses {
    udp: SocketAddr,
    tcp: Vec<SocketAddr>,
}

impl Addresses {
    fn of(sockets: &Sockets) -> io::Result<Self> {
        let listeners = [Some(&sockets.listener), sockets.redis.as_ref()];
        let tcp = listeners.into_iter().flatten().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        Ok(Self { udp: sockets.endpoint.address()?, tcp })
    }

    /// Sockets close a moment after whoever used them has ended.
    async fn are_free(&self) {
        let free = async || {
            let mut free = UdpSocket::bind(self.udp).await.is_ok();
            for address in &self.tcp {
                free &= TcpListener::bind(address).await.is_ok();
            }
            free
        };
        let closing = Stopwatch::start();
        while !free().await && closing.elapsed_ms() < CLOSING_MS {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Looks for room.
struct Waiting {
    options: Arc<store::Options>,
    doors: Doors,
    tried: bool,
}

impl Waiting {
    async fn room(&self) {
        let since = Stopwatch::start();
        loop {
            let options = self.options.clone();
            let shortage = tokio::task::spawn_blocking(move || Store::shortage(&options)).await.ok().flatten();
            match shortage {
                None if self.tried && since.elapsed_ms() < PAUSE_MS => {}
                None => return info!("there is room on the disk: the node is opened"),
                Some(Shortage { disk, .. }) => {
                    telemetry::disk_judged(&disk, false);
                    self.doors.engine.notify(Event::Disk(disk));
                }
            }
            if let Some(status) = self.doors.engine.status().await {
                telemetry::observe(&status, &self.doors.map, &self.doors.config.namespace);
            }
            sleep(PERIOD).await;
        }
    }
}

/// Returns only if the engine says that it cannot go on.
async fn failure(mut news: mpsc::UnboundedReceiver<News>) -> String {
    loop {
        match news.recv().await {
            Some(News::Failed(reason)) => return reason,
            None => return "the engine has ended".to_owned(),
            Some(_) => {}
        }
    }
}
