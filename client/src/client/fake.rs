//! Nodes that answer as each test says, without a network.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snowtide_protocol::id::IdScheme;
use snowtide_protocol::wire::IdRun;
use snowtide_protocol::{Code, Token};
use tokio::time::Instant;

use super::builder::Builder;
use super::{Client, Retries};
use crate::door::{Asked, Boxed, Dial, Door, Kind, Site, Stamp, Told, Work};
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
    pub(crate) within: Duration,
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
    site: Site,
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
            let site = Site { region: region.into(), node: 0 };
            Ok(Arc::new(FakeDoor { fake: Arc::clone(&self.0), open: AtomicBool::new(true), site }) as Arc<dyn Door>)
        })
    }
}

impl FakeDoor {
    fn told(&self, value: i128, work: &Work<'_>) -> Told {
        match work {
            Work::One { .. } => Told::One(value),
            Work::Batch(batch) => Told::Batch(vec![Ok(value); batch.len()]),
            Work::OnTerms(batch, _) => Told::OnTerms(Answered {
                results: vec![Ok(value); batch.len()],
                token: self.fake.token.lock().unwrap().clone(),
                ..Answered::default()
            }),
            Work::Ids(count) => Told::Ids(vec![IdRun { first: 1, count: *count }]),
        }
    }
}

impl Door for FakeDoor {
    fn ask<'a>(&'a self, Asked { work, within, stamp }: Asked<'a>) -> Boxed<'a, Result<Told, Error>> {
        Box::pin(async move {
            let (terms, operations) = match work {
                Work::OnTerms(batch, terms) => (Some(terms.clone()), batch.len()),
                Work::Batch(batch) => (None, batch.len()),
                Work::One { .. } | Work::Ids(_) => (None, 1),
            };
            let heard = Heard { at: Instant::now(), kind: work.kind(), stamp, within, terms, operations };
            self.fake.heard.lock().unwrap().push(heard);
            let does = self.fake.script.lock().unwrap().pop_front().unwrap_or(Does::Answers(1));
            match does {
                Does::Answers(value) => Ok(self.told(value, &work)),
                Does::Fails(error) => Err(error),
                Does::Breaks(error) => {
                    self.open.store(false, Ordering::SeqCst);
                    Err(error)
                }
                Does::Hangs => {
                    let may_have_written = work.kind() == Kind::Write;
                    let forever = tokio::time::timeout(within, pending::<()>());
                    forever.await.map_err(|_| Error::Timeout { after: within, may_have_written })?;
                    unreachable!("nothing is pending for ever within a time limit")
                }
            }
        })
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn round_trip(&self) -> Duration {
        self.fake.round_trip
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn id_scheme(&self) -> Option<IdScheme> {
        None
    }

    fn outdate(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    fn counts_once(&self) -> bool {
        self.fake.counts_once
    }

    fn close(&self) -> Boxed<'_, ()> {
        self.open.store(false, Ordering::SeqCst);
        Box::pin(async {})
    }
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
