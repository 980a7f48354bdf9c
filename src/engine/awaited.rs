//! The answer to a batch, for whoever waits for it. Batches that wait for a token or for other regions take a place among
//! few (I6): so the engine hears when nobody waits any more.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use super::{Answer, Delivery, EngineHandle};
use crate::replica::Ticket;

/// Resolves to the answer; fails only if the engine has ended, which leaves the outcome of writes unknown. Dropped before
/// that, the batch is carried out all the same, but waits for nothing that its terms ask.
pub struct Awaited {
    answer: oneshot::Receiver<Answer>,
    /// Until it has come; `None` if the batch waits for nothing but its commit.
    haste: Option<(Arc<Haste>, EngineHandle)>,
}

/// Whether a batch is in a hurry, known to who waits for it and to the engine.
#[derive(Debug, Default)]
pub(super) struct Haste {
    asked: AtomicBool,
    /// Once the engine has taken it.
    ticket: OnceLock<Ticket>,
}

impl Awaited {
    pub(super) fn new(answer: oneshot::Receiver<Answer>, haste: Option<(Arc<Haste>, EngineHandle)>) -> Self {
        Self { answer, haste }
    }

    /// The answer is wanted as soon as the batch is durable here, or at once if it has not been applied.
    pub fn hurry(&mut self) {
        let Some((haste, engine)) = self.haste.take() else { return };
        haste.asked.store(true, SeqCst);
        if let Some(ticket) = haste.ticket.get() {
            // An engine that has ended holds nothing.
            engine.put(Delivery::Hurry(*ticket));
        }
    }
}

impl Haste {
    /// The engine has taken the batch; true if it is in a hurry already.
    pub(super) fn taken(&self, ticket: Ticket) -> bool {
        // One of both sides sees the other's mark.
        let _ = self.ticket.set(ticket);
        self.asked()
    }

    pub(super) fn asked(&self) -> bool {
        self.asked.load(SeqCst)
    }
}

impl Future for Awaited {
    type Output = Result<Answer, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(cx);
        if answer.is_ready() {
            self.haste = None;
        }
        answer
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.hurry();
    }
}

/// The answer to a batch that waits for nothing but its commit.
impl From<oneshot::Receiver<Answer>> for Awaited {
    fn from(answer: oneshot::Receiver<Answer>) -> Self {
        Self::new(answer, None)
    }
}
