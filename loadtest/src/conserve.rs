//! The check at the end: every region is read until all agree, then compared with the ledger.
//!
//! A counter is settled once every target answers the same and no acknowledged increment is missing; equal values with
//! something missing may still be on their way, so those are waited for as well. A value above everything attempted
//! can never become right and is not waited for. Millions of counters take their time: reading goes on for as long as targets
//! answer and counters move. Whatever is not settled then is a finding.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::finding::{Finding, Findings, Miscount};
use crate::keys::{Action, Names, Operation};
use crate::ledger::{Expected, Verdict};
use crate::target::Link;

/// Counters read by one request.
const READ_BATCH: usize = 1_000;
/// Pauses between rounds and after failures.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long counters are read.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// Till this moment.
    Deadline(Instant),
    /// Till for so long no target has answered, or no counter has moved.
    Still(Duration),
}

impl Until {
    /// When to give up, if nothing has come of it since `moved`.
    fn end(self, moved: Instant) -> Instant {
        match self {
            Self::Deadline(deadline) => deadline,
            Self::Still(patience) => moved + patience,
        }
    }
}

/// How many answers there were so far, for whoever watches.
pub type Progress = Arc<AtomicU64>;

/// Reads counters at one target, for as long as it takes.
pub struct Reader {
    /// The target's name in findings.
    pub name: String,
    link: Link,
    last_error: String,
}

impl Reader {
    /// Reads over this connection.
    pub fn new(name: String, link: Link) -> Self {
        Self { name, link, last_error: "no answer yet".into() }
    }

    /// The values of `keys`, in order, as far as they came.
    async fn read(&mut self, keys: &[u32], until: Until, progress: &Progress) -> Vec<i128> {
        let mut values = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READ_BATCH) {
            let operations: Vec<_> = chunk.iter().map(|key| Operation { key: *key, action: Action::Read }).collect();
            let end = until.end(Instant::now());
            let Ok(answer) = tokio::time::timeout_at(end.into(), self.read_chunk(&operations)).await else { break };
            progress.fetch_add(u64::try_from(answer.len()).unwrap_or(u64::MAX), Relaxed);
            values.extend(answer);
        }
        values
    }

    async fn read_chunk(&mut self, operations: &[Operation]) -> Vec<i128> {
        let mut pause = PAUSE_MIN;
        loop {
            let outcomes = self.link.read(operations).await;
            match outcomes.and_then(|outcomes| outcomes.into_iter().collect()) {
                Ok(values) => return values,
                Err(failure) => self.last_error = failure.code.into_owned(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// What the targets answered last.
pub struct Agreement {
    /// The counters that were read.
    pub keys: Vec<u32>,
    /// By target, then by position in `keys`; `None` where there was never an answer.
    pub values: Vec<Vec<Option<i128>>>,
    /// All counters are settled.
    pub settled: bool,
    /// How long it took.
    pub waited: Duration,
}

/// Reads `keys` at all readers until every counter is settled, or nothing has come of it for so long.
pub async fn agree(
    readers: &mut Vec<Reader>,
    keys: Vec<u32>,
    expected: impl Fn(u32) -> Expected,
    patience: Duration,
    progress: &Progress,
) -> Agreement {
    let is_enough = |key, seen: &[Option<i128>]| is_settled(expected(key), seen);
    read_until(readers, keys, is_enough, PAUSE_MAX, (Until::Still(patience), progress)).await
}

/// Reads counters at all readers until each counts at least what is in `least`; false if the deadline comes first. Its pauses
/// stay short, since the time that it takes is a figure.
pub async fn reach(readers: &mut Vec<Reader>, least: &BTreeMap<u32, i128>, deadline: Instant) -> bool {
    let is_reached =
        |key, seen: &[Option<i128>]| seen.iter().all(|value| value.is_some_and(|value| value >= least[&key]));
    let keys = least.keys().copied().collect();
    let until = (Until::Deadline(deadline), &Progress::default());
    read_until(readers, keys, is_reached, PAUSE_MIN, until).await.settled
}

/// Reads each of `keys` until what the targets answered last is enough.
async fn read_until(
    readers: &mut Vec<Reader>,
    keys: Vec<u32>,
    is_enough: impl Fn(u32, &[Option<i128>]) -> bool,
    pause_max: Duration,
    (until, progress): (Until, &Progress),
) -> Agreement {
    let start = Instant::now();
    let mut values = vec![vec![None; keys.len()]; readers.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    let (mut pause, mut moved) = (PAUSE_MIN, start);
    while !open.is_empty() {
        let asked: Arc<[u32]> = open.iter().map(|position| keys[*position]).collect();
        let answers = read_all(readers, &asked, until, progress).await;
        for (known, answer) in values.iter_mut().zip(answers) {
            for (position, value) in open.iter().zip(answer) {
                if known[*position].replace(value) != Some(value) {
                    moved = Instant::now();
                }
            }
        }
        open.retain(|position| !is_enough(keys[*position], &column(&values, *position)));
        if open.is_empty() || Instant::now() + pause >= until.end(moved) {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
    Agreement { settled: open.is_empty(), keys, values, waited: start.elapsed() }
}

/// What each reader was answered, which ends early if it was for too long nothing.
async fn read_all(readers: &mut Vec<Reader>, keys: &Arc<[u32]>, until: Until, progress: &Progress) -> Vec<Vec<i128>> {
    let mut tasks = JoinSet::new();
    for (position, mut reader) in readers.drain(..).enumerate() {
        let (keys, progress) = (Arc::clone(keys), Arc::clone(progress));
        tasks.spawn(async move {
            let values = reader.read(&keys, until, &progress).await;
            (position, reader, values)
        });
    }
    let mut done = tasks.join_all().await;
    done.sort_by_key(|(position, ..)| *position);
    let keep = |(_, reader, values)| {
        readers.push(reader);
        values
    };
    done.into_iter().map(keep).collect()
}

/// Names everything in which the answers differ from `expected`.
pub fn judge(
    agreement: &Agreement,
    readers: &[Reader],
    names: &Names,
    expected: impl Fn(u32) -> Expected,
    findings: &Findings,
) {
    for (reader, values) in readers.iter().zip(&agreement.values) {
        if values.iter().any(Option::is_none) {
            let (target, last_error) = (reader.name.clone(), reader.last_error.clone());
            findings.push(Finding::Unreadable { target, last_error });
        }
    }
    for (position, key) in agreement.keys.iter().enumerate() {
        let values = readers.iter().zip(column(&agreement.values, position));
        let seen: Vec<(&str, i128)> = values.filter_map(|(reader, value)| Some((&*reader.name, value?))).collect();
        judge_one(&names.full(*key), expected(*key), &seen, findings);
    }
}

fn judge_one(counter: &str, expected: Expected, seen: &[(&str, i128)], findings: &Findings) {
    let mut sound = true;
    for (target, value) in seen {
        let miscount = || Miscount::new(counter.to_owned(), (*target).to_owned(), expected, *value);
        match expected.judge(*value) {
            Verdict::Kept => continue,
            Verdict::Loss => findings.push(Finding::Loss(miscount())),
            Verdict::Excess => findings.push(Finding::Excess(miscount())),
        }
        sound = false;
    }
    if sound && seen.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        let seen = seen.iter().map(|(target, value)| ((*target).to_owned(), value.to_string())).collect();
        findings.push(Finding::Disagreement { counter: counter.to_owned(), seen });
    }
}

fn column(values: &[Vec<Option<i128>>], position: usize) -> Vec<Option<i128>> {
    values.iter().map(|target| target[position]).collect()
}

fn is_settled(expected: Expected, seen: &[Option<i128>]) -> bool {
    let agreed = seen.windows(2).all(|pair| pair[0] == pair[1]);
    let complete = seen.iter().all(|value| value.is_some_and(|value| value >= expected.least));
    let hopeless = seen.iter().flatten().any(|value| *value > expected.most);
    complete && (agreed || hopeless)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected { least: 10, most: 12 };

    fn settled(seen: &[Option<i128>]) -> bool {
        is_settled(EXPECTED, seen)
    }

    fn kinds(seen: &[i128]) -> Vec<&'static str> {
        let findings = Findings::default();
        let seen: Vec<_> = ["a", "b", "c"].into_iter().zip(seen.iter().copied()).collect();
        judge_one("default/k", EXPECTED, &seen, &findings);
        findings.so_far().named.iter().map(Finding::kind).collect()
    }

    #[test]
    fn settled_means_equal_and_nothing_missing() {
        assert!(settled(&[Some(10), Some(10)]));
        assert!(settled(&[Some(12)]));
        assert!(!settled(&[Some(9), Some(9)]), "equal, but an acknowledged increment may still come");
        assert!(!settled(&[Some(10), Some(11)]));
        assert!(!settled(&[Some(10), None]));
    }

    #[test]
    fn an_excess_is_not_waited_for() {
        assert!(settled(&[Some(13), Some(10)]));
        assert!(!settled(&[Some(13), Some(9)]), "what is missing is");
        assert!(!settled(&[Some(13), None]));
    }

    #[test]
    fn loss_and_excess_are_named_per_region() {
        assert_eq!(kinds(&[9, 10, 13]), ["loss", "excess"]);
        assert_eq!(kinds(&[10, 10, 10]), [""; 0]);
    }

    #[test]
    fn a_disagreement_within_the_bounds_is_named() {
        assert_eq!(kinds(&[10, 11, 10]), ["disagreement"]);
        assert_eq!(kinds(&[9, 11, 10]), ["loss"], "what is missing says more than that they differ");
    }
}
