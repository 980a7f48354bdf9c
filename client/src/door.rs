//! The seam between the client and its transports: a door of one node, and what is sent through it.
//!
//! A door sends a request once. Whether it is sent again, and where, is decided above it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::id::IdScheme;
use snowtide_protocol::limit::Decision;
use snowtide_protocol::wire::{IdRun, Turn};
use snowtide_protocol::{Action, Code};

use crate::batch::Batch;
use crate::error::{ConnectError, Error};
use crate::limits::{Check, LimitBatch};
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
    /// Sends a request once and waits for its reply, no longer than `timeout`. A `stamp` makes a write count once; nothing else
    /// has one.
    fn send<'a>(
        &'a self,
        request: Request<'a>,
        stamp: Option<Stamp>,
        timeout: Duration,
    ) -> Boxed<'a, Result<Reply, Error>>;

    /// Not known to be lost.
    fn is_open(&self) -> bool;

    /// Who answers.
    fn identity(&self) -> &Identity;

    /// The node's data has another incarnation by now: the connection is used for nothing new.
    fn outdate(&self);

    /// Sends what is queued, waits for its answers for a while, and closes.
    fn close(&self) -> Boxed<'_, ()>;
}

/// A node in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// The region's name.
    pub region: String,
    /// The node's number in it.
    pub node: u8,
}

/// What was learned of a node when the connection was made.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) site: Site,
    /// The incarnation of its data.
    pub(crate) incarnation: Option<u64>,
    /// How the cluster's IDs are written, where the transport tells.
    pub(crate) id_scheme: Option<IdScheme>,
    /// How long a request and its reply take on the way.
    pub(crate) round_trip: Duration,
    /// It counts a stamped write once, however often it is sent there.
    pub(crate) counts_once: bool,
}

/// What a node can be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// One operation.
    Operation { namespace: &'a str, key: &'a str, action: Action },
    /// Several, which are not none, on terms if there are any.
    Batch(&'a Batch, Option<&'a Terms>),
    /// So many IDs.
    Ids(u32),
    /// One decision of a limit.
    Limit(Check<'a>),
    /// Several, which are not none.
    Limits(&'a LimitBatch),
}

/// What comes back, in the form of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Value(i128),
    Batch(Answered),
    Ids(Vec<IdRun>),
    Limit(Decision),
    Limits(Vec<Result<Decision, Code>>),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Read,
    Write,
    Mint,
    Limit,
}

impl Request<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Operation { .. } | Self::Batch(..) if self.writes() => Kind::Write,
            Self::Operation { .. } | Self::Batch(..) => Kind::Read,
            Self::Ids(_) => Kind::Mint,
            Self::Limit(_) | Self::Limits(_) => Kind::Limit,
        }
    }

    /// Carried out twice, it counts twice: it changes counters, or charges somebody.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Operation { action, .. } => action.is_write(),
            Self::Batch(batch, _) => batch.writes,
            Self::Limit(check) => check.cost > 0,
            Self::Limits(batch) => batch.charges,
            Self::Ids(_) => false,
        }
    }

    /// A node can be told to count it once, however often it is sent there. Decisions are no such thing: a node keeps no
    /// record of them, since none of them waits for a disk.
    pub(crate) fn can_count_once(&self) -> bool {
        self.kind() == Kind::Write
    }

    /// How much longer than others it may take.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            Self::Batch(_, Some(terms)) => terms.patience(),
            _ => Duration::ZERO,
        }
    }
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Mint => "mint",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.node)
    }
}
