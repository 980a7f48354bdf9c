//! A lane: one stream, its unanswered requests, and the two tasks that drive it.
//!
//! Callers append their frames to one outbox; the writer takes all of it at once, so that many requests leave in one
//! write. The reader takes many answers from one read and wakes their callers. No task is started for a request.
//!
//! When a lane ends, every unanswered request is told what is known of its fate: one that never left the outbox, or
//! that only reads, surely changed nothing; a write that was handed to QUIC is ambiguous.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use snowtide_protocol::codec;
use snowtide_protocol::frame::{self, FrameBuffer};
use snowtide_protocol::wire::{Answer, FRAME_BYTES_MAX, Response, close};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::CLOSE_WAIT;
use crate::error::Error;

/// Bytes of requests that wait for the writer; callers wait for room (I6). The longest request fits twice.
const OUTBOX_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX + 4_096;

/// What becomes of a request.
pub(crate) type Verdict = Result<Answer, Error>;

/// One stream's shared state.
pub(crate) struct Lane {
    state: Mutex<State>,
    /// Bytes that the outbox still takes.
    room: Semaphore,
    /// The writer has something to do.
    wake: Notify,
    /// The writer has finished the stream.
    flushed: Notify,
}

#[derive(Default)]
struct State {
    outbox: Vec<u8>,
    /// Permits of [`Lane::room`] that the outbox holds.
    outbox_weight: usize,
    next_id: u64,
    /// Requests below this id were handed to QUIC.
    taken_below: u64,
    unanswered: HashMap<u64, Unanswered>,
    finishing: bool,
    /// Why the lane has ended.
    ended: Option<String>,
}

struct Unanswered {
    reply: oneshot::Sender<Verdict>,
    writes: bool,
    /// Held until the node has answered, even if the caller has gone: the node counts the request until then.
    _place: OwnedSemaphorePermit,
}

/// A request on its way into the outbox.
pub(crate) struct Outgoing<F> {
    /// An upper bound of its bytes.
    pub(crate) weight: usize,
    /// It changes a counter.
    pub(crate) writes: bool,
    /// Its place among the connection's unanswered requests.
    pub(crate) place: OwnedSemaphorePermit,
    /// Appends the frame's content for the id that it is given.
    pub(crate) body: F,
}

impl Lane {
    /// Starts the two tasks on a stream whose greeting is done; `buffer` holds what was read behind it. The task that
    /// is returned ends with the lane.
    pub(crate) fn start(
        connection: Connection,
        send: SendStream,
        recv: RecvStream,
        buffer: FrameBuffer,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let lane = Arc::new(Self {
            state: Mutex::default(),
            room: Semaphore::new(OUTBOX_BYTES_MAX),
            wake: Notify::new(),
            flushed: Notify::new(),
        });
        tokio::spawn(write(Arc::clone(&lane), send));
        let reader = tokio::spawn(read(Arc::clone(&lane), connection, recv, buffer));
        (lane, reader)
    }

    /// Puts a request into the outbox, waiting for room. Dropping the future before it is done sends nothing.
    pub(crate) async fn send<F>(&self, request: Outgoing<F>) -> Result<oneshot::Receiver<Verdict>, Error>
    where
        F: FnOnce(u64, &mut Vec<u8>),
    {
        let weight = request.weight.min(OUTBOX_BYTES_MAX);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        match self.room.acquire_many(permits).await {
            Ok(room) => room.forget(),
            Err(_) => return Err(self.disconnected()),
        }
        let (reply, verdict) = oneshot::channel();
        let mut state = self.state();
        if state.ended.is_some() || state.finishing {
            return Err(state.disconnected());
        }
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        state.outbox_weight = state.outbox_weight.saturating_add(weight);
        let was_empty = state.outbox.is_empty();
        frame::append_with(&mut state.outbox, |bytes| (request.body)(id, bytes));
        state.unanswered.insert(id, Unanswered { reply, writes: request.writes, _place: request.place });
        drop(state);
        if was_empty {
            self.wake.notify_one();
        }
        Ok(verdict)
    }

    /// Sends what is in the outbox, then ends the stream; answers still come in.
    pub(crate) fn finish(&self) {
        self.state().finishing = true;
        self.room.close();
        self.wake.notify_one();
    }

    /// The error for a request that comes after the end.
    pub(crate) fn disconnected(&self) -> Error {
        self.state().disconnected()
    }

    /// Whatever is in the outbox; `None` once there is nothing more to write.
    async fn take(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state();
                if state.ended.is_some() {
                    return None;
                }
                if !state.outbox.is_empty() {
                    state.taken_below = state.next_id;
                    self.room.add_permits(std::mem::take(&mut state.outbox_weight));
                    return Some(Bytes::from(std::mem::take(&mut state.outbox)));
                }
                if state.finishing {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Hands answers to their callers; an id that is not waited for breaks the protocol.
    fn settle(&self, answers: &mut Vec<Response>) -> Result<(), String> {
        let mut settled = Vec::with_capacity(answers.len());
        let mut unknown = None;
        {
            let mut state = self.state();
            for response in answers.drain(..) {
                match state.unanswered.remove(&response.id) {
                    Some(waiting) => settled.push((waiting, response.answer)),
                    None => unknown = Some(response.id),
                }
            }
        }
        for (waiting, answer) in settled {
            // A caller that has gone needs no answer.
            let _ = waiting.reply.send(answer.map_err(Error::from));
        }
        unknown.map_or(Ok(()), |id| Err(format!("it answered request {id}, which is not waiting")))
    }

    /// Ends the lane: every unanswered request learns what is known of it.
    fn end(&self, reason: &str) {
        self.room.close();
        let (unanswered, taken_below) = {
            let mut state = self.state();
            state.ended.get_or_insert_with(|| reason.to_owned());
            (std::mem::take(&mut state.unanswered), state.taken_below)
        };
        self.wake.notify_one();
        for (id, waiting) in unanswered {
            let sent = id < taken_below;
            let error = if sent && waiting.writes {
                Error::Ambiguous { reason: format!("the connection was lost after it was sent: {reason}") }
            } else {
                Error::Disconnected { reason: reason.to_owned() }
            };
            let _ = waiting.reply.send(Err(error));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn disconnected(&self) -> Error {
        Error::Disconnected { reason: self.ended.clone().unwrap_or_else(|| "this client is closed".into()) }
    }
}

/// The writer: everything that callers have queued, in one write.
async fn write(lane: Arc<Lane>, mut send: SendStream) {
    while let Some(bytes) = lane.take().await {
        if let Err(error) = send.write_chunk(bytes).await {
            // The reader hears of a lost connection itself; a stream that the node stopped ends here.
            lane.end(&format!("the node takes no more requests: {error}"));
            return;
        }
    }
    // An error says that the stream has ended already.
    let _ = send.finish();
    lane.flushed.notify_one();
}

/// The reader: as many answers as one read brings.
async fn read(lane: Arc<Lane>, connection: Connection, mut recv: RecvStream, mut buffer: FrameBuffer) {
    let (code, reason) = tokio::select! {
        ended = answers(&lane, &mut recv, &mut buffer) => ended,
        () = patience(&lane) => finished(),
    };
    // Lanes that finish on purpose do not tear down those that are still answering.
    if !lane.state().finishing || code != close::DONE {
        connection.close(VarInt::from_u32(code), reason.as_bytes());
    }
    lane.end(&reason);
}

/// Reads until the lane ends: with which code the connection is closed then, and why.
async fn answers(lane: &Lane, recv: &mut RecvStream, buffer: &mut FrameBuffer) -> (u32, String) {
    let mut responses = Vec::new();
    loop {
        if let Err(reason) = parse(buffer, &mut responses).and_then(|()| lane.settle(&mut responses)) {
            return (close::PROTOCOL, format!("the node broke the protocol: {reason}"));
        }
        match recv.read(buffer.room()).await {
            Ok(Some(count)) => buffer.filled(count),
            Ok(None) => return finished(),
            Err(error) => return (close::DONE, lost(&error)),
        }
    }
}

fn finished() -> (u32, String) {
    (close::DONE, "the node has ended the stream".to_owned())
}

/// Waits until the stream has been finished for [`CLOSE_WAIT`], so that no node can keep a dropped client alive.
async fn patience(lane: &Lane) {
    lane.flushed.notified().await;
    tokio::time::sleep(CLOSE_WAIT).await;
}

fn parse(buffer: &mut FrameBuffer, responses: &mut Vec<Response>) -> Result<(), String> {
    while let Some(frame) = buffer.next_frame().map_err(|error| error.to_string())? {
        responses.push(codec::decode(frame).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// What ended the connection, in words.
pub(crate) fn lost(error: &ReadError) -> String {
    match error {
        ReadError::ConnectionLost(lost) => reason_of(lost),
        other => other.to_string(),
    }
}

/// The reason that the other end gave, or what happened otherwise.
pub(crate) fn reason_of(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
            format!("the node closed the connection: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::TimedOut => "the node was silent for too long".into(),
        other => other.to_string(),
    }
}
