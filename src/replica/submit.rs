//! Clients' batches: admitted, held until their rows are in memory, applied, answered after the commit.

use snowtide_protocol::Action;

use crate::identity::ReplicaId;

use super::Replica;
use super::commit::Waiting;
use super::effect::Effect;
use super::event::Ticket;
use super::operation::{Operation, Outcome, Refusal};
use super::request::RequestId;
use super::rows::RowId;
use super::terms::{Due, Terms};

/// A batch that cannot be applied yet.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ticket: Ticket,
    pub(super) operations: Vec<Operation>,
    /// What else is asked; `None` without terms.
    pub(super) due: Option<Box<Due>>,
}

impl Batch {
    /// Its name, if it may be repeated.
    pub(super) fn request_id(&self) -> Option<RequestId> {
        self.due.as_ref().and_then(|due| due.terms.request_id)
    }
}

/// Whether any of them changes a counter.
fn writes(operations: &[Operation]) -> bool {
    operations.iter().any(|operation| operation.action.is_write())
}

impl Replica {
    /// Why nothing of this kind is served now.
    pub(super) fn refusal(&self, writes: bool) -> Option<Refusal> {
        if let Some(reason) = self.readiness.why_fenced() {
            return Some(Refusal::Fenced(reason.clone()));
        }
        if self.readiness.is_draining() || self.readiness.is_held_back() {
            return Some(Refusal::Draining);
        }
        if !self.incarnation.is_serving() && !self.incarnation.is_reading() {
            return Some(Refusal::Starting);
        }
        if writes && self.readiness.disk().is_low() {
            return Some(Refusal::DiskLow);
        }
        let overloaded = (writes && self.lacks_room_for_changes())
            || self.loads.rows() >= self.settings.tuning.memory.loading_rows_max;
        overloaded.then_some(Refusal::Overloaded)
    }

    pub(super) fn submit(&mut self, ticket: Ticket, operations: Vec<Operation>, terms: Option<Box<Terms>>) {
        let refusal = terms.as_ref().and_then(|terms| self.refuse_terms(&operations, terms));
        if let Some(refusal) = refusal {
            return self.refuse(ticket, refusal);
        }
        let due = terms.map(|terms| Box::new(Due::new(*terms, self.now)));
        // Refused before it is let in, so that its name stays free.
        if let Some(refusal) = self.refusal_of(&operations) {
            return self.refuse(ticket, refusal);
        }
        let entered = self.enter(Batch { ticket, operations, due });
        entered.into_iter().for_each(|batch| self.resume_batch(batch));
        self.resume_backlog();
    }

    /// Puts a batch in line, unless it is refused or has to wait for its token.
    pub(super) fn resume_batch(&mut self, batch: Batch) {
        match self.refusal_of(&batch.operations) {
            Some(refusal) => self.turn_away(&batch, refusal),
            None => {
                let ready = self.await_token(batch);
                ready.into_iter().for_each(|batch| self.waits.line_up(batch));
            }
        }
    }

    /// The terms on which a batch is answered: those told in passing are not worth a sync.
    fn due<'a>(&self, batch: &'a Batch) -> Option<&'a Due> {
        let unsynced = |operation: &Operation| self.settings.unsynced.contains(&operation.namespace);
        batch.due.as_deref().filter(|due| !(due.terms.in_passing && batch.operations.iter().any(unsynced)))
    }

    fn refusal_of(&self, operations: &[Operation]) -> Option<Refusal> {
        self.refusal(writes(operations))
    }

    /// Nothing of the batch is applied.
    pub(super) fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        self.waits.settle(ticket);
        self.effects.push_back(Effect::Reply { ticket, answer: Err(refusal), receipt: None });
    }

    /// Applies the batches in line while the gathering commit has room; one whose rows are not there waits for them.
    pub(super) fn resume_backlog(&mut self) {
        if self.incarnation.id().is_some_and(|replica| self.is_doubted(replica)) {
            let refusal = self.refusal(false).unwrap_or(Refusal::Starting);
            let backlog = self.waits.take_line();
            return backlog.iter().for_each(|batch| self.turn_away(batch, refusal.clone()));
        }
        while !self.is_full() {
            let Some(batch) = self.waits.next_in_line() else { break };
            // Looked at here and only here, because a row may be evicted while the batch stands in line.
            if let Some(batch) = self.await_rows(batch) {
                if self.readiness.disk().is_out() && (batch.request_id().is_some() || writes(&batch.operations)) {
                    self.turn_away(&batch, Refusal::DiskLow);
                } else {
                    self.apply(&batch);
                }
            }
        }
    }

    /// Finds the rows of a batch that can be applied now, or lets it wait for them.
    fn await_rows(&mut self, batch: Batch) -> Option<Batch> {
        if self.find_rows(batch.operations.iter().map(|operation| (operation.namespace, &*operation.key))) {
            return Some(batch);
        }
        self.load_batch(batch);
        None
    }

    /// Applies a batch; its answer leaves when the last commit that it has seen is synced (I1). Bare answers do not wait
    /// for those of namespaces with durability `interval`, answers on terms do. They are computed here, so that they are
    /// in the order in which operations were applied and never go backwards (G3).
    fn apply(&mut self, batch: &Batch) {
        let Some(replica) = self.incarnation.id() else { return };
        let rows = self.loads.take_found();
        let mut seen = 0;
        let each = batch.operations.iter().zip(&rows);
        let outcomes: Vec<Outcome> =
            each.map(|(operation, row)| self.operate(replica, operation, *row, &mut seen)).collect();
        self.loads.give_back(rows);
        if let Some(request) = batch.request_id() {
            self.remember(request, &outcomes);
            seen = self.commits.number();
        }
        let owed = self.due(batch).map(|due| self.owe(&batch.operations, due, &mut seen));
        let wrote = writes(&batch.operations).then_some(replica);
        if let Some(waiting) = self.commits.hold(seen, Waiting { ticket: batch.ticket, outcomes, wrote, owed }) {
            self.answer(waiting);
        }
    }

    fn operate(&mut self, replica: ReplicaId, operation: &Operation, row: Option<RowId>, seen: &mut u64) -> Outcome {
        let Some(namespace) = self.namespaces.get_mut(operation.namespace) else { return Outcome::UnknownNamespace };
        let Some(row) = row else { return Outcome::UnknownNamespace };
        let number = self.commits.number();
        if operation.action.changes() && namespace.rows().get(row).is_new() {
            let quota = self.settings.quotas.get(&operation.namespace).copied().unwrap_or_default();
            if !namespace.admits(quota, self.commits.fresh(operation.namespace), operation.key.len()) {
                return Outcome::QuotaExceeded;
            }
            self.commits.add_fresh(operation.namespace, operation.key.len());
        }
        match operation.action {
            Action::Increment(by) => match namespace.increment(replica, row, by, number) {
                Ok(joins) if joins => self.commits.add_own(operation.namespace, row, operation.key.len()),
                Ok(_) => {}
                Err(_) => return Outcome::Overflow,
            },
            Action::Get => namespace.touch(row),
        }
        let cell = namespace.rows().get(row);
        if cell.is_pending() && !self.settings.unsynced.contains(&operation.namespace) {
            *seen = (*seen).max(cell.last_commit());
        }
        Outcome::Value(cell.working_value())
    }
}
