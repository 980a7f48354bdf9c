//! One connection's account: what it makes this node hold, and what it owes.

mod charge;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::queue::Waiting;
use super::{Budget, GRACE_IDLE_MS, GRACE_MS, LITTLE_BYTES, NoRoom, Purpose};
use crate::telemetry::Door;

use charge::Sent;
pub use charge::{Charge, Owed, Working};

/// Requests and answers that take no more than this wait a moment for room.
const WAITING_BYTES_MAX: usize = 8 << 10;

/// One connection, as far as it costs us something.
pub struct Account {
    pub(super) budget: Arc<Budget>,
    pub(super) number: u64,
    pub(super) door: Door,
    /// It takes one of the door's places, until it is cut or gone.
    pub(super) has_place: AtomicBool,
    /// What it has made us hold, without the connection itself.
    pub(super) held: AtomicUsize,
    /// The connection itself.
    pub(super) base: AtomicUsize,
    pub(super) requests: Requests,
    /// When it last asked or was answered.
    pub(super) moved_ms: AtomicU64,
    /// What we wait for it to take or to finish: since when, by number.
    pub(super) owed: Mutex<Owes>,
    pub(super) cut: CancellationToken,
}

/// What it asks.
#[derive(Default)]
pub(super) struct Requests {
    /// Any, and it was not told to come back since.
    pub(super) any: AtomicBool,
    /// How many are in our hands.
    pub(super) working: AtomicUsize,
    /// How many wait for room.
    waiting: AtomicUsize,
    /// How often something whole has come.
    heard: AtomicU64,
}

#[derive(Default)]
pub(super) struct Owes {
    pub(super) next: u64,
    pub(super) since_ms: BTreeMap<u64, u64>,
}

impl Account {
    pub(super) fn new(budget: Arc<Budget>, number: u64, door: Door, has_place: bool) -> Self {
        let now_ms = budget.now_ms();
        Self {
            budget,
            number,
            door,
            has_place: AtomicBool::new(has_place),
            held: AtomicUsize::new(0),
            base: AtomicUsize::new(0),
            requests: Requests::default(),
            moved_ms: AtomicU64::new(now_ms),
            owed: Mutex::default(),
            cut: CancellationToken::new(),
        }
    }

    /// Charges for the connection itself, once it has said something; waits a moment for room.
    pub async fn begin(&self, bytes: usize) -> Result<(), NoRoom> {
        let take = || self.budget.take_base(bytes).then_some(());
        let (newcomers, clear) = (&self.budget.newcomers, || self.budget.clear());
        newcomers.wait(take, || _ = newcomers.tell(), clear).await?;
        self.base.fetch_add(bytes, Relaxed);
        Ok(())
    }

    /// Charges for what the connection itself keeps from now on, whatever is free: it has taken that already.
    pub fn keep(&self, bytes: usize) {
        self.budget.keep_base(bytes);
        self.base.fetch_add(bytes, Relaxed);
    }

    /// Charges `bytes`, if that leaves the account within its share and the budget within its limit.
    pub fn take(self: &Arc<Self>, bytes: usize, purpose: Purpose) -> Result<Charge, NoRoom> {
        let charge = self.try_take(bytes, purpose);
        if charge.is_err() {
            self.budget.clear();
        }
        charge
    }

    /// The same, and waits a moment for room; one at a time of each account does.
    pub async fn take_soon(self: &Arc<Self>, bytes: usize, purpose: Purpose) -> Result<Charge, NoRoom> {
        let charge = self.take(bytes, purpose);
        if charge.is_ok() {
            return charge;
        }
        let waiting = Waiting::new(&self.requests.waiting);
        if waiting.others > 0 {
            return charge;
        }
        let take = || self.try_take(bytes, purpose).ok();
        self.wait(self.held.load(Relaxed).saturating_add(bytes), take).await
    }

    /// The same, but much does not wait: it would take the room that others wait for as well.
    pub async fn take_in_time(self: &Arc<Self>, bytes: usize, purpose: Purpose) -> Result<Charge, NoRoom> {
        if bytes > WAITING_BYTES_MAX { self.take(bytes, purpose) } else { self.take_soon(bytes, purpose).await }
    }

    /// Waits for what `take` gives to an account that then holds `held`.
    async fn wait<T>(&self, held: usize, take: impl Fn() -> Option<T>) -> Result<T, NoRoom> {
        let budget = &self.budget;
        budget.queue(held).wait(take, || budget.tell_requests(), || budget.clear()).await
    }

    /// Charges `bytes` that are there already, and waits a moment until they are within the account's share and the
    /// budget. Whoever is told that there is no room lets go of them; much is told so at once, since it takes the room that
    /// others wait for as well.
    pub async fn hold(self: &Arc<Self>, bytes: usize) -> Result<Charge, NoRoom> {
        if bytes > LITTLE_BYTES {
            return self.take(bytes, Purpose::Request);
        }
        let charge = self.force(bytes);
        let fits = || {
            let (used, held) = (self.budget.used.load(SeqCst), self.held.load(SeqCst));
            let share = self.budget.share(Purpose::Request, used.saturating_sub(bytes));
            held <= share && used <= self.budget.limit(Purpose::Request, held)
        };
        if !fits() {
            self.wait(self.held.load(Relaxed), || fits().then_some(())).await?;
        }
        Ok(charge)
    }

    /// Charges `bytes` whatever is free: for an answer that must not be withheld.
    pub fn force(self: &Arc<Self>, bytes: usize) -> Charge {
        self.budget.used.fetch_add(bytes, Relaxed);
        self.held.fetch_add(bytes, Relaxed);
        Charge { account: Arc::clone(self), bytes }
    }

    /// Nothing at all, to be made larger.
    pub fn nothing(self: &Arc<Self>) -> Charge {
        Charge { account: Arc::clone(self), bytes: 0 }
    }

    /// Whether it holds more than its share.
    pub fn is_over(&self) -> bool {
        self.held.load(Relaxed) > self.budget.share(Purpose::Request, self.budget.used())
    }

    /// A request is in our hands from now on.
    pub fn work(self: &Arc<Self>) -> Working {
        self.requests.working.fetch_add(1, Relaxed);
        self.requests.any.store(true, Relaxed);
        self.hear();
        self.moved();
        Working(Arc::clone(self))
    }

    /// It was told to come back: others need its room more.
    pub fn turned_away(&self) {
        self.requests.any.store(false, Relaxed);
    }

    /// Something whole has come: what is counted as half received begins anew.
    pub fn hear(&self) {
        self.requests.heard.fetch_add(1, Relaxed);
    }

    /// How often something whole has come.
    pub fn heard(&self) -> u64 {
        self.requests.heard.load(Relaxed)
    }

    /// From now on we wait for the client.
    pub fn owe(self: &Arc<Self>) -> Owed {
        let now = self.budget.now_ms();
        let mut owes = self.owes();
        owes.next = owes.next.wrapping_add(1);
        let number = owes.next;
        owes.since_ms.insert(number, now);
        drop(owes);
        Owed { account: Arc::clone(self), number }
    }

    /// Bytes on their way to the client: until the last of them is gone they are owed. The charge is shared by all that
    /// stands in one allocation, which lasts as long as any part of it.
    pub fn send(self: &Arc<Self>, bytes: Bytes, charge: Arc<Charge>) -> Bytes {
        Bytes::from_owner(Sent { bytes, _charge: charge, _owed: self.owe() })
    }

    /// Returns once it has not done for so long what we wait for.
    pub async fn stalls_for(&self, limit: Duration) {
        loop {
            match limit.checked_sub(self.owes_for()) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }

    /// For how long we have been waiting for it.
    pub(super) fn owes_for(&self) -> Duration {
        let oldest = self.owes().since_ms.values().next().copied();
        let now = self.budget.now_ms();
        Duration::from_millis(oldest.map_or(0, |since| now.saturating_sub(since)))
    }

    /// Returns once the connection is to be cut for want of room.
    pub async fn is_cut(&self) {
        self.cut.cancelled().await;
    }

    pub(super) fn try_take(self: &Arc<Self>, bytes: usize, purpose: Purpose) -> Result<Charge, NoRoom> {
        let held = self.held.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let share = self.budget.share(purpose, self.budget.used());
        if held <= share && self.budget.take(bytes, self.budget.limit(purpose, held)) {
            return Ok(Charge { account: Arc::clone(self), bytes });
        }
        self.held.fetch_sub(bytes, Relaxed);
        Err(NoRoom)
    }

    /// Since when we have been waiting for the client, and for how long we do where others need its room; `None` while
    /// something is in our hands alone.
    pub(super) fn still_since_ms(&self) -> Option<(u64, u64)> {
        let oldest = self.owes().since_ms.values().next().copied();
        let idle = || (self.requests.working.load(Relaxed) == 0).then(|| (self.moved_ms.load(Relaxed), GRACE_IDLE_MS));
        oldest.map(|since| (since, GRACE_MS)).or_else(idle)
    }

    pub(super) fn leave_place(&self) {
        // Two may cut it at the same moment, and it is gone afterwards: its place is given back once.
        if self.has_place.swap(false, Relaxed) {
            self.budget.connections[self.door as usize].fetch_sub(1, Relaxed);
        }
    }

    pub(super) fn moved(&self) {
        self.moved_ms.store(self.budget.now_ms(), Relaxed);
    }

    pub(super) fn owes(&self) -> MutexGuard<'_, Owes> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("number", &self.number).field("door", &self.door).finish_non_exhaustive()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.give_back_base(*self.base.get_mut());
        self.leave_place();
        self.budget.accounts().open.remove(&self.number);
    }
}
