//! Rounds: what the connections of one thread ask in one turn of its event loop, handed to the engine as one; and the answers
//! of a commit, handed back to that thread as one. So a request costs neither a wake of the engine nor one of its thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};

use super::{Answer, EngineHandle, Submission};
use crate::clock;

/// Batches of one turn, in order.
pub(super) type Round = SmallVec<[Submission; 1]>;

/// A round of so many operations goes before its turn has ended, and is carried out while the thread reads on.
const OPERATIONS_MAX: usize = 256;

/// How often more is waited for before a round goes.
const LOOKS_MAX: usize = 16;

/// While rounds go, the thread looks at its timers this often.
const PULSE: Duration = Duration::from_millis(100);

thread_local! {
    /// `None` on a thread that hands over each batch by itself.
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// What a thread gathers.
struct Here {
    round: Round,
    /// In all of the round.
    operations: usize,
    /// Whose engine carries the round out, if there is any.
    engine: Option<EngineHandle>,
    may_sync: bool,
    mailbox: Arc<Mailbox>,
    /// Runs once what is ready now has run.
    turn: Waker,
}

/// Answers on their way to a thread.
#[derive(Default)]
pub(super) struct Mailbox {
    answers: Mutex<Vec<Answered>>,
    owner: AtomicWaker,
}

/// Whom an answer is for.
pub(super) type Answered = (oneshot::Sender<Answer>, Answer);

impl Mailbox {
    /// Empties `answers` into it.
    pub(super) fn put(&self, answers: &mut Vec<Answered>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).append(answers);
        self.owner.wake();
    }

    /// Ready once there is an answer to hand out or a round to hand over.
    fn poll_work(self: &Arc<Self>, cx: &mut Context<'_>, may_sync: bool, pulse: &mut Pulse) -> Poll<()> {
        self.owner.register(cx.waker());
        pulse.beat(cx);
        let gathered = HERE.with_borrow_mut(|here| {
            let here = here.get_or_insert_with(|| Here::new(Arc::clone(self), may_sync, cx.waker()));
            here.turn.clone_from(cx.waker());
            !here.round.is_empty()
        });
        let answered = !self.answers.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if gathered || answered { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Hands out what is in it.
    fn deliver(&self) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for (asker, answer) in answers {
            // A client that has gone away needs no answer.
            let _ = asker.send(answer);
        }
    }
}

/// Gathers rounds on this thread for as long as it is polled: once for each thread, whose tasks never leave it. Where it may
/// sync, the thread waits for the disk when that is quick.
pub(crate) async fn gather(may_sync: bool) {
    let mailbox = Arc::new(Mailbox::default());
    let mut pulse = Pulse::new();
    loop {
        poll_fn(|cx| mailbox.poll_work(cx, may_sync, &mut pulse)).await;
        mailbox.deliver();
        await_more(&mailbox).await;
        drive();
        pulse.keep();
        // What was answered meanwhile need not wait for another turn.
        mailbox.deliver();
    }
}

/// Takes in what comes as long as something comes each time that the sockets are looked at: a sync costs the same for one
/// batch as for many. Alone, a client waits for no timer.
async fn await_more(mailbox: &Mailbox) {
    let mut seen = 0;
    for _ in 0..LOOKS_MAX {
        let now = HERE.with_borrow(|here| here.as_ref().map_or(0, |here| here.round.len()));
        if now == seen {
            break;
        }
        seen = now;
        yield_now().await;
        mailbox.deliver();
    }
}

/// Hands this thread's round over and has it carried out, here if nobody else drives the engine.
fn drive() {
    if let Some((engine, operations, may_sync)) = hand_over() {
        engine.seat.drive(operations, may_sync);
    }
}

/// Hands this thread's round over: to which engine, how many operations, and whether the thread may sync. An engine that has
/// ended drops it, and whoever waits for an answer hears of that.
fn hand_over() -> Option<(EngineHandle, usize, bool)> {
    let (round, engine, operations, may_sync) = HERE.with_borrow_mut(|here| {
        let here = here.as_mut().filter(|here| !here.round.is_empty())?;
        let operations = std::mem::take(&mut here.operations);
        Some((std::mem::take(&mut here.round), here.engine.take()?, operations, here.may_sync))
    })?;
    let _ = engine.submissions.send(round);
    Some((engine, operations, may_sync))
}

/// The mailbox of this thread, if it gathers rounds.
pub(super) fn mailbox() -> Option<Arc<Mailbox>> {
    HERE.with_borrow(|here| here.as_ref().map(|here| Arc::clone(&here.mailbox)))
}

/// Puts a batch into this thread's round, or hands it over at once. It is given back if there is no engine any more.
pub(super) fn submit(engine: &EngineHandle, submission: Submission) -> Result<(), ()> {
    let fits = HERE.with_borrow(|here| here.as_ref().map(|here| here.has_room(engine)));
    match fits {
        None => {
            engine.submissions.send(Round::from_buf([submission])).map_err(|_| ())?;
            engine.seat.call();
            return Ok(());
        }
        // There is more to read here.
        Some(false) => hand_over().into_iter().for_each(|(engine, ..)| engine.seat.call()),
        Some(true) => {}
    }
    HERE.with_borrow_mut(|here| {
        if let Some(here) = here {
            here.put(engine, submission);
        }
    });
    Ok(())
}

impl Here {
    fn new(mailbox: Arc<Mailbox>, may_sync: bool, turn: &Waker) -> Self {
        Self { round: Round::new(), operations: 0, engine: None, may_sync, mailbox, turn: turn.clone() }
    }

    /// Whether a batch for this engine goes into the round.
    fn has_room(&self, engine: &EngineHandle) -> bool {
        let same = |other: &EngineHandle| other.submissions.same_channel(&engine.submissions);
        self.operations < OPERATIONS_MAX && self.engine.as_ref().is_none_or(same)
    }

    fn put(&mut self, engine: &EngineHandle, submission: Submission) {
        if self.round.is_empty() {
            self.engine = Some(engine.clone());
            self.turn.wake_by_ref();
        }
        self.operations = self.operations.saturating_add(submission.operations.len());
        self.round.push(submission);
    }
}

/// A timer that is always due soon while rounds go. Each request has a time limit, and Tokio's event loop is woken by a system
/// call whenever a timer is set that is due before all others: with this, those of requests never are.
struct Pulse {
    next: Pin<Box<Sleep>>,
    beats: bool,
}

impl Pulse {
    fn new() -> Self {
        Self { next: Box::pin(sleep(PULSE)), beats: true }
    }

    /// Goes on beating for as long as this is called in time.
    fn keep(&mut self) {
        if !std::mem::replace(&mut self.beats, true) {
            self.next.as_mut().reset(Instant::from_std(clock::monotonic() + PULSE));
        }
    }

    fn beat(&mut self, cx: &mut Context<'_>) {
        if self.beats && self.next.as_mut().poll(cx).is_ready() {
            self.beats = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::{Action, Key};

    use super::*;
    use crate::engine::{Inlets, queues};
    use crate::identity::NamespaceId;
    use crate::replica::{Operation, Refusal};

    fn get(key: &str) -> Vec<Operation> {
        vec![Operation { namespace: NamespaceId(1), key: Key::new(key).unwrap(), action: Action::Get }]
    }

    fn keys(round: &Round) -> Vec<String> {
        round.iter().map(|batch| batch.operations[0].key.to_string()).collect()
    }

    #[tokio::test]
    async fn what_is_asked_in_one_turn_is_one_round_in_order() {
        tokio::spawn(gather(true));
        yield_now().await;
        let (engine, Inlets { arrivals, .. }) = queues(1_000, 1_000);
        for key in ["a", "b", "c"] {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(get(key), None).map(drop) });
        }
        while arrivals.submissions.is_empty() {
            yield_now().await;
        }
        assert_eq!(keys(&arrivals.submissions.recv().unwrap()), ["a", "b", "c"]);
        assert!(arrivals.submissions.is_empty());
    }

    #[tokio::test]
    async fn answers_come_back_to_who_asked() {
        tokio::spawn(gather(true));
        yield_now().await;
        let (engine, Inlets { arrivals, .. }) = queues(1_000, 1_000);
        let asked = ["a", "b"].map(|key| engine.submit(get(key), None).unwrap());
        while arrivals.submissions.is_empty() {
            yield_now().await;
        }
        let round = arrivals.submissions.recv().unwrap();
        let mut mailbox = None;
        let mut answers = Vec::new();
        for batch in round {
            answers.push((batch.asker.reply, Err(Refusal::Throttled)));
            mailbox = batch.asker.mailbox;
        }
        mailbox.unwrap().put(&mut answers);
        for answer in asked {
            assert_eq!(answer.await.unwrap().err(), Some(Refusal::Throttled));
        }
    }

    #[tokio::test]
    async fn a_large_round_goes_at_once_and_none_is_for_two_engines() {
        tokio::spawn(gather(true));
        yield_now().await;
        let ((one, ones), (other, others)) = (queues(1_000, 1_000), queues(1_000, 1_000));
        let (ones, others) = (ones.arrivals, others.arrivals);
        for _ in 0..=OPERATIONS_MAX {
            one.submit(get("a"), None).unwrap();
        }
        assert_eq!(ones.submissions.try_recv().unwrap().len(), OPERATIONS_MAX);
        other.submit(get("b"), None).unwrap();
        assert_eq!(keys(&ones.submissions.try_recv().unwrap()), ["a"]);
        while others.submissions.is_empty() {
            yield_now().await;
        }
        assert_eq!(keys(&others.submissions.try_recv().unwrap()), ["b"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_nothing_gathers_each_batch_goes_by_itself() {
        let (engine, Inlets { arrivals, .. }) = queues(1_000, 1_000);
        engine.submit(get("a"), None).unwrap();
        engine.submit(get("b"), None).unwrap();
        assert_eq!(arrivals.submissions.try_iter().map(|round| round.len()).collect::<Vec<_>>(), [1, 1]);
    }
}
