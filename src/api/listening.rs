//! Accepting connections over TCP.
//!
//! Promises that nothing ends a door but the shutdown: whatever the system says of a connection or of itself, the door
//! goes on, after a pause where it is the system that has no more to give.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// After a failure to accept that is not the connection's own, such as too many open files, this long passes before
/// the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
