//! Whether an answer fits its question, and the answer to the only operation of one.

use snowtide_protocol::Code;
use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::{IdRun, WireError};

use crate::error::Error;
use crate::terms::{Answered, Counted};

/// For an answer with another number of results than there were operations.
pub(crate) fn miscounted(count: usize) -> Error {
    Error::Protocol(format!("{count} operations were asked for, something else was answered"))
}

/// For an answer of another form than that of IDs.
pub(crate) fn no_ids(count: u32) -> Error {
    Error::Protocol(format!("{count} ids were asked for, something else was answered"))
}

/// For an answer with another number of decisions than were asked.
pub(crate) fn undecided(count: usize) -> Error {
    Error::Protocol(format!("{count} decisions were asked for, something else was answered"))
}

/// The only decision of a batch.
pub(crate) fn only_decision(decided: &[Result<Decision, Code>], key: &str) -> Result<Decision, Error> {
    match decided {
        [Ok(decision)] => Ok(*decision),
        [Err(code)] => Err(not_decided(*code, key)),
        _ => Err(undecided(1)),
    }
}

/// Why there is no decision.
fn not_decided(code: Code, key: &str) -> Error {
    let detail = match code {
        Code::UnknownPolicy => "this node has no policy of this name".to_owned(),
        Code::WrongRegion => "the region of this node does not decide by this policy".to_owned(),
        Code::CostTooHigh => "the cost is above what the policy can ever admit at once".to_owned(),
        Code::LimitsFull => format!("this node counts as many keys as it may, and {key:?} would be a new one"),
        _ => format!("nothing was decided on {key:?}"),
    };
    Error::from(WireError { code, detail, retry_after_ms: None })
}

/// The only operation of a batch.
pub(crate) fn only(answered: Answered, namespace: &str, key: &str) -> Result<Counted, Error> {
    let Answered { results, token, acknowledged_by, pending, mut views } = answered;
    match results.first() {
        Some(Ok(value)) => Ok(Counted { value: *value, token, acknowledged_by, pending, view: views.pop() }),
        Some(Err(code)) => Err(refused(*code, namespace, key)),
        None => Err(miscounted(1)),
    }
}

/// The refusal of the only operation of a batch.
fn refused(code: Code, namespace: &str, key: &str) -> Error {
    let detail = match code {
        Code::UnknownNamespace => format!("this node does not serve the namespace {namespace:?}"),
        Code::WrongRegion => format!("the region of this node does not hold the namespace {namespace:?}"),
        Code::CounterOverflow => format!("a 64-bit total of {key:?} would overflow at this node; it is unchanged"),
        Code::QuotaExceeded => {
            format!("{namespace:?} holds as many counters as it may, and {key:?} would be a new one")
        }
        _ => format!("the operation on {key:?} was refused"),
    };
    Error::from(WireError { code, detail, retry_after_ms: None })
}

/// The runs, if they are as many IDs as were asked for.
pub(crate) fn counted(runs: Vec<IdRun>, count: u32) -> Result<Vec<IdRun>, Error> {
    let total = runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
    if total == u64::from(count) {
        Ok(runs)
    } else {
        Err(Error::Protocol(format!("{count} ids were asked for, {total} were answered")))
    }
}
