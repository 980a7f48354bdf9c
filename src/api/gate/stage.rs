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
    /// Refuses counting, without troubling the engine.
    pub fn admit_counting(&self) -> Result<(), Refused> {
        match self {
            Self::Ready => Ok(()),
            Self::Starting => Err(Refusal::Starting.into()),
            Self::Draining | Self::Drained => Err(Refusal::Draining.into()),
            Self::Fenced(reason) => Err(Refusal::Fenced(reason.clone()).into()),
        }
    }

    /// Refuses minting. IDs need no proof of the counters' history: while the node is starting, their source decides.
    pub fn admit_minting(&self) -> Result<(), Refused> {
        if *self == Self::Starting { Ok(()) } else { self.admit_counting() }
    }
}
