//! Nodes that answer as each test says, without a network.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::IdRun;
use snowtide_protocol::{Code, Token};
use tokio::time::Instant;

use super::builder::Builder;
use super::{Client, Retries};
use crate::door::{Boxed, Dial, Door, Identity, Kind, Reply, Request, Site, Stamp};
use crate::error::{ConnectError, Error};
use crate::terms::{Answered, Terms};

/// What a node does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers each operation with this value.
    Answers(i128),
    /// Fails so.
    Fails(Error),
    /// Says nothing until the time is over.
    Hangs,
    /// Fails so, and its connection is gone.
    Breaks(Error),
}

/// What a node was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) kind: Kind,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) timeout: Duration,
    pub(crate) terms: Option<Terms>,
    pub(crate) operations: usize,
}

/// A node that plays a script, and then answers 1.
pub(crate) struct Fake {
    name: &'static str,
    round_trip: Duration,
    counts_once: bool,
    script: Mutex<VecDeque<Does>>,
    heard: Mutex<Vec<Heard>>,
    reachable: AtomicBool,
    dials: AtomicUsize,
    /// What it tells with each answer on terms.
    token: Mutex<Option<Token>>,
    replaced: AtomicBool,
}

/// One connection to it.
struct FakeDoor {
    fake: Arc<Fake>,
    open: AtomicBool,
    identity: Identity,
}

impl Fake {
    pub(crate) fn new(name: &'static str) -> Arc<Self> {
        Self::at(name, Duration::from_millis(1), false)
    }

    pub(crate) fn at(name: &'static str, round_trip: Duration, counts_once: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            round_trip,
            counts_once,
            script: Mutex::default(),
            heard: Mutex::default(),
            reachable: AtomicBool::new(true),
            dials: AtomicUsize::new(0),
            token: Mutex::default(),
            replaced: AtomicBool::new(false),
        })
    }

    pub(crate) fn does(self: &Arc<Self>, does: impl IntoIterator<Item = Does>) -> Arc<Self> {
        self.script.lock().unwrap().extend(does);
        Arc::clone(self)
    }

    pub(crate) fn reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::SeqCst);
    }

    /// Another node takes its address.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::SeqCst);
    }

    pub(crate) fn tells(&self, token: Option<Token>) {
        *self.token.lock().unwrap() = token;
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

/// Dials a fake.
struct FakeDial(Arc<Fake>);

impl Dial for FakeDial {
    fn address(&self) -> &str {
        self.0.name
    }

    fn dial(&self) -> Boxed<'_, Result<Arc<dyn Door>, ConnectError>> {
        Box::pin(async move {
            self.0.dials.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.0.round_trip).await;
            if !self.0.reachable.load(Ordering::SeqCst) {
                return Err(ConnectError::Unreachable { address: self.0.name.into(), reason: "gone".into() });
            }
            let region = if self.0.replaced.load(Ordering::SeqCst) { "another" } else { self.0.name };
            let identity = Identity {
                site: Site { region: region.into(), node: 0 },
                incarnation: None,
                id_scheme: None,
                round_trip: self.0.round_trip,
                counts_once: self.0.counts_once,
            };
            let fake = Arc::clone(&self.0);
            Ok(Arc::new(FakeDoor { fake, open: AtomicBool::new(true), identity }) as Arc<dyn Door>)
        })
    }
}

impl FakeDoor {
    fn reply(&self, value: i128, request: &Request<'_>) -> Reply {
        match request {
            Request::Operation { .. } => Reply::Value(value),
            Request::Batch(batch, terms) => Reply::Batch(Answered {
                results: vec![Ok(value); batch.len()],
                token: terms.and_then(|_| self.fake.token.lock().unwrap().clone()),
                ..Answered::default()
            }),
            Request::Ids(count) => Reply::Ids(vec![IdRun { first: 1, count: *count }]),
            Request::Limit(_) => Reply::Limit(decided(value)),
            Request::Limits(batch) => Reply::Limits(vec![Ok(decided(value)); batch.len()]),
        }
    }
}

impl Door for FakeDoor {
    fn send<'a>(
        &'a self,
        request: Request<'a>,
        stamp: Option<Stamp>,
        timeout: Duration,
    ) -> Boxed<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let (terms, operations) = match request {
                Request::Batch(batch, terms) => (terms.cloned(), batch.len()),
                Request::Limits(batch) => (None, batch.len()),
                Request::Operation { .. } | Request::Ids(_) | Request::Limit(_) => (None, 1),
            };
            let heard = Heard { at: Instant::now(), kind: request.kind(), stamp, timeout, terms, operations };
            self.fake.heard.lock().unwrap().push(heard);
            let does = self.fake.script.lock().unwrap().pop_front().unwrap_or(Does::Answers(1));
            match does {
                Does::Answers(value) => Ok(self.reply(value, &request)),
                Does::Fails(error) => Err(error),
                Does::Breaks(error) => {
                    self.open.store(false, Ordering::SeqCst);
                    Err(error)
                }
                Does::Hangs => {
                    let forever = tokio::time::timeout(timeout, pending::<()>());
                    let may_have_written = request.writes();
                    forever.await.map_err(|_| Error::Timeout { after: timeout, may_have_written })?;
                    unreachable!("nothing is pending for ever within a time limit")
                }
            }
        })
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn outdate(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    fn close(&self) -> Boxed<'_, ()> {
        self.open.store(false, Ordering::SeqCst);
        Box::pin(async {})
    }
}

/// A decision: as much is left, and it is denied if that is nothing.
fn decided(left: i128) -> Decision {
    let remaining = u64::try_from(left).unwrap_or_default();
    Decision { admitted: remaining > 0, limit: 100, remaining, reset_ms: 1, retry_after_ms: 0 }
}

/// A client of these nodes.
pub(crate) fn client_of(builder: &Builder, fakes: &[&Arc<Fake>]) -> Client {
    builder.on(fakes.iter().map(|fake| Box::new(FakeDial(Arc::clone(fake))) as Box<dyn Dial>).collect())
}

/// A client with these retries.
pub(crate) fn client(retries: Retries, fakes: &[&Arc<Fake>]) -> Client {
    client_of(&Client::builder().retries(retries), fakes)
}

/// The node refuses.
pub(crate) fn refuses(code: Code, retry_after: Option<Duration>) -> Does {
    Does::Fails(Error::Refused { code, detail: "no".into(), retry_after })
}

/// The connection is lost; surely nothing was done.
pub(crate) fn lost() -> Does {
    Does::Breaks(Error::Disconnected { reason: "gone".into() })
}

/// The connection is lost, and nobody knows.
pub(crate) fn unclear() -> Does {
    Does::Breaks(Error::Ambiguous { reason: "gone".into() })
}
