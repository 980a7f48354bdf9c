//! Load with a ledger: lanes that count and mint at every region, and go on while nodes die and come back.
//!
//! A lane has a counter of its own and one request on its way. Once a request gets no answer, the lane leaves that
//! counter as it is and begins another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snowtide_client::{Config, Connection, Error};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::NAMESPACE;
use super::ledger::{Fate, Ledger};
use super::seen::{self, Seen};

/// Lanes for each region.
const LANES: usize = 16;
/// Increments are large and distinct, so that a lost one can be named.
const FIRST_AMOUNT: u64 = 1_000_000_000;
/// A lane asks for IDs after so many increments.
const IDS_EVERY: u64 = 8;
const IDS: u32 = 50;
/// A lane whose node is gone tries again after this.
const RETRY: Duration = Duration::from_millis(50);

/// What all steps of the demo write into.
#[derive(Clone, Default)]
pub(super) struct Books {
    ledger: Arc<Mutex<Ledger>>,
    seen: Arc<Mutex<Seen>>,
    /// How many amounts were used.
    amounts: Arc<AtomicU64>,
}

/// Lanes that run.
pub(super) struct Load {
    lanes: JoinSet<Result<(), seen::Finding>>,
    stop: CancellationToken,
}

struct Lane {
    name: String,
    config: Config,
    books: Books,
    stop: CancellationToken,
    client: Option<Connection>,
    /// How many counters this lane has left behind.
    generation: u64,
    requests: u64,
    last_id: Option<u64>,
}

impl Books {
    /// The ledger. Nobody holds it while waiting for anything.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The IDs.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts at a node, with an entry before and after; returns the counter's value there.
    pub(super) async fn increment(&self, client: &Connection, key: &str, by: u64) -> Result<i128, Error> {
        self.ledger().attempt(key, by);
        let answer = client.increment(NAMESPACE, key, by).await;
        let fate = match &answer {
            Ok(_) => Fate::Acknowledged,
            Err(error) if error.is_ambiguous() => Fate::Unknown,
            Err(_) => Fate::Refused,
        };
        self.ledger().settle(key, fate);
        answer
    }

    fn next_amount(&self) -> u64 {
        FIRST_AMOUNT.saturating_add(self.amounts.fetch_add(1, Ordering::Relaxed))
    }
}

impl Load {
    /// Starts lanes at every region.
    pub(super) fn start(regions: Vec<(String, Config)>, books: &Books) -> Self {
        let stop = CancellationToken::new();
        let mut lanes = JoinSet::new();
        for (region, config) in regions {
            // A dead node is given up soon, long before a client in a real network would.
            let config = config.idle_timeout(Duration::from_secs(2)).request_timeout(Duration::from_secs(3));
            for number in 0..LANES {
                let lane = Lane {
                    name: format!("load/{region}/{number}"),
                    config: config.clone().connect_timeout(Duration::from_secs(1)),
                    books: books.clone(),
                    stop: stop.clone(),
                    client: None,
                    generation: 0,
                    requests: 0,
                    last_id: None,
                };
                lanes.spawn(lane.run());
            }
        }
        Self { lanes, stop }
    }

    /// Lets every lane finish its request. Each is bounded by its client's time limits.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(lane) = self.lanes.join_next().await {
            lane??;
        }
        Ok(())
    }
}

impl Lane {
    async fn run(mut self) -> Result<(), seen::Finding> {
        while !self.stop.is_cancelled() {
            match self.client.take().filter(|client| !client.is_closed()) {
                Some(client) => {
                    self.step(&client).await?;
                    self.client = Some(client);
                }
                None => match Connection::open(self.config.clone()).await {
                    Ok(client) => self.client = Some(client),
                    Err(_) => tokio::time::sleep(RETRY).await,
                },
            }
        }
        Ok(())
    }

    /// One request.
    async fn step(&mut self, client: &Connection) -> Result<(), seen::Finding> {
        self.requests = self.requests.wrapping_add(1);
        if self.requests.is_multiple_of(IDS_EVERY) {
            if let Ok(ids) = client.ids(IDS).await {
                self.last_id = self.books.seen().add(self.last_id, &ids)?;
            }
            return Ok(());
        }
        let key = format!("{}/{}", self.name, self.generation);
        match self.books.increment(client, &key, self.books.next_amount()).await {
            Ok(_) => {}
            Err(error) if error.is_ambiguous() => self.generation = self.generation.saturating_add(1),
            // The node refuses for now, as when it starts.
            Err(_) => tokio::time::sleep(RETRY).await,
        }
        Ok(())
    }
}
