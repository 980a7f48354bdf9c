//! One stream: the greeting, then requests in and answers out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use snowtide_client::Code;
use snowtide_client::codec;
use snowtide_client::frame::{self, FrameBuffer, FrameTooLong};
use snowtide_client::wire::{Greeting, HELLO_BYTES_MAX, Hello, WireError, close};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::answer::{IdBatch, Submission};
use super::intake::{Intake, Taken};
use super::{Backend, DOOR, Door, Ending, error, greeting, refusal_at, refused};
use crate::api::Stage;
use crate::api::bearer::Pass;
use crate::api::budget::{Account, Charge, NoRoom, Owed, Purpose, Working};
use crate::audit;
use crate::clock;
use crate::engine::Applied;
use crate::replica::Action;
use crate::telemetry::{self, Verb};

/// What a stream takes by itself, its task and what QUIC keeps of it.
const STREAM_BYTES: usize = 8 << 10;
/// What an answer takes beside its frames.
const ANSWER_BYTES: usize = 128;
/// What requests for IDs that came together take.
const IDS_BYTES: usize = 1 << 10;
/// How soon a stream for which there was no room looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(25);
/// How often it does, while nothing of it is in our hands.
const ROOM_PAUSES_MAX: u32 = 40;

/// Unanswered requests of a stream may weigh as much as so many of the longest frames; then it is not read further.
const FRAMES_HELD_MAX: usize = 4;

/// A node that has shut down waits this long for a client to confirm its last answers.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one stream to its end. An error is meant for the whole connection.
pub(super) async fn converse<B: Backend>(
    door: Arc<Door<B>>,
    places: Arc<Semaphore>,
    account: Arc<Account>,
    send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Ending> {
    let charge = account.take_soon(STREAM_BYTES, Purpose::Request).await.map_err(|NoRoom| Ending::overloaded())?;
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
        work: JoinSet::new(),
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
    /// One task a submission, which waits for the answer and encodes it.
    work: JoinSet<Done>,
    /// What the unanswered requests weigh.
    held: usize,
    /// Frames to be written.
    unsent: Vec<Bytes>,
}

/// An answered submission.
struct Done {
    frames: Vec<u8>,
    weight: usize,
    places: Option<OwnedSemaphorePermit>,
    /// Until its answer is queued.
    _charge: (Charge, Working),
}

impl<B: Backend> Session<B> {
    /// Until the client has finished its side and has all its answers, or either end gives up.
    async fn run(mut self, recv: &mut RecvStream, mut pass: Pass) -> Result<(), Ending> {
        let held_max = self.door.limits.frame_bytes_max.saturating_mul(FRAMES_HELD_MAX);
        let (mut open, mut starved) = (true, 0);
        let mut stage = self.door.stage.clone();
        // The first frames may have come with the hello.
        self.take_frames(&mut pass)?;
        loop {
            self.flush().await?;
            let has_room = self.has_room();
            starved = if has_room || !open || !self.work.is_empty() { 0 } else { starved + 1 };
            if starved > ROOM_PAUSES_MAX {
                return Err(Ending::overloaded());
            }
            let until = self.unfinished.as_ref().map_or_else(clock::monotonic, |(since, _)| *since);
            let until = tokio::time::Instant::from_std(until) + self.door.limits.request_timeout;
            tokio::select! {
                () = sleep(ROOM_PAUSE), if open && !has_room => {}
                () = sleep_until(until), if open && has_room && self.unfinished.is_some() => {
                    return Err(Ending::new(close::STALLED, "a frame did not end in time"));
                }
                read = recv.read(self.buffer.room()), if open && has_room && self.held < held_max => match read {
                    Ok(Some(count)) => {
                        self.buffer.filled(count);
                        self.take_frames(&mut pass)?;
                    }
                    Ok(None) => open = false,
                    // The client has gone, with or without its connection: nobody waits for the answers.
                    Err(_) => return Ok(()),
                },
                // Not an error if the node is gone without a word: then the connection is, too.
                _ = stage.wait_for(|stage| *stage == Stage::Drained), if open => open = false,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    self.settle(done);
                    while let Some(done) = self.work.try_join_next() {
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
        let bytes = STREAM_BYTES.saturating_add(self.buffer.room().len().max(self.buffer.capacity()));
        !self.account.is_over() && self.charge.resize(bytes, Purpose::Request).is_ok()
    }

    /// Takes in every whole frame that has arrived.
    fn take_frames(&mut self, pass: &mut Pass) -> Result<(), Ending> {
        let withdrawn = self.door.bearers.renew(pass).err();
        let withdrawn = withdrawn.map(|stranger| {
            audit::turned_away(DOOR, &self.door.from, pass.grant().name(), &stranger);
            error(Code::Unauthenticated, stranger)
        });
        let refusal = withdrawn.or_else(|| refusal_at(&self.door.stage.borrow()));
        let room = self.door.backend.room();
        let mut intake =
            Intake::new(&self.door.namespaces, &self.door.scribe, pass.grant(), refusal, &self.places, room);
        let mut any = false;
        while let Some(frame) = self.buffer.next_frame().map_err(too_long)? {
            intake.take(frame).map_err(Ending::malformed)?;
            any = true;
        }
        let Taken { submissions, ids, refusals, forbidden } = intake.finish();
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
        submissions.into_iter().for_each(|submission| self.submit(submission));
        ids.into_iter().for_each(|ids| self.mint(ids));
        self.push(refusals);
        Ok(())
    }

    /// Hands a submission to the engine.
    fn submit(&mut self, mut submission: Submission) {
        let operations = std::mem::take(&mut submission.operations);
        let terms = submission.terms.take();
        let scribe = Arc::clone(&self.door.scribe);
        if operations.is_empty() {
            return self.push(submission.answer(Ok(Applied::default()), &scribe).0);
        }
        let weight = submission.weight();
        let Ok(charge) = self.account.take(weight, Purpose::Request) else {
            return self.push(submission.answer(Err(error(Code::Overloaded, NoRoom)), &scribe).0);
        };
        let charge = (charge, self.account.work());
        let writes = operations.iter().filter(|operation| operation.action != Action::Get).count();
        let began = clock::monotonic();
        let patience = terms.as_ref().map_or(Duration::ZERO, |terms| scribe.patience(terms));
        match self.door.backend.submit(operations, terms) {
            Ok(answer) => {
                let limit = self.door.limits.request_timeout.saturating_add(patience);
                self.held = self.held.saturating_add(weight);
                self.work.spawn(async move {
                    let applied: Result<Applied, WireError> = match timeout(limit, answer).await {
                        Ok(Ok(answer)) => answer.map_err(|refusal| refused(&refusal)),
                        Ok(Err(_)) => Err(error(Code::Internal, "the node stopped; a write may have happened")),
                        Err(_) => Err(error(Code::Timeout, "no commit in time; a write may yet happen")),
                    };
                    let refused = applied.as_ref().err().map(|error| error.code);
                    telemetry::request_answered(
                        telemetry::Door::Quic,
                        Verb::Batch,
                        refused,
                        began.elapsed().as_secs_f64(),
                    );
                    if refused.is_none() {
                        telemetry::increments_acknowledged(telemetry::Door::Quic, writes as u64);
                    }
                    let (frames, places) = submission.answer(applied, &scribe);
                    Done { frames, weight, places, _charge: charge }
                });
            }
            Err(refusal) => self.push(submission.answer(Err(refused(&refusal)), &scribe).0),
        }
    }

    /// Hands requests for IDs to the ID source.
    fn mint(&mut self, ids: IdBatch) {
        let door = Arc::clone(&self.door);
        let Ok(charge) = self.account.take(IDS_BYTES, Purpose::Request) else {
            return self.push(ids.answer(Err(error(Code::Overloaded, NoRoom))).0);
        };
        let charge = (charge, self.account.work());
        let (total, began) = (ids.total(), clock::monotonic());
        self.work.spawn(async move {
            let runs = match timeout(door.limits.request_timeout, door.backend.mint(total)).await {
                Ok(minted) => minted.map_err(|refusal| error(refusal.code, refusal)),
                Err(_) => Err(error(Code::Timeout, "no ids in time")),
            };
            let refused = runs.as_ref().err().map(|error| error.code);
            telemetry::request_answered(telemetry::Door::Quic, Verb::MintIds, refused, began.elapsed().as_secs_f64());
            if refused.is_none() {
                telemetry::ids_minted(telemetry::Door::Quic, u64::from(total));
            }
            let (frames, places) = ids.answer(runs);
            Done { frames, weight: 0, places, _charge: charge }
        });
    }

    /// Queues an answer. Its places are free before the client can know it, so an honest client is never throttled.
    fn settle(&mut self, done: Result<Done, tokio::task::JoinError>) {
        // The tasks neither panic nor are aborted while the session lives.
        let Ok(Done { frames, weight, places, _charge }) = done else { return };
        self.held = self.held.saturating_sub(weight);
        drop(places);
        self.push(frames);
    }

    fn queue(&mut self, greeting: &Greeting) {
        let mut bytes = Vec::new();
        frame::append(greeting, &mut bytes);
        self.push(bytes);
    }

    fn push(&mut self, frames: Vec<u8>) {
        if !frames.is_empty() {
            let charge = self.account.force(frames.len().saturating_add(ANSWER_BYTES));
            self.unsent.push(self.account.send(Bytes::from(frames), Arc::new(charge)));
        }
    }

    /// Writes everything that is queued, at once.
    async fn flush(&mut self) -> Result<(), Ending> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let written = timeout(self.door.limits.write_timeout, self.send.write_all_chunks(&mut self.unsent)).await;
        self.unsent.clear();
        match written {
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
