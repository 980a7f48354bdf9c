//! Where clients wait: batches in line to be applied, batches for a token, answers for other regions.
//!
//! The last two are bounded in number and in time: each holds at most `api.waiting_max` (I6), and is looked through only when
//! a vector has moved or a time is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Replica;
use super::commit::Waiting;
use super::effect::Effect;
use super::event::Ticket;
use super::operation::Refusal;
use super::submit::Batch;
use super::token::Missing;

/// Everything that waits, by when its time is over and the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Batches to be applied in this order, as far as the gathering commit has room.
    line: VecDeque<Batch>,
    /// Not applied yet: the token's first missing piece, and the batch.
    tokens: BTreeMap<(u64, u64), (Missing, Batch)>,
    /// Applied and durable here: only acknowledgements are missing.
    acks: BTreeMap<(u64, u64), Waiting>,
    arrivals: u64,
    /// Batches on the way that will not wait for anything, because nobody waits for them.
    hurried: BTreeSet<Ticket>,
    /// A vector has moved, ours or a peer's.
    pub(super) stirred: bool,
}

impl Waits {
    /// When the first one's time is over.
    pub(super) fn deadline(&self) -> Option<u64> {
        let tokens = self.tokens.first_key_value().map(|((until, _), _)| *until);
        let acks = self.acks.first_key_value().map(|((until, _), _)| *until);
        tokens.into_iter().chain(acks).min()
    }

    /// Puts a batch behind those that are to be applied.
    pub(super) fn line_up(&mut self, batch: Batch) {
        self.line.push_back(batch);
    }

    pub(super) fn next_in_line(&mut self) -> Option<Batch> {
        self.line.pop_front()
    }

    pub(super) fn take_line(&mut self) -> VecDeque<Batch> {
        std::mem::take(&mut self.line)
    }

    /// Batches in line.
    pub(super) fn lined_up(&self) -> usize {
        self.line.len()
    }

    /// Those that wait for a token or for other regions.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.acks.len()
    }

    /// Nobody waits, and nothing is kept of anybody who did.
    #[cfg(test)]
    pub(super) fn keeps_nothing(&self) -> bool {
        self.len() == 0 && self.hurried.is_empty()
    }

    /// The batch is answered.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        self.hurried.remove(&ticket);
    }

    fn key(&mut self, until: u64) -> (u64, u64) {
        self.arrivals += 1;
        (until, self.arrivals)
    }
}

impl Replica {
    /// Lets a batch with a token wait; gives it back if the token is held here.
    pub(super) fn await_token(&mut self, batch: Batch) -> Option<Batch> {
        let Some(due) = batch.due.as_deref().filter(|due| !due.terms.after.is_empty()) else { return Some(batch) };
        let until = due.token_until;
        let Some(missing) = self.missing(&batch.operations, &due.terms.after) else { return Some(batch) };
        let refusal = if until <= self.now || self.waits.hurried.contains(&batch.ticket) {
            Refusal::TokenNotHeld(missing)
        } else if self.waits.tokens.len() >= self.settings.waiting_max {
            Refusal::TooManyWaiting
        } else {
            let key = self.waits.key(until);
            self.waits.tokens.insert(key, (missing, batch));
            return None;
        };
        self.turn_away(&batch, refusal);
        None
    }

    /// Whether one more answer may wait for other regions.
    pub(super) fn may_await_acks(&self) -> bool {
        self.waits.acks.len() < self.settings.waiting_max
    }

    /// The commit that an answer needed is synced: it leaves, unless it waits for other regions.
    pub(super) fn answer(&mut self, waiting: Waiting) {
        match &waiting.owed {
            // One that finds no room any more leaves at once, as pending: it was not refused, so it must be answered.
            Some(owed)
                if owed.ack_until > self.now
                    && !self.waits.hurried.contains(&waiting.ticket)
                    && self.may_await_acks()
                    && !waiting.wrote.is_some_and(|replica| self.is_doubted(replica))
                    && !self.is_acknowledged(owed) =>
            {
                let key = self.waits.key(owed.ack_until);
                self.waits.acks.insert(key, waiting);
            }
            _ => self.reply(waiting),
        }
    }

    fn reply(&mut self, Waiting { ticket, outcomes, wrote, owed }: Waiting) {
        if wrote.is_some_and(|replica| self.is_doubted(replica)) {
            return self.refuse(ticket, Refusal::Uncertain);
        }
        let receipt = owed.map(|owed| self.receipt(*owed));
        self.waits.settle(ticket);
        self.effects.push_back(Effect::Reply { ticket, answer: Ok(outcomes), receipt });
    }

    /// Lets go of one batch, or will, wherever it is now.
    pub(super) fn hurry(&mut self, ticket: Ticket) {
        let token = self.waits.tokens.iter().find(|(_, (_, batch))| batch.ticket == ticket).map(|(key, _)| *key);
        let ack = self.waits.acks.iter().find(|(_, waiting)| waiting.ticket == ticket).map(|(key, _)| *key);
        self.waits.hurried.insert(ticket);
        if let Some((_, batch)) = token.and_then(|key| self.waits.tokens.remove(&key)) {
            self.resume_batch(batch);
            self.resume_backlog();
        } else if let Some(waiting) = ack.and_then(|key| self.waits.acks.remove(&key)) {
            self.reply(waiting);
        }
    }

    /// Lets go of whatever has what it waited for, or no time left.
    pub(super) fn advance_waits(&mut self) {
        let stirred = std::mem::take(&mut self.waits.stirred);
        if self.waits.len() == 0 || !(stirred || self.waits.deadline().is_some_and(|until| until <= self.now)) {
            return;
        }
        self.advance_tokens();
        let now = self.now;
        let done = |replica: &Self, until: u64, waiting: &Waiting| {
            until <= now || waiting.owed.as_deref().is_none_or(|owed| replica.is_acknowledged(owed))
        };
        let ready = self.waits.acks.iter().filter(|((until, _), waiting)| done(self, *until, waiting));
        let ready: Vec<(u64, u64)> = ready.map(|(key, _)| *key).collect();
        for key in ready {
            if let Some(waiting) = self.waits.acks.remove(&key) {
                self.reply(waiting);
            }
        }
    }

    fn advance_tokens(&mut self) {
        let moved = |replica: &Self, missing: &Missing| {
            let held = replica.namespaces.get(missing.namespace);
            held.is_none_or(|held| held.committed().mark(missing.replica).seq >= missing.wanted)
        };
        let over = |until: u64| until <= self.now;
        let ready = self.waits.tokens.iter().filter(|((until, _), (missing, _))| over(*until) || moved(self, missing));
        let ready: Vec<(u64, u64)> = ready.map(|(key, _)| *key).collect();
        for key in ready {
            if let Some((_, batch)) = self.waits.tokens.remove(&key) {
                self.resume_batch(batch);
            }
        }
        self.resume_backlog();
    }

    /// The node stops: nobody waits any longer. Batches that wait for a token are refused, for nothing of them was
    /// applied.
    pub(super) fn refuse_waiting(&mut self) {
        let Some(refusal) = self.refusal(false) else { return };
        for (_, batch) in std::mem::take(&mut self.waits.tokens).into_values() {
            self.turn_away(&batch, refusal.clone());
        }
    }

    /// Nothing more will be heard of other regions: answers leave as they are, for they are durable here.
    pub(super) fn release_acks(&mut self) {
        for waiting in std::mem::take(&mut self.waits.acks).into_values() {
            self.reply(waiting);
        }
    }
}
