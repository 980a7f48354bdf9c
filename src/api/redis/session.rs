//! The socket of one connection: reads what there is, has it answered, writes the answers at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use snowtide_client::Code;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Door;
use super::answer::refused;
use super::dialogue::{Dialogue, Next};
use crate::api::{Stage, code_of};
use crate::clock;
use crate::replica::{Operation, Outcome, Refusal};
use crate::telemetry::{self, Verb};

/// Room for one read; it doubles as long as reads fill it, so that a deep pipeline becomes few batches.
const ROOM_BYTES_MIN: usize = 16 << 10;
const ROOM_BYTES_MAX: usize = 1 << 20;

/// How long a client has to take its last answers. A connection that is closed with bytes unread is reset, and a reset
/// discards answers that have not arrived.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

const UNKNOWN: &str = "ERR timeout: no commit in time; a write may yet happen";

/// Serves one connection to its end.
pub(super) async fn converse<T: AsyncRead + AsyncWrite + Unpin>(door: Arc<Door>, stream: T, from: IpAddr) {
    let dialogue = Dialogue::new(Arc::clone(&door), from);
    let stage = door.stage.clone();
    let mut session = Session { door, stream, dialogue, stage, room: ROOM_BYTES_MIN, answers: Vec::new() };
    if session.run().await.is_ok() {
        session.leave().await;
    }
}

struct Session<T> {
    door: Arc<Door>,
    stream: T,
    dialogue: Dialogue,
    stage: watch::Receiver<Stage>,
    room: usize,
    /// Kept for its memory.
    answers: Vec<u8>,
}

/// The engine has not answered in time, or has ended: whether writes happened is unknown.
struct Unanswered;

/// The client has gone, or does not take its answers: it is told nothing more.
struct Gone;

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T> {
    /// Until this end has to close the connection.
    async fn run(&mut self) -> Result<(), Gone> {
        let mut asked = clock::monotonic();
        loop {
            let (next, any) = self.dialogue.take();
            let sure = self.dialogue.batch.is_empty() || self.answer().await?;
            if any {
                asked = clock::monotonic();
            }
            match next {
                Next::Close => return Ok(()),
                _ if !sure => return Ok(()),
                Next::Take => {}
                Next::Read if self.read(asked).await? => {}
                Next::Read => return Ok(()),
            }
        }
    }

    /// Answers the batch. Nothing is read meanwhile: the client is held back by TCP (I6). Nothing is written before the
    /// engine's answer has come (I1). False if it did not come, which leaves writes unknown.
    async fn answer(&mut self) -> Result<bool, Gone> {
        let writes = self.dialogue.batch.writes();
        let operations = std::mem::take(&mut self.dialogue.batch.operations);
        let answer = if operations.is_empty() { Ok(Ok(Vec::new())) } else { self.ask(operations).await };
        if matches!(answer, Ok(Ok(_))) {
            telemetry::increments_acknowledged(telemetry::Door::Redis, writes as u64);
        }
        let sure = answer.is_ok();
        let said = match &answer {
            Ok(Ok(outcomes)) => Ok(&outcomes[..]),
            Ok(Err(refusal)) => Err(refused(refusal)),
            Err(Unanswered) => Err(UNKNOWN.to_owned()),
        };
        self.answers.clear();
        self.dialogue.batch.settle(said.as_deref().map_err(String::as_str), &mut self.answers);
        let write = async {
            self.stream.write_all(&self.answers).await?;
            self.stream.flush().await
        };
        let written = timeout(self.door.limits.request_timeout, write).await;
        self.answers.shrink_to(ROOM_BYTES_MAX);
        match written {
            Ok(Ok(())) => Ok(sure),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// What the engine says to these operations.
    async fn ask(&self, operations: Vec<Operation>) -> Result<Result<Vec<Outcome>, Refusal>, Unanswered> {
        let began = clock::monotonic();
        let (answer, code) = match self.door.engine.submit(operations, None) {
            Ok(answer) => match timeout(self.door.limits.request_timeout, answer).await {
                Ok(Ok(Ok(applied))) => (Ok(Ok(applied.outcomes)), None),
                Ok(Ok(Err(refusal))) => (Ok(Err(refusal.clone())), Some(code_of(&refusal))),
                Ok(Err(_)) => (Err(Unanswered), Some(Code::Internal)),
                Err(_) => (Err(Unanswered), Some(Code::Timeout)),
            },
            Err(refusal) => (Ok(Err(refusal.clone())), Some(code_of(&refusal))),
        };
        telemetry::request_answered(telemetry::Door::Redis, Verb::Batch, code, began.elapsed().as_secs_f64());
        answer
    }

    /// Waits for more. False if this end has to close the connection.
    async fn read(&mut self, asked: std::time::Instant) -> Result<bool, Gone> {
        let buffer = &mut self.dialogue.buffer;
        // A burst that is over keeps no memory.
        if buffer.is_empty() && buffer.capacity() > self.room.saturating_mul(2) {
            *buffer = BytesMut::new();
        }
        buffer.reserve(self.room);
        let room = buffer.capacity().saturating_sub(buffer.len());
        let until = Instant::from_std(asked) + self.door.limits.idle_timeout;
        tokio::select! {
            biased;
            // Not an error if the node is gone without a word: then the connection is, too.
            _ = self.stage.wait_for(|stage| *stage == Stage::Drained) => Ok(false),
            read = timeout_at(until, self.stream.read_buf(buffer)) => match read {
                Ok(Ok(0) | Err(_)) => Err(Gone),
                Ok(Ok(count)) => {
                    let full = count == room;
                    self.room = if full { self.room.saturating_mul(2) } else { self.room / 2 };
                    self.room = self.room.clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
                    Ok(true)
                }
                Err(_) => Ok(false),
            },
        }
    }

    /// Closes the connection without losing what was written.
    async fn leave(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut unread = [0; 4_096];
        let gone = async { while matches!(self.stream.read(&mut unread).await, Ok(1..)) {} };
        // Whoever goes on sending has had his time.
        let _ = timeout(FAREWELL_TIMEOUT, gone).await;
    }
}
