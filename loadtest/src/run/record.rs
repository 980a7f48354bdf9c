//! What all lanes write down: what was sent, what the answers were, and what was wrong with them.

use std::sync::Arc;

use super::setup::Setup;
use crate::figures::Tally;
use crate::finding::{Finding, Findings, Miscount};
use crate::ids::Run;
use crate::keys::{Action, Names, Operation, Request};
use crate::ledger::Ledger;
use crate::limits::books::{self, Books, Charge, UnixTime};
use crate::measure::{Phases, Recorder, Times};
use crate::target::{Answer, Failure, Fate, Outcome};

/// What all lanes write down.
pub struct Record {
    /// The names of the counters.
    pub names: Names,
    /// What must be counted.
    pub ledger: Arc<Ledger>,
    /// What is measured.
    pub recorder: Recorder,
    /// What was asked of a limit.
    pub books: Books,
    /// What must not be.
    pub findings: Findings,
    /// The targets by position, for findings.
    targets: Vec<String>,
    /// Nobody else changes the counters, so that values can be judged while the run goes on.
    alone: bool,
    /// What each decision is asked to charge.
    cost: u32,
    time: UnixTime,
}

impl Record {
    /// An empty one.
    pub(super) fn new(setup: &Setup, ledger: Ledger, phases: Phases) -> Self {
        Self {
            names: setup.dial.names.clone(),
            ledger: Arc::new(ledger),
            recorder: Recorder::new(setup.origins.len(), phases),
            books: Books::new(setup.plan.limits.numbers.0.window_ms, setup.plan.limits.records_max),
            findings: Findings::default(),
            cost: setup.plan.limits.cost,
            time: UnixTime::from_now(),
            targets: setup.readers.iter().map(|reader| reader.name.clone()).collect(),
            alone: setup.plan.part.is_none() && setup.plan.network.processes == 1,
        }
    }

    /// The name of the target at this position.
    pub fn target(&self, position: u16) -> String {
        self.targets.get(usize::from(position)).cloned().unwrap_or_default()
    }

    /// A request is about to be sent.
    pub(super) fn issue(&self, request: &Request) {
        let Request::Batch(_, operations) = request else { return };
        for Operation { key, action } in operations {
            if let Action::Increment(by) = action {
                self.ledger.issue(*key, *by);
            }
        }
    }

    /// Takes an answer down; what is left is the tally of the request, and its IDs.
    pub(super) fn settle(
        &self,
        target: u16,
        request: &Request,
        times: Times,
        answer: Result<Answer, Failure>,
    ) -> (Tally, Vec<Run>) {
        let mut tally = Tally::default();
        let mut runs = Vec::new();
        match (request, answer) {
            (Request::Batch(_, operations), Ok(Answer::Values(outcomes))) => {
                for (operation, outcome) in operations.iter().zip(&outcomes) {
                    self.settle_one(target, *operation, outcome, &mut tally);
                }
            }
            (Request::Ids(count), Ok(Answer::Ids(given))) => {
                tally.acknowledged = u64::from(*count);
                runs = given.into_iter().map(|run| Run { target, ..run }).collect();
            }
            (Request::Live, Ok(Answer::Lives)) => tally.acknowledged = 1,
            (Request::Limits(keys), answer) => self.decided(target, keys, times, answer, &mut tally),
            (request, Ok(_)) => self.fail(request, &Failure::BAD_ANSWER, &mut tally),
            (request, Err(failure)) => self.fail(request, &failure, &mut tally),
        }
        if tally.failures.iter().any(|(failure, _)| failure.code == Failure::BAD_ANSWER.code) {
            let (target, operation) = (self.target(target), request.kind().name().into());
            self.findings.push(Finding::BadAnswer { target, operation });
        }
        (tally, runs)
    }

    fn fail(&self, request: &Request, failure: &Failure, tally: &mut Tally) {
        match request {
            Request::Ids(count) => tally.fail(failure, u64::from(*count)),
            Request::Live => tally.fail(failure, 1),
            Request::Limits(keys) => tally.fail(failure, keys.len() as u64),
            Request::Batch(_, operations) => operations.iter().for_each(|each| self.fail_one(*each, failure, tally)),
        }
    }

    /// A denial is done as well as an admission.
    fn decided(&self, target: u16, keys: &[u32], times: Times, answer: Result<Answer, Failure>, tally: &mut Tally) {
        let decided = match answer {
            Ok(Answer::Decided(decided)) if decided.len() == keys.len() => decided,
            Ok(_) => vec![Err(Failure::BAD_ANSWER); keys.len()],
            Err(failure) => vec![Err(failure); keys.len()],
        };
        let (sent_us, done_us) = (self.time.of(times.sent), self.time.of(times.done));
        let entry = |(key, decided): (&u32, Result<bool, Failure>)| {
            let fate = match decided {
                Ok(admitted) => {
                    tally.acknowledged += 1;
                    if admitted { books::Fate::Admitted } else { books::Fate::Denied }
                }
                Err(failure) => {
                    tally.fail(&failure, 1);
                    // What was certainly not carried out charged nothing, and nobody was denied anything.
                    (failure.fate == Fate::Unknown).then_some(books::Fate::Unknown)?
                }
            };
            Some((Charge { key: *key, target, is_known: false, cost: self.cost, sent_us, done_us }, fate))
        };
        self.books.take(keys.iter().zip(decided).filter_map(entry));
    }

    fn settle_one(&self, target: u16, operation: Operation, outcome: &Outcome, tally: &mut Tally) {
        match outcome {
            Ok(value) => {
                tally.acknowledged += 1;
                if let Action::Increment(by) = operation.action {
                    self.ledger.acknowledge(operation.key, by);
                }
                self.check_upper_bound(target, operation.key, *value);
            }
            Err(failure) => self.fail_one(operation, failure, tally),
        }
    }

    fn fail_one(&self, operation: Operation, failure: &Failure, tally: &mut Tally) {
        tally.fail(failure, 1);
        if let (Action::Increment(by), Fate::Refused | Fate::Undone) = (operation.action, failure.fate) {
            self.ledger.refuse(operation.key, by);
        }
    }

    /// G2, at every answer: no value exceeds what was attempted up to now.
    fn check_upper_bound(&self, target: u16, key: u32, value: i128) {
        if !self.alone {
            return;
        }
        let expected = self.ledger.expected(key);
        if value > expected.most {
            let (counter, target) = (self.names.full(key), self.target(target));
            self.findings.push(Finding::ReadAbove(Miscount::new(counter, target, expected, value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::keys::Kind;
    use crate::ledger::Expected;

    fn record() -> Record {
        let phases = Phases::new(Instant::now(), Duration::ZERO, Duration::from_secs(1), Duration::ZERO);
        Record {
            names: Names { namespace: "default".into(), prefix: "k".into() },
            ledger: Arc::new(Ledger::new(10)),
            books: Books::new(1_000, 100),
            cost: 3,
            time: UnixTime::from_now(),
            recorder: Recorder::new(1, phases),
            findings: Findings::default(),
            targets: vec!["eu-west/0".into()],
            alone: true,
        }
    }

    fn increments(by: &[u32]) -> Request {
        let operation = |by: &u32| Operation { key: 3, action: Action::Increment(*by) };
        Request::Batch(Kind::Increment, by.iter().map(operation).collect())
    }

    fn now() -> Times {
        let now = Instant::now();
        Times { intended: now, sent: now, done: now }
    }

    #[test]
    fn decisions_are_taken_down_and_a_denial_is_done() {
        let record = record();
        let decided = [Ok(true), Ok(false), Err(Failure::refused("limits_full")), Err(Failure::TIMED_OUT)];
        let request = Request::Limits(vec![1, 2, 3, 4]);
        let (tally, _) = record.settle(5, &request, now(), Ok(Answer::Decided(decided.into())));
        assert_eq!((tally.acknowledged, tally.failures.len()), (2, 2));
        let (tally, _) = record.settle(5, &request, now(), Err(Failure::undone("disconnected")));
        assert_eq!(tally.failed(), 4);
        let (tally, _) = record.settle(5, &request, now(), Ok(Answer::Lives));
        assert_eq!((tally.failed(), record.findings.so_far().counts["bad_answer"]), (4, 1));
        let entries = record.books.into_entries();
        assert_eq!((entries.admitted, entries.refused), (1, 1));
        let charges: Vec<_> = entries.charges.iter().map(|charge| (charge.key, charge.is_known, charge.cost)).collect();
        let unclear = [1, 2, 3, 4].map(|key| (key, false, 3));
        assert_eq!(charges, [&[(1, true, 3), (4, false, 3)], &unclear[..]].concat());
    }

    fn settled(record: &Record, by: &[u32], answer: Result<Answer, Failure>) -> (Tally, Expected) {
        let request = increments(by);
        record.issue(&request);
        let (tally, _) = record.settle(0, &request, now(), answer);
        (tally, record.ledger.expected(3))
    }

    #[test]
    fn each_operation_of_a_batch_has_its_own_fate() {
        let outcomes = vec![Ok(5), Err(Failure::refused("counter_overflow")), Err(Failure::unknown("timeout"))];
        let (tally, expected) = settled(&record(), &[5, 70, 900], Ok(Answer::Values(outcomes)));
        assert_eq!(tally.acknowledged, 1);
        assert_eq!(tally.failures.len(), 2);
        assert_eq!(expected, Expected { least: 5, most: 905 });
    }

    #[test]
    fn a_refused_batch_counts_in_neither_bound_and_an_unknown_one_in_the_upper() {
        let (_, expected) = settled(&record(), &[5, 70], Err(Failure::refused("throttled")));
        assert_eq!(expected, Expected { least: 0, most: 0 });
        let (tally, expected) = settled(&record(), &[5, 70], Err(Failure::TIMED_OUT));
        assert_eq!(expected, Expected { least: 0, most: 75 });
        assert_eq!(tally.failures, [(Failure::TIMED_OUT, 2)]);
    }

    #[test]
    fn a_value_above_everything_attempted_is_a_finding_at_once() {
        let record = record();
        settled(&record, &[5], Ok(Answer::Values(vec![Ok(6)])));
        let named = record.findings.so_far().named;
        assert!(matches!(&named[..], [Finding::ReadAbove(miscount)] if miscount.seen == "6" && miscount.most == "5"));
    }

    #[test]
    fn an_answer_of_another_kind_is_a_finding_and_leaves_the_outcome_unknown() {
        let record = record();
        let (tally, expected) = settled(&record, &[5], Ok(Answer::Ids(Vec::new())));
        assert_eq!(tally.failures, [(Failure::BAD_ANSWER, 1)]);
        assert_eq!(record.findings.so_far().counts["bad_answer"], 1);
        assert_eq!(expected, Expected { least: 0, most: 5 });
    }

    #[test]
    fn ids_are_marked_with_their_target() {
        let given = vec![Run { first: 9, count: 2, target: 0 }];
        let (tally, runs) = record().settle(7, &Request::Ids(2), now(), Ok(Answer::Ids(given)));
        assert_eq!((tally.acknowledged, runs), (2, vec![Run { first: 9, count: 2, target: 7 }]));
    }
}
