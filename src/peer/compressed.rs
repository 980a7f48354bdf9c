//! The compression of a link's messages: one zstd stream for as long as the link lives (RFC 8878).
//!
//! What was sent before is what makes it small: the keys that are counted most are in every delta, and cost a few bits from
//! the second time on. Each write is flushed, so that nothing waits for more.

use async_compression::Level;
use async_compression::tokio::bufread::ZstdDecoder;
use async_compression::tokio::write::ZstdEncoder;
use async_compression::zstd::{CParameter, DParameter};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};

/// How far back repetitions are found, as a power of two. Both ends keep that much in memory for each link.
const WINDOW_BITS: u32 = 21;
/// Of zstd's levels the fastest but one: a link is seldom slower than that.
const LEVEL: i32 = 2;
/// Bytes taken from the connection at a time.
const READ_BYTES: usize = 64 << 10;

/// Compresses what is written.
pub(super) fn writer<W: AsyncWrite>(stream: W) -> ZstdEncoder<W> {
    ZstdEncoder::with_quality_and_params(stream, Level::Precise(LEVEL), &[CParameter::window_log(WINDOW_BITS)])
}

/// The inverse. A stream that asks for a larger window than [`writer`]'s is malformed, so a peer cannot have more memory.
pub(super) fn reader<R: AsyncRead>(stream: R) -> ZstdDecoder<BufReader<R>> {
    let stream = BufReader::with_capacity(READ_BYTES, stream);
    ZstdDecoder::with_params(stream, &[DParameter::window_log_max(WINDOW_BITS)])
}
