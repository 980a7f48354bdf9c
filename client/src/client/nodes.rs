//! All nodes of a client, and which of them is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::node::{Node, Rest, Standing};
use crate::door::{Dial, Door, Kind};
use crate::error::{ConnectError, Error};

/// As many as a cluster has regions, twice.
pub(super) const NODES_MAX: usize = 64;
/// In the order given, a node that is silent for so long has the next one connected to as well (RFC 8305 has it so).
const STAGGER: Duration = Duration::from_millis(250);

/// Which node comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// As they were given.
    #[default]
    Given,
    /// By the round trip that was measured when the connection was made.
    Nearest,
}

/// The nodes.
pub(super) struct Nodes {
    nodes: Vec<Arc<Node>>,
    order: Order,
    changed: Arc<Notify>,
    closed: AtomicBool,
}

/// Whom to ask.
pub(super) enum Pick {
    /// This one.
    Node(Picked),
    /// Every node that is allowed was tried or rests. When the first of them may be asked, unless none is allowed, and why
    /// those that rest do.
    Nobody { at: Option<Instant>, reasons: Vec<Rest> },
}

/// What comes of a look at all nodes.
enum Look {
    Done(Pick),
    /// A connection is being made; then, at the latest, another look may have one more made.
    Wait(Option<Instant>),
}

/// A node that is connected.
#[derive(Clone)]
pub(super) struct Picked {
    pub(super) place: usize,
    pub(super) node: Arc<Node>,
    pub(super) door: Arc<dyn Door>,
}

impl Nodes {
    pub(super) fn new(dials: Vec<Box<dyn Dial>>, order: Order) -> Self {
        let changed = Arc::new(Notify::new());
        let node = |dial| Arc::new(Node::new(dial, Arc::clone(&changed)));
        let nodes = dials.into_iter().take(NODES_MAX).map(node).collect();
        Self { nodes, order, changed, closed: AtomicBool::new(false) }
    }

    /// The best node that is allowed and not yet tried, as soon as one is connected. Each is dialed once at most, so this is
    /// bounded by the time limits of the dials.
    pub(super) async fn pick(
        &self,
        kind: Kind,
        is_allowed: impl Fn(usize) -> bool,
        tried: &BTreeSet<usize>,
    ) -> Result<Pick, Error> {
        let since = Instant::now();
        loop {
            // Made before the look, so that a change that comes in between is not missed.
            let changed = self.changed.notified();
            if self.closed.load(Ordering::Acquire) {
                return Err(Error::Disconnected { reason: "this client is closed".into() });
            }
            match self.look(kind, &is_allowed, tried, since) {
                Look::Done(pick) => return Ok(pick),
                Look::Wait(None) => changed.await,
                // Whichever comes first: both are reasons to look again.
                Look::Wait(Some(until)) => drop(timeout_at(until, changed).await),
            }
        }
    }

    /// Whom to ask now.
    fn look(&self, kind: Kind, is_allowed: impl Fn(usize) -> bool, tried: &BTreeSet<usize>, since: Instant) -> Look {
        let now = Instant::now();
        let mut best: Option<Picked> = None;
        let (mut at, mut reasons) = (None::<Instant>, Vec::new());
        // The last connection that is being made, and when the next one may be.
        let (mut dialed, mut next) = (None::<Instant>, None::<Instant>);
        for (place, node) in self.nodes.iter().enumerate().filter(|(place, _)| is_allowed(*place)) {
            let standing = node.standing(kind, now, since);
            let usable_at = if let Standing::Resting(rest) = &standing { rest.until } else { now };
            at = Some(at.map_or(usable_at, |earlier| earlier.min(usable_at)));
            match standing {
                Standing::Resting(rest) => reasons.push(rest),
                _ if tried.contains(&place) => {}
                Standing::Up(door) => {
                    let is_nearer = |than: &Picked| door.identity().round_trip < than.door.identity().round_trip;
                    if best.as_ref().is_none_or(is_nearer) {
                        best = Some(Picked { place, node: Arc::clone(node), door });
                    }
                }
                Standing::Dialing(begun) => dialed = dialed.max(Some(begun)),
                Standing::Down => match dialed.map(|begun| begun + STAGGER) {
                    // In the order given, those behind one that may yet answer are left alone for a while.
                    Some(due) if self.order == Order::Given && due > now => next = next.or(Some(due)),
                    _ => {
                        node.dial();
                        dialed = Some(now);
                    }
                },
            }
            if self.order == Order::Given && best.is_some() {
                break;
            }
        }
        match best {
            Some(picked) => Look::Done(Pick::Node(picked)),
            None if dialed.is_some() => Look::Wait(next),
            None => Look::Done(Pick::Nobody { at, reasons }),
        }
    }

    /// Waits until a node is connected; what all of them failed with if none can be.
    pub(super) async fn first(&self) -> Result<(), ConnectError> {
        match self.pick(Kind::Read, |_| true, &BTreeSet::new()).await {
            Ok(Pick::Node(_)) => Ok(()),
            Ok(Pick::Nobody { reasons, .. }) => {
                let retryable = reasons.iter().any(|rest| rest.error.is_retryable());
                let reasons: Vec<_> = reasons.iter().map(|rest| rest.error.to_string()).collect();
                Err(ConnectError::NoNode { reasons: reasons.join("; "), retryable })
            }
            Err(error) => Err(ConnectError::NoNode { reasons: error.to_string(), retryable: false }),
        }
    }

    /// The node that would be asked, if it is connected.
    pub(super) fn present(&self) -> Option<Arc<dyn Door>> {
        self.nodes.iter().find_map(|node| node.door())
    }

    /// Closes every connection and makes no more.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
        let mut closing: JoinSet<()> = JoinSet::new();
        for door in self.nodes.iter().filter_map(|node| node.door()) {
            closing.spawn(async move { door.close().await });
        }
        while closing.join_next().await.is_some() {}
    }
}
