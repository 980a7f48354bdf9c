//! The streams of limits: what nodes tell each other of what they admitted, beside the stream of messages and ahead of it.
//!
//! What is told must arrive whole and in order, or both ends must know that it has not: so whatever cannot be sent ends the
//! stream, and the next one begins anew. One at a time is open in each direction of a link.

use std::io;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::debug;

use crate::identity::{Peer, WorkerId};
use crate::limiter::Limiter;
use crate::limits::Message;
use crate::telemetry;

use super::Shared;
use super::frame::{self, FrameError};

/// Above that of messages.
const PRIORITY: i32 = 1;
/// Messages gathered into one write.
const MESSAGES_PER_WRITE: u64 = 16;
/// Why a stream is broken off.
const BROKEN_OFF: VarInt = VarInt::from_u32(0);

/// The limiter is told of a stream's end, also if the link ends in between.
struct Told<'a>(&'a Limiter, WorkerId);
struct Heard<'a>(&'a Limiter, WorkerId);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        self.0.ended(self.1);
    }
}

/// Tells the peer what is due, on one stream after another, until the connection is lost.
pub(super) async fn tell(shared: &Shared, connection: &Connection, peer: Peer) -> String {
    loop {
        let mut stream = match connection.open_uni().await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        // Fails for a stream that has ended, and so does all that follows.
        let _ = stream.set_priority(PRIORITY);
        let messages = shared.limiter.open(peer);
        let told = Told(&shared.limiter, peer.worker);
        let end = write(&mut stream, messages, shared.frame_bytes_max).await;
        debug!(peer = shared.map.name(peer.worker), ?end, "the stream of limits ended");
        drop(told);
        let _ = stream.reset(BROKEN_OFF);
        sleep(shared.limits.backoff_min).await;
    }
}

/// Until nothing comes any more.
async fn write(stream: &mut SendStream, mut messages: mpsc::Receiver<Message>, bytes_max: usize) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(first) = messages.recv().await {
        bytes.clear();
        let (mut gathered, mut next) = (0, Some(first));
        while let Some(message) = next {
            append(&message, bytes_max, &mut bytes)?;
            gathered += 1;
            next = if gathered < MESSAGES_PER_WRITE { messages.try_recv().ok() } else { None };
        }
        stream.write_all(&bytes).await?;
        telemetry::limits_sent(gathered, bytes.len());
    }
    Ok(())
}

fn append(message: &Message, bytes_max: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    frame::append(message, bytes_max, bytes).map_err(io::Error::other)
}

/// Hears what the peer tells, on one stream after another. `Ok` with what was malformed, or `Err` with how the connection
/// was lost.
pub(super) async fn hear(shared: &Shared, connection: &Connection, peer: Peer) -> Result<String, String> {
    let mut buffer = Vec::new();
    loop {
        let mut stream = connection.accept_uni().await.map_err(|error| error.to_string())?;
        let _heard = Heard(&shared.limiter, peer.worker);
        match read(shared, &mut stream, peer, &mut buffer).await {
            Ok(()) | Err(FrameError::Lost(_)) => {}
            Err(error) => return Ok(format!("on its stream of limits: {error}")),
        }
        // Fails for a stream that has ended.
        let _ = stream.stop(BROKEN_OFF);
    }
}

/// Until the stream ends, or says what it must not.
async fn read(shared: &Shared, stream: &mut RecvStream, peer: Peer, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
    while let Some(message) = frame::read(stream, shared.frame_bytes_max, buffer).await? {
        telemetry::limits_received(1, buffer.len());
        if let Err(violation) = shared.limiter.receive(peer.worker, message) {
            debug!(peer = shared.map.name(peer.worker), %violation, "a stream of limits is broken off");
            break;
        }
    }
    Ok(())
}
