//! The attempts of one request: tried at one node after another until it is answered, or what is known of it is final.

use std::collections::BTreeSet;
use std::time::Duration;

use snowtide_protocol::Code;
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::node::{self, Node, Rest};
use super::nodes::{Pick, Picked};
use super::reasons::{because, resting};
use super::sessions::Lease;
use crate::door::{Identity, Reply, Request, Site, Stamp};
use crate::error::Error;

/// As good as no time limit.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// How far a request is.
pub(super) struct Attempts<'a> {
    client: &'a Client,
    request: Request<'a>,
    deadline: Instant,
    tries: u32,
    /// Places of nodes that are not asked at all.
    excluded: BTreeSet<usize>,
    /// Places of those that were, since the last pause.
    tried: BTreeSet<usize>,
    /// The witness is asked what became of a write, and no other node is.
    back: Option<Back>,
    /// After a refusal that is about this request alone, it waits until then.
    not_before: Option<Instant>,
    /// A write was sent, and nobody knows what became of it.
    doubt: Option<String>,
    /// The node that has to say it, since it counts a stamped write once.
    witness: Option<Witness>,
    last: Option<Error>,
}

/// Where a write of unknown outcome is asked for again.
struct Witness {
    site: Site,
    /// Held as long as the request may come again, so that no other overtakes it in its session.
    lease: Lease,
}

/// Where a witness is asked, and until when.
#[derive(Clone, Copy)]
struct Back {
    place: usize,
    until: Instant,
}

/// What a failed try means.
enum Next {
    /// That was it.
    Stop,
    /// Another try, elsewhere if possible; it may cost something.
    Again { free: bool },
    /// Only elsewhere.
    Elsewhere,
    /// The same node is asked what became of it; that may cost something, too.
    AskBack { free: bool },
}

impl<'a> Attempts<'a> {
    pub(super) fn new(client: &'a Client, request: Request<'a>) -> Self {
        // No clock counts further than that.
        let limit = client.retries.within.saturating_add(request.patience()).min(FOREVER);
        Self {
            client,
            request,
            deadline: Instant::now() + limit,
            tries: 0,
            excluded: BTreeSet::new(),
            tried: BTreeSet::new(),
            back: None,
            not_before: None,
            doubt: None,
            witness: None,
            last: None,
        }
    }

    /// Carries the request out.
    pub(super) async fn run(mut self) -> Result<Reply, Error> {
        loop {
            let pick = self.client.nodes.pick(self.request.kind(), |place| self.may_ask(place), &self.tried);
            let picked = timeout_at(self.until(), pick).await;
            match picked {
                Ok(Ok(Pick::Node(picked))) => match self.attempt(&picked).await {
                    Ok(reply) => {
                        self.client.budget.earn();
                        return Ok(reply);
                    }
                    Err(error) => self.failed(&picked, error)?,
                },
                Ok(Ok(Pick::Nobody { at, reasons })) => self.pause(at, reasons).await?,
                Ok(Err(error)) => return Err(self.final_error(error)),
                Err(_) if self.leaves_witness() => {}
                Err(_) => {
                    let reason = format!("no connection within {:?}", self.client.retries.within);
                    let error = self.last.take().unwrap_or(Error::Unreachable { reason, retryable: true });
                    return Err(self.final_error(error));
                }
            }
        }
    }

    fn may_ask(&self, place: usize) -> bool {
        self.back.is_none_or(|back| back.place == place) && !self.excluded.contains(&place)
    }

    async fn attempt(&mut self, Picked { node, door, .. }: &Picked) -> Result<Reply, Error> {
        self.tries = self.tries.saturating_add(1);
        let mut lease = self.lease(node, door.identity())?;
        let stamp = lease.as_ref().map(|lease| lease.stamp);
        let timeout = self.client.request_timeout.saturating_add(self.request.patience());
        let timeout = timeout.min(self.until().saturating_duration_since(Instant::now()));
        tracing::trace!(node = node.address(), tries = self.tries, ?stamp, "a node is asked");
        let outcome = match door.send(self.request, stamp, timeout).await {
            Err(error) if is_for_another_incarnation(&error, stamp) => {
                door.outdate();
                Err(Error::Disconnected { reason: "the node has another incarnation of its data by now".into() })
            }
            outcome => outcome,
        };
        if let Some(lease) = &mut lease {
            lease.hear(&outcome);
        }
        if let (Err(error), Some(mut lease)) = (&outcome, lease)
            && (lease.stamp.again || (error.is_ambiguous() && door.identity().counts_once))
            && !self.has_forgotten(error)
        {
            lease.stamp.again = true;
            self.witness = Some(Witness { site: door.identity().site.clone(), lease });
        }
        outcome
    }

    /// The name under which a write is sent to a node: to the witness, the one that it knows.
    fn lease(&mut self, node: &Node, identity: &Identity) -> Result<Option<Lease>, Error> {
        if !self.request.can_count_once() {
            return Ok(None);
        }
        match self.witness.take() {
            Some(witness) if witness.site == identity.site => Ok(Some(witness.lease.again())),
            Some(witness) if !self.client.retries.at_least_once => {
                self.witness = Some(witness);
                Err(Error::Disconnected { reason: "another node answers at this address now".into() })
            }
            // It may be of use yet, should no other node answer.
            witness => {
                self.witness = witness;
                Ok(Some(node.sessions.lease(identity.incarnation)))
            }
        }
    }

    /// Goes on after a failed try, or ends with what is known.
    fn failed(&mut self, picked: &Picked, error: Error) -> Result<(), Error> {
        let Picked { place, node, .. } = picked;
        node.refused(self.request.kind(), &error);
        let next = self.next(picked, &error);
        self.wait_for_itself(&next, &error);
        if self.request.writes() && error.is_ambiguous() {
            let reason = because(node.address(), &error);
            self.doubt.get_or_insert(reason);
        }
        let permitted = match next {
            Next::Stop => false,
            Next::Again { free } | Next::AskBack { free } => {
                self.tries < self.client.retries.attempts && (free || self.client.budget.spend())
            }
            // Bounded by the number of nodes.
            Next::Elsewhere => true,
        };
        if !permitted {
            return Err(self.final_error(error));
        }
        tracing::debug!(node = node.address(), tries = self.tries, %error, "a request is tried again");
        self.tried.insert(*place);
        match next {
            Next::AskBack { .. } => self.ask_back(*place),
            Next::Elsewhere => {
                self.excluded.insert(*place);
            }
            Next::Again { .. } => {
                self.leaves_witness();
            }
            Next::Stop => {}
        }
        self.last = Some(error);
        Ok(())
    }

    fn next(&self, picked: &Picked, error: &Error) -> Next {
        // There was no connection, or it is lost: that is no sign of a node that has too much to do.
        let free = matches!(
            error,
            Error::Disconnected { .. } | Error::Unreachable { .. } | Error::Ambiguous { .. } | Error::Busy { .. }
        );
        match error {
            _ if (error.is_ambiguous() || error.is_retryable()) && self.may_ask_back(picked, error) => {
                Next::AskBack { free: free || is_in_flight(error) }
            }
            _ if error.is_ambiguous() && self.request.writes() && !self.client.retries.at_least_once => Next::Stop,
            Error::Refused { code: Code::WrongRegion, .. } => Next::Elsewhere,
            _ if error.is_retryable() || error.is_ambiguous() || self.has_forgotten(error) => Next::Again { free },
            _ => Next::Stop,
        }
    }

    /// A refusal that is about this request alone: the node is not asked by it before the time that it named.
    fn wait_for_itself(&mut self, next: &Next, error: &Error) {
        let Error::Refused { code, retry_after, .. } = error else { return };
        let asks_back = matches!(next, Next::AskBack { .. });
        // What is in flight in a session that is not asked for again is in the way of nothing else.
        if !node::is_about_the_request(*code) || (is_in_flight(error) && !asks_back) {
            return;
        }
        self.not_before = self.not_before.max(Some(Instant::now() + node::rest(*retry_after)));
        if is_in_flight(error) {
            // The witness is at work on it, and to wait for that is no try.
            self.tries = self.tries.saturating_sub(1);
        }
    }

    /// Whether a node that failed is to say what became of a write. Who would rather have it counted twice asks once, unless
    /// it is being carried out, and keeps a try for another node.
    fn may_ask_back(&self, Picked { door, .. }: &Picked, error: &Error) -> bool {
        let Some(witness) = &self.witness else { return false };
        let retries = self.client.retries;
        if !retries.at_least_once {
            return true;
        }
        let may = match self.back {
            None => self.tries.saturating_add(1) < retries.attempts,
            Some(back) => is_in_flight(error) && Instant::now() < back.until,
        };
        may && witness.site == door.identity().site
    }

    fn ask_back(&mut self, place: usize) {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        // The other half is for another node, if one may be asked.
        let until = if self.client.retries.at_least_once { now + left / 2 } else { self.deadline };
        self.back = Some(Back { place, until: self.back.map_or(until, |back| back.until) });
    }

    /// How long it may go on as it does.
    fn until(&self) -> Instant {
        self.back.map_or(self.deadline, |back| back.until)
    }

    /// The witness does not tell: whether other nodes are asked now.
    fn leaves_witness(&mut self) -> bool {
        self.client.retries.at_least_once && self.back.take().is_some()
    }

    /// The witness cannot tell any more, its disk being another, and other nodes may be asked.
    fn has_forgotten(&self, error: &Error) -> bool {
        let is_outdated = matches!(error, Error::Refused { code: Code::IdempotencyMismatch, .. });
        is_outdated && self.doubt.is_some() && self.client.retries.at_least_once
    }

    /// Waits until a node may be asked, and a random time more, so that not all who wait come at once. To wait is no try:
    /// it is bounded by the time limit alone.
    async fn pause(&mut self, at: Option<Instant>, reasons: Vec<Rest>) -> Result<(), Error> {
        if (at.is_none() || !reasons.is_empty()) && self.leaves_witness() {
            return Ok(());
        }
        let policy = self.client.retries;
        let now = Instant::now();
        let earliest = self.not_before.map_or(now, |time| time.max(now));
        let wake = at.map(|at| at.max(earliest) + policy.pause(self.tries).min(FOREVER));
        match wake.filter(|wake| *wake < self.until() && self.tries < policy.attempts && policy.attempts > 1) {
            Some(wake) => tokio::time::sleep_until(wake).await,
            None if self.leaves_witness() => return Ok(()),
            None => {
                let error = self.last.take().unwrap_or_else(|| resting(reasons));
                return Err(self.final_error(error));
            }
        }
        self.tried.clear();
        Ok(())
    }

    /// The error for the caller: once a write is in doubt, nothing that comes later clears that up.
    fn final_error(&mut self, error: Error) -> Error {
        let Some(doubt) = self.doubt.take() else { return error };
        let turn = self.witness.as_ref().map(|witness| witness.lease.stamp.turn);
        let reason = if error.is_ambiguous() { doubt } else { format!("{doubt}; then: {error}") };
        tracing::warn!(%reason, ?turn, "whether a write happened is unknown");
        Error::Ambiguous { reason }
    }
}

/// A request with a new name is refused for its name only where the session is none of the node's any more. Nothing was done,
/// and a new connection tells to what sessions belong now.
fn is_for_another_incarnation(error: &Error, stamp: Option<Stamp>) -> bool {
    let is_new = stamp.is_some_and(|stamp| !stamp.again);
    is_new && matches!(error, Error::Refused { code: Code::IdempotencyMismatch, .. })
}

fn is_in_flight(error: &Error) -> bool {
    matches!(error, Error::Refused { code: Code::IdempotencyInFlight, .. })
}
