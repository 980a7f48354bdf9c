//! The engine: one thread that owns the replica, between bounded queues.

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::identity::Peer;
use crate::replica::{Event, Message, Operation, Outcome, Refusal, Status};

/// The answer to a batch: one outcome per operation, or why nothing was applied.
pub type Answer = Result<Vec<Outcome>, Refusal>;

/// How everything else reaches the engine; cheap to clone. Nothing here ever blocks.
#[derive(Clone)]
pub struct EngineHandle {
    submissions: Sender<Submission>,
    inbox: Sender<Delivery>,
}

/// A client's batch on its way in.
struct Submission {
    operations: Vec<Operation>,
    reply: oneshot::Sender<Answer>,
}

/// Everything else on its way in. This queue has no bound of its own, because each sender holds reserved room: the
/// store answers only what the replica asked, and each peer link holds a permit for every message it delivers (I6).
enum Delivery {
    Event(Event),
    Message(Peer, Message, OwnedSemaphorePermit),
    Inspect(oneshot::Sender<Status>),
}

impl EngineHandle {
    /// Hands a batch over; `Throttled` if the queue is full. The receiver fails only if the engine has ended, which
    /// leaves the outcome of writes unknown.
    pub fn submit(&self, operations: Vec<Operation>) -> Result<oneshot::Receiver<Answer>, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.submissions.try_send(Submission { operations, reply }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(Refusal::Throttled),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Fenced("the engine has ended".into())),
        }
    }

    /// [`Self::submit`], and waits for the answer. `None` if the engine ended before it answered: whether writes
    /// happened is unknown.
    pub async fn apply(&self, operations: Vec<Operation>) -> Option<Answer> {
        match self.submit(operations) {
            Ok(answer) => answer.await.ok(),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    /// The replica's view of itself; `None` if the engine has ended.
    pub async fn status(&self) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.inbox.send(Delivery::Inspect(reply)).ok()?;
        status.await.ok()
    }

    /// Tells the replica that something happened.
    pub fn notify(&self, event: Event) {
        // An engine that has ended needs no news.
        let _ = self.inbox.send(Delivery::Event(event));
    }

    /// Delivers a peer's message; `room` is given back once the replica has handled it.
    pub fn deliver(&self, from: Peer, message: Message, room: OwnedSemaphorePermit) {
        let _ = self.inbox.send(Delivery::Message(from, message, room));
    }
}

/// What reached a recording handle.
#[cfg(test)]
pub(crate) enum Recorded {
    Event(Event),
    Message(Peer, Message, OwnedSemaphorePermit),
}

#[cfg(test)]
impl EngineHandle {
    /// A handle without an engine: what reaches it can be asked for, with a limit of time.
    pub(crate) fn recording() -> (Self, Box<dyn Fn(std::time::Duration) -> Option<Recorded> + Send>) {
        let (submissions, _) = crossbeam_channel::bounded(0);
        let (inbox, arrivals) = crossbeam_channel::unbounded();
        let next = move |limit| match arrivals.recv_timeout(limit).ok()? {
            Delivery::Event(event) => Some(Recorded::Event(event)),
            Delivery::Message(from, message, room) => Some(Recorded::Message(from, message, room)),
            Delivery::Inspect(_) => None,
        };
        (Self { submissions, inbox }, Box::new(next))
    }
}
