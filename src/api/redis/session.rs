//! The socket of one connection: reads what there is, has it answered, writes the answers at once.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use snowtide_protocol::receive::ReceiveBuffer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Door;
use super::answer::Batch;
use super::dialogue::{Dialogue, Next};
use crate::api::budget::{Account, Charge, NoRoom, Purpose};
use crate::api::{Refused, Stage};
use crate::clock;
use crate::replica::{Operation, Outcome};
use crate::telemetry::Verb;

/// What a connection takes that has said something, without what it says.
const CONNECTION_BYTES: usize = 8 << 10;
/// Read before there is room for more.
const FIRST_BYTES: usize = 512;
/// Room for answers that is kept from one batch to the next, as long as the client goes on.
const ANSWERS_KEPT: usize = 4 << 10;
/// Answers are written in pieces, so that it is seen how far the client takes them.
const PIECE_BYTES: usize = 16 << 10;
/// Room for one read; it doubles as long as reads fill it, so that a deep pipeline becomes few batches.
const ROOM_BYTES_MIN: usize = 16 << 10;
const ROOM_BYTES_MAX: usize = 1 << 20;
/// The same where room is short: most commands are no longer.
const ROOM_BYTES_SCARCE: usize = 4 << 10;

/// How long a client has to take its last answers. A connection that is closed with bytes unread is reset, and a reset
/// discards answers that have not arrived.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

const NO_ROOM: &[u8] =
    b"-TRYAGAIN overloaded: clients have made this node hold as much as it may; retry after a moment\r\n";

/// Serves one connection to its end.
pub(super) async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
    door: Arc<Door>,
    stream: T,
    from: IpAddr,
    account: Arc<Account>,
) {
    let dialogue = Dialogue::new(Arc::clone(&door), from, Arc::clone(&account));
    let (stage, charge) = (door.gate.stage.clone(), account.nothing());
    let room = ROOM_BYTES_MIN;
    let answers = Vec::new();
    let mut session =
        Session { door, stream, dialogue, stage, account, charge, room, answers, begun: false, unfinished: None };
    let account = Arc::clone(&session.account);
    tokio::select! {
        ended = session.run() => if ended.is_err() { return },
        () = account.is_cut() => return tracing::debug!("a connection was cut: others needed its room"),
    }
    session.leave().await;
}

struct Session<T> {
    door: Arc<Door>,
    stream: T,
    dialogue: Dialogue,
    stage: watch::Receiver<Stage>,
    account: Arc<Account>,
    /// For what has been read.
    charge: Charge,
    room: usize,
    answers: Vec<u8>,
    /// The connection itself is charged.
    begun: bool,
    /// Since when a command has been arriving.
    unfinished: Option<std::time::Instant>,
}

/// The client has gone, or does not take its answers: it is told nothing more.
struct Gone;

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T> {
    /// Until this end has to close the connection.
    async fn run(&mut self) -> Result<(), Gone> {
        let mut asked = clock::monotonic();
        loop {
            let (next, any) = self.dialogue.take();
            let sure = self.dialogue.intake.batch.is_empty() || self.answer().await?;
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
        let working = self.account.work();
        let charge = self.account.hold(self.dialogue.intake.batch.bytes()).await;
        if charge.is_err() && self.dialogue.intake.batch.is_long() {
            // Its replies would take the room that there is not.
            self.dialogue.intake.batch = Batch::default();
            let _ = timeout(FAREWELL_TIMEOUT, self.stream.write_all(NO_ROOM)).await;
            return Ok(false);
        }
        let operations = std::mem::take(&mut self.dialogue.intake.batch.operations);
        let answer = match &charge {
            Ok(_) if operations.is_empty() => Ok(Vec::new()),
            Ok(_) => self.ask(operations).await,
            Err(NoRoom) => Err(NoRoom.into()),
        };
        let sure = !answer.as_ref().is_err_and(Refused::is_uncertain);
        self.answers.clear();
        self.dialogue.intake.batch.settle(answer.as_deref().map_err(Clone::clone), &mut self.answers);
        drop(working);
        let _charge = self.account.force(self.answers.capacity());
        let written = timeout(self.door.limits.request_timeout, self.write()).await;
        if self.answers.capacity() > ANSWERS_KEPT {
            self.answers = Vec::new();
        }
        match written {
            Ok(Ok(())) => Ok(sure),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Writes all answers.
    async fn write(&mut self) -> std::io::Result<()> {
        let mut owed = self.account.owe();
        for piece in self.answers.chunks(PIECE_BYTES) {
            self.stream.write_all(piece).await?;
            owed.moved();
        }
        self.stream.flush().await
    }

    /// What the engine says to these operations.
    async fn ask(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Refused> {
        let gate = &self.door.gate;
        let asking = async { Ok(gate.submit(operations, None)?.answer(pending()).await?.outcomes) };
        gate.carry_out(Verb::Batch, gate.limit(None), asking).await
    }

    /// Waits for more. False if this end has to close the connection.
    async fn read(&mut self, asked: std::time::Instant) -> Result<bool, Gone> {
        let limits = self.door.limits;
        let until = if self.dialogue.buffer.is_empty() {
            self.unfinished = None;
            self.forget_buffers();
            asked + limits.idle_timeout
        } else {
            // One that begins behind others has its own time.
            let since = self.unfinished.filter(|since| *since >= asked).unwrap_or_else(clock::monotonic);
            self.unfinished = Some(since);
            (since + limits.request_timeout).min(asked + limits.idle_timeout)
        };
        let mut stage = self.stage.clone();
        tokio::select! {
            biased;
            // Not an error if the node is gone without a word: then the connection is, too.
            _ = stage.wait_for(|stage| *stage == Stage::Drained) => Ok(false),
            read = timeout_at(Instant::from_std(until), self.take_in()) => read.unwrap_or(Ok(false)),
        }
    }

    /// A client that says nothing has no room to say it in: a burst that is over keeps no memory.
    fn forget_buffers(&mut self) {
        self.dialogue.buffer = ReceiveBuffer::default();
        self.answers = Vec::new();
        // Less always fits.
        let _ = self.charge.resize(0, Purpose::Request);
    }

    /// Reads what there is, as soon as there is any. False if there is no room for it.
    async fn take_in(&mut self) -> Result<bool, Gone> {
        let owed = (!self.dialogue.buffer.is_empty()).then(|| self.account.owe());
        // No room is made before something is there.
        let mut first = [0; FIRST_BYTES];
        let count = self.stream.read(&mut first).await.map_err(|_| Gone)?;
        drop(owed);
        let first = first.get(..count).filter(|first| !first.is_empty()).ok_or(Gone)?;
        let Some(room) = self.make_room(count).await else {
            let _ = timeout(FAREWELL_TIMEOUT, self.stream.write_all(NO_ROOM)).await;
            return Ok(false);
        };
        // Whatever else is there already goes into the same batch.
        let buffer = &mut self.dialogue.buffer;
        let (front, rest) = buffer.room(room).split_at_mut_checked(count).ok_or(Gone)?;
        front.copy_from_slice(first);
        let more = if rest.is_empty() { None } else { self.stream.read(rest).now_or_never() };
        let count = count.saturating_add(more.unwrap_or(Ok(0)).map_err(|_| Gone)?);
        buffer.filled(count);
        let full = count == room && room == self.room;
        self.room = if full { self.room.saturating_mul(2) } else { self.room / 2 };
        self.room = self.room.clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
        Ok(true)
    }

    /// Makes room for what one read brings of which `count` bytes are here: for these, if no more was there; for as much as
    /// reads have made use of; or for little, where room is short. Tells for how much, if for any.
    async fn make_room(&mut self, count: usize) -> Option<usize> {
        if !self.begun && self.account.begin(CONNECTION_BYTES).await.is_err() {
            return None;
        }
        self.begun = true;
        let wanted = |most: usize| if count < FIRST_BYTES { count } else { most };
        let bytes = |room: usize| self.dialogue.buffer.bytes_with(room);
        if self.charge.resize(bytes(wanted(self.room)), Purpose::Request).is_ok() {
            return Some(wanted(self.room));
        }
        self.room = ROOM_BYTES_SCARCE;
        let least = wanted(ROOM_BYTES_SCARCE);
        self.charge.resize_soon(bytes(least), Purpose::Request).await.ok().map(|_| least)
    }

    /// Closes the connection without losing what was written.
    async fn leave(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        self.forget_buffers();
        let mut unread = [0; 4_096];
        let gone = async { while matches!(self.stream.read(&mut unread).await, Ok(1..)) {} };
        // Whoever goes on sending has had his time.
        let _ = timeout(FAREWELL_TIMEOUT, gone).await;
    }
}
