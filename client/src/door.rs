//! The seam between the client and its transports: a door of one node, and what is asked through it.
//!
//! A door sends a request once. Whether it is sent again, and where, is decided above it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::id::IdScheme;
use snowtide_protocol::wire::{IdRun, Turn};
use snowtide_protocol::{Action, Code};

use crate::batch::Batch;
use crate::error::{ConnectError, Error};
use crate::terms::{Answered, Terms};

/// A future behind a pointer, so that doors of all kinds can stand side by side.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How to reach a node.
pub(crate) trait Dial: Send + Sync {
    /// As it was configured.
    fn address(&self) -> &str;

    /// Connects, within a time limit of its own.
    fn dial(&self) -> Boxed<'_, Result<Arc<dyn Door>, ConnectError>>;
}

/// A connection to one node.
pub(crate) trait Door: Send + Sync {
    /// Sends a request once and waits for its answer.
    fn ask<'a>(&'a self, asked: Asked<'a>) -> Boxed<'a, Result<Told, Error>>;

    /// Not known to be lost.
    fn is_open(&self) -> bool;

    /// How long a question and its answer take on the way.
    fn round_trip(&self) -> Duration;

    /// Who answers.
    fn site(&self) -> &Site;

    /// The incarnation of the node's data, when the connection was made.
    fn incarnation(&self) -> Option<u64> {
        None
    }

    /// It is another one by now: the connection is used for nothing new.
    fn outdate(&self) {}

    /// How the cluster's IDs are written, where the transport tells.
    fn id_scheme(&self) -> Option<IdScheme>;

    /// The node counts a stamped write once, however often it is sent there.
    fn counts_once(&self) -> bool {
        false
    }

    /// Sends what is queued, waits for its answers for a while, and closes.
    fn close(&self) -> Boxed<'_, ()>;
}

/// A node in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Site {
    /// The region's name.
    pub region: String,
    /// The node's number in it.
    pub node: u8,
}

/// A request on its way to a door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) work: Work<'a>,
    /// How long an answer is awaited.
    pub(crate) within: Duration,
    /// What makes a write count once; none for what writes nothing.
    pub(crate) stamp: Option<Stamp>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'a> {
    /// One operation.
    One { namespace: &'a str, key: &'a str, action: Action },
    /// Several, which are not empty.
    Batch(&'a Batch),
    /// The same, on terms.
    OnTerms(&'a Batch, &'a Terms),
    /// So many IDs.
    Ids(u32),
}

/// What is answered, in the form that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    One(i128),
    Batch(Vec<Result<i128, Code>>),
    OnTerms(Answered),
    Ids(Vec<IdRun>),
}

/// The name of one writing request, by which a node that knows sessions counts it once.
///
/// A session belongs to one node, and to one incarnation of its data. Another one must not carry out what comes `again`: the
/// first copy may have been counted on a disk that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The session, which has one unanswered request at a time, and the request's number in it.
    pub(crate) turn: Turn,
    /// The incarnation of the node's data to which the session belongs, where the transport tells.
    pub(crate) incarnation: Option<u64>,
    /// The same request may have reached the node before.
    pub(crate) again: bool,
    /// Since it was first sent.
    pub(crate) age: Duration,
}

/// What a node refuses, it refuses for all requests of a kind: a full disk is no reason not to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Mint,
}

impl Work<'_> {
    pub(crate) fn kind(&self) -> Kind {
        let writes = match self {
            Self::One { action, .. } => action.is_write(),
            Self::Batch(batch) | Self::OnTerms(batch, _) => batch.writes(),
            Self::Ids(_) => return Kind::Mint,
        };
        if writes { Kind::Write } else { Kind::Read }
    }

    /// How much longer than others it may take.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            Self::OnTerms(_, terms) => terms.patience(),
            _ => Duration::ZERO,
        }
    }
}

impl Kind {
    pub(crate) const ALL: usize = 3;

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Mint => "mint",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.node)
    }
}
