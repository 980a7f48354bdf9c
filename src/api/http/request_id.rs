//! What a request is called: by its client, or by us, and by the trace that it is part of. Its log lines, its answer and
//! its problem document carry that.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock;

/// A request's name comes and goes in this header (there is no standard, and hardly anything else is in use).
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Those by which requests are named.
pub(super) const HEADERS: [HeaderName; 2] = [REQUEST_ID, TRACEPARENT];
/// A longer name is not taken; the request gets one of ours.
const ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    /// The name of the request that the task is answering.
    static CURRENT: RequestId;
}

/// A request's name, and its place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    id: HeaderValue,
    trace: Option<Trace>,
}

/// What the caller's `traceparent` says (W3C Trace Context, level 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// 32 hexadecimal digits.
    pub(super) trace_id: Box<str>,
    /// 16 hexadecimal digits: the caller's span.
    pub(super) parent_id: Box<str>,
}

impl RequestId {
    /// As the headers say. What is not a name is replaced, not refused: nobody must lose an answer for it.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| is_id(id.as_bytes()));
        let trace = headers.get(TRACEPARENT).and_then(|value| Trace::parse(value.to_str().ok()?));
        Self { id: given.cloned().unwrap_or_else(made_up), trace }
    }

    /// For the answer's header.
    pub(super) fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    /// For logs and documents.
    pub(super) fn id(&self) -> &str {
        // Nothing else passes `is_id`.
        self.id.to_str().unwrap_or_default()
    }

    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Everything that `answering` does, it does in this name.
    pub(super) async fn scope<F: Future>(self, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }
}

/// What `tell` says of the request being answered; `None` if none is.
pub(super) fn current<T>(tell: impl FnOnce(&RequestId) -> T) -> Option<T> {
    CURRENT.try_with(tell).ok()
}

/// Visible characters: they stand in log lines.
fn is_id(bytes: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// A name that nobody else has: this process's, and a number.
fn made_up() -> HeaderValue {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static MADE: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| getrandom::u64().unwrap_or_else(|_| clock::wall_ms()));
    let id = format!("{process:016x}-{:x}", MADE.fetch_add(1, Relaxed));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

impl Trace {
    /// `version-trace_id-parent_id-flags`, in lower case; a later version may have more behind that.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace_id) = (parts.next()?, parts.next()?);
        let (parent_id, flags) = (parts.next()?, parts.next()?);
        let hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let whole = hex(version, 2) && hex(trace_id, 32) && hex(parent_id, 16) && hex(flags, 2);
        let ended = version != "00" || parts.next().is_none();
        let known = whole && ended && version != "ff" && !zero(trace_id) && !zero(parent_id);
        known.then(|| Self { trace_id: trace_id.into(), parent_id: parent_id.into() })
    }
}

/// The name of the request being answered, for a log line; empty if none is.
pub(super) fn shown() -> impl Display {
    current(|name| name.id().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn named(id: &[u8]) -> RequestId {
        RequestId::of(&[(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())].into_iter().collect())
    }

    #[test]
    fn a_name_is_taken_as_it_is_and_anything_else_replaced() {
        for id in ["7", "a-b_c.d/e:f=", &"x".repeat(128)] {
            assert_eq!(named(id.as_bytes()).id(), id);
        }
        for bad in [&b""[..], b"two words", b"tab\t", b"caf\xe9", &[b'x'; 129]] {
            let made = named(bad);
            assert!(is_id(made.id().as_bytes()) && made.id().as_bytes() != bad, "{made:?}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }

    #[test]
    fn a_traceparent_is_taken_apart() {
        for text in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!(" 00-{TRACE}-{PARENT}-00 "),
            format!("cc-{TRACE}-{PARENT}-09-what-comes-later"),
        ] {
            let trace = Trace::parse(&text).unwrap();
            assert_eq!((&*trace.trace_id, &*trace.parent_id), (TRACE, PARENT), "{text}");
        }
        for text in [
            String::new(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-1"),
        ] {
            assert_eq!(Trace::parse(&text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_known_to_all_that_is_done_in_it() {
        assert_eq!(current(|name| name.id().to_owned()), None);
        let known = named(b"mine").scope(async { current(|name| name.id().to_owned()) }).await;
        assert_eq!(known.as_deref(), Some("mine"));
    }
}
