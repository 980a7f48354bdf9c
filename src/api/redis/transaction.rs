//! `MULTI` to `EXEC`: commands of one connection that wait to be carried out together.
//!
//! Promises that nothing of them is done before `EXEC` has come, and nothing at all if one of them was refused on its way
//! in, if `DISCARD` or `RESET` comes, or the connection ends. It is no isolation: at `EXEC` they go to the engine as one
//! batch, in order, and each succeeds or fails by itself. Bounded by what one batch takes, in bytes for each
//! connection, and for all of them together (I6).

use std::ops::Range;
use std::sync::Arc;

use snowtide_protocol::wire::BATCH_OPERATIONS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request::Words;
use crate::api::budget::{Account, Charge, NoRoom, Purpose};

/// The most that the commands of one connection take in memory, with the longest replies that are not owed.
const BYTES_MAX: usize = 2 << 20;
/// A word's place, beside its bytes.
const WORD_BYTES: usize = size_of::<Range<usize>>();
/// Room is taken from the others' in pieces of this size.
const PIECE_BYTES: usize = 4 << 10;

/// Commands that wait for `EXEC`.
#[derive(Debug)]
pub(super) struct Transaction {
    /// `None` once a command was refused: nothing more is kept, and `EXEC` will be refused.
    queue: Option<Queue>,
    /// What all connections may have waiting together.
    room: Arc<Semaphore>,
    /// Whom it is charged to.
    account: Arc<Account>,
}

/// Commands one after another.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    words: Vec<Range<usize>>,
    /// Where the words of each command end.
    ends: Vec<usize>,
    operations: usize,
    /// What is counted of it.
    weight: usize,
    held: Option<(OwnedSemaphorePermit, Charge)>,
}

/// Why a command is not taken into a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The transaction is as long as it may be.
    TooLong,
    /// All connections together have as much waiting as they may.
    Crowded,
    /// Clients have made the node hold as much as it may.
    NoRoom,
}

impl Full {
    /// In the words of the other refusals.
    pub(super) fn text(self) -> String {
        match self {
            Self::TooLong => format!(
                "ERR too_large: what MULTI gathers is one batch of at most {BATCH_OPERATIONS_MAX} operations and {} KiB",
                BYTES_MAX >> 10
            ),
            Self::Crowded => {
                "TRYAGAIN overloaded: transactions of all connections hold as many bytes as they may; retry \
                              after a moment"
                    .to_owned()
            }
            Self::NoRoom => format!("TRYAGAIN overloaded: {NoRoom}"),
        }
    }
}

impl Transaction {
    pub(super) fn begin(room: &Arc<Semaphore>, account: &Arc<Account>) -> Self {
        Self { queue: Some(Queue::default()), room: Arc::clone(room), account: Arc::clone(account) }
    }

    /// Keeps a command of so many operations, and of a reply of so many bytes beyond what is owed for them. One too many
    /// spoils the transaction.
    pub(super) fn push(&mut self, words: Words<'_>, operations: usize, reply_bytes: usize) -> Result<(), Full> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        let pushed = queue.push(words, operations, reply_bytes, &self.room, &self.account);
        if pushed.is_err() {
            self.spoil();
        }
        pushed
    }

    /// A command was refused.
    pub(super) fn spoil(&mut self) {
        self.queue = None;
    }

    /// The engine's operations of all its commands.
    pub(super) fn operations(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.operations)
    }

    /// What is to be carried out; `None` if a command was refused.
    pub(super) fn end(self) -> Option<Queue> {
        self.queue
    }
}

impl Queue {
    fn push(
        &mut self,
        words: Words<'_>,
        operations: usize,
        reply_bytes: usize,
        room: &Arc<Semaphore>,
        account: &Arc<Account>,
    ) -> Result<(), Full> {
        let bytes: usize = words.iter().map(<[u8]>::len).sum();
        let own = bytes.saturating_add(words.len().saturating_mul(WORD_BYTES)).saturating_add(WORD_BYTES);
        let weight = self.weight.saturating_add(own).saturating_add(reply_bytes);
        let operations = self.operations.saturating_add(operations);
        if weight > BYTES_MAX || operations > BATCH_OPERATIONS_MAX || self.ends.len() >= BATCH_OPERATIONS_MAX {
            return Err(Full::TooLong);
        }
        self.hold(weight, room, account)?;
        for word in words.iter() {
            let begun = self.bytes.len();
            self.bytes.extend_from_slice(word);
            self.words.push(begun..self.bytes.len());
        }
        self.ends.push(self.words.len());
        (self.weight, self.operations) = (weight, operations);
        Ok(())
    }

    /// Has room for as much as is counted, or is told that there is none.
    fn hold(&mut self, weight: usize, room: &Arc<Semaphore>, account: &Arc<Account>) -> Result<(), Full> {
        let held = self.held.as_ref().map_or(0, |(held, _)| held.num_permits());
        if weight <= held {
            return Ok(());
        }
        let bytes = weight.saturating_sub(held).next_multiple_of(PIECE_BYTES);
        let more = u32::try_from(bytes).map_err(|_| Full::TooLong)?;
        let more = Arc::clone(room).try_acquire_many_owned(more).map_err(|_| Full::Crowded)?;
        let charge = account.take(bytes, Purpose::Request).map_err(|NoRoom| Full::NoRoom)?;
        match &mut self.held {
            Some((held, charged)) => {
                held.merge(more);
                charged.join(charge);
            }
            None => self.held = Some((more, charge)),
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    /// The words of each command, in order.
    pub(super) fn commands(&self) -> impl Iterator<Item = Words<'_>> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, end)| Words::of(&self.bytes, self.words.get(begin..*end).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::budget::Budget;
    use crate::telemetry::Door;

    /// Of a node with room.
    fn account() -> Arc<Account> {
        Budget::new(64 << 20).open(Door::Redis)
    }

    fn push(transaction: &mut Transaction, words: &[&[u8]], operations: usize) -> Result<(), Full> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for word in words {
            places.push(bytes.len()..bytes.len() + word.len());
            bytes.extend_from_slice(word);
        }
        transaction.push(Words::of(&bytes, &places), operations, 0)
    }

    #[test]
    fn commands_come_back_as_they_were_given() {
        let room = Arc::new(Semaphore::new(1 << 20));
        let mut transaction = Transaction::begin(&room, &account());
        push(&mut transaction, &[b"INCRBY", b"a", b"7"], 1).unwrap();
        push(&mut transaction, &[b"PING"], 0).unwrap();
        push(&mut transaction, &[b"MGET", b"", b"b"], 2).unwrap();
        assert!(transaction.operations() == 3 && room.available_permits() < 1 << 20);
        let queue = transaction.end().unwrap();
        let commands: Vec<Vec<&[u8]>> = queue.commands().map(|words| words.iter().collect()).collect();
        assert_eq!(commands, [vec![&b"INCRBY"[..], b"a", b"7"], vec![b"PING"], vec![b"MGET", b"", b"b"]]);
        drop(queue);
        assert_eq!(room.available_permits(), 1 << 20);
    }

    #[test]
    fn what_is_too_long_spoils_it_and_gives_its_room_back() {
        let room = Arc::new(Semaphore::new(16 << 20));
        let mut transaction = Transaction::begin(&room, &account());
        push(&mut transaction, &[b"MGET"], BATCH_OPERATIONS_MAX).unwrap();
        assert_eq!(push(&mut transaction, &[b"INCR", b"a"], 1), Err(Full::TooLong));
        assert_eq!((transaction.operations(), room.available_permits()), (0, 16 << 20));
        assert_eq!(push(&mut transaction, &[b"INCR", b"a"], 1), Ok(()), "it is not kept");
        assert!(transaction.end().is_none());
        let mut transaction = Transaction::begin(&room, &account());
        let long = vec![b'x'; 700 << 10];
        push(&mut transaction, &[b"ECHO", &long], 0).unwrap();
        push(&mut transaction, &[b"ECHO", &long], 0).unwrap();
        assert_eq!(push(&mut transaction, &[b"ECHO", &long], 0), Err(Full::TooLong));
        let mut transaction = Transaction::begin(&room, &account());
        for _ in 0..BATCH_OPERATIONS_MAX {
            push(&mut transaction, &[b"PING"], 0).unwrap();
        }
        assert_eq!(push(&mut transaction, &[b"PING"], 0), Err(Full::TooLong));
    }

    #[test]
    fn what_waits_is_charged_to_the_budget_of_all_doors() {
        let room = Arc::new(Semaphore::new(1 << 20));
        let account = Budget::new(1 << 20).open(Door::Redis);
        let mut transaction = Transaction::begin(&room, &account);
        push(&mut transaction, &[b"ECHO", &[b'x'; 100 << 10]], 0).unwrap();
        let full = push(&mut transaction, &[b"ECHO", &[b'x'; 400 << 10]], 0).unwrap_err();
        assert!(full == Full::NoRoom && full.text().starts_with("TRYAGAIN overloaded: "), "{}", full.text());
        drop(transaction);
        let mut transaction = Transaction::begin(&room, &account);
        push(&mut transaction, &[b"ECHO", &[b'x'; 100 << 10]], 0).unwrap();
        assert!(transaction.end().is_some());
    }

    #[test]
    fn all_connections_share_one_room() {
        let room = Arc::new(Semaphore::new(1 << 20));
        let (mut one, mut other) = (Transaction::begin(&room, &account()), Transaction::begin(&room, &account()));
        push(&mut one, &[b"ECHO", &vec![b'x'; 900 << 10]], 0).unwrap();
        assert_eq!(push(&mut other, &[b"ECHO", &vec![b'x'; 200 << 10]], 0), Err(Full::Crowded));
        drop(one);
        let mut other = Transaction::begin(&room, &account());
        push(&mut other, &[b"ECHO", &vec![b'x'; 200 << 10]], 0).unwrap();
    }
}
