//! Exactly once: what was answered to requests that a client may repeat (G6).
//!
//! A request with a name is remembered with its answer in the commit that holds its writes, so that whoever repeats it gets
//! that answer, also after a crash. Two kinds of names: an idempotency key stands for one request; a session, for one after
//! another, of which only the last is kept. Records are forgotten a while after their last use, by time that this node has
//! lived through: neither a wall clock that jumps nor a long stop makes it forget early. None goes for want of room.

use std::collections::{BTreeMap, VecDeque};

use bincode::{Decode, Encode};

use super::Replica;
use super::commit::Waiting;
use super::operation::{Outcome, Refusal};
use super::submit::Batch;

/// What a record takes in memory beside its outcomes, about.
const RECORD_BYTES: usize = 160;

/// The name of a request that may be repeated. One that says that it was sent before, and whose name is not known, is refused
/// by a node that has its data directory for the first time: it may have been carried out on a disk that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Once {
    /// The idempotency key's hash, or the session.
    pub id: u128,
    /// Which of its requests.
    pub turn: Turn,
}

/// Which request of a name this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Turn {
    /// The only one; a hash of what it asks.
    Only(u128),
    /// One after another; at most one at a time is unanswered.
    Next {
        /// Upwards.
        number: u64,
        /// A hash of what it asks; 0 where the caller is known to number its requests well.
        asked: u128,
    },
}

/// A request that was carried out, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Done {
    /// Its name.
    pub once: Once,
    /// When, in milliseconds that this data directory has been served.
    pub at: u64,
    /// What was answered; nothing if it is not known whether what the request changed counts.
    pub outcomes: Vec<Outcome>,
}

/// What is remembered of one name.
#[derive(Debug, Default)]
struct Entry {
    done: Option<Done>,
    /// A request that is not answered yet, and the bytes that are kept free for its answer.
    under_way: Option<usize>,
}

/// What answers take in memory.
fn bytes_of(answers: usize) -> usize {
    answers * size_of::<Outcome>()
}

/// What becomes of a request with a name.
enum Entrance {
    /// It is carried out now.
    New,
    /// It was carried out before.
    Before(Vec<Outcome>),
}

/// All names.
#[derive(Debug)]
pub(super) struct Onces {
    entries: BTreeMap<u128, Entry>,
    bytes: usize,
    /// Each that was carried out, once, with a time at which it was used; perhaps it was used again since.
    ages: VecDeque<(u64, u128)>,
    /// What the next commit erases from disk.
    forgotten: Vec<u128>,
    /// The data directory has never been opened before.
    new: bool,
    /// Time that was lived through before this start, less the time at this start.
    offset: i128,
}

impl Onces {
    pub(super) fn new(recovered: Vec<Done>, new: bool, now: u64) -> Self {
        let mut recovered = recovered;
        recovered.sort_by_key(|done| done.at);
        let lived = recovered.last().map_or(0, |done| done.at);
        let offset = i128::from(lived) - i128::from(now);
        let mut onces =
            Self { entries: BTreeMap::new(), bytes: 0, ages: VecDeque::new(), forgotten: Vec::new(), new, offset };
        recovered.into_iter().for_each(|done| onces.settle(done));
        onces
    }

    fn lived(&self, now: u64) -> u64 {
        u64::try_from(i128::from(now) + self.offset).unwrap_or_default()
    }

    /// What the next commit erases.
    pub(super) fn take_forgotten(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.forgotten)
    }

    /// Lets a request in that will have so many `answers`, for which it keeps room: so the bound holds whatever is let in.
    fn enter(&mut self, once: Once, again: bool, answers: usize, bytes_max: usize) -> Result<Entrance, Refusal> {
        let known = self.entries.get(&once.id);
        if known.is_none() && again && self.new {
            return Err(Refusal::Outdated);
        }
        if let Some(done) = known.and_then(|entry| entry.done.as_ref()) {
            match (done.once.turn, once.turn) {
                (before, now) if before == now && done.outcomes.is_empty() => return Err(Refusal::Outdated),
                (before, now) if before == now => return Ok(Entrance::Before(done.outcomes.clone())),
                (Turn::Next { number: before, .. }, Turn::Next { number: now, .. }) if now > before => {}
                (Turn::Next { number: before, .. }, Turn::Next { number: now, .. }) if now < before => {
                    return Err(Refusal::Outdated);
                }
                _ => return Err(Refusal::AnotherRequest),
            }
        }
        if known.is_some_and(|entry| entry.under_way.is_some()) {
            return Err(Refusal::UnderWay);
        }
        let room = bytes_of(answers);
        let added = room + if known.is_some() { 0 } else { RECORD_BYTES };
        if self.bytes + added > bytes_max {
            return Err(Refusal::TooManyNames);
        }
        self.entries.entry(once.id).or_default().under_way = Some(room);
        self.bytes += added;
        Ok(Entrance::New)
    }

    /// A request that was let in is not carried out.
    fn leave(&mut self, id: u128) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.bytes -= entry.under_way.take().unwrap_or_default();
        if entry.done.is_none() {
            self.entries.remove(&id);
            self.bytes -= RECORD_BYTES;
        }
    }

    /// I1: its commit is synced.
    pub(super) fn settle(&mut self, done: Done) {
        let bytes = |done: &Done| bytes_of(done.outcomes.len());
        let (at, id) = (done.at, done.once.id);
        let entry = self.entries.entry(id).or_insert_with(|| {
            self.bytes += RECORD_BYTES;
            Entry::default()
        });
        self.bytes += bytes(&done);
        self.bytes -= entry.under_way.take().unwrap_or_default();
        match entry.done.replace(done) {
            Some(before) => self.bytes -= bytes(&before),
            None => self.ages.push_back((at, id)),
        }
    }

    /// Forgets what was last used longer ago than `retention`.
    fn expire(&mut self, now: u64, retention: u64) {
        let until = self.lived(now).saturating_sub(retention);
        while let Some((at, id)) = self.ages.front().copied().filter(|(at, _)| *at < until) {
            self.ages.pop_front();
            let Some(Entry { done: Some(done), under_way }) = self.entries.get(&id) else { continue };
            if under_way.is_some() {
                self.ages.push_back((until, id));
            } else if done.at > at {
                self.ages.push_back((done.at, id));
            } else {
                self.bytes -= RECORD_BYTES + bytes_of(done.outcomes.len());
                self.entries.remove(&id);
                self.forgotten.push(id);
            }
        }
    }
}

impl Replica {
    /// Lets a request with a name in, or answers it as before, or refuses it; gives it back if it is to be carried out.
    pub(super) fn enter(&mut self, batch: Batch) -> Option<Batch> {
        let Some(once) = batch.once() else { return Some(batch) };
        let again = batch.due.as_ref().is_some_and(|due| due.terms.again);
        match self.onces.enter(once, again, batch.operations.len(), self.settings.once_bytes_max) {
            Ok(Entrance::New) => return Some(batch),
            Ok(Entrance::Before(outcomes)) => self.repeat(&batch, outcomes),
            Err(refusal) => self.refuse(batch.ticket, refusal),
        }
        None
    }

    /// The answer of before. What it shows has long been synced; its token covers all that is applied by now.
    fn repeat(&mut self, batch: &Batch, outcomes: Vec<Outcome>) {
        let mut seen = 0;
        let owed = batch.due.as_deref().map(|due| self.owe_again(&batch.operations, due, &mut seen));
        let waiting = Waiting { ticket: batch.ticket, outcomes, wrote: None, owed };
        if let Some(waiting) = self.commits.hold(seen, waiting) {
            self.answer(waiting);
        }
    }

    /// Nothing of the batch is applied; its name is free again.
    pub(super) fn turn_away(&mut self, batch: &Batch, refusal: Refusal) {
        if let Some(once) = batch.once() {
            self.onces.leave(once.id);
        }
        self.refuse(batch.ticket, refusal);
    }

    /// The gathering commit holds the batch's writes, and so its answer.
    pub(super) fn remember(&mut self, once: Once, outcomes: &[Outcome]) {
        let at = self.onces.lived(self.now);
        self.commits.gathering.add_once(Done { once, at, outcomes: outcomes.to_vec() });
    }

    /// I1: the commit that holds a request and its answer is synced. If what it changed may not count, whoever comes with
    /// its name again is told so, also after a start.
    pub(super) fn settle_once(&mut self, done: Done) {
        if !done.outcomes.is_empty() && self.replica.is_some_and(|replica| self.is_doubted(replica)) {
            let uncertain = Done { outcomes: Vec::new(), ..done };
            self.commits.gathering.add_once(uncertain.clone());
            self.onces.settle(uncertain);
        } else {
            self.onces.settle(done);
        }
    }

    pub(super) fn advance_onces(&mut self) {
        self.onces.expire(self.now, self.settings.once_retention_ms);
    }
}
