//! The pulse of a connection: when something last happened on it, and so when it has been still for too long.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::api::budget::{Account, Charge, Purpose};
use crate::clock::Stopwatch;
use crate::config::Config;

/// How long a connection may take over what.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Limits {
    pub(in crate::api) header: Duration,
    pub(in crate::api) idle: Duration,
    pub(in crate::api) request: Duration,
    pub(in crate::api) head_bytes: usize,
}

impl Limits {
    pub(in crate::api) fn new(config: &Config) -> Self {
        Self {
            header: config.http.header_timeout,
            idle: config.http.idle_timeout,
            request: config.api.request_timeout,
            head_bytes: usize::try_from(config.http.head_bytes_max.as_u64()).unwrap_or(usize::MAX),
        }
    }
}

/// So much of a head is paid for with the connection.
const HEAD_BYTES_FREE: usize = 8 << 10;

/// When something last happened on a connection.
pub(super) struct Pulse {
    watch: Stopwatch,
    /// Requests being answered.
    answering: AtomicUsize,
    /// Answers whose bodies are on their way.
    bodies: AtomicUsize,
    /// Requests since bytes last came in: the protocol has had room for all of these at once.
    since_heard: AtomicUsize,
    /// The most that it has had room for.
    most: AtomicUsize,
    /// When the last answer was ready, or a part of one was taken.
    answered_ms: AtomicU64,
    /// A request head has begun to arrive, or, on a new connection, is awaited.
    head_begun: AtomicBool,
    /// When it began.
    head_begun_ms: AtomicU64,
    /// What requests cost whose answers may not have left yet.
    unflushed: Mutex<Vec<Charge>>,
    /// HTTP/2: bytes between requests are mostly not heads, so only the idle timeout holds.
    multiplexed: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            watch: Stopwatch::start(),
            answering: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
            since_heard: AtomicUsize::new(0),
            most: AtomicUsize::new(1),
            answered_ms: AtomicU64::new(0),
            head_begun: AtomicBool::new(true),
            head_begun_ms: AtomicU64::new(0),
            unflushed: Mutex::default(),
            multiplexed: AtomicBool::new(false),
        }
    }

    /// Bytes came in.
    fn heard(&self) {
        self.since_heard.store(0, Relaxed);
        let under_way = self.answering.load(Relaxed) > 0 || self.bodies.load(Relaxed) > 0;
        let between = !under_way && !self.multiplexed.load(Relaxed);
        if between && !self.head_begun.load(Relaxed) {
            self.head_begun_ms.store(self.watch.elapsed_ms(), Relaxed);
            self.head_begun.store(true, Relaxed);
        }
    }

    /// Bytes went out: the other end takes them, or the system's buffers would be full. Over HTTP/2 they may be no more
    /// than the answer to a ping.
    fn sent(&self) {
        if !self.multiplexed.load(Relaxed) {
            self.taken();
        }
    }

    /// A request has begun. How many more than ever before HTTP/2 has had room for at once, the first not counted: it reads
    /// all that has come before it hands any on.
    pub(super) fn widened(&self) -> usize {
        if !self.multiplexed.load(Relaxed) {
            return 0;
        }
        let at_once = self.since_heard.fetch_add(1, Relaxed).saturating_add(1).max(self.answering.load(Relaxed));
        at_once.saturating_sub(self.most.fetch_max(at_once, Relaxed))
    }

    /// A request is over as far as we know, but its answer may still be queued for the socket.
    fn keep_until_flushed(&self, charge: Charge) {
        if self.multiplexed.load(Relaxed) {
            self.unflushed.lock().unwrap_or_else(PoisonError::into_inner).push(charge);
        }
    }

    /// The socket has taken all that was given to it.
    fn flushed(&self) {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A part of an answer was taken.
    fn taken(&self) {
        self.answered_ms.store(self.watch.elapsed_ms(), Relaxed);
    }

    /// The moment at which this connection has been still for too long; `None` while a request is being answered.
    fn deadline_ms(&self, limits: Limits) -> Option<u64> {
        if self.answering.load(Relaxed) > 0 {
            return None;
        }
        let (since, limit) = if self.head_begun.load(Relaxed) {
            (self.head_begun_ms.load(Relaxed), limits.header)
        } else {
            (self.answered_ms.load(Relaxed), limits.idle)
        };
        Some(since.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns once the connection has been still for too long.
    pub(super) async fn still_for(&self, limits: Limits) {
        loop {
            let now = self.watch.elapsed_ms();
            let left = match self.deadline_ms(limits) {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => Duration::from_millis(deadline.saturating_sub(now)).min(limits.header),
                None => limits.header,
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// Held while one request is answered, however that ends.
pub(super) struct Answering(Arc<Pulse>);

impl Answering {
    pub(super) fn new(pulse: Arc<Pulse>, version: Version) -> Self {
        pulse.answering.fetch_add(1, Relaxed);
        pulse.head_begun.store(false, Relaxed);
        pulse.multiplexed.store(version == Version::HTTP_2, Relaxed);
        Self(pulse)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered_ms.store(self.0.watch.elapsed_ms(), Relaxed);
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

/// Held while an answer's body is on its way, with what its request costs.
pub(super) struct Delivery {
    pulse: Arc<Pulse>,
    request: Option<Charge>,
}

impl Delivery {
    pub(super) fn new(pulse: Arc<Pulse>, request: Charge) -> Self {
        pulse.bodies.fetch_add(1, Relaxed);
        Self { pulse, request: Some(request) }
    }

    /// A part of the body was taken.
    pub(super) fn taken(&self) {
        self.pulse.taken();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.pulse.taken();
        self.pulse.bodies.fetch_sub(1, Relaxed);
        self.request.take().into_iter().for_each(|request| self.pulse.keep_until_flushed(request));
    }
}

/// A socket that tells the pulse when bytes come in or go out, and charges for heads that are not whole yet.
pub(super) struct Heard<S> {
    stream: S,
    pulse: Arc<Pulse>,
    account: Arc<Account>,
    /// What has come since the last request was whole, as far as the protocol may have kept it.
    unread: usize,
    /// No head is longer.
    head_bytes_max: usize,
    charge: Charge,
    /// [`Account::heard`], as of the last read.
    heard: u64,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>, account: Arc<Account>, head_bytes_max: usize) -> Self {
        let (charge, heard) = (account.nothing(), account.heard());
        Self { stream, pulse, account, unread: 0, head_bytes_max, charge, heard }
    }

    /// Charges for so many bytes more. The protocol's buffers grow in steps of twice their size.
    fn charge(&mut self, bytes: usize) -> std::io::Result<()> {
        let heard = self.account.heard();
        if self.heard != heard {
            (self.heard, self.unread) = (heard, 0);
        }
        self.unread = self.unread.saturating_add(bytes).min(self.head_bytes_max);
        let beyond = self.unread.saturating_sub(HEAD_BYTES_FREE).saturating_mul(2);
        self.charge.resize(beyond, Purpose::Request).map_err(std::io::Error::other)
    }

    fn told(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.pulse.sent();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let filled = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(filled);
        if count > 0 {
            self.pulse.heard();
            self.charge(count)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.told(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.told(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.pulse.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::budget::Budget;
    use crate::telemetry;

    const LIMITS: Limits = Limits {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        request: Duration::from_secs(5),
        head_bytes: 1 << 16,
    };

    #[test]
    fn a_new_connection_has_the_time_of_a_head_and_an_answered_one_that_of_idling() {
        let pulse = Arc::new(Pulse::new());
        assert_eq!(pulse.deadline_ms(LIMITS), Some(10_000));
        let answering = Answering::new(Arc::clone(&pulse), Version::HTTP_11);
        assert_eq!(pulse.deadline_ms(LIMITS), None, "a request in progress has its own limit");
        drop(answering);
        assert!(pulse.deadline_ms(LIMITS).unwrap() >= 60_000);
    }

    #[test]
    fn the_first_byte_of_the_next_head_starts_its_time_and_later_ones_do_not_move_it() {
        let pulse = Arc::new(Pulse::new());
        drop(Answering::new(Arc::clone(&pulse), Version::HTTP_11));
        pulse.heard();
        let deadline = pulse.deadline_ms(LIMITS).unwrap();
        assert!(deadline < 60_000);
        pulse.head_begun_ms.store(7, Relaxed);
        pulse.heard();
        assert_eq!(pulse.deadline_ms(LIMITS), Some(10_007));
    }

    #[test]
    fn a_byte_while_an_answer_is_on_its_way_is_no_head_yet() {
        let pulse = Arc::new(Pulse::new());
        drop(Answering::new(Arc::clone(&pulse), Version::HTTP_11));
        let account = Budget::new(1 << 20).open(telemetry::Door::Http);
        let body = Delivery::new(Arc::clone(&pulse), account.nothing());
        pulse.heard();
        assert!(pulse.deadline_ms(LIMITS).unwrap() >= 60_000);
        drop(body);
        pulse.heard();
        assert!(pulse.deadline_ms(LIMITS).unwrap() < 60_000);
    }

    #[test]
    fn requests_that_come_at_once_are_told_when_they_are_more_than_ever() {
        let pulse = Arc::new(Pulse::new());
        // Each is answered before the next is looked at.
        let burst = |version, requests: usize| -> usize {
            pulse.heard();
            let widened = |_| {
                let _answering = Answering::new(Arc::clone(&pulse), version);
                pulse.widened()
            };
            (0..requests).map(widened).sum()
        };
        assert_eq!(burst(Version::HTTP_11, 9), 0, "these are read one by one");
        let bursts = [1, 1, 3, 2, 3, 5].map(|requests| burst(Version::HTTP_2, requests));
        assert_eq!(bursts, [0, 0, 2, 0, 0, 2]);
        let slow: Vec<_> = (0..7).map(|_| Answering::new(Arc::clone(&pulse), Version::HTTP_2)).collect();
        assert_eq!(burst(Version::HTTP_2, 1), 3, "those that wait for their answers count");
        drop(slow);
    }

    #[test]
    fn over_http_2_only_parts_of_answers_put_off_the_end() {
        for (version, put_off) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let pulse = Arc::new(Pulse::new());
            drop(Answering::new(Arc::clone(&pulse), version));
            pulse.answered_ms.store(u64::MAX / 2, Relaxed);
            pulse.sent();
            assert_eq!(pulse.answered_ms.load(Relaxed) < 60_000, put_off, "{version:?}");
        }
    }

    #[test]
    fn frames_between_requests_of_http_2_do_not_count_as_heads() {
        let pulse = Arc::new(Pulse::new());
        drop(Answering::new(Arc::clone(&pulse), Version::HTTP_2));
        pulse.heard();
        assert!(pulse.deadline_ms(LIMITS).unwrap() >= 60_000);
    }
}
