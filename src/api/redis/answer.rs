//! What one read of the socket amounts to, purely: a batch for the engine, and replies in the order of the commands,
//! some of which are owed until the engine has answered.

use smallvec::SmallVec;
use snowtide_protocol::Code;
use snowtide_protocol::wire::BATCH_OPERATIONS_MAX;

use super::reply::{Reply, Version};
use crate::api::Refused;
use crate::replica::{Operation, Outcome};

/// Replies that are known at once fill at most about so much before they are sent; a short command can have a long one.
const TOLD_BYTES_MAX: usize = 256 << 10;

/// Where there is no room, replies of no more than so many bytes are sent all the same.
const LONG_BYTES: usize = 8 << 10;

/// What a refusal takes.
const REFUSAL_BYTES: usize = 128;

/// What an operation takes without its key, with what is owed for it.
const OPERATION_BYTES: usize = 128;

/// Room that is kept from one batch to the next: for owed replies, and for the bytes of known ones. The rest is charged no
/// longer than the batch.
const OWED_KEPT: usize = 32;
const TOLD_KEPT: usize = 1 << 10;

/// Of one command; most have one.
type Values = SmallVec<[i128; 1]>;

/// Commands that are answered together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// For the engine, in order.
    pub(super) operations: Vec<Operation>,
    owed: Vec<Owed>,
    /// The replies that are known, without those that are owed.
    told: Vec<u8>,
}

/// A reply that waits for the engine.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// Its place: behind so much of what is told.
    at: usize,
    /// How many of the operations are its own.
    operations: usize,
    shape: Shape,
    version: Version,
}

/// What a reply makes of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The value after a change.
    Changed,
    /// A value as text.
    Value,
    /// Values as an array of texts.
    Values,
    /// How many values are not 0.
    Existing,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.told.is_empty()
    }

    /// Whether a command of so many operations goes into this batch, rather than into the next.
    pub(super) fn has_room(&self, operations: usize) -> bool {
        let sum = self.operations.len().saturating_add(operations);
        (sum <= BATCH_OPERATIONS_MAX || self.operations.is_empty()) && self.told.len() < TOLD_BYTES_MAX
    }

    /// Whether its replies are more than is said where there is no room, if all that are owed are refusals.
    pub(super) fn is_long(&self) -> bool {
        self.told.len().saturating_add(self.owed.len().saturating_mul(REFUSAL_BYTES)) > LONG_BYTES
    }

    /// A reply that is known.
    pub(super) fn tell(&mut self, version: Version) -> Reply<'_> {
        Reply::to(&mut self.told, version)
    }

    /// The operations from `first` on are owed a reply.
    pub(super) fn owe(&mut self, first: usize, shape: Shape, version: Version) {
        let operations = self.operations.len().saturating_sub(first);
        self.owed.push(Owed { at: self.told.len(), operations, shape, version });
    }

    /// What it takes in memory, about, until it is answered.
    pub(super) fn bytes(&self) -> usize {
        let keys = self.operations.iter().map(|operation| operation.key.len());
        let operations = self.operations.len().saturating_mul(OPERATION_BYTES);
        keys.fold(operations.saturating_add(self.told.capacity()), usize::saturating_add)
    }

    /// Appends all replies to `bytes`, those that are owed by what the engine said, and begins anew.
    pub(super) fn settle(&mut self, outcomes: Result<&[Outcome], Refused>, bytes: &mut Vec<u8>) {
        let outcomes = outcomes.map_err(|refused| error_of(&refused));
        if self.owed.is_empty() && bytes.is_empty() {
            // Nothing stands between: they are handed over as they are.
            return std::mem::swap(bytes, &mut self.told);
        }
        let (mut rest, mut told) = (outcomes.as_ref().copied().unwrap_or_default(), 0);
        for owed in &self.owed {
            bytes.extend_from_slice(self.told.get(told..owed.at).unwrap_or_default());
            told = owed.at;
            let mut reply = Reply::to(bytes, owed.version);
            match (&outcomes, rest.split_at_checked(owed.operations)) {
                (Ok(_), Some((own, others))) => {
                    write(&mut reply, owed.shape, own);
                    rest = others;
                }
                (Err(error), _) => reply.error(error),
                // The gate has counted them.
                (Ok(_), None) => {}
            }
        }
        bytes.extend_from_slice(self.told.get(told..).unwrap_or_default());
        self.operations.clear();
        self.owed.clear();
        self.owed.shrink_to(OWED_KEPT);
        self.told.clear();
        self.told.shrink_to(TOLD_KEPT);
    }
}

fn write(reply: &mut Reply<'_>, shape: Shape, outcomes: &[Outcome]) {
    let values: Result<Values, Refused> = outcomes.iter().map(|outcome| Refused::value_of(*outcome)).collect();
    let values = match values {
        Ok(values) => values,
        Err(refused) => return reply.error(&error_of(&refused)),
    };
    match shape {
        Shape::Changed => values.iter().for_each(|value| reply.changed(*value)),
        Shape::Value => values.iter().for_each(|value| reply.value(*value)),
        Shape::Values => {
            reply.array(values.len());
            values.iter().for_each(|value| reply.value(*value));
        }
        Shape::Existing => {
            let count = values.iter().filter(|value| **value != 0).count();
            reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// A refusal as an error of Redis: of a kind that its clients know, where there is one.
pub(super) fn error_of(refused: &Refused) -> String {
    let kind = match refused.code {
        // In the words of Redis, which clients look for.
        Code::CounterOverflow => return "ERR increment or decrement would overflow".to_owned(),
        Code::Forbidden => return format!("NOPERM {refused}"),
        Code::Starting => "LOADING",
        Code::Throttled | Code::Overloaded => "TRYAGAIN",
        Code::DiskLow => "MISCONF",
        Code::QuotaExceeded => "OOM",
        _ => "ERR",
    };
    format!("{kind} {}: {refused}", refused.code.as_str())
}

#[cfg(test)]
mod tests {

    use snowtide_protocol::{Action, Key};

    use super::*;
    use crate::identity::NamespaceId;
    use crate::replica::Refusal;

    fn push(batch: &mut Batch, operations: usize, shape: Shape) {
        let first = batch.operations.len();
        let operation = Operation { namespace: NamespaceId(1), key: Key::new("k").unwrap(), action: Action::Get };
        batch.operations.extend(std::iter::repeat_n(operation, operations));
        batch.owe(first, shape, Version::Resp2);
    }

    fn settled(batch: &mut Batch, outcomes: Result<&[Outcome], Refused>) -> String {
        let mut bytes = Vec::new();
        batch.settle(outcomes, &mut bytes);
        assert!(batch.is_empty());
        String::from_utf8(bytes).unwrap()
    }

    fn mixed() -> Batch {
        let mut batch = Batch::default();
        batch.tell(Version::Resp2).word("ONE");
        push(&mut batch, 1, Shape::Changed);
        push(&mut batch, 1, Shape::Value);
        batch.tell(Version::Resp2).word("TWO");
        push(&mut batch, 2, Shape::Values);
        push(&mut batch, 3, Shape::Existing);
        batch.tell(Version::Resp2).word("END");
        batch
    }

    #[test]
    fn a_batch_whose_refusals_would_take_much_room_is_long() {
        let mut batch = mixed();
        assert!(!batch.is_long());
        (0..100).for_each(|_| push(&mut batch, 1, Shape::Value));
        assert!(batch.is_long());
        let mut batch = Batch::default();
        batch.tell(Version::Resp2).text(&[b'x'; LONG_BYTES]);
        assert!(batch.is_long());
    }

    #[test]
    fn replies_come_in_the_order_of_the_commands() {
        let outcomes = [5, 6, 7, -8, 0, 1, 2].map(Outcome::Value);
        let expected = "+ONE\r\n:5\r\n$1\r\n6\r\n+TWO\r\n*2\r\n$1\r\n7\r\n$2\r\n-8\r\n:2\r\n+END\r\n";
        assert_eq!(settled(&mut mixed(), Ok(&outcomes)), expected);
    }

    #[test]
    fn a_refusal_reaches_every_command_that_asked_the_engine() {
        let expected =
            "+ONE\r\n-ERR fenced: no\r\n-ERR fenced: no\r\n+TWO\r\n-ERR fenced: no\r\n-ERR fenced: no\r\n+END\r\n";
        assert_eq!(settled(&mut mixed(), Err(Refused::new(Code::Fenced, "no"))), expected);
    }

    #[test]
    fn one_failing_operation_fails_its_command_and_no_other() {
        let mut batch = Batch::default();
        push(&mut batch, 1, Shape::Changed);
        push(&mut batch, 2, Shape::Values);
        push(&mut batch, 1, Shape::Changed);
        let outcomes = [Outcome::Overflow, Outcome::Value(1), Outcome::UnknownNamespace, Outcome::Value(2)];
        let text = settled(&mut batch, Ok(&outcomes));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), ("-ERR increment or decrement would overflow", ":2"));
        assert!(lines[1].starts_with("-ERR unknown_namespace"));
    }

    #[test]
    fn a_batch_takes_what_the_engine_takes_at_once() {
        let mut batch = Batch::default();
        assert!(batch.has_room(BATCH_OPERATIONS_MAX));
        push(&mut batch, BATCH_OPERATIONS_MAX, Shape::Values);
        assert!(!batch.has_room(1) && batch.has_room(0));
        let mut batch = Batch::default();
        batch.tell(Version::Resp2).text(&vec![b'a'; TOLD_BYTES_MAX]);
        assert!(!batch.has_room(0));
    }

    #[test]
    fn refusals_have_kinds_that_clients_of_redis_know() {
        for (refusal, words) in [
            (Refusal::Starting, "LOADING starting: this node is starting"),
            (Refusal::Throttled, "TRYAGAIN throttled: too many requests"),
            (Refusal::Overloaded, "TRYAGAIN overloaded: this node cannot"),
            (Refusal::DiskLow, "MISCONF disk_low: the disk"),
            (Refusal::Draining, "ERR draining: this node is taken out of service"),
            (Refusal::Fenced("a clone".into()), "ERR fenced: this node has stopped itself: a clone"),
        ] {
            let text = error_of(&refusal.into());
            assert!(text.starts_with(words), "{text}");
        }
    }
}
