//! What can go wrong, and what that says about the state of the counters.

use std::io;
use std::time::Duration;

use snowtide_protocol::limit::POLICY_BYTES_MAX;
use snowtide_protocol::wire::{
    BATCH_NAMESPACES_MAX, BATCH_OPERATIONS_MAX, BATCH_POLICIES_MAX, IDS_MAX, NAMESPACE_BYTES_MAX, WireError,
};
use snowtide_protocol::{BadKey, Code};

/// No connection was made. Nothing was done anywhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration cannot work; nothing was sent.
    #[error("bad client configuration: {0}")]
    Config(String),
    /// The name could not be resolved.
    #[error("cannot resolve {address:?}: {source}; give an address as host:port")]
    Resolve {
        /// As configured.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No UDP socket could be opened on this machine.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// Nobody answered, or the connection was lost before it stood.
    #[error(
        "cannot reach a Snowtide node at {address}: {reason}; is the node up, and is UDP let through to its `quic` address, \
         or TCP to its `http` address?"
    )]
    Unreachable {
        /// The address that was tried last.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The node's certificate was not accepted here, or ours was asked for.
    #[error(
        "the certificate of {address} was not accepted: {reason}; give the CA that signed it, and the server name in it"
    )]
    Certificate {
        /// The address.
        address: String,
        /// What the TLS library said.
        reason: String,
    },
    /// Something answers there, but it does not serve clients in this way.
    #[error("{address} does not speak as a Snowtide node does there: {reason}; is it the address of that door?")]
    WrongProtocol {
        /// The address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The node answered and refused.
    #[error("{address} refused the connection ({code}): {detail}")]
    Refused {
        /// The address.
        address: String,
        /// The word.
        code: Code,
        /// A sentence.
        detail: String,
    },
    /// Several nodes were tried, or one was by a [`crate::Client`], and none can be used.
    #[error("no node can be used: {reasons}")]
    NoNode {
        /// What each of them failed with.
        reasons: String,
        /// It may go better later: not all of them failed for a reason that stays.
        retryable: bool,
    },
}

impl ConnectError {
    /// The same attempt may succeed later: nobody answered, or the node refuses for now.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Socket(_) | Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => code.is_retryable(),
            Self::NoNode { retryable, .. } => *retryable,
            Self::Config(_) | Self::Certificate { .. } | Self::WrongProtocol { .. } => false,
        }
    }
}

/// A request failed. [`Error::is_retryable`] and [`Error::is_ambiguous`] say what that means for a write. A decision of a limit
/// that charges something is a write, too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request breaks a documented limit; it was not sent.
    #[error(transparent)]
    InvalidArgument(#[from] InvalidArgument),
    /// The node answered and refused.
    #[error("refused ({code}): {detail}")]
    Refused {
        /// The word.
        code: Code,
        /// A sentence.
        detail: String,
        /// When to try again, where that helps.
        retry_after: Option<Duration>,
    },
    /// The request timed out in the queue of this client: it was not sent.
    #[error("not sent within {after:?}: too many requests are unanswered on this connection")]
    Busy {
        /// The time limit.
        after: Duration,
    },
    /// No answer within the time limit.
    #[error("no answer within {after:?}{}", if *.may_have_written { "; whether the write happened is unknown" } else { "" })]
    Timeout {
        /// The time limit.
        after: Duration,
        /// The request contained a write, which may have happened or may yet happen.
        may_have_written: bool,
    },
    /// The connection is lost and the request surely changed nothing: it was never sent, or it only reads.
    #[error("disconnected: {reason}; nothing was changed, connect again")]
    Disconnected {
        /// Why the connection ended.
        reason: String,
    },
    /// No connection could be made, so nothing was sent.
    #[error("nothing was sent: {reason}")]
    Unreachable {
        /// What was tried, and what happened.
        reason: String,
        /// It may go better later.
        retryable: bool,
    },
    /// A write was sent and its outcome is not known: it may have happened, or may yet happen. Sending it again may count
    /// it twice, so a [`crate::Client`] does that only if it was told to.
    #[error("whether the write happened is unknown: {reason}")]
    Ambiguous {
        /// Why there is no answer.
        reason: String,
    },
    /// The node's answer does not fit the request. Whether a write happened is unknown.
    #[error("the node broke the protocol: {0}")]
    Protocol(String),
}

/// A request breaks a limit of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidArgument {
    /// No counter is called so.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The namespace's name is empty or too long.
    #[error("a namespace is 1 to {NAMESPACE_BYTES_MAX} bytes of UTF-8, this one has {0}")]
    NamespaceLength(usize),
    /// One operation changes a counter by a signed 64-bit number.
    #[error("one operation adds or subtracts at most 2^63 - 1, not {0}")]
    Amount(u64),
    /// The batch is full.
    #[error("a batch holds at most {BATCH_OPERATIONS_MAX} operations")]
    TooManyOperations,
    /// The batch names too many namespaces.
    #[error("a batch names at most {BATCH_NAMESPACES_MAX} namespaces")]
    TooManyNamespaces,
    /// The name of the policy is empty or too long.
    #[error("the name of a policy is 1 to {POLICY_BYTES_MAX} bytes of UTF-8, this one has {0}")]
    PolicyLength(usize),
    /// The batch of decisions is full.
    #[error("a batch holds at most {BATCH_OPERATIONS_MAX} checks")]
    TooManyChecks,
    /// The batch of decisions has too many policies.
    #[error("a batch has at most {BATCH_POLICIES_MAX} policies")]
    TooManyPolicies,
    /// The number of IDs is out of range.
    #[error("one request mints 1 to {IDS_MAX} ids, not {0}")]
    IdCount(u32),
    /// A setting of the client is out of range.
    #[error("{setting} {allowed}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The encoded request is longer than the node takes.
    #[error("the request takes {bytes} bytes, this node takes at most {limit}; send smaller batches")]
    FrameLength {
        /// What it takes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
}

impl Error {
    /// The request was surely not carried out, and the same request may succeed later, here or elsewhere. Sending it
    /// again cannot count twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Disconnected { .. } => true,
            Self::Timeout { may_have_written, .. } => !may_have_written,
            Self::Refused { code, .. } => code.is_retryable(),
            Self::Unreachable { retryable, .. } => *retryable,
            Self::InvalidArgument(_) | Self::Ambiguous { .. } | Self::Protocol(_) => false,
        }
    }

    /// Whether a write of this request happened is unknown: sending it again may count twice.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Ambiguous { .. } | Self::Protocol(_) => true,
            Self::Timeout { may_have_written, .. } => *may_have_written,
            Self::Refused { code, .. } => matches!(code, Code::Timeout | Code::Internal),
            Self::InvalidArgument(_) | Self::Busy { .. } | Self::Disconnected { .. } | Self::Unreachable { .. } => {
                false
            }
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        let retry_after = error.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms)));
        Self::Refused { code: error.code, detail: error.detail, retry_after }
    }
}
