//! The engine: owns the replica, between bounded queues, and is driven by one thread at a time (`seat.rs`).
//!
//! It takes what is in the queues, hands it to the replica as events, and carries out the effects. It decides
//! nothing, reads no disk and no network, and never blocks on a queue: the store's threads and the peer links have
//! reserved room, clients are answered `throttled` (I6). While whoever closed a commit syncs it, the next one gathers.

mod awaited;
mod disk;
mod room;
pub(crate) mod rounds;
mod seat;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
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
use disk::{Disk, Writer};
use room::{Place, Room};
use rounds::{Answered, Mailbox, Round};
use seat::Seat;

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

/// How everything else reaches the engine; cheap to clone. Nothing here ever blocks.
#[derive(Clone)]
pub struct EngineHandle {
    submissions: Sender<Round>,
    /// For waiting batches and their operations.
    room: Room,
    inbox: Sender<Delivery>,
    seat: Arc<Seat>,
}

/// A client's batch on its way in.
struct Submission {
    operations: Vec<Operation>,
    terms: Option<Box<Terms>>,
    asker: Asker,
    /// Given back when the engine takes it.
    room: Place,
}

/// Who waits for the answer to a batch.
struct Asker {
    reply: oneshot::Sender<Answer>,
    /// Of the thread that it is on, if that gathers rounds.
    mailbox: Option<Arc<Mailbox>>,
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
    arrivals: Arrivals,
    handle: EngineHandle,
}

/// The engine's ends of its queues.
#[derive(Clone)]
struct Arrivals {
    submissions: Receiver<Round>,
    inbox: Receiver<Delivery>,
}

impl Arrivals {
    /// Whether there is anything that can be taken, rounds only where the replica is open for them.
    fn have_come(&self, open: bool) -> bool {
        !self.inbox.is_empty() || open && !self.submissions.is_empty()
    }
}

/// The queues; at most `batches_max` batches wait, with `operations_max` operations.
///
/// Both have a bound, because a batch costs an answer and each operation the engine's time: whoever is not refused is
/// answered soon.
pub fn queues(batches_max: usize, operations_max: usize) -> (EngineHandle, Inlets) {
    let (submit, submissions) = unbounded();
    let (notify, inbox) = unbounded();
    let room = Room::new(batches_max, operations_max);
    let handle = EngineHandle { submissions: submit, room, inbox: notify, seat: Arc::new(Seat::new()) };
    (handle.clone(), Inlets { arrivals: Arrivals { submissions, inbox }, handle })
}

impl EngineHandle {
    /// Hands a batch over; `Throttled` if the queue is full.
    pub fn submit(&self, operations: Vec<Operation>, terms: Option<Box<Terms>>) -> Result<Awaited, Refusal> {
        let room = self.room.take(operations.len()).ok_or(Refusal::Throttled)?;
        let (reply, answer) = oneshot::channel();
        let haste = terms.as_deref().filter(|terms| terms.may_wait()).map(|_| Arc::new(Haste::default()));
        let asker = Asker { reply, mailbox: rounds::mailbox(), haste: haste.clone() };
        rounds::submit(self, Submission { operations, terms, asker, room })
            .map_err(|()| Refusal::Fenced("the engine has ended".into()))?;
        Ok(Awaited::new(answer, haste.map(|haste| (haste, self.clone()))))
    }

    /// The largest batch that would not be `Throttled` now: for doors that want to know before they look into it.
    pub fn room(&self) -> usize {
        self.room.left()
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
        self.put(Delivery::Inspect(reply, None))?;
        status.await.ok()
    }

    /// The same for a client; `room` is given back once it is answered, even if nobody waits for it any more.
    pub async fn status_for(&self, room: OwnedSemaphorePermit) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.put(Delivery::Inspect(reply, Some(room)))?;
        status.await.ok()
    }

    /// A page of counters; `room` is given back once it is made, even if nobody waits for it any more. `None` if the
    /// engine has ended.
    pub async fn list(&self, list: List, room: OwnedSemaphorePermit) -> Option<Listing> {
        let (reply, page) = oneshot::channel();
        self.put(Delivery::List(list, Lister { reply, _room: room }))?;
        page.await.ok()
    }

    /// Tells the replica that something happened.
    pub fn notify(&self, event: Event) {
        self.put(Delivery::Event(event));
    }

    /// Delivers a peer's message; `room` is given back once the replica has handled it.
    pub fn deliver(&self, from: Peer, message: Message, room: OwnedSemaphorePermit) {
        self.put(Delivery::Message(from, message, room));
    }

    /// Ends the engine after what it has in hand. Drain first.
    pub fn stop(&self) {
        self.put(Delivery::Stop);
    }

    /// Puts a delivery before the engine's own thread; `None` if the engine has ended, which needs none.
    fn put(&self, delivery: Delivery) -> Option<()> {
        self.inbox.send(delivery).ok()?;
        self.seat.call();
        Some(())
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
    let Inlets { arrivals, handle } = inlets;
    let (disk, writer) = (Disk::start(store, &handle, &outlets.news)?, Writer::new(store, &outlets.news));
    let (watch, news) = (Stopwatch::start(), outlets.news.clone());
    thread::Builder::new().name("engine".into()).spawn(move || {
        let _tripwire = Tripwire(&news);
        let replica = begin(watch.elapsed_ms());
        let engine = Engine {
            replica,
            watch,
            arrivals,
            disk,
            outlets,
            line: VecDeque::new(),
            answered: Vec::new(),
            tickets: Slab::new(),
            listers: Slab::new(),
            asked: VecDeque::new(),
            is_stopped: false,
        };
        handle.seat.serve(engine, writer);
    })
}

/// Tells the node if whoever holds it panics: then nobody answers any more.
struct Tripwire<'a>(&'a mpsc::UnboundedSender<News>);

impl Drop for Tripwire<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(News::Failed("the engine or a store thread has panicked".into()));
        }
    }
}

struct Engine {
    replica: Replica,
    watch: Stopwatch,
    arrivals: Arrivals,
    disk: Disk,
    outlets: Outlets,
    /// Batches whose round was taken while the replica had room for some of it.
    line: VecDeque<Submission>,
    /// Answers that go to threads together.
    answered: Vec<(Arc<Mailbox>, Vec<Answered>)>,
    /// Who waits for an answer, by ticket.
    tickets: Slab<Asker>,
    /// Who waits for a page, by ticket.
    listers: Slab<Lister>,
    /// Who asked for a status, in order.
    asked: VecDeque<oneshot::Sender<Status>>,
    /// Nothing more is carried out.
    is_stopped: bool,
}

impl Engine {
    /// Carries out what has come, as far as the replica has room for it. What is to be written waits for
    /// [`Self::next_write`].
    fn turn(&mut self) {
        loop {
            self.take_waiting();
            // Answers go out before the next commit closes, so that whoever asks again at once may still be part of it.
            while self.replica.has_effects()
                && let Some(effect) = self.replica.poll()
            {
                self.carry_out(effect);
            }
            self.send_answers();
            while let Some(effect) = self.replica.poll() {
                self.carry_out(effect);
            }
            self.send_answers();
            if self.is_stopped || self.line.is_empty() || !self.replica.has_room() {
                break;
            }
        }
    }

    /// Tells the replica that time has passed, if it waits for that.
    fn tick(&mut self) {
        if self.watch.elapsed_ms() >= self.replica.deadline() {
            self.happen(Event::Tick);
        }
    }

    fn deadline(&self) -> u64 {
        self.replica.deadline()
    }

    fn next_write(&mut self) -> Option<Job> {
        self.disk.next_write()
    }

    /// What came of the last write, unless nothing is written any more.
    fn written(&mut self, event: Option<Event>) {
        self.disk.written();
        event.into_iter().for_each(|event| self.happen(event));
    }

    /// Whether more batches can be taken.
    fn is_open(&self) -> bool {
        self.replica.has_room()
    }

    fn has_writes(&self) -> bool {
        self.disk.has_writes()
    }

    fn news(&self) -> mpsc::UnboundedSender<News> {
        self.outlets.news.clone()
    }

    fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    fn take_waiting(&mut self) {
        for _ in 0..DELIVERIES_PER_TURN {
            let Ok(delivery) = self.arrivals.inbox.try_recv() else { break };
            self.take(delivery);
        }
        // The replica is asked for room before each batch, so that a commit does not outgrow its bound (I6).
        while !self.is_stopped && self.replica.has_room() {
            let Some(submission) = self.next_in_line() else { break };
            self.submit(submission);
        }
    }

    fn next_in_line(&mut self) -> Option<Submission> {
        if self.line.is_empty() {
            self.line.extend(self.arrivals.submissions.try_recv().ok()?);
        }
        self.line.pop_front()
    }

    fn take(&mut self, delivery: Delivery) {
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
            Delivery::Stop => self.is_stopped = true,
        }
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
            Effect::Disk(job) => match self.disk.at_hand(&job) {
                Some(event) => self.happen(event),
                None => self.disk.queue(job),
            },
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

    fn mint(&mut self) {
        match getrandom::u64() {
            Ok(random) => self.disk.queue(Job::Mint(ReplicaId::new(self.replica.worker(), random))),
            Err(error) => self.tell(News::Failed(format!("the system gives no randomness: {error}"))),
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Answer) {
        let asker = usize::try_from(ticket).ok().and_then(|ticket| self.tickets.try_remove(ticket));
        let Some(Asker { reply, mailbox, .. }) = asker else { return };
        let Some(mailbox) = mailbox else {
            // A client that has gone away needs no answer.
            let _ = reply.send(answer);
            return;
        };
        match self.answered.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &mailbox)) {
            Some((_, answers)) => answers.push((reply, answer)),
            None => self.answered.push((mailbox, vec![(reply, answer)])),
        }
    }

    /// What was answered goes to the threads that wait for it.
    fn send_answers(&mut self) {
        let answered = self.answered.iter_mut().filter(|(_, answers)| !answers.is_empty());
        answered.for_each(|(mailbox, answers)| mailbox.put(answers));
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
        let (submissions, submitted) = unbounded::<Round>();
        let (inbox, delivered) = unbounded();
        thread::spawn(move || {
            for Submission { operations, terms, asker, .. } in submitted.into_iter().flatten() {
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
        Self { submissions, room: Room::new(16, 1 << 20), inbox, seat: Arc::new(Seat::new()) }
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
        let (submissions, _) = unbounded();
        let (inbox, arrivals) = unbounded();
        let next = move |limit| match arrivals.recv_timeout(limit).ok()? {
            Delivery::Event(event) => Some(Recorded::Event(event)),
            Delivery::Message(from, message, room) => Some(Recorded::Message(from, message, room)),
            Delivery::Inspect(..) | Delivery::List(..) | Delivery::Hurry(_) | Delivery::Stop => None,
        };
        (Self { submissions, room: Room::new(0, 1), inbox, seat: Arc::new(Seat::new()) }, Box::new(next))
    }
}

#[cfg(test)]
mod tests;
