//! The memory that clients can make this process hold: one budget in bytes over all doors, connections and streams.
//!
//! Each connection has an [`Account`]. What it makes us hold is charged to it: itself, requests that have not ended or are
//! not answered, answers that it has not taken. Promises (I6, G7):
//!
//! - All charges together stay within `api.client_bytes_max`, but for answers to writes that were carried out, which are
//!   never withheld, and for what a protocol has taken already when we hear of it; what can be carried out at once and
//!   how many streams a connection has are bounded apart.
//! - One account holds at most a fourth of what is free: however many are greedy, a newcomer finds some room
//!   (the dynamic thresholds of shared-memory switches: Choudhury and Hahne, 1998).
//! - The less an account holds, the more of the budget is open to it: some is kept for those that hold little, and some of
//!   that for those that hold next to nothing. Of those that wait, these come first. Who asks as most clients do is
//!   served while the greedy fight for the rest.
//! - A sixteenth is kept for refusals and another for probes. Connections themselves leave three eighths to requests, and
//!   find some room while those take all that is theirs.
//! - Where room is short, connections are cut for which we wait: those that never asked anything first and those that were
//!   told to come back, then those that hold more than others, then those that have been still the longest, and none that
//!   moved a moment ago.
//!
//! Nothing here waits for anything but a moment ([`Account::take_soon`]), and nothing is ever taken from an account that
//! has work in our hands.

mod account;
mod queue;
mod window;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::clock::Stopwatch;
use crate::telemetry::{self, Door};

pub use account::{Account, Charge, Owed, Working};
pub use window::Window;

use queue::Queue;

/// One account may hold one part in so many of what is free.
const SHARE: usize = 4;
/// The budget is kept in so many parts.
const PARTS: usize = 16;
/// So many of them are kept for probes.
const PROBES_PARTS: usize = 1;
/// So many are kept for refusals and probes.
const REFUSALS_PARTS: usize = 2;
/// So many are kept for those and for accounts that hold next to nothing.
const FIRST_PARTS: usize = 5;
/// So many are kept for those and for accounts that hold little.
const MODEST_PARTS: usize = 6;
/// So much is next to nothing: a request.
const FIRST_BYTES: usize = 16 << 10;
/// So much is little: a stream with its buffer, a request with its answer.
const LITTLE_BYTES: usize = 32 << 10;
/// Connections leave so many parts to what is said on them.
const REQUESTS_PARTS: usize = 6;
/// Where room is short, so large a part of the budget is taken back at once.
const CLEARED_PART: usize = 8;
/// Where a door is full, one part in so many of its connections may be cut at once, since each time all are looked at.
const PLACES_PART: usize = 64;
/// Whoever has owed us something for no longer than this is not cut for want of room.
const GRACE_MS: u64 = 500;
/// The same for a connection that owes nothing and is idle.
const GRACE_IDLE_MS: u64 = 1_500;
/// The same for one that never asked anything: who connects in order to ask does so at once.
const GRACE_SILENT_MS: u64 = 200;
/// Somebody to cut for room is looked for this often at most, and for a place where nobody was found: each time all
/// connections are looked at.
const LOOKING_PAUSE_MS: u64 = 20;

/// The budget of all doors.
pub struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
    /// What connections themselves hold of that.
    bases: AtomicUsize,
    windows: window::Left,
    /// Open connections by door, those that are cut not among them.
    connections: [AtomicUsize; Door::ALL.len()],
    watch: Stopwatch,
    /// Connections that wait for room, and requests on others: first those of accounts that hold next to nothing.
    newcomers: Queue,
    requests: [Queue; 2],
    /// When somebody was last cut for room, or nobody found.
    cleared_ms: AtomicU64,
    /// When nobody was found who could make place at this door.
    crowded_ms: [AtomicU64; Door::ALL.len()],
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    next: u64,
    open: BTreeMap<u64, Weak<Account>>,
}

/// There is no room, for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clients have made this node hold as much as it may (api.client_bytes_max); retry after a moment")]
pub struct NoRoom;

/// What may be charged to which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Requests and answers.
    Request,
    /// What says that there is no room, which has some of its own.
    Refusal,
    /// What operators and load balancers ask, for which some is left whatever else is refused.
    Probe,
}

impl Budget {
    /// All doors together may hold so much.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        telemetry::client_bytes_bounded(bytes_max);
        Arc::new(Self {
            bytes_max,
            used: AtomicUsize::new(0),
            bases: AtomicUsize::new(0),
            windows: window::Left::of(bytes_max),
            connections: Default::default(),
            watch: Stopwatch::start(),
            newcomers: Queue::default(),
            requests: Default::default(),
            cleared_ms: AtomicU64::new(0),
            crowded_ms: Default::default(),
            accounts: Mutex::default(),
        })
    }

    /// What is held now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Open connections at this door.
    pub fn connections(&self, door: Door) -> usize {
        self.connections[door as usize].load(Relaxed)
    }

    /// A new connection at this door. Where `max` are open, some for which we wait are cut for it; `None` if there are none.
    pub fn admit(self: &Arc<Self>, door: Door, max: usize) -> Option<Arc<Account>> {
        if self.connections(door) >= max && self.make_place(door, 1 + max / PLACES_PART) == 0 {
            telemetry::connection_refused(door);
            return None;
        }
        Some(self.open(door))
    }

    /// A connection that takes a place whether or not there is one.
    pub fn open(self: &Arc<Self>, door: Door) -> Arc<Account> {
        self.connections[door as usize].fetch_add(1, Relaxed);
        self.account(door, true)
    }

    /// A connection that takes no place: it is only told that there is none.
    pub fn beyond(self: &Arc<Self>, door: Door) -> Arc<Account> {
        self.account(door, false)
    }

    fn account(self: &Arc<Self>, door: Door, has_place: bool) -> Arc<Account> {
        let mut accounts = self.accounts();
        accounts.next = accounts.next.wrapping_add(1);
        let number = accounts.next;
        let account = Arc::new(Account::new(Arc::clone(self), number, door, has_place));
        accounts.open.insert(number, Arc::downgrade(&account));
        account
    }

    /// Cuts up to `count` connections of a door for which we wait; returns how many.
    fn make_place(&self, door: Door, count: usize) -> usize {
        let (now, crowded) = (self.now_ms(), &self.crowded_ms[door as usize]);
        if now.saturating_sub(crowded.load(Relaxed)) < LOOKING_PAUSE_MS {
            return 0;
        }
        let mut left = count;
        let cut = self.cut_stillest(
            |account| (account.door == door && account.has_place.load(Relaxed)).then_some(false),
            |_| {
                left = left.saturating_sub(1);
                left > 0
            },
        );
        if cut == 0 {
            crowded.store(now, Relaxed);
        }
        cut
    }

    /// Cuts connections for which we wait until a part of the budget is free. Does nothing if that was just done.
    fn clear(&self) {
        let (now, last) = (self.now_ms(), self.cleared_ms.load(Relaxed));
        let due = now.saturating_sub(last) >= LOOKING_PAUSE_MS;
        if !due || self.cleared_ms.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            return;
        }
        let mut left = self.bytes_max / CLEARED_PART;
        let connections = self.connections.iter().map(|open| open.load(Relaxed)).sum::<usize>();
        let mean = self.used() / connections.max(1);
        let costs = |account: &Account| account.held.load(Relaxed).saturating_add(account.base.load(Relaxed));
        self.cut_stillest(
            |account| Some(costs(account) <= mean).filter(|_| costs(account) > 0),
            |account| {
                left = left.saturating_sub(costs(account));
                left > 0
            },
        );
    }

    /// Cuts the stillest of those that qualify, first those for which that is `false`, as long as `goes_on`; returns how many.
    fn cut_stillest(
        &self,
        qualifies: impl Fn(&Account) -> Option<bool>,
        mut goes_on: impl FnMut(&Account) -> bool,
    ) -> usize {
        // They are kept beyond the lock, or the last one to let go of an account would wait for it for ever.
        let all: Vec<Arc<Account>> = self.accounts().open.values().filter_map(Weak::upgrade).collect();
        let now = self.now_ms();
        let still = |account: &Arc<Account>| {
            let asked = account.requests.any.load(Relaxed);
            let (since, grace_ms) = account.still_since_ms()?;
            let is_still = now.saturating_sub(since) >= if asked { grace_ms } else { GRACE_SILENT_MS };
            is_still.then_some((asked, qualifies(account)?, since, account.number))
        };
        let candidates = all.iter().enumerate().filter(|(_, account)| !account.cut.is_cancelled());
        // Only those that are cut are put in order.
        let mut candidates: BinaryHeap<_> =
            candidates.filter_map(|(at, account)| Some(Reverse((still(account)?, at)))).collect();
        let mut cut = 0;
        while let Some(Reverse((_, at))) = candidates.pop() {
            let Some(account) = all.get(at).filter(|account| !account.cut.is_cancelled()) else { continue };
            cut += 1;
            account.cut.cancel();
            account.leave_place();
            telemetry::connection_cut(account.door);
            if !goes_on(account) {
                break;
            }
        }
        cut
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, SeqCst);
        if bytes > 0 {
            self.newcomers.tell();
            self.tell_requests();
        }
    }

    fn tell_requests(&self) {
        let _told = self.requests.iter().any(Queue::tell);
    }

    /// Where a request waits whose account then holds `held`.
    fn queue(&self, held: usize) -> &Queue {
        let [first, others] = &self.requests;
        if held <= FIRST_BYTES { first } else { others }
    }

    /// Takes `bytes` if no more than `limit` is then used.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
        self.used.fetch_update(SeqCst, SeqCst, within).is_ok()
    }

    /// Takes `bytes` for a connection, as for an account that holds little, if connections then leave enough to requests.
    fn take_base(&self, bytes: usize) -> bool {
        let bases = self.bases.fetch_add(bytes, SeqCst).saturating_add(bytes);
        let is_taken =
            bases <= self.all_but(REQUESTS_PARTS) && self.take(bytes, self.limit(Purpose::Request, LITTLE_BYTES));
        if !is_taken {
            self.bases.fetch_sub(bytes, SeqCst);
        }
        is_taken
    }

    fn keep_base(&self, bytes: usize) {
        self.bases.fetch_add(bytes, SeqCst);
        self.used.fetch_add(bytes, SeqCst);
    }

    fn give_back_base(&self, bytes: usize) {
        self.bases.fetch_sub(bytes, SeqCst);
        self.give_back(bytes);
    }

    /// What all may hold together where something for this purpose is charged to an account that then holds `held`.
    fn limit(&self, purpose: Purpose, held: usize) -> usize {
        let kept = match purpose {
            Purpose::Probe => 0,
            Purpose::Refusal => PROBES_PARTS,
            Purpose::Request if held <= FIRST_BYTES => REFUSALS_PARTS,
            Purpose::Request if held <= LITTLE_BYTES => FIRST_PARTS,
            Purpose::Request => MODEST_PARTS,
        };
        self.all_but(kept)
    }

    fn all_but(&self, parts: usize) -> usize {
        self.bytes_max.saturating_sub(parts * (self.bytes_max / PARTS))
    }

    /// What one account may hold where `used` is used: a part of what is free, also of what is kept for those that hold little.
    fn share(&self, purpose: Purpose, used: usize) -> usize {
        let part = |held| self.limit(purpose, held).saturating_sub(used) / SHARE;
        let little = part(LITTLE_BYTES).min(LITTLE_BYTES);
        part(usize::MAX).max(little).max(part(0).min(FIRST_BYTES))
    }

    /// Counted from a while before the start, so that no moment that matters lies before it.
    fn now_ms(&self) -> u64 {
        self.watch.elapsed_ms().saturating_add(10 * GRACE_MS)
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    const MAX: usize = 64 << 20;

    fn request(account: &Arc<Account>, bytes: usize) -> Result<Charge, NoRoom> {
        account.take(bytes, Purpose::Request)
    }

    #[test]
    fn charges_end_with_what_they_were_for() {
        let budget = Budget::new(MAX);
        let account = budget.open(Door::Http);
        let mut charge = request(&account, 1_000).unwrap();
        charge.resize(3_000, Purpose::Request).unwrap();
        let part = charge.split(500);
        assert_eq!(budget.used(), 3_000);
        drop(charge);
        let sent = account.send(Bytes::from_static(b"answer"), Arc::new(part));
        assert_eq!((budget.used(), &sent[..]), (500, &b"answer"[..]));
        let last = sent.slice(5..);
        drop(sent);
        assert_eq!(budget.used(), 500, "a part of it is still there");
        drop(last);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn however_many_are_greedy_a_newcomer_finds_room_and_the_budget_holds() {
        for (clients, least) in [(1, 8 << 20), (20, 1 << 20), (2_000, 8 << 10)] {
            let budget = Budget::new(MAX);
            let accounts: Vec<_> = (0..clients).map(|_| budget.open(Door::Http)).collect();
            let mut held = Vec::new();
            loop {
                let before = held.len();
                held.extend(accounts.iter().filter_map(|account| request(account, 4_096).ok()));
                if held.len() == before {
                    break;
                }
            }
            assert!(budget.used() <= budget.limit(Purpose::Request, 0));
            request(&budget.open(Door::Redis), least).unwrap_or_else(|_| panic!("{clients} clients"));
            assert!(budget.open(Door::Http).take(MAX / 64, Purpose::Probe).is_ok(), "probes have room of their own");
        }
    }

    #[test]
    fn what_a_connection_keeps_is_charged_until_it_is_gone() {
        let budget = Budget::new(1_000);
        let account = budget.open(Door::Http);
        account.keep(5_000);
        assert_eq!(budget.used(), 5_000);
        assert_eq!(request(&budget.open(Door::Http), 1).err(), Some(NoRoom));
        assert!(!budget.take_base(1), "connections have taken what is theirs");
        drop(account);
        assert_eq!(budget.used(), 0);
        assert!(budget.take_base(1));
    }

    #[test]
    fn answers_that_must_go_out_are_charged_all_the_same() {
        let budget = Budget::new(1_000);
        let account = budget.open(Door::Quic);
        let charge = account.force(50_000);
        assert!(account.is_over() && budget.used() == 50_000);
        assert_eq!(request(&account, 1).err(), Some(NoRoom));
        drop(charge);
        assert!(!account.is_over() && request(&account, 1).is_ok());
    }

    /// As if it had been still for so long.
    fn still_for(account: &Account, ms: u64) {
        account.moved_ms.store(account.budget.now_ms().saturating_sub(ms), Relaxed);
    }

    fn aged(budget: &Arc<Budget>, door: Door, ms: u64) -> Arc<Account> {
        let account = budget.open(door);
        still_for(&account, ms);
        account
    }

    #[test]
    fn a_full_door_takes_newcomers_in_the_place_of_the_still() {
        let budget = Budget::new(MAX);
        let old: Vec<_> = (0..3).map(|_| budget.admit(Door::Http, 3).unwrap()).collect();
        assert!(budget.admit(Door::Http, 3).is_none(), "all have just come");
        assert!(budget.admit(Door::Redis, 3).is_some());
        still_for(&old[1], 1_100);
        assert!(budget.admit(Door::Http, 3).is_none(), "that was just looked at");
        budget.crowded_ms[Door::Http as usize].store(0, Relaxed);
        let new = budget.admit(Door::Http, 3).unwrap();
        assert!(old[1].cut.is_cancelled() && budget.connections(Door::Http) == 3);
        drop(old);
        assert_eq!(budget.connections(Door::Http), 1);
        let beyond = budget.beyond(Door::Http);
        still_for(&beyond, 2_000);
        assert_eq!(budget.make_place(Door::Http, 9), 0, "it has no place to leave");
        drop((new, beyond));
        assert_eq!(budget.connections(Door::Http), 0);
    }

    #[test]
    fn however_many_look_for_a_place_at_once_each_is_given_back_once() {
        let budget = Budget::new(MAX);
        let accounts: Vec<_> = (0..200).map(|_| aged(&budget, Door::Http, 2_000)).collect();
        let waits = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    waits.wait();
                    (0..50).for_each(|_| _ = budget.make_place(Door::Http, 10));
                });
            }
        });
        assert_eq!(budget.connections(Door::Http), 0);
        accounts.iter().for_each(|account| account.leave_place());
        drop(accounts);
        assert_eq!(budget.connections(Door::Http), 0);
    }

    #[test]
    fn the_silent_go_first_then_the_stillest_and_never_those_with_work_in_our_hands() {
        let budget = Budget::new(MAX);
        let asked = aged(&budget, Door::Http, 0);
        drop(asked.work());
        still_for(&asked, 2_500);
        let silent = aged(&budget, Door::Http, 1_500);
        let working = aged(&budget, Door::Http, 0);
        let work = working.work();
        still_for(&working, 2_900);
        let elsewhere = aged(&budget, Door::Redis, 2_900);
        let fresh = aged(&budget, Door::Http, 0);
        let is_cut = |account: &Account| account.cut.is_cancelled();
        assert_eq!(budget.make_place(Door::Http, 1), 1);
        assert!(is_cut(&silent) && !is_cut(&asked));
        assert_eq!(budget.make_place(Door::Http, 9), 1);
        assert!(is_cut(&asked) && !is_cut(&working) && !is_cut(&elsewhere) && !is_cut(&fresh));
        let owed = working.owe();
        working.owes().since_ms.values_mut().for_each(|since| *since -= 2_000);
        assert!(working.owes_for() >= Duration::from_secs(2));
        assert_eq!(budget.make_place(Door::Http, 9), 1, "it does not take what we have for it");
        assert!(is_cut(&working));
        drop((owed, work));
    }

    #[tokio::test]
    async fn who_lets_answers_lie_is_cut_when_room_is_short_and_others_then_find_some() {
        let budget = Budget::new(MAX);
        let liars: Vec<_> = (0..64).map(|_| aged(&budget, Door::Http, 2_000)).collect();
        let mut lying = Vec::new();
        for liar in &liars {
            while let Ok(charge) = liar.try_take(64 << 10, Purpose::Request) {
                lying.push(liar.send(Bytes::from_static(b"x"), Arc::new(charge)));
            }
            liar.owes().since_ms.values_mut().for_each(|since| *since -= 2_000);
        }
        let honest = budget.open(Door::Redis);
        let (mut lying, cut) = (Some(lying), liars[0].cut.clone());
        let gone = tokio::spawn(async move {
            cut.cancelled().await;
            drop(lying.take());
        });
        assert!(honest.take_soon(4 << 20, Purpose::Request).await.is_ok());
        gone.await.unwrap();
    }

    /// Whether somebody was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    #[test]
    fn who_holds_little_is_served_while_others_hold_all_they_can() {
        let budget = Budget::new(MAX);
        let (greedy, modest) = (budget.open(Door::Http), budget.open(Door::Quic));
        let stream = request(&modest, 12 << 10).unwrap();
        let held = greedy.force(budget.limit(Purpose::Request, usize::MAX) - (12 << 10));
        assert!(greedy.is_over() && !modest.is_over());
        assert!(request(&budget.open(Door::Http), LITTLE_BYTES + 1).is_err());
        let more = request(&modest, LITTLE_BYTES - (12 << 10)).unwrap();
        assert!(request(&modest, 1).is_err(), "no more than little");
        drop((stream, more, held));
    }

    #[tokio::test]
    async fn who_holds_next_to_nothing_goes_before_those_that_hold_more() {
        let budget = Budget::new(MAX);
        let (holder, greedy, modest) = (budget.open(Door::Http), budget.open(Door::Http), budget.open(Door::Quic));
        let (mut held, more) = (holder.force(MAX), greedy.force(24 << 10));
        let woken = [(); 2].map(|()| Arc::new(Woken::default()));
        let [later, sooner] = woken.clone().map(std::task::Waker::from);
        let (mut later, mut sooner) = (std::task::Context::from_waker(&later), std::task::Context::from_waker(&sooner));
        let mut wanted = pin!(greedy.take_soon(1_000, Purpose::Request));
        assert!(wanted.as_mut().poll(&mut later).is_pending());
        let mut first = pin!(modest.take_soon(1_000, Purpose::Request));
        assert!(first.as_mut().poll(&mut sooner).is_pending());
        // Room for one of them.
        drop(held.split(budget.used() - budget.limit(Purpose::Request, 0) + 1_000 * SHARE));
        assert_eq!(woken.map(|woken| woken.0.load(SeqCst)), [false, true]);
        assert!(first.as_mut().poll(&mut sooner).is_ready());
        drop(more);
    }

    #[test]
    fn who_was_told_to_come_back_goes_before_others_that_are_still() {
        let budget = Budget::new(MAX);
        let (served, told) = (budget.open(Door::Http), budget.open(Door::Http));
        for account in [&served, &told] {
            drop(account.work());
            still_for(account, GRACE_SILENT_MS + 1);
        }
        told.turned_away();
        assert_eq!(budget.make_place(Door::Http, 9), 1);
        assert!(told.cut.is_cancelled() && !served.cut.is_cancelled());
        let again = told.work();
        assert!(told.requests.any.load(Relaxed), "until it asks again");
        drop(again);
    }

    #[tokio::test]
    async fn what_is_there_already_counts_while_it_waits_for_room() {
        let budget = Budget::new(MAX);
        let (holder, waiter) = (budget.open(Door::Http), budget.open(Door::Redis));
        let held = holder.force(MAX);
        let (charge, ()) = tokio::join!(waiter.hold(1_000), async {
            assert_eq!(budget.used(), MAX + 1_000);
            drop(held);
        });
        assert_eq!((charge.is_ok(), budget.used()), (true, 1_000));
        drop(charge);
        let _held = holder.force(MAX);
        assert!(waiter.hold(1_000).await.is_err());
        assert_eq!(budget.used(), MAX);
    }

    /// Timers do not run here, as nothing is awaited.
    #[tokio::test]
    async fn who_waits_for_room_is_woken_by_whoever_gives_some_back() {
        let budget = Budget::new(MAX);
        let (holder, waiter) = (budget.open(Door::Http), budget.open(Door::Redis));
        let held = holder.force(MAX);
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut waits = pin!(waiter.take_soon(1_000, Purpose::Request));
        assert!(waits.as_mut().poll(&mut context).is_pending() && !woken.0.load(SeqCst));
        drop(held);
        assert!(woken.0.load(SeqCst));
        assert!(waits.as_mut().poll(&mut context).is_ready());
        assert!(budget.requests.iter().all(|queue| queue.waiting.load(SeqCst) == 0));
    }

    #[tokio::test]
    async fn newcomers_come_in_and_probes_are_answered_while_requests_and_refusals_take_all_that_is_theirs() {
        let budget = Budget::new(MAX);
        let greedy = budget.open(Door::Http);
        let requests = greedy.force(budget.limit(Purpose::Request, usize::MAX));
        let newcomer = budget.open(Door::Http);
        newcomer.begin(24 << 10).await.unwrap();
        let accounts: Vec<_> = (0..2_000).map(|_| budget.open(Door::Http)).collect();
        let refuse = |account| Account::take(account, 6 << 10, Purpose::Refusal).ok();
        let mut refusals: Vec<_> = accounts.iter().cycle().take(9_999).filter_map(refuse).collect();
        assert!(refusals.len() > 1_000 && budget.used() <= budget.limit(Purpose::Refusal, 0));
        assert!(newcomer.take(MAX / 128, Purpose::Probe).is_ok());
        refusals.clear();
        drop((requests, newcomer));
        assert_eq!((budget.used(), budget.bases.load(SeqCst)), (0, 0));
    }

    #[test]
    fn connections_leave_room_for_requests() {
        let budget = Budget::new(1 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(async {
            let mut open = Vec::new();
            loop {
                let account = budget.open(Door::Http);
                let begun = account.begin(16 << 10).await;
                open.push(account);
                if begun.is_err() {
                    break;
                }
            }
            assert_eq!(open.len(), 1 + 40);
            assert!(request(&budget.open(Door::Http), 16 << 10).is_ok());
            drop(open);
            assert_eq!(budget.used(), 0);
        });
    }
}
