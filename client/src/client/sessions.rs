//! Sessions of one node: the names by which its writes are told apart.

use std::sync::{Arc, Mutex, PoisonError};

use crate::door::Stamp;
use crate::wire::Turn;

/// Sessions that have no unanswered request. There are as many as there ever were writes at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Vec<Stamp>>>);

/// A session in use. However its request ends, the next one has another number, so that a late copy of this one is
/// known for what it is.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) stamp: Stamp,
    sessions: Sessions,
}

impl Sessions {
    /// A stamp that no request had before. The session that was used last comes first, so that few are in use.
    pub(super) fn lease(&self) -> Lease {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let stamp = free.unwrap_or_else(|| Stamp { turn: Turn { session: rand::random(), number: 1 }, again: false });
        Lease { stamp, sessions: self.clone() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A session that has used up its numbers is left alone.
        let Turn { session, number } = self.stamp.turn;
        let Some(number) = number.checked_add(1) else { return };
        let next = Stamp { turn: Turn { session, number }, again: false };
        self.sessions.0.lock().unwrap_or_else(PoisonError::into_inner).push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_request_at_a_time_and_never_the_same_number_twice() {
        let sessions = Sessions::default();
        let (one, other) = (sessions.lease(), sessions.lease());
        assert_ne!(one.stamp.turn.session, other.stamp.turn.session);
        assert_eq!((one.stamp.turn.number, other.stamp.turn.number), (1, 1));
        let known = one.stamp.turn.session;
        drop(one);
        let next = sessions.lease();
        assert_eq!((next.stamp.turn.session, next.stamp.turn.number, next.stamp.again), (known, 2, false));
    }
}
