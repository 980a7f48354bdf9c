//! Replays: a request that was carried out before is answered as it was then (G6).

use super::Replica;
use super::commit::Waiting;
use super::effect::{Effect, Notice};
use super::idempotency::{Answered, Claimed, Entrance};
use super::operation::{Outcome, Refusal};
use super::request::RequestId;
use super::submit::Batch;

impl Replica {
    /// Lets a request with a name in, or answers it as before, or refuses it; gives it back if it is to be carried out.
    pub(super) fn enter(&mut self, batch: Batch) -> Option<Batch> {
        let named = batch.due.as_deref().and_then(|due| Some((due.terms.request_id?, &due.terms)));
        let Some((request, terms)) = named else { return Some(batch) };
        let claimed = Claimed { incarnation: terms.incarnation, again: terms.again };
        let here = (self.incarnation.id(), &self.settings);
        match self.idempotency.enter(request, claimed, batch.operations.len(), here) {
            Ok(Entrance::New) => return Some(batch),
            Ok(Entrance::Replay(outcomes)) => self.replay(&batch, outcomes),
            Err(refusal) => self.refuse(batch.ticket, refusal),
        }
        None
    }

    /// The answer of before. What it shows has long been synced; its token covers all that is applied by now.
    fn replay(&mut self, batch: &Batch, outcomes: Vec<Outcome>) {
        let mut seen = 0;
        let owed = batch.due.as_deref().map(|due| self.owe_again(&batch.operations, due, &mut seen));
        let waiting = Waiting { ticket: batch.ticket, outcomes, wrote: None, owed };
        if let Some(waiting) = self.commits.hold(seen, waiting) {
            self.answer(waiting);
        }
    }

    /// Nothing of the batch is applied; its name is free again.
    pub(super) fn turn_away(&mut self, batch: &Batch, refusal: Refusal) {
        if let Some(request) = batch.request_id() {
            self.idempotency.leave(request.id);
        }
        self.refuse(batch.ticket, refusal);
    }

    /// The gathering commit holds the batch's writes, and so its answer.
    pub(super) fn remember(&mut self, request: RequestId, outcomes: &[Outcome]) {
        let answered = self.idempotency.answer(request, outcomes, self.now);
        self.commits.add_answered(answered);
    }

    /// I1: the commit that holds a request and its answer is synced. If what it changed may not count, whoever comes with
    /// its name again is told so, also after a start.
    pub(super) fn settle_answered(&mut self, done: Answered) {
        if !done.outcomes.is_empty() && self.incarnation.id().is_some_and(|replica| self.is_doubted(replica)) {
            let uncertain = Answered { outcomes: Vec::new(), ..done };
            self.commits.add_answered(uncertain.clone());
            self.idempotency.settle(uncertain);
        } else {
            self.idempotency.settle(done);
        }
    }

    pub(super) fn advance_idempotency(&mut self) {
        let fill = self.idempotency.advance(&self.settings, self.now);
        self.effects.extend(fill.map(|fill| Effect::Notice(Notice::NamesFillUp(fill))));
    }
}
