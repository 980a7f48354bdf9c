//! One node as the client sees it: connected, being connected to, or left alone for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snowtide_protocol::Code;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::retries::ceiling;
use super::sessions::Sessions;
use crate::door::{Dial, Door, Identity, Kind};
use crate::error::{ConnectError, Error};

/// A node that could not be connected to is left alone for about this long, doubled with each further failure.
const AWAY_MIN: Duration = Duration::from_millis(100);
const AWAY_MAX: Duration = Duration::from_secs(10);
/// A node that refuses without saying for how long.
const REST: Duration = Duration::from_millis(200);
/// A node is believed to need no longer rest than this.
const REST_MAX: Duration = Duration::from_secs(300);

/// One node.
pub(super) struct Node {
    dial: Box<dyn Dial>,
    state: Mutex<State>,
    /// Tells those who wait that some node's state has changed; one for all nodes of a client.
    changed: Arc<Notify>,
    pub(super) sessions: Sessions,
}

#[derive(Default)]
struct State {
    door: Option<Arc<dyn Door>>,
    /// Since when a connection is being made, if one is.
    dialing: Option<Instant>,
    /// Dials that failed since the last that did not.
    failures: u32,
    /// The last dial failed.
    away: Option<Rest>,
    rests: HashMap<Kind, Rest>,
}

/// A time to be left alone, and why.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    since: Instant,
    pub(super) until: Instant,
    pub(super) error: Error,
}

/// Whether a request may be sent to a node now.
pub(super) enum Standing {
    /// It may.
    Up(Arc<dyn Door>),
    /// A connection is being made, since then.
    Dialing(Instant),
    /// A connection may be made.
    Down,
    /// Not yet.
    Resting(Rest),
}

impl Node {
    pub(super) fn new(dial: Box<dyn Dial>, changed: Arc<Notify>) -> Self {
        Self { dial, state: Mutex::default(), changed, sessions: Sessions::default() }
    }

    pub(super) fn address(&self) -> &str {
        self.dial.address()
    }

    /// Whether a request of this kind may be sent here now. Who has been looking for a node since some time does not have
    /// it dialed a second time, so that the search ends.
    pub(super) fn standing(&self, kind: Kind, now: Instant, since: Instant) -> Standing {
        let mut state = self.state();
        if let Some(rest) = state.rests.get(&kind).filter(|rest| now < rest.until) {
            return Standing::Resting(rest.clone());
        }
        match &state.door {
            Some(door) if door.is_open() => return Standing::Up(Arc::clone(door)),
            Some(_) => {
                tracing::info!(node = self.address(), "the connection to a node is lost");
                state.door = None;
            }
            None => {}
        }
        match (&state.away, state.dialing) {
            (_, Some(since)) => Standing::Dialing(since),
            (Some(rest), None) if now < rest.until || rest.since >= since => Standing::Resting(rest.clone()),
            _ => Standing::Down,
        }
    }

    /// Begins to connect, unless that is being done. It goes on if the request that wanted it is given up: another will.
    pub(super) fn dial(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if state.dialing.is_some() {
                return;
            }
            state.dialing = Some(Instant::now());
        }
        let dialing = Dialing(Arc::clone(self));
        tokio::spawn(async move {
            let Dialing(node) = &dialing;
            let dialed = node.dial.dial().await;
            node.settle(dialed);
        });
    }

    /// The node has refused requests of this kind, or some that may need more time: they go elsewhere meanwhile.
    pub(super) fn refused(&self, kind: Kind, error: &Error) {
        let Error::Refused { code, retry_after, .. } = error else { return };
        if is_about_the_request(*code) || !code.is_retryable() {
            return;
        }
        let since = Instant::now();
        let rest = Rest { since, until: since + rest(*retry_after), error: error.clone() };
        self.state().rests.insert(kind, rest);
    }

    /// The connection, if there is one.
    pub(super) fn door(&self) -> Option<Arc<dyn Door>> {
        self.state().door.clone()
    }

    fn settle(&self, dialed: Result<Arc<dyn Door>, ConnectError>) {
        let mut state = self.state();
        match dialed {
            Ok(door) => {
                let Identity { site, round_trip, .. } = door.identity();
                tracing::info!(node = self.address(), %site, ?round_trip, "connected to a node");
                (state.door, state.failures, state.away) = (Some(door), 0, None);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let most = ceiling(AWAY_MIN, AWAY_MAX, state.failures);
                let rest = rand::random_range(most / 2..=most);
                tracing::warn!(node = self.address(), %error, ?rest, "cannot connect to a node");
                let since = Instant::now();
                state.away = Some(Rest { since, until: since + rest, error: nothing_sent(&error) });
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dial under way; its end is told however it comes.
struct Dialing(Arc<Node>);

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.state().dialing = None;
        self.0.changed.notify_waiters();
    }
}

/// That is about what the request asked for, not about the node: no other request need wait. A node without room for one key
/// more goes on with those that it knows.
pub(super) fn is_about_the_request(code: Code) -> bool {
    matches!(code, Code::TokenWaitExpired | Code::IdempotencyInFlight | Code::LimitsFull)
}

/// How long a refusal asks to be left alone.
pub(super) fn rest(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(REST).min(REST_MAX)
}

/// A failed dial, as the request that needed it sees it.
fn nothing_sent(error: &ConnectError) -> Error {
    match error {
        ConnectError::Refused { code, .. } => {
            Error::Refused { code: *code, detail: error.to_string(), retry_after: None }
        }
        _ => Error::Unreachable { reason: error.to_string(), retryable: error.is_retryable() },
    }
}
