//! The front doors: they parse, authenticate and validate, and turn requests into batches for the engine.

pub mod bearer;
pub mod budget;
pub(crate) mod fuzzed;
pub mod http;
pub mod idempotency;
mod listening;
pub mod namespaces;
pub mod quic;
pub mod redis;
pub mod scribe;

use std::sync::Arc;

use snowtide_protocol::Code;
use tokio::sync::watch;

use crate::config::Config;
use crate::config::map::ClusterMap;
use crate::engine::EngineHandle;
use crate::identity::{ReplicaId, WorkerId};
use crate::ids::IdSource;
use crate::replica::Refusal;

use bearer::Bearers;
use budget::Budget;
pub use namespaces::{Namespaces, NotServed};
use scribe::Scribe;

/// What every front door needs; cheap to clone.
#[derive(Clone)]
pub struct Doors {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// The cluster's map.
    pub map: Arc<ClusterMap>,
    /// Who may call, and what.
    pub bearers: Bearers,
    /// This node.
    pub worker: WorkerId,
    /// Its region's name.
    pub region: Arc<str>,
    /// Which namespaces are served here, and where the others are.
    pub namespaces: Arc<Namespaces>,
    /// Tokens, acknowledgements and views between clients and the engine.
    pub scribe: Arc<Scribe>,
    /// Counters.
    pub engine: EngineHandle,
    /// IDs.
    pub ids: IdSource,
    /// What clients may make this process hold.
    pub budget: Arc<Budget>,
    /// Where the node stands.
    pub stage: watch::Receiver<Stage>,
    /// The incarnation of this node's data, to which sessions belong; `None` as long as it has none.
    pub incarnation: watch::Sender<Option<ReplicaId>>,
}

/// Where a node stands, for `/readyz` and for front doors that refuse early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Recovering, or waiting until peers confirm its history.
    Starting,
    /// Serving.
    Ready,
    /// Shutting down, or taken out of service: new work is refused, answers still go out.
    Draining,
    /// Everything is answered: connections are closed once the other end has it all.
    Drained,
    /// Stopped itself, and why.
    Fenced(String),
}

impl Stage {
    /// Why nothing is served at this stage, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Ready => None,
            Self::Starting => Some(Refusal::Starting),
            Self::Draining | Self::Drained => Some(Refusal::Draining),
            Self::Fenced(reason) => Some(Refusal::Fenced(reason.clone())),
        }
    }
}

/// The code that stands for a refusal on every front door.
pub fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Throttled => Code::Throttled,
        Refusal::Overloaded | Refusal::TooManyWaiting => Code::Overloaded,
        Refusal::TooManyNames => Code::IdempotencyFull,
        Refusal::UnderWay => Code::IdempotencyInFlight,
        Refusal::AnotherRequest | Refusal::Outdated | Refusal::AnotherIncarnation => Code::IdempotencyMismatch,
        Refusal::TokenNotHeld(_) => Code::TokenWaitExpired,
        Refusal::TooFewRegions { .. } => Code::InvalidRequest,
        Refusal::Starting => Code::Starting,
        Refusal::Draining => Code::Draining,
        Refusal::DiskLow => Code::DiskLow,
        Refusal::Fenced(_) => Code::Fenced,
        Refusal::Uncertain => Code::Timeout,
    }
}

/// When to try again after `code`, in milliseconds; `None` where retrying does not help.
pub fn retry_after_ms(code: Code) -> Option<u32> {
    match code {
        Code::Throttled
        | Code::Overloaded
        | Code::SequenceExhausted
        | Code::TokenWaitExpired
        | Code::IdempotencyInFlight => Some(100),
        Code::Starting | Code::Draining | Code::ClockRegressed => Some(1_000),
        Code::DiskLow | Code::ClockAhead | Code::Fenced | Code::IdempotencyFull => Some(30_000),
        _ => None,
    }
}
