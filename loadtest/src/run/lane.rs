//! One lane: the requests of one connection, sent at their times and settled as their answers come.
//!
//! A lane sends nothing twice and skips nothing. When its window is full or its connection is away, the times keep
//! passing and the requests go out late, which shows in their latencies. What is still waiting when the run is over is
//! counted as unsent, with the time it waited.
//!
//! In a closed loop a place in the window rests for as long as a refusal says: whoever sent again at once would only be
//! refused again, and take what is left of the machine from what is served.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::ticker::Ticker;
use crate::generator::Lateness;
use crate::ids::Run;
use crate::keys::{Request, Requests};
use crate::measure::{Phases, Times};
use crate::schedule::Schedule;
use crate::target::{Connection, Link};

/// When all lanes send, and until when.
#[derive(Clone)]
pub(super) struct Control {
    /// The times of the run.
    pub(super) phases: Phases,
    /// Ends the run early.
    pub(super) stop: CancellationToken,
    /// Wakes lanes up.
    pub(super) ticker: Ticker,
    /// How late that is.
    pub(super) lateness: Arc<Lateness>,
    /// To the duplicate finder; when it is full, lanes wait.
    pub(super) ids: mpsc::Sender<Vec<Run>>,
}

/// One connection's worth of load.
pub(super) struct Lane {
    /// The position of the target.
    pub(super) target: u16,
    /// The connection.
    pub(super) link: Link,
    /// When to send; `None` is a closed loop.
    pub(super) schedule: Option<Schedule>,
    /// What to send.
    pub(super) requests: Requests,
    /// Operations in each request.
    pub(super) batch: u32,
    /// How many requests may be unanswered.
    pub(super) in_flight: u32,
    /// Shared.
    pub(super) record: Arc<Record>,
    /// Shared.
    pub(super) control: Control,
}

/// Leave to send one request.
struct Slot {
    connection: Arc<Connection>,
    intended: Instant,
    permit: OwnedSemaphorePermit,
}

impl Lane {
    /// Sends until the run is over, then waits for what is in flight: each request has its time limit.
    pub(super) async fn run(mut self) {
        let window = Arc::new(Semaphore::new(self.in_flight as usize));
        while let Some(slot) = self.slot(&window).await {
            self.send(slot);
        }
        self.give_up_rest();
        let _all = window.acquire_many(self.in_flight).await;
    }

    /// Waits until the next request is due and can be sent; `None` when the run is over.
    async fn slot(&mut self, window: &Arc<Semaphore>) -> Option<Slot> {
        let stop = self.control.stop.clone();
        let last = self.control.phases.sent;
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            slot = tokio::time::timeout_at(last.into(), self.next_slot(window)) => slot.ok().flatten(),
        }
    }

    /// May be dropped while it waits: nothing has been taken yet.
    async fn next_slot(&mut self, window: &Arc<Semaphore>) -> Option<Slot> {
        if self.due().is_none_or(|due| due >= self.control.phases.end) {
            return None;
        }
        let permit = Arc::clone(window).acquire_owned().await.ok()?;
        if let Some(due) = self.due().filter(|due| *due > Instant::now()) {
            self.control.ticker.until(due).await;
            self.control.lateness.woke(due, Instant::now());
        }
        let connection = self.link.ready().await;
        // In an open loop the time stands since the beginning; in a closed one it is now.
        let intended = self.due().filter(|due| *due < self.control.phases.end)?;
        Some(Slot { connection, intended, permit })
    }

    fn due(&self) -> Option<Instant> {
        match &self.schedule {
            Some(schedule) => self.control.phases.start.checked_add(schedule.due()),
            None => Some(Instant::now()),
        }
    }

    fn send(&mut self, slot: Slot) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        }
        let since = slot.intended.saturating_duration_since(self.control.phases.start);
        let request = self.requests.next_at(since);
        self.record.issue(&request);
        let rests_until = self.schedule.is_none().then_some(self.control.phases.sent);
        let record = Arc::clone(&self.record);
        tokio::spawn(carry(slot, request, self.target, record, self.control.ids.clone(), rests_until));
    }

    /// Counts what was due and has not been sent.
    fn give_up_rest(&mut self) {
        let now = Instant::now();
        let end = self.control.phases.end.min(now);
        while let Some(schedule) = &mut self.schedule {
            let since = schedule.due();
            let Some(due) = self.control.phases.start.checked_add(since).filter(|due| *due < end) else { break };
            schedule.advance();
            let kind = self.requests.kind_at(since);
            self.record.recorder.unsent(self.target, kind, due, now, u64::from(self.batch));
        }
    }
}

/// Takes one request to its end; in a closed loop, its place rests after a refusal, until this moment at most.
async fn carry(
    slot: Slot,
    request: Request,
    target: u16,
    record: Arc<Record>,
    ids: mpsc::Sender<Vec<Run>>,
    rests_until: Option<Instant>,
) {
    let sent = Instant::now();
    let answer = slot.connection.perform(&request).await;
    let times = Times { intended: slot.intended, sent, done: Instant::now() };
    let (tally, runs) = record.settle(target, &request, times, answer);
    record.recorder.finished(target, request.kind(), times, &tally);
    let rest = tally.failures.iter().filter_map(|(failure, _)| failure.rest()).max();
    if let (Some(until), Some(rest)) = (rests_until, rest) {
        tokio::time::sleep_until((times.done + rest).min(until).into()).await;
    }
    // The lane goes once it has all permits back, and then the record is closed: so the permit is the last to leave.
    drop(record);
    if !runs.is_empty() {
        // The finder outlives all lanes.
        let _ = ids.send(runs).await;
    }
    drop(ids);
    drop(slot.permit);
}
