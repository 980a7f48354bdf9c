//! The frames of `snowtide-client/1`.
//!
//! A client opens one connection (QUIC, ALPN `snowtide-client/1`, 0-RTT never accepted) and on it one or more
//! bidirectional streams. On each stream every frame is a little-endian 32-bit length and that many bytes, values in
//! the encoding of [`crate::codec`]; see [`crate::frame`]. The client's first frame on a stream is [`Hello`], the
//! server's first is [`Greeting`]; then requests flow one way and [`Response`]s the other, in any order, matched by id.
//!
//! A request frame is a [`RequestHead`]. If it asks for a batch, that many namespace names (strings) follow, and then
//! that many [`WireOperation`]s; if it asks for a batch on terms, a [`WireTerms`] comes before them; if it asks limits, that
//! many [`WirePolicy`]s follow and then that many [`WireCheck`]s. So a reader knows every count before it reads, or makes room for, what is counted.
//!
//! A frame that is malformed or too long closes the connection with one of the codes in [`close`] and a reason for
//! people. Anything else that is wrong with a request is answered with a [`WireError`], and the stream goes on.

use bincode::{BorrowDecode, Decode, Encode};

use crate::ack::Ack;
use crate::action::Action;
use crate::code::Code;
use crate::id::IdScheme;
use crate::limit::{Decision, Numbers};
use crate::view::View;

/// The application protocol, RFC 7301.
pub const ALPN: &[u8] = b"snowtide-client/1";
/// The version of the frames. No other is spoken.
pub const VERSION: u16 = 3;
/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;
/// A longer frame is refused before it is read. A server may set a lower limit and tells so in [`Welcome`].
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// The longest [`Hello`]; until it is accepted, a server reads no more than this.
pub const HELLO_BYTES_MAX: usize = 8 << 10;
/// Operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// Names of namespaces in one batch.
pub const BATCH_NAMESPACES_MAX: usize = 256;
/// Policies in one batch of decisions.
pub const BATCH_POLICIES_MAX: usize = 256;
/// The longest name of a namespace, in bytes of UTF-8.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// IDs in one request.
pub const IDS_MAX: u32 = 10_000;
/// Packets that either end may receive before it acknowledges them at once, as the other asks of it (QUIC Acknowledgement
/// Frequency, draft-ietf-quic-ack-frequency): answers and requests carry acknowledgements along anyway. Fewer than fit into
/// the initial congestion window (RFC 9002, 7.2), or a sender would wait for the timer.
pub const PACKETS_UNACKNOWLEDGED_MAX: u32 = 10;

/// Why a connection was closed: the application error code of QUIC's CONNECTION_CLOSE (RFC 9000, section 19.19).
pub mod close {
    /// The client has everything that it asked for.
    pub const DONE: u32 = 0;
    /// The other end sent something malformed or out of place.
    pub const PROTOCOL: u32 = 1;
    /// The other end sent a frame over the limit.
    pub const TOO_LARGE: u32 = 2;
    /// The other end did not say hello, or did not read its answers, for too long.
    pub const STALLED: u32 = 3;
    /// The node shuts down.
    pub const SHUTDOWN: u32 = 4;
    /// Clients have made the node hold as much as it may, and this one was still, or held too much of it.
    pub const OVERLOADED: u32 = 5;
}

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
    /// How the cluster's IDs are written as UUIDs and ULIDs.
    pub id_scheme: IdScheme,
    /// The incarnation of the node's data, to which sessions belong; `None` if it has none yet.
    pub incarnation: Option<u64>,
}

/// The beginning of a request frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RequestHead {
    /// Chosen by the client, unique among its unanswered requests on the stream.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a client can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// Operations on counters, applied in order.
    Batch {
        /// So many names of namespaces follow, at most [`BATCH_NAMESPACES_MAX`].
        namespaces: u32,
        /// Then so many [`WireOperation`]s, at most [`BATCH_OPERATIONS_MAX`].
        operations: u32,
    },
    /// So many IDs, 1 to [`IDS_MAX`]. Nothing follows.
    Ids(u32),
    /// As a batch, but first a [`WireTerms`] follows; answered by [`Answer::OnTerms`].
    OnTerms {
        /// So many names of namespaces follow the terms, at most [`BATCH_NAMESPACES_MAX`].
        namespaces: u32,
        /// Then so many [`WireOperation`]s, at most [`BATCH_OPERATIONS_MAX`].
        operations: u32,
    },
    /// Decisions of limits, in order for each key.
    Limits {
        /// So many [`WirePolicy`]s follow, at most [`BATCH_POLICIES_MAX`].
        policies: u32,
        /// Then so many [`WireCheck`]s, at most [`BATCH_OPERATIONS_MAX`].
        checks: u32,
    },
}

/// A policy by which decisions are asked, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum WirePolicy<'a> {
    /// One of the node's configuration.
    Named(&'a str),
    /// These numbers, which are part of the key.
    Given(Numbers),
}

/// One decision that is asked, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct WireCheck<'a> {
    /// A position in the batch's list of policies.
    pub policy: u32,
    /// UTF-8, 1 to [`KEY_BYTES_MAX`](crate::key::KEY_BYTES_MAX) bytes.
    pub key: &'a str,
    /// How much is to be charged; zero looks.
    pub cost: u64,
}

/// What a batch asks beyond its operations, borrowed from its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct WireTerms<'a> {
    /// A [`crate::Token`] in bytes, to be held before the batch is applied; empty for none.
    pub after: &'a [u8],
    /// How long to wait for the token and for acknowledgements.
    pub wait_ms: Option<u32>,
    /// Who has to hold the writes durably before the answer.
    pub ack: Ack,
    /// Tell a token.
    pub wants_token: bool,
    /// Tell each counter by regions.
    pub wants_views: bool,
    /// The request may be repeated.
    pub turn: Option<Turn>,
    /// The incarnation to which its session belongs, as [`Welcome`] told it. Another one refuses the request, as it cannot
    /// know whether it was carried out before.
    pub incarnation: Option<u64>,
    /// It is a repetition of what was first sent so many milliseconds ago. A node that may have forgotten the session since
    /// refuses it.
    pub again_ms: Option<u64>,
}

/// Names a request that may be repeated at the node to which it was sent. Of a session one request at a time is unanswered,
/// and each has a higher number than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Turn {
    /// Random, and the client's own.
    pub session: u128,
    /// Which of its requests.
    pub number: u64,
}

/// One operation, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct WireOperation<'a> {
    /// A position in the batch's list of namespaces.
    pub namespace: u32,
    /// UTF-8, 1 to [`KEY_BYTES_MAX`](crate::key::KEY_BYTES_MAX) bytes.
    pub key: &'a str,
    /// What to do.
    pub action: Action,
}

/// An answer frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// The answer, or why nothing was done.
    pub answer: Result<Answer, WireError>,
}

/// A [`Response`] that borrows its answer: the same bytes, without a copy of the results for every request.
#[derive(Clone, Copy, Debug, Encode)]
pub struct ResponseRef<'a> {
    /// The request's id.
    pub id: u64,
    /// The answer, or why nothing was done.
    pub answer: Result<AnswerRef<'a>, &'a WireError>,
}

/// An [`Answer`], borrowed.
#[derive(Clone, Copy, Debug, Encode)]
pub enum AnswerRef<'a> {
    /// As [`Answer::Batch`].
    Batch(&'a [Result<i128, Code>]),
    /// As [`Answer::Ids`].
    Ids(&'a [IdRun]),
    /// As [`Answer::OnTerms`].
    OnTerms(&'a OnTerms),
    /// As [`Answer::Limits`].
    Limits(&'a [Result<Decision, Code>]),
}

/// What a server can answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// One result per operation, in order: the value after it, or the reason why it was refused.
    Batch(Vec<Result<i128, Code>>),
    /// The IDs, as ascending runs of consecutive numbers.
    Ids(Vec<IdRun>),
    /// A batch on terms.
    OnTerms(OnTerms),
    /// One result per check, in order: the decision, or the reason why there is none.
    Limits(Vec<Result<Decision, Code>>),
}

/// The answer to a batch on terms. What was not asked for is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct OnTerms {
    /// One per operation, in order.
    pub results: Vec<Result<i128, Code>>,
    /// A [`crate::Token`] in bytes, unless it would be longer than the node takes.
    pub token: Option<Vec<u8>>,
    /// The regions that hold all writes of the batch durably.
    pub acknowledged_by: Vec<String>,
    /// The writes are durable at this node, but not yet in as many regions as asked for.
    pub pending: bool,
    /// One per operation.
    pub views: Vec<View>,
    /// The request was carried out before, and these were its results.
    pub repeated: bool,
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

/// Why nothing was done; with [`Code::Timeout`] or [`Code::Internal`], why it is unknown what was.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WireError {
    /// The word.
    pub code: Code,
    /// A sentence for people.
    pub detail: String,
    /// When to try again, where that helps.
    pub retry_after_ms: Option<u32>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{self, Cursor, DecodeError};

    fn code() -> impl Strategy<Value = Code> {
        prop::sample::select(vec![Code::Throttled, Code::CounterOverflow, Code::UnknownNamespace, Code::Internal])
    }

    fn wire_error() -> impl Strategy<Value = WireError> {
        (code(), ".{0,40}", any::<Option<u32>>()).prop_map(|(code, detail, retry_after_ms)| WireError {
            code,
            detail,
            retry_after_ms,
        })
    }

    fn on_terms() -> impl Strategy<Value = OnTerms> {
        let result = prop_oneof![any::<i128>().prop_map(Ok), code().prop_map(Err)];
        let share = ("[a-z]{1,9}", any::<i128>(), any::<Option<u64>>())
            .prop_map(|(region, value, as_of_ms)| crate::Share { region, value, as_of_ms });
        let view =
            (prop::collection::vec(share, 0..4), any::<Option<i128>>(), prop::collection::vec("[a-z]{1,9}", 0..3))
                .prop_map(|(regions, settled, behind)| View { regions, settled, behind });
        let token = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
        let regions = prop::collection::vec("[a-z]{1,9}", 0..3);
        let flags = (any::<bool>(), any::<bool>());
        (prop::collection::vec(result, 0..9), token, regions, flags, prop::collection::vec(view, 0..3)).prop_map(
            |(results, token, acknowledged_by, (pending, repeated), views)| OnTerms {
                repeated,
                results,
                token,
                acknowledged_by,
                pending,
                views,
            },
        )
    }

    fn decision() -> impl Strategy<Value = Decision> {
        (any::<bool>(), any::<[u64; 4]>()).prop_map(|(admitted, [limit, remaining, reset_ms, retry_after_ms])| {
            Decision { admitted, limit, remaining, reset_ms, retry_after_ms }
        })
    }

    fn answer() -> impl Strategy<Value = Answer> {
        let result = prop_oneof![any::<i128>().prop_map(Ok), code().prop_map(Err)];
        let run = (any::<u64>(), any::<u32>()).prop_map(|(first, count)| IdRun { first, count });
        prop_oneof![
            prop::collection::vec(result, 0..50).prop_map(Answer::Batch),
            prop::collection::vec(run, 0..50).prop_map(Answer::Ids),
            prop::collection::vec(prop_oneof![decision().prop_map(Ok), code().prop_map(Err)], 0..50)
                .prop_map(Answer::Limits),
            on_terms().prop_map(Answer::OnTerms),
        ]
    }

    fn response() -> impl Strategy<Value = Response> {
        let answer = prop_oneof![answer().prop_map(Ok), wire_error().prop_map(Err)];
        (any::<u64>(), answer).prop_map(|(id, answer)| Response { id, answer })
    }

    fn greeting() -> impl Strategy<Value = Greeting> {
        let welcome = (any::<(u16, u8, u32, u32, Option<u64>)>(), ".{0,20}").prop_map(
            |((version, node, frame, requests, incarnation), region)| {
                let id_scheme = IdScheme::new(&region, u64::from(frame), node);
                Greeting::Welcome(Welcome {
                    version,
                    region,
                    node,
                    frame_bytes_max: frame,
                    requests_max: requests,
                    id_scheme,
                    incarnation,
                })
            },
        );
        prop_oneof![welcome, wire_error().prop_map(Greeting::Refused)]
    }

    proptest! {
        #[test]
        fn responses_and_greetings_survive_the_wire(response in response(), greeting in greeting()) {
            let bytes = codec::encode(&response);
            prop_assert_eq!(&codec::decode::<Response>(&bytes).unwrap(), &response);
            prop_assert_eq!(codec::decode::<Greeting>(&codec::encode(&greeting)).unwrap(), greeting);
            let borrowed = match &response.answer {
                Ok(Answer::Batch(results)) => Ok(AnswerRef::Batch(results)),
                Ok(Answer::Ids(runs)) => Ok(AnswerRef::Ids(runs)),
                Ok(Answer::OnTerms(answer)) => Ok(AnswerRef::OnTerms(answer)),
                Ok(Answer::Limits(decided)) => Ok(AnswerRef::Limits(decided)),
                Err(error) => Err(error),
            };
            prop_assert_eq!(codec::encode(&ResponseRef { id: response.id, answer: borrowed }), bytes);
        }

        #[test]
        fn truncated_and_trailing_bytes_are_refused(response in response(), cut in any::<prop::sample::Index>()) {
            let mut bytes = codec::encode(&response);
            prop_assert!(codec::decode::<Response>(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(matches!(codec::decode::<Response>(&bytes), Err(DecodeError::Trailing(1))));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = codec::decode::<Response>(&bytes);
            let _ = codec::decode::<Hello>(&bytes);
            let _ = codec::decode::<Greeting>(&bytes);
            let mut cursor = Cursor::new(&bytes);
            if cursor.read::<RequestHead>().is_ok() {
                let _ = cursor.read::<WireTerms<'_>>();
                let _ = cursor.read::<WirePolicy<'_>>();
                let _ = cursor.read::<WireCheck<'_>>();
                while cursor.read::<WireOperation<'_>>().is_ok() {}
            }
        }
    }

    #[test]
    fn a_count_that_exceeds_the_limit_of_the_codec_is_refused_without_making_room() {
        // A response to request 0 that claims 2^62 results.
        let mut bytes = vec![0, 0, 0, 253];
        bytes.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(matches!(codec::decode::<Response>(&bytes), Err(DecodeError::Malformed(_))));
    }
}
