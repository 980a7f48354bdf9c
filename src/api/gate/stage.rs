//! Where a node stands, for `/readyz` and for front doors that refuse early.

use super::Refused;
use crate::replica::Refusal;

/// Where a node stands.
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
    /// Why no counter is served at this stage, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Ready => None,
            Self::Starting => Some(Refusal::Starting),
            Self::Draining | Self::Drained => Some(Refusal::Draining),
            Self::Fenced(reason) => Some(Refusal::Fenced(reason.clone())),
        }
    }

    /// Refuses counting, without troubling the engine.
    pub fn admit_counting(&self) -> Result<(), Refused> {
        self.refusal().map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Refuses minting. IDs need no proof of the counters' history: while the node is starting, their source decides.
    pub fn admit_minting(&self) -> Result<(), Refused> {
        if *self == Self::Starting { Ok(()) } else { self.admit_counting() }
    }
}
