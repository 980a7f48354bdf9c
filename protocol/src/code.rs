//! The error codes that every front door shares.

use std::fmt;

use bincode::{Decode, Encode};

/// What went wrong, in the same word over HTTP (`code` in the problem document), QUIC and the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[non_exhaustive]
pub enum Code {
    /// The request is malformed; the same request will always fail.
    InvalidRequest,
    /// No credentials, or unknown ones.
    Unauthenticated,
    /// The credentials do not allow this.
    Forbidden,
    /// Nothing is at this path.
    NotFound,
    /// The method is not defined for this path.
    MethodNotAllowed,
    /// This node does not serve the namespace.
    UnknownNamespace,
    /// Larger than a documented limit.
    TooLarge,
    /// A 64-bit total of this node would overflow; the counter is unchanged.
    CounterOverflow,
    /// More requests are waiting than the node admits.
    Throttled,
    /// The node is starting and waits until its peers confirm its history.
    Starting,
    /// The node is taken out of service, or shuts down.
    Draining,
    /// The node cannot keep up with its disk.
    Overloaded,
    /// The disk is nearly full.
    DiskLow,
    /// The clock stands too far behind the last ID.
    ClockRegressed,
    /// The clock stands too far ahead of what is believable.
    ClockAhead,
    /// The IDs of this node are used up faster than its clock moves.
    SequenceExhausted,
    /// The node has stopped itself.
    Fenced,
    /// The node did not answer within the request's time limit. A write may or may not have happened.
    Timeout,
    /// Anything that should not happen.
    Internal,
    /// The node does not hold in time what a token names. Nothing was done.
    TokenWaitExpired,
    /// The namespace never leaves its regions, and this node is in none of them: ask a node of one.
    WrongRegion,
    /// A request with the same idempotency key, or of the same turn of a session, is being carried out at this node. Ask this
    /// node again, and no other.
    IdempotencyInFlight,
    /// The idempotency key was used for another request; or whether the request was carried out is not known, because its
    /// session has gone on, is forgotten, or belongs to another incarnation of the node's data.
    IdempotencyMismatch,
    /// The node remembers as many idempotency keys or sessions of this caller as it may.
    IdempotencyFull,
    /// The namespace holds as many counters as it may, and this would be a new one. Those that exist go on.
    QuotaExceeded,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnknownNamespace,
        Self::TooLarge,
        Self::CounterOverflow,
        Self::Throttled,
        Self::Starting,
        Self::Draining,
        Self::Overloaded,
        Self::DiskLow,
        Self::ClockRegressed,
        Self::ClockAhead,
        Self::SequenceExhausted,
        Self::Fenced,
        Self::Timeout,
        Self::Internal,
        Self::TokenWaitExpired,
        Self::WrongRegion,
        Self::IdempotencyInFlight,
        Self::IdempotencyMismatch,
        Self::IdempotencyFull,
        Self::QuotaExceeded,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownNamespace => "unknown_namespace",
            Self::TooLarge => "too_large",
            Self::CounterOverflow => "counter_overflow",
            Self::Throttled => "throttled",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
            Self::DiskLow => "disk_low",
            Self::ClockRegressed => "clock_regressed",
            Self::ClockAhead => "clock_ahead",
            Self::SequenceExhausted => "sequence_exhausted",
            Self::Fenced => "fenced",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::TokenWaitExpired => "token_wait_expired",
            Self::WrongRegion => "wrong_region",
            Self::IdempotencyInFlight => "idempotency_in_flight",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::IdempotencyFull => "idempotency_full",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }

    /// The kind of problem in a few words, the same for every occurrence (RFC 9457, section 3.1.3). Each code has its own.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "Invalid request",
            Self::Unauthenticated => "Credentials needed",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::UnknownNamespace => "Unknown namespace",
            Self::TooLarge => "Too large",
            Self::CounterOverflow => "Counter overflow",
            Self::Throttled => "Too many requests",
            Self::Starting => "Starting",
            Self::Draining => "Shutting down",
            Self::Overloaded => "Overloaded",
            Self::DiskLow => "Disk nearly full",
            Self::ClockRegressed => "Clock too far behind",
            Self::ClockAhead => "Clock too far ahead",
            Self::SequenceExhausted => "IDs used up for the moment",
            Self::Fenced => "Stopped itself",
            Self::Timeout => "Timed out",
            Self::Internal => "Internal error",
            Self::TokenWaitExpired => "Token not held in time",
            Self::WrongRegion => "Held by other regions",
            Self::IdempotencyInFlight => "Request being carried out",
            Self::IdempotencyMismatch => "Not known as the request that was sent before",
            Self::IdempotencyFull => "Too many requests remembered",
            Self::QuotaExceeded => "Quota of the namespace reached",
        }
    }

    /// The status of the HTTP answer (RFC 9110; of a quota RFC 4918, 11.5).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound | Self::UnknownNamespace => 404,
            Self::MethodNotAllowed => 405,
            Self::IdempotencyInFlight => 409,
            Self::TooLarge => 413,
            Self::WrongRegion => 421,
            Self::CounterOverflow | Self::IdempotencyMismatch => 422,
            Self::Throttled => 429,
            Self::Internal => 500,
            Self::Starting
            | Self::Draining
            | Self::Overloaded
            | Self::DiskLow
            | Self::ClockRegressed
            | Self::ClockAhead
            | Self::SequenceExhausted
            | Self::Fenced
            | Self::IdempotencyFull => 503,
            Self::Timeout | Self::TokenWaitExpired => 504,
            Self::QuotaExceeded => 507,
        }
    }

    /// Whether the same request may succeed later. It was certainly not carried out, so it may be sent elsewhere as well; only
    /// what is [in flight](Self::IdempotencyInFlight) has to be asked where it is.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::TokenWaitExpired | Self::IdempotencyInFlight) || matches!(self.http_status(), 429 | 503)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::codec;

    #[test]
    fn all_codes_are_among_all() {
        for (at, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(codec::encode(&code), [u8::try_from(at).unwrap()], "{code} is not where it is declared");
        }
        assert!(codec::decode::<Code>(&[u8::try_from(Code::ALL.len()).unwrap()]).is_err(), "there is one more");
    }

    #[test]
    fn every_code_has_a_word_and_a_title_of_its_own() {
        let words: HashSet<_> = Code::ALL.map(Code::as_str).into();
        let titles: HashSet<_> = Code::ALL.map(Code::title).into();
        assert_eq!((words.len(), titles.len()), (Code::ALL.len(), Code::ALL.len()));
    }
}
