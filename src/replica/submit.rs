//! Clients' batches: admitted, held until their rows are in memory, applied, answered after the commit.

use std::collections::{BTreeMap, VecDeque};

use slab::Slab;
use snowtide_protocol::{Action, Key};

use crate::crdt::Row;
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::Place;

use super::Replica;
use super::commit::Waiting;
use super::effect::{Effect, Job};
use super::event::Ticket;
use super::once::Once;
use super::operation::{Operation, Outcome, Refusal};
use super::rows::{RowId, WorkId};
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
    pub(super) fn once(&self) -> Option<Once> {
        self.due.as_ref().and_then(|due| due.terms.once)
    }
}

/// A piece of work that waits for rows.
#[derive(Debug)]
struct Work {
    rows_missing: usize,
    /// Every row that it needs, there or not, so that none leaves memory meanwhile.
    pinned: Vec<(NamespaceId, RowId)>,
    what: What,
}

#[derive(Debug)]
enum What {
    Batch(Batch),
    /// The first waiting delta of this origin.
    Delta(NamespaceId, ReplicaId),
    /// The first rows that our repair session brought.
    Repaired(NamespaceId),
}

/// All work that waits, and the rows to ask for.
#[derive(Debug, Default)]
pub(super) struct Works {
    waiting: Slab<Work>,
    /// Batches to be applied in this order, as far as the gathering commit has room.
    pub(super) backlog: VecDeque<Batch>,
    /// Rows to ask for when the events in hand are done.
    wanted: BTreeMap<NamespaceId, Vec<Key>>,
    /// Rows asked for or to be asked for.
    loading_rows: usize,
    /// The rows of the work at hand, in its order; `None` where nobody serves the namespace. Kept for its memory.
    pub(super) found: Vec<Option<RowId>>,
    /// Where those stand that are being looked for.
    places: Vec<Place>,
}

impl Works {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that clients have submitted.
    pub(super) fn batches(&self) -> usize {
        let waiting = self.waiting.iter().filter(|(_, work)| matches!(work.what, What::Batch(_)));
        self.backlog.len() + waiting.count()
    }

    pub(super) fn loading_rows(&self) -> usize {
        self.loading_rows
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.backlog.len()
    }

    pub(super) fn emit_loads(&mut self, effects: &mut VecDeque<Effect>) {
        let wanted = std::mem::take(&mut self.wanted);
        effects.extend(wanted.into_iter().map(|(namespace, keys)| Effect::Disk(Job::Load { namespace, keys })));
    }

    /// One row that `work` waited for is there; returns the work if it was the last.
    fn arrived(&mut self, work: WorkId) -> Option<Work> {
        let waiting = self.waiting.get_mut(work)?;
        waiting.rows_missing -= 1;
        (waiting.rows_missing == 0).then(|| self.waiting.remove(work))
    }
}

/// Whether any of them changes a counter.
fn writes(operations: &[Operation]) -> bool {
    operations.iter().any(|operation| operation.action.is_write())
}

impl Replica {
    /// Why nothing of this kind is served now.
    pub(super) fn refusal(&self, writes: bool) -> Option<Refusal> {
        if let Some(reason) = &self.fenced {
            return Some(Refusal::Fenced(reason.clone()));
        }
        if self.draining.is_some() || self.held_back {
            return Some(Refusal::Draining);
        }
        if !self.standing.is_serving() && !self.standing.is_reading() {
            return Some(Refusal::Starting);
        }
        if writes && self.disk.is_low() {
            return Some(Refusal::DiskLow);
        }
        let overloaded = (writes && self.checkpointing.dirty_rows >= self.settings.tuning.checkpoint.dirty_rows_max)
            || self.works.loading_rows >= self.settings.tuning.cache.loading_rows_max;
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
                self.works.backlog.extend(ready);
            }
        }
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
        if self.replica.is_some_and(|replica| self.is_doubted(replica)) {
            let refusal = self.refusal(false).unwrap_or(Refusal::Starting);
            let backlog = std::mem::take(&mut self.works.backlog);
            return backlog.iter().for_each(|batch| self.turn_away(batch, refusal.clone()));
        }
        while !self.is_full() {
            let Some(batch) = self.works.backlog.pop_front() else { break };
            // Looked at here and only here, because a row may be evicted while the batch stands in line.
            if let Some(batch) = self.await_rows(batch) {
                if self.disk.is_out() && (batch.once().is_some() || writes(&batch.operations)) {
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
        let (rows_missing, pinned) =
            self.ask_for(batch.operations.iter().map(|operation| (operation.namespace, &operation.key)));
        self.works.waiting.insert(Work { rows_missing, pinned, what: What::Batch(batch) });
        None
    }

    /// Finds all of these rows; false if one of them is not in memory yet.
    ///
    /// Hashed first and looked up then: in a loop as short as the second, the processor has several rows on their way
    /// from memory at a time.
    pub(super) fn find_rows<'a>(&mut self, wanted: impl Iterator<Item = (NamespaceId, &'a str)> + Clone) -> bool {
        let (spaces, Works { found, places, .. }) = (&self.spaces, &mut self.works);
        found.clear();
        places.clear();
        places.extend(wanted.clone().map(|(_, key)| self.settings.hasher.place(key)));
        for ((namespace, key), place) in wanted.zip(places) {
            let Some(space) = spaces.get(&namespace) else {
                found.push(None);
                continue;
            };
            match space.rows.find_at(*place, key) {
                Some(row) if !space.rows.get(row).is_loading() => found.push(Some(row)),
                _ => return false,
            }
        }
        true
    }

    /// Asks for those of these rows that are not there, on behalf of the work that is inserted next, and keeps the others
    /// where they are. How many it has to wait for, and all of them.
    fn ask_for<'a>(
        &mut self,
        wanted: impl Iterator<Item = (NamespaceId, &'a Key)>,
    ) -> (usize, Vec<(NamespaceId, RowId)>) {
        let entry = self.works.waiting.vacant_key();
        let (mut rows_missing, mut pinned) = (0, Vec::with_capacity(wanted.size_hint().0));
        for (namespace, key) in wanted {
            let Some(space) = self.spaces.get_mut(&namespace) else { continue };
            let row = space.rows.find(key).unwrap_or_else(|| {
                self.works.wanted.entry(namespace).or_default().push(key.clone());
                self.works.loading_rows += 1;
                space.rows.insert_loading(key.clone())
            });
            rows_missing += usize::from(space.rows.wait(row, entry));
            space.rows.pin(row);
            pinned.push((namespace, row));
        }
        (rows_missing, pinned)
    }

    fn unpin(&mut self, pinned: &[(NamespaceId, RowId)]) {
        for (namespace, row) in pinned {
            if let Some(space) = self.spaces.get_mut(namespace) {
                space.rows.unpin(*row);
            }
        }
    }

    /// The origin's first delta waits until these rows are loaded, of which one at least is not there.
    pub(super) fn load_for_delta(&mut self, namespace: NamespaceId, origin: ReplicaId, keys: &[Key]) {
        self.load_for(namespace, keys, What::Delta(namespace, origin));
    }

    /// The repair session's first rows wait until these are loaded, of which one at least is not there.
    pub(super) fn load_for_repair(&mut self, namespace: NamespaceId, keys: &[Key]) {
        self.load_for(namespace, keys, What::Repaired(namespace));
    }

    fn load_for(&mut self, namespace: NamespaceId, keys: &[Key], what: What) {
        let (rows_missing, pinned) = self.ask_for(keys.iter().map(|key| (namespace, key)));
        self.works.waiting.insert(Work { rows_missing, pinned, what });
    }

    pub(super) fn loaded(&mut self, namespace: NamespaceId, rows: Vec<(Key, Row)>) {
        for (key, row) in rows {
            let Some(space) = self.spaces.get_mut(&namespace) else { return };
            let waiting = space.rows.loaded(&key, row);
            self.works.loading_rows = self.works.loading_rows.saturating_sub(1);
            for work in waiting {
                let Some(Work { pinned, what, .. }) = self.works.arrived(work) else { continue };
                self.unpin(&pinned);
                match what {
                    What::Batch(batch) => self.works.backlog.push_back(batch),
                    What::Delta(namespace, origin) => self.release_origin(namespace, origin),
                    What::Repaired(namespace) => self.release_repaired(namespace),
                }
            }
        }
        self.resume_backlog();
    }

    /// Applies a batch; its answer leaves when the last commit that it has seen is synced (I1). Bare answers do not wait
    /// for those of namespaces with durability `interval`, answers on terms do. They are computed here, so that they are
    /// in the order in which operations were applied and never go backwards (G3).
    fn apply(&mut self, batch: &Batch) {
        let Some(replica) = self.replica else { return };
        let rows = std::mem::take(&mut self.works.found);
        let mut seen = 0;
        let each = batch.operations.iter().zip(&rows);
        let outcomes: Vec<Outcome> =
            each.map(|(operation, row)| self.operate(replica, operation, *row, &mut seen)).collect();
        self.works.found = rows;
        if let Some(once) = batch.once() {
            self.remember(once, &outcomes);
            seen = self.commits.gathering.number;
        }
        let owed = self.due(batch).map(|due| self.owe(&batch.operations, due, &mut seen));
        let wrote = writes(&batch.operations).then_some(replica);
        if let Some(waiting) = self.commits.hold(seen, Waiting { ticket: batch.ticket, outcomes, wrote, owed }) {
            self.answer(waiting);
        }
    }

    fn operate(&mut self, replica: ReplicaId, operation: &Operation, row: Option<RowId>, seen: &mut u64) -> Outcome {
        let Some(space) = self.spaces.get_mut(&operation.namespace) else { return Outcome::UnknownNamespace };
        let Some(row) = row else { return Outcome::UnknownNamespace };
        let number = self.commits.gathering.number;
        if operation.action.changes() && space.rows.get(row).is_new() {
            let quota = self.settings.quotas.get(&space.id).copied().unwrap_or_default();
            if !space.admits(quota, self.commits.fresh(space.id), operation.key.len()) {
                return Outcome::QuotaExceeded;
            }
            self.commits.gathering.add_fresh(space.id, operation.key.len());
        }
        let cell = space.rows.get_mut(row);
        match operation.action {
            Action::Increment(by) => {
                let Ok(slot) = cell.working_slot(replica).changed(by) else { return Outcome::Overflow };
                if cell.apply(replica, slot, number) && cell.joins_own(number) {
                    self.commits.gathering.add_own(space.id, row, operation.key.len());
                }
            }
            Action::Get => {}
        }
        if cell.is_pending() && !self.settings.unsynced.contains(&operation.namespace) {
            *seen = (*seen).max(cell.last_commit());
        }
        Outcome::Value(cell.working_value())
    }
}
