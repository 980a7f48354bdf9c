//! The frames of `snowtide-client/1`.
//!
//! A client opens one connection (QUIC, ALPN `snowtide-client/1`, 0-RTT never accepted) and on it one or more
//! bidirectional streams. On each stream every frame is a little-endian 32-bit length and that many bytes, one value
//! in the encoding of [`crate::codec`]. The client's first frame on a stream is [`Hello`], the server's first is
//! [`Welcome`] or an error; then requests flow one way and answers the other, in any order, matched by id.

use bincode::{Decode, Encode};

use crate::code::Code;

/// The application protocol, RFC 7301.
pub const ALPN: &[u8] = b"snowtide-client/1";
/// The only version of the frames so far.
pub const VERSION: u16 = 1;
/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;
/// A longer frame is refused before it is read. A server may set a lower limit and tells so in [`Welcome`].
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// IDs in one request.
pub const IDS_MAX: u32 = 10_000;

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The lowest and the highest version of the frames that the client speaks.
    pub versions: (u16, u16),
    /// A bearer token, where the server asks for one.
    pub token: Option<String>,
}

/// The server's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Greeting {
    /// Go on.
    Welcome(Welcome),
    /// The stream ends here.
    Refused(WireError),
}

/// What the client is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version both speak.
    pub version: u16,
    /// The region's name.
    pub region: String,
    /// The node's number in it.
    pub node: u8,
    /// The longest frame that the server takes.
    pub frame_bytes_max: u32,
    /// The most requests that may be unanswered on this connection; one more is answered `throttled`.
    pub requests_max: u32,
}

/// A request frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Chosen by the client, unique among its unanswered requests.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// Operations on counters, applied in order, at most [`BATCH_OPERATIONS_MAX`].
    Batch(Batch),
    /// So many IDs, 1 to [`IDS_MAX`].
    Ids(u32),
}

/// Operations on counters. Namespaces are named once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// The names that operations refer to by position.
    pub namespaces: Vec<String>,
    /// Applied in order.
    pub operations: Vec<WireOperation>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WireOperation {
    /// A position in [`Batch::namespaces`].
    pub namespace: u16,
    /// UTF-8, 1–512 bytes.
    pub key: String,
    /// What to do.
    pub action: WireAction,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WireAction {
    /// Adds; negative is a decrement.
    Increment(i64),
    /// Reads.
    Get,
}

/// An answer frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// The answer, or why nothing was done.
    pub answer: Result<Answer, WireError>,
}

/// What a server can answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// One result per operation, in order: the value after it, or the reason why it was refused.
    Batch(Vec<Result<i128, Code>>),
    /// The IDs, as ascending runs of consecutive numbers.
    Ids(Vec<IdRun>),
}

/// Consecutive IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IdRun {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl IdRun {
    /// The IDs themselves.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        (0..u64::from(self.count)).map(move |offset| self.first.saturating_add(offset))
    }
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WireError {
    /// The word.
    pub code: Code,
    /// A sentence for people.
    pub detail: String,
    /// When to try again, where that helps.
    pub retry_after_ms: Option<u32>,
}
