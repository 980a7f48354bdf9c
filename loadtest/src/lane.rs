//! One lane: the requests of one connection, sent at their times and settled as their answers come.
//!
//! A lane sends nothing twice and skips nothing. When its window is full or its connection is away, the times keep
//! passing and the requests go out late, which shows in their latencies. What is still waiting when the run is over is
//! counted as unsent, with the time it waited.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::figures::Tally;
use crate::finding::{Finding, Findings, Miscount};
use crate::generator::Lateness;
use crate::ids::Run;
use crate::keys::{Action, Names, Operation, Request, Requests};
use crate::ledger::Ledger;
use crate::measure::{Board, Phases, Times};
use crate::run::Setup;
use crate::schedule::Schedule;
use crate::target::{Answer, Connection, Failure, Fate, Link, Outcome};
use crate::ticker::Ticker;

/// What all lanes write to.
pub struct Books {
    /// The names of the counters.
    pub names: Names,
    /// What must be counted.
    pub ledger: Ledger,
    /// What is measured.
    pub board: Board,
    /// What must not be.
    pub findings: Findings,
    /// The targets by position, for findings.
    pub targets: Vec<String>,
    /// Nobody else changes the counters, so that values can be judged while the run goes on.
    pub alone: bool,
}

impl Books {
    /// Empty ones; `alone` if nobody else changes the counters.
    pub(crate) fn new(setup: &Setup, ledger: Ledger, phases: Phases, alone: bool) -> Self {
        Self {
            names: setup.dial.names.clone(),
            ledger,
            board: Board::new(setup.readers.len(), phases),
            findings: Findings::default(),
            targets: setup.readers.iter().map(|reader| reader.name.clone()).collect(),
            alone,
        }
    }

    /// The name of the target at this position.
    pub fn name(&self, target: u16) -> String {
        self.targets.get(usize::from(target)).cloned().unwrap_or_default()
    }
}

/// What drives all lanes.
#[derive(Clone)]
pub struct Drive {
    /// The times of the run.
    pub phases: Phases,
    /// Ends the run early.
    pub stop: CancellationToken,
    /// Wakes lanes up.
    pub ticker: Ticker,
    /// How late that is.
    pub lateness: Arc<Lateness>,
    /// To the duplicate finder; when it is full, lanes wait.
    pub ids: mpsc::Sender<Vec<Run>>,
}

/// One connection's worth of load.
pub struct Lane {
    /// The position of the target.
    pub target: u16,
    /// The connection.
    pub link: Link,
    /// When to send; `None` is a closed loop.
    pub schedule: Option<Schedule>,
    /// What to send.
    pub requests: Requests,
    /// Operations in each request.
    pub batch: u32,
    /// How many requests may be unanswered.
    pub in_flight: u32,
    /// Shared.
    pub books: Arc<Books>,
    /// Shared.
    pub drive: Drive,
}

/// Leave to send one request.
struct Slot {
    connection: Arc<Connection>,
    intended: Instant,
    permit: OwnedSemaphorePermit,
}

impl Lane {
    /// Sends until the run is over, then waits for what is in flight: each request has its time limit.
    pub async fn run(mut self) {
        let window = Arc::new(Semaphore::new(self.in_flight as usize));
        while let Some(slot) = self.slot(&window).await {
            self.send(slot);
        }
        self.give_up_rest();
        let _all = window.acquire_many(self.in_flight).await;
    }

    /// Waits until the next request is due and can be sent; `None` when the run is over.
    async fn slot(&mut self, window: &Arc<Semaphore>) -> Option<Slot> {
        let stop = self.drive.stop.clone();
        let last = self.drive.phases.sent;
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            slot = tokio::time::timeout_at(last.into(), self.next_slot(window)) => slot.ok().flatten(),
        }
    }

    /// May be dropped while it waits: nothing has been taken yet.
    async fn next_slot(&mut self, window: &Arc<Semaphore>) -> Option<Slot> {
        if self.due().is_none_or(|due| due >= self.drive.phases.end) {
            return None;
        }
        let permit = Arc::clone(window).acquire_owned().await.ok()?;
        if let Some(due) = self.due().filter(|due| *due > Instant::now()) {
            self.drive.ticker.until(due).await;
            self.drive.lateness.woke(due, Instant::now());
        }
        let connection = self.link.ready().await;
        // In an open loop the time stands since the beginning; in a closed one it is now.
        let intended = self.due().filter(|due| *due < self.drive.phases.end)?;
        Some(Slot { connection, intended, permit })
    }

    fn due(&self) -> Option<Instant> {
        match &self.schedule {
            Some(schedule) => self.drive.phases.start.checked_add(schedule.due()),
            None => Some(Instant::now()),
        }
    }

    fn send(&mut self, slot: Slot) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        }
        let since = slot.intended.saturating_duration_since(self.drive.phases.start);
        let request = self.requests.next_at(since);
        issue(&self.books.ledger, &request);
        tokio::spawn(carry(slot, request, self.target, Arc::clone(&self.books), self.drive.ids.clone()));
    }

    /// Counts what was due and has not been sent.
    fn give_up_rest(&mut self) {
        let now = Instant::now();
        let end = self.drive.phases.end.min(now);
        while let Some(schedule) = &mut self.schedule {
            let since = schedule.due();
            let Some(due) = self.drive.phases.start.checked_add(since).filter(|due| *due < end) else { break };
            schedule.advance();
            let kind = self.requests.skip_at(since);
            self.books.board.unsent(self.target, kind, due, now, u64::from(self.batch));
        }
    }
}

/// Takes one request to its end.
async fn carry(slot: Slot, request: Request, target: u16, books: Arc<Books>, ids: mpsc::Sender<Vec<Run>>) {
    let sent = Instant::now();
    let answer = slot.connection.perform(&request).await;
    let times = Times { intended: slot.intended, sent, done: Instant::now() };
    let (tally, runs) = settle(&books, target, &request, answer);
    books.board.finished(target, request.kind(), times, &tally);
    // The lane goes once it has all permits back, and then the books are closed: so the permit is the last to leave.
    drop(books);
    if !runs.is_empty() {
        // The finder outlives all lanes.
        let _ = ids.send(runs).await;
    }
    drop(ids);
    drop(slot.permit);
}

fn issue(ledger: &Ledger, request: &Request) {
    let Request::Batch(_, operations) = request else { return };
    for Operation { key, action } in operations {
        if let Action::Increment(by) = action {
            ledger.issue(*key, *by);
        }
    }
}

/// Enters an answer in the books; what is left is the tally of the request, and its IDs.
fn settle(books: &Books, target: u16, request: &Request, answer: Result<Answer, Failure>) -> (Tally, Vec<Run>) {
    let mut tally = Tally::default();
    let mut runs = Vec::new();
    match (request, answer) {
        (Request::Batch(_, operations), Ok(Answer::Values(outcomes))) => {
            for (operation, outcome) in operations.iter().zip(&outcomes) {
                settle_one(books, target, *operation, outcome, &mut tally);
            }
        }
        (Request::Ids(count), Ok(Answer::Ids(given))) => {
            tally.acknowledged = u64::from(*count);
            runs = given.into_iter().map(|run| Run { target, ..run }).collect();
        }
        (Request::Live, Ok(Answer::Lives)) => tally.acknowledged = 1,
        (request, Ok(_)) => fail(books, request, &Failure::BAD_ANSWER, &mut tally),
        (request, Err(failure)) => fail(books, request, &failure, &mut tally),
    }
    if tally.failures.iter().any(|(failure, _)| failure.code == Failure::BAD_ANSWER.code) {
        let (target, operation) = (books.name(target), request.kind().name().into());
        books.findings.push(Finding::BadAnswer { target, operation });
    }
    (tally, runs)
}

fn fail(books: &Books, request: &Request, failure: &Failure, tally: &mut Tally) {
    match request {
        Request::Ids(count) => tally.fail(failure, u64::from(*count)),
        Request::Live => tally.fail(failure, 1),
        Request::Batch(_, operations) => {
            tally.fail(failure, operations.len() as u64);
            operations.iter().for_each(|operation| fail_one(books, *operation, failure));
        }
    }
}

fn settle_one(books: &Books, target: u16, operation: Operation, outcome: &Outcome, tally: &mut Tally) {
    match outcome {
        Ok(value) => {
            tally.acknowledged += 1;
            if let Action::Increment(by) = operation.action {
                books.ledger.acknowledge(operation.key, by);
            }
            check_upper_bound(books, target, operation.key, *value);
        }
        Err(failure) => {
            tally.fail(failure, 1);
            fail_one(books, operation, failure);
        }
    }
}

fn fail_one(books: &Books, operation: Operation, failure: &Failure) {
    if let (Action::Increment(by), Fate::Refused | Fate::Undone) = (operation.action, failure.fate) {
        books.ledger.refuse(operation.key, by);
    }
}

/// G2, at every answer: no value exceeds what was attempted up to now.
fn check_upper_bound(books: &Books, target: u16, key: u32, value: i128) {
    if !books.alone {
        return;
    }
    let expected = books.ledger.expected(key);
    if value > expected.most {
        books.findings.push(Finding::ReadAbove(Miscount {
            counter: books.names.full(key),
            target: books.name(target),
            least: expected.least.to_string(),
            most: expected.most.to_string(),
            seen: value.to_string(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::Kind;
    use crate::ledger::Expected;

    fn books() -> Books {
        let phases = Phases::new(Instant::now(), Duration::ZERO, Duration::from_secs(1), Duration::ZERO);
        Books {
            names: Names { namespace: "default".into(), prefix: "k".into() },
            ledger: Ledger::new(10),
            board: Board::new(1, phases),
            findings: Findings::default(),
            targets: vec!["eu-west/0".into()],
            alone: true,
        }
    }

    fn increments(by: &[u32]) -> Request {
        let operation = |by: &u32| Operation { key: 3, action: Action::Increment(*by) };
        Request::Batch(Kind::Increment, by.iter().map(operation).collect())
    }

    fn settled(books: &Books, by: &[u32], answer: Result<Answer, Failure>) -> (Tally, Expected) {
        let request = increments(by);
        issue(&books.ledger, &request);
        let (tally, _) = settle(books, 0, &request, answer);
        (tally, books.ledger.expected(3))
    }

    #[test]
    fn each_operation_of_a_batch_has_its_own_fate() {
        let outcomes = vec![Ok(5), Err(Failure::refused("counter_overflow")), Err(Failure::unknown("timeout"))];
        let (tally, expected) = settled(&books(), &[5, 70, 900], Ok(Answer::Values(outcomes)));
        assert_eq!(tally.acknowledged, 1);
        assert_eq!(tally.failures.len(), 2);
        assert_eq!(expected, Expected { least: 5, most: 905 });
    }

    #[test]
    fn a_refused_batch_counts_in_neither_bound_and_an_unknown_one_in_the_upper() {
        let (_, expected) = settled(&books(), &[5, 70], Err(Failure::refused("throttled")));
        assert_eq!(expected, Expected { least: 0, most: 0 });
        let (tally, expected) = settled(&books(), &[5, 70], Err(Failure::TIMED_OUT));
        assert_eq!(expected, Expected { least: 0, most: 75 });
        assert_eq!(tally.failures, [(Failure::TIMED_OUT, 2)]);
    }

    #[test]
    fn a_value_above_everything_attempted_is_a_finding_at_once() {
        let books = books();
        settled(&books, &[5], Ok(Answer::Values(vec![Ok(6)])));
        let (named, _) = books.findings.parts();
        assert!(matches!(&named[..], [Finding::ReadAbove(miscount)] if miscount.seen == "6" && miscount.most == "5"));
    }

    #[test]
    fn an_answer_of_another_kind_is_a_finding_and_leaves_the_outcome_unknown() {
        let books = books();
        let (tally, expected) = settled(&books, &[5], Ok(Answer::Ids(Vec::new())));
        assert_eq!(tally.failures, [(Failure::BAD_ANSWER, 1)]);
        assert_eq!(books.findings.parts().1["bad_answer"], 1);
        assert_eq!(expected, Expected { least: 0, most: 5 });
    }

    #[test]
    fn ids_are_marked_with_their_target() {
        let given = vec![Run { first: 9, count: 2, target: 0 }];
        let (tally, runs) = settle(&books(), 7, &Request::Ids(2), Ok(Answer::Ids(given)));
        assert_eq!((tally.acknowledged, runs), (2, vec![Run { first: 9, count: 2, target: 7 }]));
    }
}
