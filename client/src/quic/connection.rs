//! A connection: requests to one node as methods.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, VarInt};
use snowtide_protocol::id::IdScheme;
use snowtide_protocol::wire::{Answer, Ask, IdRun, RequestHead, Welcome, WireOperation, close};
use snowtide_protocol::{Action, Code, codec};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::config::Config;
use super::connect::{self, Connected};
use super::lane::{Lane, Outgoing};
use crate::CLOSE_WAIT;
use crate::answers::{counted, miscounted, only, refused};
use crate::batch::{self, Batch, REQUEST_HEAD_BYTES_MAX};
use crate::door::Stamp;
use crate::error::{ConnectError, Error, InvalidArgument};
use crate::terms::{Answered, Counted, Terms};

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

    /// Adds `by` to a counter; its value afterwards, durable at this node.
    pub async fn increment(&self, namespace: &str, key: &str, by: u64) -> Result<i128, Error> {
        self.add(namespace, key, batch::increment_by(by)?).await
    }

    /// Subtracts `by` from a counter; its value afterwards, durable at this node.
    pub async fn decrement(&self, namespace: &str, key: &str, by: u64) -> Result<i128, Error> {
        self.add(namespace, key, batch::decrement_by(by)?).await
    }

    /// Adds `by` to a counter, where a negative number is a decrement; its value afterwards, durable at this node.
    pub async fn add(&self, namespace: &str, key: &str, by: i64) -> Result<i128, Error> {
        self.one(self.0.request_timeout, namespace, key, Action::Increment(by)).await
    }

    /// A counter's value as this node knows it; an unknown counter is 0.
    pub async fn get(&self, namespace: &str, key: &str) -> Result<i128, Error> {
        self.one(self.0.request_timeout, namespace, key, Action::Get).await
    }

    /// Applies a batch in order: one result per operation, the value after it or why it was refused. An error means
    /// that the batch as a whole was refused or its fate is unknown, as the error says.
    pub async fn batch(&self, batch: &Batch) -> Result<Vec<Result<i128, Code>>, Error> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.batch_within(self.0.request_timeout, batch).await
    }

    /// As [`Connection::add`], on terms.
    pub async fn add_on(&self, namespace: &str, key: &str, by: i64, terms: &Terms) -> Result<Counted, Error> {
        let mut batch = Batch::new();
        batch.add(namespace, key, by)?;
        only(self.batch_on(&batch, terms).await?, namespace, key)
    }

    /// As [`Connection::get`], on terms.
    pub async fn get_on(&self, namespace: &str, key: &str, terms: &Terms) -> Result<Counted, Error> {
        let mut batch = Batch::new();
        batch.get(namespace, key)?;
        only(self.batch_on(&batch, terms).await?, namespace, key)
    }

    /// As [`Connection::batch`], on terms. The request's time limit is longer by the time that the terms may wait.
    pub async fn batch_on(&self, batch: &Batch, terms: &Terms) -> Result<Answered, Error> {
        if batch.is_empty() {
            return Ok(Answered::default());
        }
        self.batch_on_within(self.0.request_timeout.saturating_add(terms.patience()), batch, terms, None).await
    }

    /// `count` IDs, ascending: 1 to 10 000.
    pub async fn ids(&self, count: u32) -> Result<Vec<u64>, Error> {
        Ok(self.id_runs(count).await?.into_iter().flat_map(IdRun::iter).collect())
    }

    /// `count` IDs as ascending runs of consecutive numbers: 1 to 10 000.
    pub async fn id_runs(&self, count: u32) -> Result<Vec<IdRun>, Error> {
        self.id_runs_within(self.0.request_timeout, count).await
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

    /// One operation.
    pub(super) async fn one(&self, after: Duration, namespace: &str, key: &str, action: Action) -> Result<i128, Error> {
        batch::check_namespace(namespace)?;
        batch::check_key(key)?;
        let weight = REQUEST_HEAD_BYTES_MAX.saturating_mul(2).saturating_add(namespace.len()).saturating_add(key.len());
        let body = |id, bytes: &mut Vec<u8>| {
            codec::encode_into(&RequestHead { id, ask: Ask::Batch { namespaces: 1, operations: 1 } }, bytes);
            codec::encode_into(namespace, bytes);
            codec::encode_into(&WireOperation { namespace: 0, key, action }, bytes);
        };
        let answer = self.call(after, weight, action.is_write(), body).await?;
        match results(answer, 1)?.into_iter().next() {
            Some(Ok(value)) => Ok(value),
            Some(Err(code)) => Err(refused(code, namespace, key)),
            None => Err(miscounted(1)),
        }
    }

    /// A batch that is not empty.
    pub(super) async fn batch_within(&self, after: Duration, batch: &Batch) -> Result<Vec<Result<i128, Code>>, Error> {
        let body = |id, bytes: &mut Vec<u8>| batch.append_request(id, bytes);
        let answer = self.call(after, batch.weight(), batch.writes(), body).await?;
        results(answer, batch.len())
    }

    /// The same on terms.
    pub(super) async fn batch_on_within(
        &self,
        after: Duration,
        batch: &Batch,
        terms: &Terms,
        stamp: Option<Stamp>,
    ) -> Result<Answered, Error> {
        let token = terms.token_bytes();
        let weight = batch.weight().saturating_add(TERMS_BYTES_MAX).saturating_add(token.len());
        let body = |id, bytes: &mut Vec<u8>| batch.append_on_terms(id, &terms.to_wire(&token, stamp), bytes);
        match self.call(after, weight, batch.writes(), body).await? {
            Answer::OnTerms(answer) if answer.results.len() == batch.len() => {
                Answered::of(answer).map_err(|error| Error::Protocol(error.to_string()))
            }
            _ => Err(miscounted(batch.len())),
        }
    }

    /// So many IDs.
    pub(super) async fn id_runs_within(&self, after: Duration, count: u32) -> Result<Vec<IdRun>, Error> {
        batch::check_ids(count)?;
        let body = |id, bytes: &mut Vec<u8>| codec::encode_into(&RequestHead { id, ask: Ask::Ids(count) }, bytes);
        match self.call(after, REQUEST_HEAD_BYTES_MAX, false, body).await? {
            Answer::Ids(runs) => counted(runs, count),
            _ => Err(Error::Protocol(format!("{count} ids were asked for, something else was answered"))),
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

fn results(answer: Answer, count: usize) -> Result<Vec<Result<i128, Code>>, Error> {
    match answer {
        Answer::Batch(results) if results.len() == count => Ok(results),
        _ => Err(miscounted(count)),
    }
}

/// An upper bound of terms without their token.
const TERMS_BYTES_MAX: usize = 96;
