//! Who watches which counters. While anybody does, one task asks the engine for all of them in one batch, again and
//! again; nothing is asked and nothing runs while nobody does, and counting never hears of it.
//!
//! What is told is durable: the batch waits for the sync, like every batch on terms. Its rounds come one after another,
//! so that nobody is told an older value after a newer one (G3). A watcher that is slow misses values, never the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snowtide_protocol::{Action, Code, Key};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::api::Refused;
use crate::config::Http;
use crate::engine::EngineHandle;
use crate::identity::NamespaceId;
use crate::replica::{Operation, Refusal, Terms};

use super::connection::CONNECTION_BYTES;
use super::problem::Problem;

/// Watchers take one part in so many of what clients may hold.
const BYTES_PART: usize = 4;

type Counter = (NamespaceId, Key);

/// All watchers of this door.
pub(super) struct Watchers {
    engine: EngineHandle,
    interval: Duration,
    places: Arc<Semaphore>,
    board: Mutex<Board>,
    /// Somebody new has come.
    came: Notify,
}

/// What is watched.
#[derive(Default)]
struct Board {
    counters: BTreeMap<Counter, watch::Sender<Seen>>,
    /// Those of them that somebody new waits for.
    awaited: BTreeSet<Counter>,
    /// How many rounds have begun.
    rounds: u64,
    /// Whether the task runs.
    kept: bool,
}

/// What was last seen of a counter.
#[derive(Debug)]
struct Seen {
    /// In which round.
    round: u64,
    value: Result<i128, Problem>,
}

/// A place among the watchers of one counter, until it is dropped.
pub(super) struct Watch {
    watchers: Arc<Watchers>,
    counter: Counter,
    /// Until it is dropped.
    seen: Option<watch::Receiver<Seen>>,
    /// Rounds that had begun before: they may tell less than what the watcher knows already.
    rounds_before: u64,
    _place: OwnedSemaphorePermit,
}

impl Watchers {
    /// Each keeps its connection for as long as it likes, so all of them leave room for others.
    pub(super) fn new(engine: EngineHandle, config: &Http, client_bytes_max: usize) -> Self {
        let places = config.watchers_max.min(client_bytes_max / BYTES_PART / CONNECTION_BYTES);
        Self {
            engine,
            interval: config.watch_interval,
            places: Arc::new(Semaphore::new(places)),
            board: Mutex::default(),
            came: Notify::new(),
        }
    }

    /// One more watcher.
    pub(super) fn watch(self: &Arc<Self>, namespace: NamespaceId, key: Key) -> Result<Watch, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Problem::new(
                Code::Overloaded,
                "as many counters are watched as may be (http.watchers_max, api.client_bytes_max)",
            )
        })?;
        let counter = (namespace, key);
        let mut board = self.board();
        let nothing = Seen { round: 0, value: Err(Problem::internal("nothing is known yet")) };
        let seen = board.counters.entry(counter.clone()).or_insert_with(|| watch::channel(nothing).0).subscribe();
        board.awaited.insert(counter.clone());
        let rounds_before = board.rounds;
        if !std::mem::replace(&mut board.kept, true) {
            tokio::spawn(Arc::clone(self).keep());
        }
        drop(board);
        self.came.notify_one();
        Ok(Watch { watchers: Arc::clone(self), counter, seen: Some(seen), rounds_before, _place: place })
    }

    /// Asks for what is watched every so often, and at once for what somebody new waits for, until nobody watches.
    async fn keep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let all = tokio::select! {
                _ = ticks.tick() => true,
                () = self.came.notified() => false,
            };
            let Some((round, awaited, counters)) = self.begin(all) else { return };
            let values = self.ask(&counters).await;
            self.tell(round, &awaited, counters, &values);
        }
    }

    /// Begins a round; `None` if nobody watches.
    fn begin(&self, all: bool) -> Option<(u64, BTreeSet<Counter>, Vec<Counter>)> {
        let mut board = self.board();
        if board.counters.is_empty() {
            board.kept = false;
            return None;
        }
        board.rounds += 1;
        let awaited = std::mem::take(&mut board.awaited);
        let counters = if all { board.counters.keys().cloned().collect() } else { awaited.iter().cloned().collect() };
        Some((board.rounds, awaited, counters))
    }

    /// The counters' values once they are durable, in order.
    async fn ask(&self, counters: &[Counter]) -> Result<Vec<Result<i128, Problem>>, Problem> {
        let get =
            |(namespace, key): &Counter| Operation { namespace: *namespace, key: key.clone(), action: Action::Get };
        let operations: Vec<Operation> = counters.iter().map(get).collect();
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let terms = Terms { wants_token: true, ..Terms::default() };
        let ended = || Refusal::Fenced("the engine has ended".into());
        let applied = self.engine.apply(operations, Some(Box::new(terms))).await.unwrap_or_else(|| Err(ended()))?;
        Ok(applied.outcomes.iter().map(|outcome| Ok(Refused::value_of(*outcome)?)).collect())
    }

    /// Wakes those for whom something is new. That a round was refused is told only to those who have nothing else.
    fn tell(
        &self,
        round: u64,
        awaited: &BTreeSet<Counter>,
        counters: Vec<Counter>,
        values: &Result<Vec<Result<i128, Problem>>, Problem>,
    ) {
        let board = self.board();
        for (at, counter) in counters.into_iter().enumerate() {
            let is_awaited = awaited.contains(&counter);
            let value = match values {
                Ok(values) => values.get(at).cloned(),
                Err(problem) => is_awaited.then(|| Err(problem.clone())),
            };
            if let (Some(value), Some(teller)) = (value, board.counters.get(&counter)) {
                teller.send_if_modified(|seen| {
                    let is_new = seen.value != value;
                    *seen = Seen { round, value };
                    is_new || is_awaited
                });
            }
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The value now, with everything that was acknowledged before the watch began.
    pub(super) async fn first(&mut self) -> Result<i128, Problem> {
        let (before, ended) = (self.rounds_before, || Problem::internal("the watch has ended"));
        let seen = self.seen.as_mut().ok_or_else(ended)?;
        let seen = seen.wait_for(|seen| seen.round > before).await.map_err(|_| ended())?;
        seen.value.clone()
    }

    /// The next value that is not `last`.
    pub(super) async fn other_than(&mut self, last: i128) -> Option<i128> {
        let is_other = |seen: &Seen| seen.value.as_ref().is_ok_and(|value| *value != last);
        self.seen.as_mut()?.wait_for(|seen| is_other(seen)).await.ok()?.value.as_ref().ok().copied()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut board = self.watchers.board();
        // Under the lock: of two that end at once, the second must see that it is the last.
        self.seen = None;
        if board.counters.get(&self.counter).is_some_and(|teller| teller.receiver_count() == 0) {
            board.counters.remove(&self.counter);
            board.awaited.remove(&self.counter);
        }
    }
}
