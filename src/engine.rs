//! The engine: one thread that owns the replica, between bounded queues.
//!
//! It takes what is in the queues, hands it to the replica as events, and carries out the effects. It decides
//! nothing, reads no disk and no network, and never blocks on a queue: the store's threads and the peer links have
//! reserved room, clients are answered `throttled` (I6). While one commit is being synced, the next one gathers.

mod awaited;
mod disk;
mod room;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select_biased, unbounded};
use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::clock::Stopwatch;
use crate::identity::{Peer, ReplicaId, WorkerId};
#[cfg(test)]
use crate::replica::Token;
use crate::replica::{
    self, Effect, Event, Job, Message, Notice, Operation, Outcome, Refusal, Replica, Settings, Status,
};
use crate::replica::{List, Page, Receipt, Recovered, Terms, Ticket};
use crate::store::Store;

use awaited::Haste;
use disk::Disk;
use room::Room;

pub use awaited::Awaited;

/// The answer to a batch, or why nothing was applied.
pub type Answer = Result<Applied, Refusal>;

/// A batch that was applied.
#[derive(Debug, Default)]
pub struct Applied {
    /// One per operation.
    pub outcomes: Vec<Outcome>,
    /// What its terms asked for, if it had any.
    pub receipt: Option<Box<Receipt>>,
}

/// A page of counters, or why there is none.
pub type Listing = Result<Page, Refusal>;

/// Deliveries that are handled before the effects are carried out, so that neither queue starves the other.
const DELIVERIES_PER_TURN: usize = 4_096;

/// How often more is waited for before a commit closes.
const GATHERINGS_MAX: usize = 16;

/// How everything else reaches the engine; cheap to clone. Nothing here ever blocks.
#[derive(Clone)]
pub struct EngineHandle {
    submissions: Sender<Submission>,
    /// For the operations of waiting batches.
    room: Room,
    inbox: Sender<Delivery>,
}

/// A client's batch on its way in.
struct Submission {
    operations: Vec<Operation>,
    terms: Option<Box<Terms>>,
    asker: Asker,
    /// Given back when the engine takes it.
    room: OwnedSemaphorePermit,
}

/// Who waits for the answer to a batch.
struct Asker {
    reply: oneshot::Sender<Answer>,
    /// `None` if it waits for nothing but the commit.
    haste: Option<Arc<Haste>>,
}

/// Everything else on its way in. This queue has no bound of its own, because each sender holds reserved room: the
/// store answers only what the replica asked, and each peer link holds a permit for every message it delivers (I6).
enum Delivery {
    Event(Event),
    Message(Peer, Message, OwnedSemaphorePermit),
    Inspect(oneshot::Sender<Status>, Option<OwnedSemaphorePermit>),
    List(List, Lister),
    /// Whoever waits for this batch, if it is one that is in a hurry, waits no longer.
    Hurry(Ticket),
    Stop,
}

/// Who waits for a page, and its place among those who may.
struct Lister {
    reply: oneshot::Sender<Listing>,
    _room: OwnedSemaphorePermit,
}

/// What the node has to hear from the engine.
#[derive(Debug)]
pub enum News {
    /// Counters are served under this incarnation.
    Serving(ReplicaId),
    /// IDs may begin above this ceiling.
    ClaimIds {
        /// In milliseconds of the ID epoch.
        ceiling: u64,
        /// It is above what somebody else had under this worker id.
        quarantined: bool,
    },
    /// A peer's ID ceiling has moved.
    Witness(WorkerId, u64),
    /// For the log.
    Notice(Notice),
    /// The node has fenced itself.
    Fenced(String),
    /// The drain is over; the region that holds our log, if any.
    Drained(Option<u8>),
    /// The store or the engine has failed: nothing is acknowledged any more (I9).
    Failed(String),
}

/// Where the engine's effects go beside the store.
pub struct Outlets {
    /// Sends to a peer or drops.
    pub send: Box<dyn Fn(WorkerId, Message) + Send>,
    /// To the node.
    pub news: mpsc::UnboundedSender<News>,
}

/// The engine's ends of its queues, until it is started.
pub struct Inlets {
    submissions: Receiver<Submission>,
    inbox: Receiver<Delivery>,
    handle: EngineHandle,
}

/// The queues; at most `batches_max` batches wait, with `operations_max` operations.
///
/// Both have a bound, because a batch costs an answer and each operation the engine's time: whoever is not refused is
/// answered soon.
pub fn queues(batches_max: usize, operations_max: usize) -> (EngineHandle, Inlets) {
    let (submit, submissions) = bounded(batches_max);
    let (notify, inbox) = unbounded();
    let handle = EngineHandle { submissions: submit, room: Room::new(operations_max), inbox: notify };
    (handle.clone(), Inlets { submissions, inbox, handle })
}

impl EngineHandle {
    /// Hands a batch over; `Throttled` if the queue is full.
    pub fn submit(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Result<Awaited, Refusal> {
        let room = self.room.take(operations.len()).ok_or(Refusal::Throttled)?;
        let (reply, answer) = oneshot::channel();
        let haste = terms.as_deref().filter(|terms| terms.may_wait()).map(|_| Arc::new(Haste::default()));
        let asker = Asker { reply, haste: haste.clone() };
        match self.submissions.try_send(Submission { operations, terms, asker, room }) {
            Ok(()) => Ok(Awaited::new(answer, haste.map(|haste| (haste, self.inbox.clone())))),
            Err(TrySendError::Full(_)) => Err(Refusal::Throttled),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Fenced("the engine has ended".into())),
        }
    }

    /// The largest batch that would not be `Throttled` now: for doors that want to know before they look into it.
    pub fn room(&self) -> usize {
        if self.submissions.is_full() { 0 } else { self.room.left() }
    }

    /// [`Self::submit`], and waits for the answer. `None` if the engine ended before it answered: whether writes
    /// happened is unknown.
    pub async fn apply(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Option<Answer> {
        self.apply_while(operations, terms, std::future::pending()).await
    }

    /// [`Self::apply`], but once `leaving` ends, the batch waits for nothing that its terms ask any more.
    pub async fn apply_while(
        &self,
        operations: Vec<Operation>,
        terms: Option<Box<Terms>>,
        leaving: impl Future<Output = ()>,
    ) -> Option<Answer> {
        let mut answer = match self.submit(operations, terms) {
            Ok(answer) => answer,
            Err(refusal) => return Some(Err(refusal)),
        };
        tokio::select! {
            biased;
            answer = &mut answer => return answer.ok(),
            () = leaving => answer.hurry(),
        }
        answer.await.ok()
    }

    /// The replica's view of itself; `None` if the engine has ended.
    pub async fn status(&self) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.inbox.send(Delivery::Inspect(reply, None)).ok()?;
        status.await.ok()
    }

    /// The same for a client; `room` is given back once it is answered, even if nobody waits for it any more.
    pub async fn status_for(&self, room: OwnedSemaphorePermit) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.inbox.send(Delivery::Inspect(reply, Some(room))).ok()?;
        status.await.ok()
    }

    /// A page of counters; `room` is given back once it is made, even if nobody waits for it any more. `None` if the
    /// engine has ended.
    pub async fn list(&self, list: List, room: OwnedSemaphorePermit) -> Option<Listing> {
        let (reply, page) = oneshot::channel();
        self.inbox.send(Delivery::List(list, Lister { reply, _room: room })).ok()?;
        page.await.ok()
    }

    /// Tells the replica that something happened.
    pub fn notify(&self, event: Event) {
        // An engine that has ended needs no news.
        let _ = self.inbox.send(Delivery::Event(event));
    }

    /// Delivers a peer's message; `room` is given back once the replica has handled it.
    pub fn deliver(&self, from: Peer, message: Message, room: OwnedSemaphorePermit) {
        let _ = self.inbox.send(Delivery::Message(from, message, room));
    }

    /// Ends the engine after what it has in hand. Drain first.
    pub fn stop(&self) {
        let _ = self.inbox.send(Delivery::Stop);
    }
}

/// Starts the engine and the store's threads.
pub fn start(
    inlets: Inlets,
    settings: Settings,
    recovered: Recovered,
    store: &Arc<Store>,
    outlets: Outlets,
) -> std::io::Result<JoinHandle<()>> {
    run(inlets, store, outlets, |now| Replica::new(settings, recovered, now))
}

/// Starts one that only answers reads.
pub fn start_reading(
    inlets: Inlets,
    settings: Settings,
    recovered: Recovered,
    room: replica::Disk,
    store: &Arc<Store>,
    outlets: Outlets,
) -> std::io::Result<JoinHandle<()>> {
    run(inlets, store, outlets, move |now| Replica::reading(settings, recovered, room, now))
}

fn run(
    inlets: Inlets,
    store: &Arc<Store>,
    outlets: Outlets,
    begin: impl FnOnce(u64) -> Replica + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let disk = Disk::start(store, &inlets.handle, &outlets.news)?;
    let watch = Stopwatch::start();
    let Inlets { submissions, inbox, handle: _ } = inlets;
    let tripwire = Tripwire(outlets.news.clone());
    thread::Builder::new().name("engine".into()).spawn(move || {
        let _tripwire = tripwire;
        let replica = begin(watch.elapsed_ms());
        Engine {
            replica,
            watch,
            submissions,
            inbox,
            disk,
            outlets,
            tickets: Slab::new(),
            listers: Slab::new(),
            asked: VecDeque::new(),
        }
        .run();
    })
}

/// Tells the node if its thread dies by a panic: then nobody answers any more.
struct Tripwire(mpsc::UnboundedSender<News>);

impl Drop for Tripwire {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(News::Failed("the engine or a store thread has panicked".into()));
        }
    }
}

struct Engine {
    replica: Replica,
    watch: Stopwatch,
    submissions: Receiver<Submission>,
    inbox: Receiver<Delivery>,
    disk: Disk,
    outlets: Outlets,
    /// Who waits for an answer, by ticket.
    tickets: Slab<Asker>,
    /// Who waits for a page, by ticket.
    listers: Slab<Lister>,
    /// Who asked for a status, in order.
    asked: VecDeque<oneshot::Sender<Status>>,
}

impl Engine {
    fn run(mut self) {
        while self.turn() {
            // Answers go out before the next commit closes, so that whoever asks again at once may still be part of it.
            while self.replica.has_effects()
                && let Some(effect) = self.replica.poll()
            {
                self.carry_out(effect);
            }
            if !self.gather() {
                break;
            }
            while let Some(effect) = self.replica.poll() {
                self.carry_out(effect);
            }
        }
    }

    /// Takes what comes as long as something comes each time that others had the processor, before a commit closes: a
    /// sync costs the same for one batch as for many. Alone, a client waits for no timer. False once the engine is to
    /// stop.
    fn gather(&mut self) -> bool {
        for _ in 0..GATHERINGS_MAX {
            if !self.replica.would_commit() {
                break;
            }
            thread::yield_now();
            if self.submissions.is_empty() && self.inbox.is_empty() {
                break;
            }
            if !self.take_waiting() {
                return false;
            }
        }
        true
    }

    /// Waits for something to happen and takes what is there; false once the engine is to stop.
    fn turn(&mut self) -> bool {
        let deadline = self.watch.at(self.replica.deadline());
        // The replica is asked for room before each batch, so that a commit does not outgrow its bound (I6).
        let open = self.replica.has_room();
        let never = crossbeam_channel::never();
        let submissions = if open { &self.submissions } else { &never };
        let going = select_biased! {
            recv(self.inbox) -> delivery => delivery.is_ok_and(|delivery| self.take(delivery)),
            recv(submissions) -> submission => match submission {
                Ok(submission) => { self.submit(submission); true }
                Err(_) => false,
            },
            recv(crossbeam_channel::at(deadline)) -> _ => { self.happen(Event::Tick); true }
        };
        going && self.take_waiting()
    }

    fn take_waiting(&mut self) -> bool {
        for _ in 0..DELIVERIES_PER_TURN {
            let Ok(delivery) = self.inbox.try_recv() else { break };
            if !self.take(delivery) {
                return false;
            }
        }
        while self.replica.has_room() {
            let Ok(submission) = self.submissions.try_recv() else { break };
            self.submit(submission);
        }
        true
    }

    fn take(&mut self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Event(event) => self.happen(event),
            Delivery::Message(from, message, _room) => self.happen(Event::Received { from, message }),
            Delivery::Inspect(reply, _room) => {
                self.asked.push_back(reply);
                self.happen(Event::Inspect(0));
            }
            Delivery::List(list, lister) => {
                let ticket = self.listers.insert(lister) as Ticket;
                self.happen(Event::List { ticket, list });
            }
            Delivery::Hurry(ticket) => {
                let asker = usize::try_from(ticket).ok().and_then(|ticket| self.tickets.get(ticket));
                // The ticket may be another's by now.
                if asker.and_then(|asker| asker.haste.as_deref()).is_some_and(Haste::asked) {
                    self.happen(Event::Hurry(ticket));
                }
            }
            Delivery::Stop => return false,
        }
        true
    }

    fn submit(&mut self, Submission { operations, terms, asker, room }: Submission) {
        drop(room);
        let haste = asker.haste.clone();
        let ticket = self.tickets.insert(asker) as Ticket;
        self.happen(Event::Submit { ticket, operations, terms });
        if haste.is_some_and(|haste| haste.taken(ticket)) {
            self.take(Delivery::Hurry(ticket));
        }
    }

    fn happen(&mut self, event: Event) {
        self.replica.handle(self.watch.elapsed_ms(), event);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Disk(job) => self.disk.queue(job),
            Effect::Mint => self.mint(),
            Effect::Reply { ticket, answer, receipt } => {
                self.reply(ticket, answer.map(|outcomes| Applied { outcomes, receipt }));
            }
            Effect::Listed { ticket, answer } => self.listed(ticket, answer),
            Effect::Status { status, .. } => {
                if let Some(reply) = self.asked.pop_front() {
                    let _ = reply.send(*status);
                }
            }
            Effect::Send { to, message } => (self.outlets.send)(to, message),
            Effect::Serving(replica) => self.tell(News::Serving(replica)),
            Effect::ClaimIds { ceiling, quarantined } => self.tell(News::ClaimIds { ceiling, quarantined }),
            Effect::Witness { worker, ceiling } => self.tell(News::Witness(worker, ceiling)),
            Effect::Notice(notice) => self.tell(News::Notice(notice)),
            Effect::Fence(reason) => self.tell(News::Fenced(reason)),
            Effect::Drained(region) => self.tell(News::Drained(region)),
        }
    }

    fn mint(&self) {
        match getrandom::u64() {
            Ok(random) => self.disk.queue(Job::Mint(ReplicaId::new(self.replica.worker(), random))),
            Err(error) => self.tell(News::Failed(format!("the system gives no randomness: {error}"))),
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Answer) {
        let asker = usize::try_from(ticket).ok().and_then(|ticket| self.tickets.try_remove(ticket));
        if let Some(asker) = asker {
            // A client that has gone away needs no answer.
            let _ = asker.reply.send(answer);
        }
    }

    fn listed(&mut self, ticket: Ticket, answer: Listing) {
        let lister = usize::try_from(ticket).ok().and_then(|ticket| self.listers.try_remove(ticket));
        if let Some(lister) = lister {
            // As for an answer.
            let _ = lister.reply.send(answer);
        }
    }

    fn tell(&self, news: News) {
        let _ = self.outlets.news.send(news);
    }
}

/// What a fake engine says to a batch.
#[cfg(test)]
pub(crate) type Fake = Result<Vec<Outcome>, Refusal>;

#[cfg(test)]
impl EngineHandle {
    /// An engine for tests of front doors: answers every batch with `answer` and every inspection with the default
    /// status, each on a thread of its own, until the last handle is gone or `answer` panics.
    pub(crate) fn fake(mut answer: impl FnMut(Vec<Operation>) -> Fake + Send + 'static) -> Self {
        Self::fake_on_terms(move |operations, terms| {
            let token = terms.filter(|terms| terms.wants_token).map(|_| Token::default());
            let receipt = token.map(|token| Box::new(Receipt { token: Some(token), ..Receipt::default() }));
            answer(operations).map(|outcomes| Applied { outcomes, receipt })
        })
    }

    /// As [`Self::fake`], for tests of terms.
    pub(crate) fn fake_on_terms(
        mut answer: impl FnMut(Vec<Operation>, Option<Box<Terms>>) -> Answer + Send + 'static,
    ) -> Self {
        let (submissions, submitted) = bounded::<Submission>(16);
        let (inbox, delivered) = unbounded();
        thread::spawn(move || {
            for Submission { operations, terms, asker, .. } in submitted {
                let _ = asker.reply.send(answer(operations, terms));
            }
        });
        thread::spawn(move || {
            for delivery in delivered {
                match delivery {
                    Delivery::Inspect(reply, _) => {
                        let _ = reply.send(Status::default());
                    }
                    Delivery::List(list, lister) => {
                        let _ = lister.reply.send(Ok(fake_page(&list)));
                    }
                    _ => {}
                }
            }
        });
        Self { submissions, room: Room::new(1 << 20), inbox }
    }
}

/// Counters `c0` to `c6`, each 7.
#[cfg(test)]
fn fake_page(list: &List) -> Page {
    let keys = (0..7).map(|number| format!("c{number}"));
    let keys = keys.filter(|key| list.after.as_ref().is_none_or(|after| **after < **key));
    let mut keys =
        keys.filter(|key| key.starts_with(&list.prefix)).filter_map(|key| snowtide_protocol::Key::new(key).ok());
    let counters: Vec<_> = keys.by_ref().take(list.limit).map(|key| (key, 7)).collect();
    let last = counters.last().map(|(key, _)| key.clone());
    Page { counters, next: keys.next().and(last) }
}

/// What reached a recording handle.
#[cfg(test)]
pub(crate) enum Recorded {
    Event(Event),
    /// The message, with the sender's room for it.
    #[allow(dead_code)] // the room is held, not looked at
    Message(Peer, Message, OwnedSemaphorePermit),
}

#[cfg(test)]
impl EngineHandle {
    /// A handle without an engine: what reaches it can be asked for, with a limit of time.
    pub(crate) fn recording() -> (Self, Box<dyn Fn(std::time::Duration) -> Option<Recorded> + Send>) {
        let (submissions, _) = bounded(0);
        let (inbox, arrivals) = unbounded();
        let next = move |limit| match arrivals.recv_timeout(limit).ok()? {
            Delivery::Event(event) => Some(Recorded::Event(event)),
            Delivery::Message(from, message, room) => Some(Recorded::Message(from, message, room)),
            Delivery::Inspect(..) | Delivery::List(..) | Delivery::Hurry(_) | Delivery::Stop => None,
        };
        (Self { submissions, room: Room::new(1), inbox }, Box::new(next))
    }
}
