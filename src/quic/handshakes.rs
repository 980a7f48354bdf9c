//! The places for handshakes that are not finished: who gets one, who has to prove its address first, and who is given up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;

use super::Peers;

/// Unfinished handshakes of anyone.
pub(super) const HANDSHAKES_MAX: usize = 256;
/// Unfinished handshakes beyond those, kept for addresses in the cluster's map.
pub(super) const HANDSHAKES_KEPT: usize = 64;
/// Where few places are left, one that takes longer than this is given up.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// The places for handshakes.
pub(super) struct Handshakes<P> {
    anyone: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    links: Option<P>,
    under_way: Mutex<VecDeque<(Instant, CancellationToken)>>,
}

/// A place for a handshake, until it is over.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Cancelled when the handshake is over, or is to be.
    pub(super) over: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

impl<P: Peers> Handshakes<P> {
    pub(super) fn new(links: Option<P>) -> Self {
        Self {
            anyone: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            kept: Arc::new(Semaphore::new(HANDSHAKES_KEPT)),
            links,
            under_way: Mutex::default(),
        }
    }

    /// Notes one more; where places become few, those that take long are given up.
    fn begin(&self, permit: OwnedSemaphorePermit) -> Place {
        let (now, over) = (clock::monotonic(), CancellationToken::new());
        let few = self.anyone.available_permits() < HANDSHAKES_MAX / 4;
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = |begun: &Instant| few && now.duration_since(*begun) > HANDSHAKE_GRACE;
        while let Some((_, over)) = under_way.front().filter(|(begun, over)| over.is_cancelled() || slow(begun)) {
            over.cancel();
            under_way.pop_front();
        }
        under_way.push_back((now, over.clone()));
        Place { _permit: permit, over }
    }

    /// A place, or the caller is sent away: to prove its address, or for good.
    pub(super) fn admit(&self, incoming: Incoming) -> Option<(Incoming, Place)> {
        let proven = incoming.remote_address_validated();
        let place = self.anyone.clone().try_acquire_owned().ok();
        if !proven && (place.is_none() || self.anyone.available_permits() < HANDSHAKES_MAX / 2) {
            // Cannot fail: an address that is not validated may be asked to retry.
            let _ = incoming.retry();
            return None;
        }
        let known = || self.links.as_ref().is_some_and(|links| links.know(incoming.remote_address().ip()));
        match place.or_else(|| if known() { self.kept.clone().try_acquire_owned().ok() } else { None }) {
            Some(place) => Some((incoming, self.begin(place))),
            None => {
                debug!(from = %incoming.remote_address(), "refused: too many unfinished handshakes");
                incoming.refuse();
                None
            }
        }
    }
}
