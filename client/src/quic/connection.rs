//! A connection: requests to one node as methods.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, VarInt};
use snowtide_protocol::id::IdScheme;
use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::{Answer, Ask, IdRun, RequestHead, Welcome, WireTerms, close};
use snowtide_protocol::{Action, Code, codec};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::config::Config;
use super::connect::{self, Connected};
use super::lane::{Lane, Outgoing};
use crate::CLOSE_WAIT;
use crate::answers::{counted, miscounted, no_ids, only, only_decision, undecided};
use crate::batch::{self, Batch, REQUEST_HEAD_BYTES_MAX};
use crate::door::{Reply, Request, Stamp};
use crate::error::{ConnectError, Error, InvalidArgument};
use crate::limits::LimitBatch;
use crate::terms::{Answered, Terms};

/// An upper bound of terms without their token.
const TERMS_BYTES_MAX: usize = 96;

/// A connection to one node over QUIC; cheap to clone, and any number of requests may be in flight on it.
///
/// It is what a [`crate::Client`] stands on, for those who want to see every failure themselves: nothing is tried twice.
///
/// Requests of one stream reach the node in the order in which they were first polled; answers come as they are
/// ready. More requests than the node admits wait here, within their time limit. A lost connection is not made
/// again silently: requests fail with an error that says what is known of them, and the caller connects anew.
///
/// When the last clone is dropped, requests that were queued are still sent; [`Connection::close`] waits for that.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    connection: quinn::Connection,
    welcome: Welcome,
    lanes: Vec<Arc<Lane>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    next_lane: AtomicUsize,
    /// Places among the connection's unanswered requests, as many as the node admits.
    places: Arc<Semaphore>,
    request_timeout: Duration,
}

impl Connection {
    /// Connects, verifies the node's certificate and says hello. Must be called within a tokio runtime.
    pub async fn open(config: Config) -> Result<Self, ConnectError> {
        let Connected { endpoint, connection, streams, welcome } = connect::connect(&config).await?;
        let (lanes, readers) = streams
            .into_iter()
            .map(|stream| Lane::start(connection.clone(), stream.send, stream.recv, stream.buffer))
            .unzip();
        let places = usize::try_from(welcome.requests_max).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            endpoint,
            connection,
            welcome,
            lanes,
            readers: Mutex::new(readers),
            next_lane: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(places)),
            request_timeout: config.request_timeout,
        })))
    }

    /// What this client is connected to.
    pub fn welcome(&self) -> &Welcome {
        &self.0.welcome
    }

    /// How the IDs of this cluster are written as UUIDs and ULIDs, and read.
    pub fn id_scheme(&self) -> IdScheme {
        self.0.welcome.id_scheme
    }

    /// How long a question and its answer take on the way, as measured by now.
    pub fn round_trip(&self) -> Duration {
        self.0.connection.rtt()
    }

    /// The connection is lost or closed: every request will fail.
    pub fn is_closed(&self) -> bool {
        self.0.connection.close_reason().is_some()
    }

    /// Applies a batch in order: one result per operation, the value after it or why it was refused. An error means
    /// that the batch as a whole was refused or its fate is unknown, as the error says.
    pub async fn batch(&self, batch: &Batch) -> Result<Vec<Result<i128, Code>>, Error> {
        Ok(self.batched(batch, None, None, self.0.request_timeout).await?.results)
    }

    /// As [`Connection::batch`], on terms. The request's time limit is longer by the time that the terms may wait.
    pub async fn batch_on(&self, batch: &Batch, terms: &Terms) -> Result<Answered, Error> {
        let timeout = self.0.request_timeout.saturating_add(terms.patience());
        self.batched(batch, Some(terms), None, timeout).await
    }

    /// `count` IDs, ascending: 1 to 10 000.
    pub async fn ids(&self, count: u32) -> Result<Vec<u64>, Error> {
        Ok(self.id_runs(count).await?.into_iter().flat_map(IdRun::iter).collect())
    }

    /// `count` IDs as ascending runs of consecutive numbers: 1 to 10 000.
    pub async fn id_runs(&self, count: u32) -> Result<Vec<IdRun>, Error> {
        self.minted(count, self.0.request_timeout).await
    }

    /// Closes the connection for all clones: no more requests, what is queued is sent, answers are awaited for a few
    /// seconds. Returns once the node has been told.
    pub async fn close(self) {
        self.0.finish();
        let readers = std::mem::take(&mut *self.0.readers.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in readers {
            // Each ends by itself: at the end of its stream, or when its patience does.
            let _ = reader.await;
        }
        self.0.connection.close(VarInt::from_u32(close::DONE), b"");
        // The close itself is worth no more waiting than the answers were.
        let _ = tokio::time::timeout(CLOSE_WAIT, self.0.endpoint.wait_idle()).await;
    }

    /// Any operation.
    pub(crate) async fn operate(&self, namespace: &str, key: &str, action: Action) -> Result<i128, Error> {
        let request = Request::Operation { namespace, key, action };
        match self.perform(request).await? {
            Reply::Value(value) => Ok(value),
            _ => Err(miscounted(1)),
        }
    }

    /// Any request.
    pub(crate) async fn perform(&self, request: Request<'_>) -> Result<Reply, Error> {
        self.perform_within(request, None, self.0.request_timeout).await
    }

    /// Any request, which a stamp makes count once.
    pub(super) async fn perform_within(
        &self,
        request: Request<'_>,
        stamp: Option<Stamp>,
        timeout: Duration,
    ) -> Result<Reply, Error> {
        match request {
            Request::Operation { namespace, key, action } => {
                let batch = Batch::of(namespace, key, action)?;
                let answered = self.batched(&batch, None, stamp, timeout).await?;
                only(answered, namespace, key).map(|counted| Reply::Value(counted.value))
            }
            Request::Batch(batch, terms) => self.batched(batch, terms, stamp, timeout).await.map(Reply::Batch),
            Request::Ids(count) => self.minted(count, timeout).await.map(Reply::Ids),
            Request::Limit(check) => {
                let decided = self.decided(&LimitBatch::of(check)?, timeout).await?;
                only_decision(&decided, check.key).map(Reply::Limit)
            }
            Request::Limits(batch) => self.decided(batch, timeout).await.map(Reply::Limits),
        }
    }

    async fn batched(
        &self,
        batch: &Batch,
        terms: Option<&Terms>,
        stamp: Option<Stamp>,
        timeout: Duration,
    ) -> Result<Answered, Error> {
        if batch.is_empty() {
            return Ok(Answered::default());
        }
        // A stamp travels with the terms.
        let on_terms = terms.is_some() || stamp.is_some();
        let none = Terms::new();
        let terms = terms.unwrap_or(&none);
        let token = if terms.after.is_empty() { Vec::new() } else { terms.after.to_bytes() };
        let terms_bytes_max = if on_terms { TERMS_BYTES_MAX.saturating_add(token.len()) } else { 0 };
        let weight = batch.weight().saturating_add(terms_bytes_max);
        let terms = on_terms.then(|| wire_terms(terms, &token, stamp));
        let body = |id, bytes: &mut Vec<u8>| batch.append_request(id, terms.as_ref(), bytes);
        let answered = match self.call(timeout, weight, batch.writes, body).await? {
            Answer::Batch(results) if !on_terms => Answered { results, ..Answered::default() },
            Answer::OnTerms(answer) if on_terms => {
                Answered::of(answer).map_err(|error| Error::Protocol(error.to_string()))?
            }
            _ => return Err(miscounted(batch.len())),
        };
        if answered.results.len() == batch.len() { Ok(answered) } else { Err(miscounted(batch.len())) }
    }

    async fn minted(&self, count: u32, timeout: Duration) -> Result<Vec<IdRun>, Error> {
        batch::check_ids(count)?;
        let body = |id, bytes: &mut Vec<u8>| codec::encode_into(&RequestHead { id, ask: Ask::Ids(count) }, bytes);
        match self.call(timeout, REQUEST_HEAD_BYTES_MAX, false, body).await? {
            Answer::Ids(runs) => counted(runs, count),
            _ => Err(no_ids(count)),
        }
    }

    async fn decided(&self, batch: &LimitBatch, timeout: Duration) -> Result<Vec<Result<Decision, Code>>, Error> {
        let body = |id, bytes: &mut Vec<u8>| batch.append_request(id, bytes);
        match self.call(timeout, batch.weight(), batch.charges, body).await? {
            Answer::Limits(decided) if decided.len() == batch.len() => Ok(decided),
            _ => Err(undecided(batch.len())),
        }
    }

    /// Sends one request and waits for its answer, within the time limit.
    async fn call<F>(&self, after: Duration, weight: usize, writes: bool, body: F) -> Result<Answer, Error>
    where
        F: FnOnce(u64, &mut Vec<u8>),
    {
        let limit = usize::try_from(self.0.welcome.frame_bytes_max).unwrap_or(usize::MAX);
        if weight > limit.saturating_add(REQUEST_HEAD_BYTES_MAX) {
            return Err(InvalidArgument::FrameLength { bytes: weight, limit }.into());
        }
        let mut sent = false;
        match tokio::time::timeout(after, self.exchange(weight, writes, body, &mut sent)).await {
            Ok(answer) => answer,
            Err(_) if sent => Err(Error::Timeout { after, may_have_written: writes }),
            Err(_) => Err(Error::Busy { after }),
        }
    }

    async fn exchange<F>(&self, weight: usize, writes: bool, body: F, sent: &mut bool) -> Result<Answer, Error>
    where
        F: FnOnce(u64, &mut Vec<u8>),
    {
        let lane = self.0.lane();
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| lane.disconnected())?;
        let verdict = lane.send(Outgoing { weight, writes, place, body }).await?;
        *sent = true;
        // A lane answers everything before it goes.
        verdict.await.unwrap_or_else(|_| Err(Error::Protocol("the request was lost in this client".into())))
    }
}

impl Inner {
    fn lane(&self) -> &Lane {
        let turn = self.next_lane.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(self.lanes.len()).unwrap_or_default();
        &self.lanes[at] // There is at least one lane, and the remainder is below their number.
    }

    fn finish(&self) {
        self.places.close();
        for lane in &self.lanes {
            lane.finish();
        }
    }
}

impl Drop for Inner {
    /// The lanes' tasks send what is queued; the connection closes with the last of them.
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("welcome", &self.0.welcome).field("closed", &self.is_closed()).finish()
    }
}

/// Terms as they are sent; `token` is theirs in bytes.
fn wire_terms<'a>(terms: &Terms, token: &'a [u8], stamp: Option<Stamp>) -> WireTerms<'a> {
    let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    WireTerms {
        after: token,
        wait_ms: terms.wait.map(|wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
        ack: terms.ack,
        wants_token: terms.wants_token,
        wants_views: terms.wants_views,
        turn: stamp.map(|stamp| stamp.turn),
        incarnation: stamp.and_then(|stamp| stamp.incarnation),
        again_ms: stamp.filter(|stamp| stamp.again).map(|stamp| ms(stamp.age)),
    }
}
