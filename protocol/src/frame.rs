//! Frames on a stream of bytes: a little-endian 32-bit length, and that many bytes.
//!
//! Many frames leave in one write and arrive in one read. A length over the limit is refused as soon as it is seen;
//! room for a frame grows with the bytes that have arrived, never with the length that was claimed (I6).

use bincode::Encode;

use crate::codec;
use crate::receive::{ReceiveBuffer, SHORT_BYTES};
use crate::wire::LENGTH_BYTES;

/// Room for one read at first; it doubles as long as reads fill it, so that who says little takes little.
const READ_BYTES_MIN: usize = 4 << 10;
/// Room for one read at most.
const READ_BYTES: usize = 64 << 10;

/// Appends a frame that holds `value`.
pub fn append<T: Encode + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    append_with(bytes, |bytes| codec::encode_into(value, bytes));
}

/// Appends a frame that holds whatever `body` appends.
pub fn append_with(bytes: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    let begin = bytes.len();
    body(bytes);
    // A body that shrank the buffer, or of 4 GiB, cannot be: both ends check what they append.
    let length = u32::try_from(bytes.len().saturating_sub(begin)).unwrap_or(u32::MAX);
    if let Some(prefix) = bytes.get_mut(start..begin) {
        prefix.copy_from_slice(&length.to_le_bytes());
    }
}

/// The other end announced a frame over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes exceeds the limit of {limit}")]
pub struct FrameTooLong {
    /// What it announced.
    pub bytes: usize,
    /// What is allowed.
    pub limit: usize,
}

/// Bytes as they come in, given out frame by frame.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: ReceiveBuffer,
    limit: usize,
    /// For the next read.
    room: usize,
}

impl FrameBuffer {
    /// Refuses frames longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: ReceiveBuffer::default(), limit, room: READ_BYTES_MIN }
    }

    /// From the next frame on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Room for the next read, never empty; say with [`Self::filled`] how much of it was used.
    pub fn room(&mut self) -> &mut [u8] {
        let room = self.next_room();
        self.bytes.room(room)
    }

    /// So many bytes of [`Self::room`] were filled.
    pub fn filled(&mut self, count: usize) {
        if count == self.next_room() {
            self.room = self.room.saturating_mul(2).min(READ_BYTES);
        }
        self.bytes.filled(count);
    }

    /// What it takes in memory once the room for the next read is filled.
    pub fn capacity(&self) -> usize {
        self.bytes.bytes_with(self.next_room())
    }

    /// Whether nothing is there but what was given out.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLong> {
        let unread = self.bytes.unread();
        let Some((prefix, rest)) = unread.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(FrameTooLong { bytes: length, limit: self.limit });
        }
        if rest.len() < length {
            return Ok(None);
        }
        Ok(self.bytes.take(LENGTH_BYTES.saturating_add(length)).get(LENGTH_BYTES..))
    }

    /// As much as reads have made use of, or what there is without a mapping, unless that is next to nothing.
    fn next_room(&self) -> usize {
        let short = SHORT_BYTES.saturating_sub(self.bytes.len());
        if short < READ_BYTES_MIN { self.room } else { self.room.min(short) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `stream` in pieces of at most `piece` bytes and collects the frames.
    fn split(stream: &[u8], piece: usize, limit: usize) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let mut buffer = FrameBuffer::new(limit);
        let mut frames = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let room = buffer.room();
            let count = piece.min(rest.len()).min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            buffer.filled(count);
            rest = &rest[count..];
            while let Some(frame) = buffer.next_frame()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_and_in_order_however_they_are_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40),
            piece in 1usize..5_000,
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                append_with(&mut stream, |bytes| bytes.extend_from_slice(frame));
            }
            prop_assert_eq!(split(&stream, piece, 300).unwrap(), frames);
        }

        #[test]
        fn garbage_never_panics(stream in prop::collection::vec(any::<u8>(), 0..5_000), piece in 1usize..700) {
            let _ = split(&stream, piece, 1_000);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        let mut buffer = FrameBuffer::new(10);
        buffer.room()[..4].copy_from_slice(&11u32.to_le_bytes());
        buffer.filled(4);
        assert_eq!(buffer.next_frame(), Err(FrameTooLong { bytes: 11, limit: 10 }));
    }

    #[test]
    fn room_grows_with_what_arrived_and_is_given_back() {
        let limit = 4 << 20;
        let mut buffer = FrameBuffer::new(limit);
        buffer.room()[..4].copy_from_slice(&u32::try_from(limit).unwrap().to_le_bytes());
        buffer.filled(4);
        assert_eq!(buffer.next_frame(), Ok(None));
        assert!(buffer.room().len() <= READ_BYTES, "a claimed length takes no room");
        let mut missing = limit;
        while missing > 0 {
            let count = buffer.room().len().min(missing);
            buffer.filled(count);
            missing -= count;
        }
        assert!(buffer.next_frame().unwrap().is_some_and(|frame| frame.len() == limit));
        assert_eq!(buffer.room().len(), READ_BYTES);
    }
}
