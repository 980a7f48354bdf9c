//! One stream: the greeting, then requests in and answers out.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use quinn::{RecvStream, SendStream};
use snowtide_protocol::codec;
use snowtide_protocol::frame::{self, FrameBuffer, FrameTooLong};
use snowtide_protocol::wire::{Greeting, HELLO_BYTES_MAX, Hello, close};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::answer::{IdBatch, Submission};
use super::intake::{Closed, Intake, Taken};
use super::{DOOR, Door, Ending, greeting};
use crate::api::bearer::Pass;
use crate::api::budget::{Account, Charge, NoRoom, Owed, Purpose, Working};
use crate::api::gate::Mints;
use crate::api::{Refused, Stage};
use crate::audit;
use crate::clock;
use crate::engine::Applied;
use crate::telemetry::Verb;

/// What a stream takes by itself, its task and what QUIC keeps of it.
const STREAM_BYTES: usize = 8 << 10;
/// What an answer takes beside its frames.
const ANSWER_BYTES: usize = 128;
/// What requests for IDs that came together take.
const IDS_BYTES: usize = 1 << 10;
/// How long a stream may find no room, while nothing of it is in our hands.
const STARVING_TIMEOUT: Duration = Duration::from_secs(1);
/// How soon it looks again, where another stream of its connection waits for room already.
const ROOM_PAUSE: Duration = Duration::from_millis(25);

/// Unanswered requests of a stream may weigh as much as so many of the longest frames; then it is not read further.
const FRAMES_HELD_MAX: usize = 4;

/// A node that has shut down waits this long for a client to confirm its last answers.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one stream to its end. An error is meant for the whole connection.
pub(super) async fn converse<B: Mints>(
    door: Arc<Door<B>>,
    places: Arc<Semaphore>,
    account: Arc<Account>,
    send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Ending> {
    let charge = room_for_stream(&account).await?;
    let mut buffer = FrameBuffer::new(HELLO_BYTES_MAX);
    let hello = match timeout(door.limits.request_timeout, read_hello(&mut recv, &mut buffer)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(ending)) => return Err(ending),
        Err(_) => return Err(Ending::new(close::STALLED, "no hello in time")),
    };
    buffer.set_limit(door.limits.frame_bytes_max);
    let (greeting, pass) = match greeting::greet(&door, &hello).await {
        Ok((welcome, pass)) => (Greeting::Welcome(welcome), Some(pass)),
        Err(refusal) => (Greeting::Refused(refusal), None),
    };
    let mut session = Session {
        door,
        places,
        account,
        charge,
        buffer,
        unfinished: None,
        work: FuturesUnordered::new(),
        held: 0,
        unsent: Vec::new(),
        send,
    };
    session.queue(&greeting);
    match pass {
        Some(pass) => session.run(&mut recv, pass).await,
        None => {
            session.flush().await?;
            session.finish();
            Ok(())
        }
    }
}

/// The first frame; `None` if the stream ends instead.
async fn read_hello(recv: &mut RecvStream, buffer: &mut FrameBuffer) -> Result<Option<Hello>, Ending> {
    loop {
        if let Some(frame) = buffer.next_frame().map_err(too_long)? {
            let hello = codec::decode(frame).map_err(|error| Ending::malformed(format_args!("hello: {error}")))?;
            return Ok(Some(hello));
        }
        match recv.read(buffer.room()).await {
            Ok(Some(count)) => buffer.filled(count),
            Ok(None) | Err(_) => return Ok(None),
        }
    }
}

async fn drained(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage == Stage::Drained).await;
}

/// Waits a while for the room that a new stream takes; several of one connection do so one after the other.
async fn room_for_stream(account: &Arc<Account>) -> Result<Charge, Ending> {
    let began = clock::monotonic();
    loop {
        if let Some(room) = find_room(account, STREAM_BYTES).await {
            return Ok(room);
        }
        if began.elapsed() > STARVING_TIMEOUT {
            return Err(Ending::overloaded());
        }
    }
}

/// Room for so much more, in the order in which all that ask for some came; `None` if there is none for a while.
async fn find_room(account: &Arc<Account>, bytes: usize) -> Option<Charge> {
    let room = account.take_soon(bytes, Purpose::Request).await.ok();
    if room.is_none() {
        sleep(ROOM_PAUSE).await;
    }
    room
}

/// A stream that is served.
struct Session<B> {
    door: Arc<Door<B>>,
    places: Arc<Semaphore>,
    account: Arc<Account>,
    /// For the stream itself and its buffer.
    charge: Charge,
    buffer: FrameBuffer,
    /// Since when a frame has been arriving.
    unfinished: Option<(Instant, Owed)>,
    send: SendStream,
    /// One for each submission, which waits for the answer and encodes it.
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What the unanswered requests weigh.
    held: usize,
    /// Frames to be written, all of them at once.
    unsent: Vec<u8>,
}

/// An answered submission.
struct Done {
    frames: Vec<u8>,
    weight: usize,
    places: Option<OwnedSemaphorePermit>,
    /// Until its answer is queued.
    _charge: (Charge, Working),
}

impl<B: Mints> Session<B> {
    /// Until the client has finished its side and has all its answers, or either end gives up.
    async fn run(mut self, recv: &mut RecvStream, mut pass: Pass) -> Result<(), Ending> {
        let held_max = self.door.limits.frame_bytes_max.saturating_mul(FRAMES_HELD_MAX);
        let (mut open, mut starving) = (true, None);
        let mut stage = self.door.gate.stage.clone();
        // The first frames may have come with the hello.
        self.take_frames(&mut pass).await?;
        loop {
            self.flush().await?;
            let has_room = self.has_room();
            if has_room || !open || !self.work.is_empty() {
                starving = None;
            } else if starving.get_or_insert_with(clock::monotonic).elapsed() > STARVING_TIMEOUT {
                return Err(Ending::overloaded());
            }
            let wanted = self.bytes().saturating_sub(self.charge.bytes());
            let until = self.unfinished.as_ref().map_or_else(clock::monotonic, |(since, _)| *since);
            let until = tokio::time::Instant::from_std(until) + self.door.limits.request_timeout;
            tokio::select! {
                room = find_room(&self.account, wanted), if open && !has_room => {
                    room.into_iter().for_each(|room| self.charge.join(room));
                }
                () = sleep_until(until), if open && has_room && self.unfinished.is_some() => {
                    return Err(Ending::new(close::STALLED, "a frame did not end in time"));
                }
                read = recv.read(self.buffer.room()), if open && has_room && self.held < held_max => match read {
                    Ok(Some(count)) => {
                        self.buffer.filled(count);
                        self.take_frames(&mut pass).await?;
                    }
                    Ok(None) => open = false,
                    // The client has gone, with or without its connection: nobody waits for the answers.
                    Err(_) => return Ok(()),
                },
                // Not an error if the node is gone without a word: then the connection is, too.
                () = drained(&mut stage), if open => open = false,
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    self.settle(done);
                    // Answers of a commit leave together.
                    while let Some(Some(done)) = self.work.next().now_or_never() {
                        self.settle(done);
                    }
                }
                else => break,
            }
        }
        self.finish();
        if *stage.borrow() == Stage::Drained {
            // Closing the connection would discard answers that have not arrived.
            let _ = timeout(FAREWELL_TIMEOUT, self.send.stopped()).await;
            return Err(Ending::new(close::DONE, "the node has shut down"));
        }
        Ok(())
    }

    /// Whether there is room for the next read, which is charged. Answers that the client does not take leave none.
    fn has_room(&mut self) -> bool {
        let bytes = self.bytes();
        !self.account.is_over() && self.charge.resize(bytes, Purpose::Request).is_ok()
    }

    /// What the stream itself takes, with its buffer.
    fn bytes(&mut self) -> usize {
        STREAM_BYTES.saturating_add(self.buffer.capacity())
    }

    /// Takes in every whole frame that has arrived.
    async fn take_frames(&mut self, pass: &mut Pass) -> Result<(), Ending> {
        let withdrawn = self.door.bearers.renew(pass).err();
        let withdrawn = withdrawn.map(|stranger| {
            audit::turned_away(DOOR, &self.door.from, pass.grant().name(), &stranger);
            Refused::from(stranger)
        });
        let closed = match withdrawn {
            Some(stranger) => Closed::entirely(&stranger),
            None => Closed::at(&self.door.gate.stage.borrow()),
        };
        let room = self.door.gate.room();
        let Door { namespaces, terms_codec, decider, .. } = &*self.door;
        let mut intake = Intake::new(namespaces, terms_codec, pass.grant(), decider, closed, &self.places, room);
        let mut any = false;
        while let Some(frame) = self.buffer.next_frame().map_err(too_long)? {
            intake.take(frame).map_err(Ending::malformed)?;
            any = true;
        }
        let Taken { submissions, ids, answers, forbidden } = intake.finish();
        if let Some(why) = forbidden {
            audit::turned_away(DOOR, &self.door.from, pass.grant().name(), &why);
        }
        if self.buffer.is_empty() {
            self.unfinished = None;
        } else if any || self.unfinished.is_none() {
            self.unfinished = Some((clock::monotonic(), self.account.owe()));
        } else if let Some((_, owed)) = &mut self.unfinished {
            owed.moved();
        }
        for submission in submissions {
            self.submit(submission).await;
        }
        for ids in ids {
            self.mint(ids).await;
        }
        self.push(&answers);
        Ok(())
    }

    /// Hands a submission to the engine.
    async fn submit(&mut self, mut submission: Submission) {
        let operations = std::mem::take(&mut submission.operations);
        let terms = submission.terms.take();
        let terms_codec = Arc::clone(&self.door.terms_codec);
        if operations.is_empty() {
            return self.push(&submission.answer(Ok(Applied::default()), &terms_codec).0);
        }
        let weight = submission.weight();
        let Ok(charge) = self.account.take_in_time(weight, Purpose::Request).await else {
            return self.push(&submission.answer(Err(NoRoom.into()), &terms_codec).0);
        };
        let charge = (charge, self.account.work());
        let gate = Arc::clone(&self.door.gate);
        let limit = gate.limit(terms.as_deref());
        match gate.submit(operations, terms) {
            Ok(submitted) => {
                self.held = self.held.saturating_add(weight);
                self.work.push(Box::pin(async move {
                    let applied = gate.carry_out(Verb::Batch, limit, submitted.answer(pending())).await;
                    let (frames, places) = submission.answer(applied, &terms_codec);
                    Done { frames, weight, places, _charge: charge }
                }));
            }
            Err(refused) => self.push(&submission.answer(Err(refused), &terms_codec).0),
        }
    }

    /// Hands requests for IDs to the ID source.
    async fn mint(&mut self, ids: IdBatch) {
        let gate = Arc::clone(&self.door.gate);
        let Ok(charge) = self.account.take_soon(IDS_BYTES, Purpose::Request).await else {
            return self.push(&ids.answer(Err(NoRoom.into())).0);
        };
        let charge = (charge, self.account.work());
        self.work.push(Box::pin(async move {
            let runs = gate.carry_out(Verb::MintIds, gate.limit(None), gate.mint(ids.total())).await;
            let (frames, places) = ids.answer(runs);
            Done { frames, weight: 0, places, _charge: charge }
        }));
    }

    /// Queues an answer. Its places are free before the client can know it, so an honest client is never throttled.
    fn settle(&mut self, Done { frames, weight, places, _charge }: Done) {
        self.held = self.held.saturating_sub(weight);
        drop(places);
        self.push(&frames);
    }

    fn queue(&mut self, greeting: &Greeting) {
        frame::append(greeting, &mut self.unsent);
    }

    fn push(&mut self, frames: &[u8]) {
        self.unsent.extend_from_slice(frames);
    }

    /// Writes everything that is queued, at once.
    async fn flush(&mut self) -> Result<(), Ending> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let frames = std::mem::take(&mut self.unsent);
        let charge = self.account.force(frames.len().saturating_add(ANSWER_BYTES));
        let sent = self.account.send(frames.into(), Arc::new(charge));
        match timeout(self.door.limits.write_timeout, self.send.write_chunk(sent)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ending::new(close::DONE, format_args!("the client takes no answers: {error}"))),
            Err(_) => Err(Ending::new(close::STALLED, "the answers were not read in time")),
        }
    }

    fn finish(&mut self) {
        // An error says that the stream is closed already.
        let _ = self.send.finish();
    }
}

fn too_long(error: FrameTooLong) -> Ending {
    Ending::new(close::TOO_LARGE, error)
}
