//! The whole with a source that answers as each test says, and a clock that each test sets.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use snowtide_protocol::Code;
use snowtide_protocol::wire::{IdRun, WireError};
use tokio::sync::mpsc;

use super::*;

type Answer = Result<Vec<IdRun>, Error>;

/// Answers what it is told, in turn, and counts how often it was asked.
struct Scripted {
    answers: mpsc::UnboundedReceiver<Answer>,
    asked: Arc<AtomicU64>,
}

impl Source for Scripted {
    async fn fetch(&mut self, count: u32) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert_eq!(count, 4);
        self.answers.recv().await.unwrap_or_else(|| panic!("the script is over"))
    }
}

struct Bench {
    ids: Ids,
    script: mpsc::UnboundedSender<Answer>,
    asked: Arc<AtomicU64>,
}

impl Bench {
    /// Blocks of four, the next asked for with the last but one.
    fn new() -> Self {
        let (script, answers) = mpsc::unbounded_channel();
        let asked = Arc::new(AtomicU64::new(0));
        let source = Scripted { answers, asked: asked.clone() };
        let prefetch = Prefetch::default().block(4).low_water(2).max_age(Duration::from_millis(1_000));
        Self { ids: Ids::from_source(source, prefetch).unwrap(), script, asked }
    }

    fn answer(&self, first: u64) {
        self.script.send(Ok(vec![IdRun { first, count: 4 }])).unwrap();
    }

    fn refuse(&self, retry_after_ms: u32) {
        let error = WireError { code: Code::Starting, detail: "soon".into(), retry_after_ms: Some(retry_after_ms) };
        self.script.send(Err(error.into())).unwrap();
    }

    fn pass(&self, ms: u64) {
        self.ids.shelf.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// So many IDs, of which none waits.
    async fn at_once(&self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            match poll_once(self.ids.next_id()).await {
                Poll::Ready(id) => ids.push(id.unwrap()),
                Poll::Pending => panic!("{ids:?}, and then it waits"),
            }
        }
        ids
    }

    /// Waits until the source was asked so often, and has had the time to answer what was sent.
    async fn asked(&self, times: u64) {
        let asked = async {
            while self.asked.load(Ordering::SeqCst) < times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the source is asked");
    }

    /// Waits until what was answered last has come.
    async fn arrived(&self) {
        let arrived = async {
            while !self.ids.shelf.has_reserve() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), arrived).await.expect("the block arrives");
    }
}

async fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[tokio::test]
async fn after_the_first_block_nobody_waits() {
    let bench = Bench::new();
    bench.answer(10);
    assert_eq!(bench.ids.next_id().await, Ok(10));
    assert_eq!(bench.at_once(1).await, [11]);
    assert_eq!(bench.asked.load(Ordering::SeqCst), 1, "the first half of a block asks for nothing");
    assert_eq!(bench.at_once(1).await, [12]);
    bench.answer(20);
    bench.arrived().await;
    assert_eq!(bench.at_once(3).await, [13, 20, 21]);
    assert_eq!(bench.asked.load(Ordering::SeqCst), 2);
    bench.answer(30);
    assert_eq!(bench.at_once(2).await, [22, 23]);
    assert_eq!(bench.ids.next_id().await, Ok(30), "it waits where it must");
}

#[tokio::test]
async fn an_idle_one_asks_for_nothing_and_gives_nothing_old() {
    let bench = Bench::new();
    bench.answer(10);
    assert_eq!(bench.ids.next_id().await, Ok(10));
    bench.pass(5_000);
    tokio::task::yield_now().await;
    assert_eq!(bench.asked.load(Ordering::SeqCst), 1);
    assert!(poll_once(bench.ids.next_id()).await.is_pending(), "11 to 13 are past their age");
    bench.answer(20);
    assert_eq!(bench.ids.next_id().await, Ok(20));
}

#[tokio::test]
async fn a_slow_user_has_a_younger_block_at_hand_when_the_old_one_expires() {
    let bench = Bench::new();
    bench.answer(10);
    assert_eq!(bench.ids.next_id().await, Ok(10));
    bench.pass(600);
    assert_eq!(bench.at_once(1).await, [11]);
    bench.answer(20);
    bench.arrived().await;
    bench.pass(600);
    assert_eq!(bench.at_once(1).await, [20], "12 and 13 are past their age");
    bench.pass(500);
    assert!(poll_once(bench.ids.next_id()).await.is_pending(), "the second block was not replaced in time");
}

#[tokio::test]
async fn a_block_that_comes_too_late_is_not_used() {
    let bench = Bench::new();
    bench.asked(1).await;
    bench.pass(1_500);
    bench.answer(10);
    let error = bench.ids.next_id().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { may_have_written: false, .. }) && error.is_retryable(), "{error}");
}

#[tokio::test]
async fn an_error_is_told_only_when_no_block_is_left_and_with_the_time_to_wait() {
    let bench = Bench::new();
    bench.answer(10);
    assert_eq!(bench.ids.next_id().await, Ok(10));
    bench.refuse(20_000);
    assert_eq!(bench.at_once(2).await, [11, 12]);
    bench.asked(2).await;
    assert_eq!(bench.at_once(1).await, [13], "what is here is still good");
    for passed in [0, 5_000] {
        bench.pass(passed);
        match bench.ids.next_id().await.unwrap_err() {
            Error::Refused { code: Code::Starting, retry_after: Some(rest), .. } => {
                assert!(rest <= Duration::from_millis(20_000 - passed), "{rest:?} after {passed} ms");
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(bench.asked.load(Ordering::SeqCst), 2, "the node is left in peace");
}

#[tokio::test]
async fn it_goes_on_by_itself_after_a_failure() {
    let bench = Bench::new();
    bench.script.send(Err(Error::Disconnected { reason: "gone".into() })).unwrap();
    assert_eq!(bench.ids.next_id().await, Err(Error::Disconnected { reason: "gone".into() }));
    // Past the pause by the clock; the keeper itself rests in real time.
    bench.pass(60_000);
    bench.answer(10);
    assert_eq!(bench.ids.next_id().await, Ok(10));
}

#[tokio::test]
async fn all_who_wait_are_served() {
    let bench = Bench::new();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let ids = bench.ids.clone();
        waiting.spawn(async move { ids.next_id().await.unwrap() });
    }
    for first in [10, 20, 30] {
        bench.answer(first);
    }
    let mut served = waiting.join_all().await;
    served.sort_unstable();
    assert_eq!(served, [10, 11, 12, 13, 20, 21, 22, 23, 30, 31]);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error() {
    let bench = Bench::new();
    bench.script.send(Ok(vec![IdRun { first: u64::MAX, count: 4 }])).unwrap();
    assert!(matches!(bench.ids.next_id().await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn the_task_ends_with_the_last_clone() {
    let bench = Bench::new();
    bench.asked(1).await;
    let clone = bench.ids.clone();
    drop(bench.ids);
    assert!(!bench.script.is_closed());
    drop(clone);
    tokio::time::timeout(Duration::from_secs(60), bench.script.closed()).await.expect("the source is dropped");
}

#[tokio::test]
async fn who_waits_hears_of_the_end_of_the_task() {
    let bench = Bench::new();
    drop(bench.script);
    for _ in 0..2 {
        assert!(matches!(bench.ids.next_id().await, Err(Error::Disconnected { .. })), "the source has panicked");
    }
}
