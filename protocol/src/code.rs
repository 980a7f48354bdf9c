//! The error codes that every front door shares.

use std::fmt;

use bincode::{Decode, Encode};

/// Declares the codes: a row is a code's name, its word, its title, the status of the HTTP answer, and when to try again. What
/// travels is a row's place, so new ones come last.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $title:literal, $status:literal, $retry_after_ms:expr;)*) => {
        /// What went wrong, in the same word over HTTP (`code` in the problem document), QUIC and the command line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The kind of problem in a few words, the same for every occurrence (RFC 9457, section 3.1.3). Each code has its own.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The status of the HTTP answer (RFC 9110; of a quota RFC 4918, 11.5).
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// When to try again, in milliseconds; `None` where trying again does not help.
            pub const fn retry_after_ms(self) -> Option<u32> {
                match self { $(Self::$name => $retry_after_ms,)* }
            }
        }
    };
}

codes! {
    /// The request is malformed; the same request will always fail.
    InvalidRequest, "invalid_request", "Invalid request", 400, None;
    /// No credentials, or unknown ones.
    Unauthenticated, "unauthenticated", "Credentials needed", 401, None;
    /// The credentials do not allow this.
    Forbidden, "forbidden", "Not allowed", 403, None;
    /// Nothing is at this path.
    NotFound, "not_found", "Not found", 404, None;
    /// The method is not defined for this path.
    MethodNotAllowed, "method_not_allowed", "Method not allowed", 405, None;
    /// This node does not serve the namespace.
    UnknownNamespace, "unknown_namespace", "Unknown namespace", 404, None;
    /// Larger than a documented limit.
    TooLarge, "too_large", "Too large", 413, None;
    /// A 64-bit total of this node would overflow; the counter is unchanged.
    CounterOverflow, "counter_overflow", "Counter overflow", 422, None;
    /// More requests are waiting than the node admits.
    Throttled, "throttled", "Too many requests", 429, Some(100);
    /// The node is starting and waits until its peers confirm its history.
    Starting, "starting", "Starting", 503, Some(1_000);
    /// The node is taken out of service, or shuts down.
    Draining, "draining", "Shutting down", 503, Some(1_000);
    /// The node cannot keep up with its disk.
    Overloaded, "overloaded", "Overloaded", 503, Some(100);
    /// The disk is nearly full.
    DiskLow, "disk_low", "Disk nearly full", 503, Some(30_000);
    /// The clock stands too far behind the last ID.
    ClockRegressed, "clock_regressed", "Clock too far behind", 503, Some(1_000);
    /// The clock stands too far ahead of what is believable.
    ClockAhead, "clock_ahead", "Clock too far ahead", 503, Some(30_000);
    /// The IDs of this node are used up faster than its clock moves.
    SequenceExhausted, "sequence_exhausted", "IDs used up for the moment", 503, Some(100);
    /// The node has stopped itself.
    Fenced, "fenced", "Stopped itself", 503, Some(30_000);
    /// The node did not answer within the request's time limit. A write may or may not have happened.
    Timeout, "timeout", "Timed out", 504, None;
    /// Anything that should not happen.
    Internal, "internal", "Internal error", 500, None;
    /// The node does not hold in time what a token names. Nothing was done.
    TokenWaitExpired, "token_wait_expired", "Token not held in time", 504, Some(100);
    /// The namespace never leaves its regions, and this node is in none of them: ask a node of one.
    WrongRegion, "wrong_region", "Held by other regions", 421, None;
    /// A request with the same idempotency key, or of the same turn of a session, is being carried out at this node. Ask this
    /// node again, and no other.
    IdempotencyInFlight, "idempotency_in_flight", "Request being carried out", 409, Some(100);
    /// The idempotency key was used for another request; or whether the request was carried out is not known, because its
    /// session has gone on, is forgotten, or belongs to another incarnation of the node's data.
    IdempotencyMismatch, "idempotency_mismatch", "Not known as the request that was sent before", 422, None;
    /// The node remembers as many idempotency keys or sessions of this caller as it may.
    IdempotencyFull, "idempotency_full", "Too many requests remembered", 503, Some(30_000);
    /// The namespace holds as many counters as it may, and this would be a new one. Those that exist go on.
    QuotaExceeded, "quota_exceeded", "Quota of the namespace reached", 507, None;
    /// A limit denies the request, which asked to be told so by an error. Nothing was charged.
    LimitExceeded, "limit_exceeded", "Request cannot be satisfied as assigned quota has been exceeded", 429, None;
    /// This node knows no policy of this name.
    UnknownPolicy, "unknown_policy", "Unknown policy", 404, None;
    /// The cost is above what the policy can ever admit at once; the same request will always fail.
    CostTooHigh, "cost_too_high", "Cost above the limit", 422, None;
    /// The node counts as many keys, or knows as many policies that requests brought along, as it may. Nothing was charged.
    LimitsFull, "limits_full", "No room for another key", 503, Some(1_000);
}

impl Code {
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
