//! Frames on a link: a little-endian 32-bit length, and that many bytes: one encoded value, or what a caller makes of them.

use bincode::{Decode, Encode};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::codec::{self, DecodeError};

use super::deltas;

/// Bytes of the length in front of every frame.
pub(super) const LENGTH_BYTES: usize = 4;

/// No frame came.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream broke off or the connection is lost.
    #[error("{0}")]
    Lost(#[from] std::io::Error),
    /// It claims to be longer than allowed; nothing of it was read.
    #[error("a frame of {length} bytes, {bytes_max} are allowed")]
    TooLong { length: usize, bytes_max: usize },
    /// It is not the value that belongs here.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// It is no delta that belongs here.
    #[error("{0}")]
    Delta(#[from] deltas::Malformed),
    /// It is of no kind that there is, or not of one that may come first.
    #[error("a frame of an unknown kind")]
    Unknown,
}

/// A value that is too long to be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is longer than a frame may be")]
pub(super) struct TooLong(pub(super) usize);

/// Reads one frame into `buffer` and decodes it; `None` if the stream ends between frames.
pub(super) async fn read<T: Decode<()>>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
    buffer: &mut Vec<u8>,
) -> Result<Option<T>, FrameError> {
    Ok(if read_bytes(stream, bytes_max, buffer).await? { Some(codec::decode(buffer)?) } else { None })
}

/// Reads one frame into `buffer`; false if the stream ends between frames.
pub(super) async fn read_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
    buffer: &mut Vec<u8>,
) -> Result<bool, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    let (first, rest) = length.split_at_mut(1);
    if stream.read(first).await? == 0 {
        return Ok(false);
    }
    stream.read_exact(rest).await?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(FrameError::TooLong { length, bytes_max });
    }
    buffer.resize(length, 0);
    stream.read_exact(buffer).await?;
    Ok(true)
}

/// Appends `value` as a frame, or leaves `bytes` as it was.
pub(super) fn append<T: Encode>(value: &T, bytes_max: usize, bytes: &mut Vec<u8>) -> Result<(), TooLong> {
    append_with(|bytes| codec::encode_into(value, bytes), bytes_max, bytes)
}

/// Appends what `write` does as a frame, or leaves `bytes` as it was.
pub(super) fn append_with(
    write: impl FnOnce(&mut Vec<u8>),
    bytes_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let start = bytes.len();
    let body = start + LENGTH_BYTES;
    bytes.resize(body, 0);
    write(bytes);
    let length = bytes.len() - body;
    match u32::try_from(length) {
        Ok(prefix) if length <= bytes_max => {
            bytes[start..body].copy_from_slice(&prefix.to_le_bytes());
            Ok(())
        }
        _ => {
            bytes.truncate(start);
            Err(TooLong(length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_length_and_its_value() {
        let mut bytes = vec![9];
        append(&"four".to_owned(), 5, &mut bytes).unwrap();
        assert_eq!(bytes, [9, 5, 0, 0, 0, 4, b'f', b'o', b'u', b'r']);
    }

    #[test]
    fn a_value_that_is_too_long_leaves_no_trace() {
        let mut bytes = vec![9];
        assert_eq!(append(&"four".to_owned(), 4, &mut bytes), Err(TooLong(5)));
        assert_eq!(bytes, [9]);
    }
}
