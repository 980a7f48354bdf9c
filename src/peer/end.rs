//! Why links end, and why attempts at one fail.

use std::fmt;

use quinn::ConnectionError;

use super::brief;
use super::hello::Refusal;

/// Why an attempt or a link ended.
pub(super) enum End {
    /// Shutting down.
    Stopped,
    /// The peer called from another boot: dial that one at once.
    Restarted,
    /// We refused the peer.
    WeRefuse(Refusal),
    /// One end does not believe the other's certificate.
    Distrust(String),
    /// The peer refused us.
    PeerRefuses(Refusal),
    /// The peer refused us, and has shown that another live process has our worker id.
    Duplicate(Refusal),
    /// There was no link.
    Unreachable(String),
    /// There was one.
    Lost(String),
}

/// There is no link, and why.
pub(super) fn unreachable(error: impl fmt::Display) -> End {
    End::Unreachable(brief(&error.to_string()))
}

/// Tells a certificate that is not believed, here or there, from a peer that cannot be reached. TLS alerts come as
/// transport errors 0x100 to 0x1ff (RFC 9001, 4.8).
pub(super) fn no_connection(error: &ConnectionError) -> End {
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => return unreachable(error),
    };
    if (0x100..0x200).contains(&code) { End::Distrust(brief(&error.to_string())) } else { unreachable(error) }
}
