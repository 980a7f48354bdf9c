//! Why a request, or one operation of it, is not carried out: in the same words on every front door, which only writes them in
//! its own form.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::{BadKey, Code, KeyLength};

use super::NotServed;
use crate::api::bearer::{Forbidden, Stranger};
use crate::api::budget::NoRoom;
use crate::ids::IdRefusal;
use crate::limiter::Undecided;
use crate::limits::{self, GivenError};
use crate::replica::{Outcome, Refusal};

const OVERFLOW: &str = "a 64-bit total of this counter at this node would overflow; the counter is unchanged";
const QUOTA: &str = "the namespace holds as many counters as it may (keys_max, bytes_max), and this would be a new one";

/// Why it is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// The word for programs.
    pub code: Code,
    /// A sentence for people.
    pub detail: Cow<'static, str>,
    /// The regions that serve what was asked for, if only others do.
    pub regions: Arc<[String]>,
}

impl Refused {
    /// For this reason.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), regions: Arc::default() }
    }

    /// The same request will always fail.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// No answer has come within `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        Self::new(Code::Timeout, format!("no answer within {limit}; whether a write was carried out is unknown"))
    }

    /// The engine or the ID source has ended.
    pub fn stopped() -> Self {
        Self::new(Code::Internal, "this node stopped before it answered; whether a write was carried out is unknown")
    }

    /// The engine has answered another number of operations than it was given.
    pub fn miscounted() -> Self {
        Self::new(Code::Internal, "the engine answered another number of operations than were asked")
    }

    /// The same, and what it is about.
    pub fn about(self, what: impl fmt::Display) -> Self {
        Self { detail: format!("{what}: {self}").into(), ..self }
    }

    /// Whether the namespace is not served here.
    pub fn is_not_served(&self) -> bool {
        matches!(self.code, Code::UnknownNamespace | Code::WrongRegion)
    }

    /// Whether nobody knows if a write was carried out.
    pub fn is_uncertain(&self) -> bool {
        matches!(self.code, Code::Timeout | Code::Internal)
    }

    /// The value that an operation has yielded, or why it was not carried out.
    pub fn value_of(outcome: Outcome) -> Result<i128, Self> {
        match outcome {
            Outcome::Value(value) => Ok(value),
            Outcome::Overflow => Err(Self::new(Code::CounterOverflow, OVERFLOW)),
            Outcome::QuotaExceeded => Err(Self::new(Code::QuotaExceeded, QUOTA)),
            Outcome::UnknownNamespace => Err(NotServed::Unknown.into()),
        }
    }
}

impl From<Refused> for Code {
    fn from(refused: Refused) -> Self {
        refused.code
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
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
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<IdRefusal> for Refused {
    fn from(IdRefusal { code, detail }: IdRefusal) -> Self {
        Self::new(code, detail)
    }
}

impl From<Undecided> for Refused {
    fn from(undecided: Undecided) -> Self {
        let code = match undecided {
            Undecided::NoClock => Code::Starting,
        };
        Self::new(code, undecided.to_string())
    }
}

impl From<GivenError> for Refused {
    fn from(error: GivenError) -> Self {
        let code = match error {
            GivenError::NotTaken | GivenError::Absurd(_) => Code::InvalidRequest,
            GivenError::Full => Code::LimitsFull,
        };
        Self::new(code, error.to_string())
    }
}

impl From<limits::Refusal> for Refused {
    fn from(refusal: limits::Refusal) -> Self {
        let code = match refusal {
            limits::Refusal::Fenced => Code::Fenced,
            limits::Refusal::Changed => Code::Overloaded,
            limits::Refusal::NotHere => Code::WrongRegion,
            limits::Refusal::Never { .. } => Code::CostTooHigh,
            limits::Refusal::Full => Code::LimitsFull,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<NotServed> for Refused {
    fn from(reason: NotServed) -> Self {
        let detail = match &reason {
            NotServed::Unknown => "this node does not serve the namespace".into(),
            NotServed::Elsewhere(regions) => {
                let regions = regions.join(" or ");
                format!("this node's region does not hold the namespace: ask a node of {regions}").into()
            }
        };
        let (code, regions) = match reason {
            NotServed::Unknown => (Code::UnknownNamespace, Arc::default()),
            NotServed::Elsewhere(regions) => (Code::WrongRegion, regions),
        };
        Self { code, detail, regions }
    }
}

impl From<BadKey> for Refused {
    fn from(key: BadKey) -> Self {
        let code = match key {
            BadKey::Length(KeyLength(1..)) => Code::TooLarge,
            BadKey::Length(_) | BadKey::DotSegment => Code::InvalidRequest,
        };
        Self::new(code, key.to_string())
    }
}

impl From<&Forbidden> for Refused {
    fn from(forbidden: &Forbidden) -> Self {
        Self::new(Code::Forbidden, forbidden.to_string())
    }
}

impl From<Stranger> for Refused {
    fn from(stranger: Stranger) -> Self {
        Self::new(Code::Unauthenticated, stranger.to_string())
    }
}

impl From<NoRoom> for Refused {
    fn from(no_room: NoRoom) -> Self {
        Self::new(Code::Overloaded, no_room.to_string())
    }
}
