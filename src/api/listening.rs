//! Accepting connections over TCP.
//!
//! Promises that nothing ends a door but the shutdown: whatever the system says of a connection or of itself, the door
//! goes on, after a pause where it is the system that has no more to give.

use std::io::{self, Read, Write};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// After a failure to accept that is not the connection's own, such as too many open files, this long passes before
/// the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// So much of a request is looked at where nobody waits for it.
const PEEKED_BYTES: usize = 2 << 10;

/// The next connection, without Nagle's delay; `None` once the node shuts down.
pub(super) async fn next(listener: &TcpListener, shutdown: &CancellationToken) -> Option<TcpStream> {
    let mut warned = false;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // A client that has gone already is noticed when it is read from.
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return Some(stream);
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(%error, "connections cannot be accepted; tried again until they can");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Tells a client without waiting that there is no place, in words that may depend on what has come of its request, and
/// closes. Over TLS that would take a handshake first: it is only closed.
pub(super) fn turn_away(stream: TcpStream, is_plain: bool, words: impl FnOnce(&[u8]) -> &'static [u8]) {
    let Some(mut stream) = stream.into_std().ok().filter(|_| is_plain) else { return };
    let mut come = [0; PEEKED_BYTES];
    let count = stream.read(&mut come).unwrap_or(0);
    // A client that has gone already has missed nothing.
    let _ = stream.write(words(come.get(..count).unwrap_or_default()));
}

/// The client has gone before it was accepted: the next one need not wait.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_system_is_waited_for() {
        for (number, of_connection) in
            [(nix::libc::ECONNABORTED, true), (nix::libc::EMFILE, false), (nix::libc::ENFILE, false)]
        {
            assert_eq!(is_of_connection(&io::Error::from_raw_os_error(number)), of_connection, "{number}");
        }
    }
}
