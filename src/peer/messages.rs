//! Messages as a link's frames hold them: a delta in the link's own form ([`super::deltas`]), everything else as it is encoded.

use tokio::io::AsyncRead;

use crate::codec;
use crate::replica::Message;

use super::deltas::{Receiver, Sender};
use super::frame::{self, FrameError, TooLong};

/// The first byte of a frame: what follows is a message as it is encoded,
const PLAIN: u8 = 0;
/// a delta,
const DELTA: u8 = 1;
/// or a delta of a sender that begins anew.
const FIRST_DELTA: u8 = 2;

/// The sending end of one link.
pub(super) struct Outgoing {
    bytes_max: usize,
    /// `None` before the first delta, and after one that was too long.
    deltas: Option<Sender>,
}

/// The receiving end of one link.
pub(super) struct Incoming {
    bytes_max: usize,
    /// `None` before the first delta.
    deltas: Option<Receiver>,
    buffer: Vec<u8>,
}

impl Outgoing {
    /// For frames of at most `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, deltas: None }
    }

    /// Appends a message as a frame, or leaves `bytes` as it was.
    pub(super) fn append(&mut self, message: &Message, bytes: &mut Vec<u8>) -> Result<(), TooLong> {
        if let Some(delta) = self.delta(message) {
            if frame::append_with(|bytes| bytes.extend(delta), self.bytes_max, bytes).is_ok() {
                return Ok(());
            }
            // The other end never hears of it.
            self.deltas = None;
        }
        let plain = |bytes: &mut Vec<u8>| {
            bytes.push(PLAIN);
            codec::encode_into(message, bytes);
        };
        frame::append_with(plain, self.bytes_max, bytes)
    }

    fn delta(&mut self, message: &Message) -> Option<Vec<u8>> {
        let Message::Delta(record) = message else { return None };
        match &mut self.deltas {
            Some(deltas) => deltas.encode(DELTA, record),
            None => {
                let mut deltas = Sender::new();
                let first = deltas.encode(FIRST_DELTA, record)?;
                self.deltas = Some(deltas);
                Some(first)
            }
        }
    }
}

impl Incoming {
    /// For frames of at most `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, deltas: None, buffer: Vec::new() }
    }

    /// The next message; `None` if the stream ends between frames. After an error there is none.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Message>, FrameError> {
        if !frame::read_bytes(stream, self.bytes_max, &mut self.buffer).await? {
            return Ok(None);
        }
        match self.buffer.split_first() {
            Some((&PLAIN, message)) => Ok(Some(codec::decode(message)?)),
            Some((&DELTA, _)) => self.delta(),
            Some((&FIRST_DELTA, _)) => {
                self.deltas = Some(Receiver::new());
                self.delta()
            }
            _ => Err(FrameError::Unknown),
        }
    }

    fn delta(&mut self) -> Result<Option<Message>, FrameError> {
        let deltas = self.deltas.as_mut().ok_or(FrameError::Unknown)?;
        Ok(Some(Message::Delta(deltas.decode(&self.buffer)?)))
    }
}
