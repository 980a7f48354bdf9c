//! Sessions of one node: the names by which its writes are told apart.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use snowtide_protocol::Code;
use snowtide_protocol::wire::Turn;
use tokio::time::Instant;

use crate::door::Stamp;
use crate::error::Error;

/// So many sessions rest before the one that has rested longest is used again.
const UNSETTLED_MAX: usize = 64;

/// Sessions that no request holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Pool>>);

/// There are as many as there ever were writes at once, and those that rest.
#[derive(Debug, Default)]
struct Pool {
    /// Nothing is under way in them; the one that was used last comes first, so that few are in use.
    settled: Vec<Turn>,
    /// The node may yet carry an earlier turn out, and refuses the next meanwhile; the one that has rested longest comes
    /// first.
    unsettled: VecDeque<Turn>,
}

/// A session in use. However its request ends, the next one has another number, so that a late copy of this one is
/// known for what it is.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) stamp: Stamp,
    since: (Instant, SystemTime),
    /// No earlier turn is under way.
    settled: bool,
    /// Nobody knows what became of a request that was dropped.
    heard: bool,
    sessions: Sessions,
}

impl Sessions {
    /// A stamp that no request had before, for this incarnation of the node's data.
    pub(super) fn lease(&self, incarnation: Option<u64>) -> Lease {
        let (turn, settled) = self.pool().take();
        let stamp = Stamp { turn, incarnation, again: false, age: Duration::ZERO };
        Lease { stamp, since: (Instant::now(), SystemTime::now()), settled, heard: false, sessions: self.clone() }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// The next turn of some session, and whether none before it is under way.
    fn take(&mut self) -> (Turn, bool) {
        if let Some(turn) = self.settled.pop() {
            return (turn, true);
        }
        // A node remembers each session that there ever was for a while, so there cannot be more and more.
        let rested = if self.unsettled.len() < UNSETTLED_MAX { None } else { self.unsettled.pop_front() };
        rested.map_or_else(|| (Turn { session: rand::random(), number: 1 }, true), |turn| (turn, false))
    }
}

impl Lease {
    /// The same request is sent once more. How long ago it was first sent is told by the wall clock as well, since the other one
    /// stands still while the machine is suspended.
    pub(super) fn again(mut self) -> Self {
        let (since, wall) = self.since;
        self.stamp.again = true;
        self.stamp.age = since.elapsed().max(wall.elapsed().unwrap_or_default());
        self
    }

    /// What was heard of the request.
    pub(super) fn hear<T>(&mut self, outcome: &Result<T, Error>) {
        self.heard = true;
        self.settled = match outcome {
            // It was let in, so that nothing else was.
            Ok(_) => true,
            Err(Error::Refused { code: Code::IdempotencyInFlight, .. }) => false,
            // What was not carried out says nothing of an earlier turn.
            Err(error) => self.settled && !error.is_ambiguous(),
        };
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A session that has used up its numbers is left alone.
        let Turn { session, number } = self.stamp.turn;
        let Some(number) = number.checked_add(1) else { return };
        let next = Turn { session, number };
        let mut pool = self.sessions.pool();
        if self.heard && self.settled {
            pool.settled.push(next);
        } else {
            pool.unsettled.push_back(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(mut lease: Lease, outcome: &Result<i128, Error>) {
        lease.hear(outcome);
    }

    fn refused(code: Code) -> Result<i128, Error> {
        Err(Error::Refused { code, detail: "no".into(), retry_after: None })
    }

    #[test]
    fn a_session_has_one_request_at_a_time_and_never_the_same_number_twice() {
        let sessions = Sessions::default();
        let (one, other) = (sessions.lease(None), sessions.lease(None));
        assert_ne!(one.stamp.turn.session, other.stamp.turn.session);
        assert_eq!((one.stamp.turn.number, other.stamp.turn.number), (1, 1));
        let known = one.stamp.turn.session;
        ends(one, &Ok(1));
        let next = sessions.lease(None);
        assert_eq!((next.stamp.turn.session, next.stamp.turn.number, next.stamp.again), (known, 2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_again_says_how_long_ago_it_was_first_sent() {
        let lease = Sessions::default().lease(Some(7));
        tokio::time::advance(Duration::from_secs(3)).await;
        let Stamp { incarnation, again, age, .. } = lease.again().stamp;
        assert_eq!((incarnation, again), (Some(7), true));
        assert!(age >= Duration::from_secs(3), "{age:?}");
    }

    #[test]
    fn a_session_rests_while_a_turn_of_it_may_be_under_way() {
        let sessions = Sessions::default();
        let ambiguous = || Err(Error::Ambiguous { reason: "gone".into() });
        for (outcome, rests) in [
            (None, true),
            (Some(ambiguous()), true),
            (Some(refused(Code::IdempotencyInFlight)), true),
            (Some(refused(Code::Throttled)), false),
            (Some(Ok(1)), false),
        ] {
            let lease = sessions.lease(None);
            let session = lease.stamp.turn.session;
            match &outcome {
                Some(outcome) => ends(lease, outcome),
                None => drop(lease),
            }
            let next = sessions.lease(None);
            assert_eq!(next.stamp.turn.session != session, rests, "{outcome:?}");
            ends(next, &Ok(1));
        }
    }

    #[test]
    fn sessions_that_rest_are_used_again_before_they_are_too_many_and_then_with_new_numbers() {
        let sessions = Sessions::default();
        let mut names = std::collections::HashSet::new();
        let mut known = std::collections::HashSet::new();
        for _ in 0..UNSETTLED_MAX * 3 {
            let Turn { session, number } = sessions.lease(None).stamp.turn;
            assert!(names.insert((session, number)), "a name for one request only");
            known.insert(session);
        }
        assert_eq!(known.len(), UNSETTLED_MAX);
        // One that was refused has not shown that what came before it has ended.
        let lease = sessions.lease(None);
        let session = lease.stamp.turn.session;
        ends(lease, &refused(Code::Throttled));
        let lease = sessions.lease(None);
        assert_ne!(lease.stamp.turn.session, session);
        let session = lease.stamp.turn.session;
        ends(lease, &Ok(1));
        assert_eq!(sessions.lease(None).stamp.turn.session, session, "one that was answered has");
    }
}
