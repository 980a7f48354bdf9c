//! Connections over TCP: accepting, securing and turning them away.
//!
//! Promises that nothing ends a door but the shutdown: whatever the system says of a connection or of itself, the door
//! goes on, after a pause where it is the system that has no more to give.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::{Account, Budget};
use super::threads::Threads;
use crate::telemetry::{self, Door};
use crate::tls::Live;

/// After a failure to accept that is not the connection's own, such as too many open files, this long passes before
/// the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// So much of a request is looked at where nobody waits for it.
const PEEKED_BYTES: usize = 2 << 10;

/// Has every connection attended that finds a place among `max` at a door, until the shutdown; then waits until all have ended.
/// What takes time to tell one that finds none, `turn_away` returns.
pub(super) async fn attend_all<A, T>(
    listener: TcpListener,
    shutdown: &CancellationToken,
    (budget, threads): (&Arc<Budget>, &Threads),
    (door, max): (Door, usize),
    attend: impl Fn(TcpStream, Arc<Account>) -> A + Clone + Send + 'static,
    turn_away: impl Fn(TcpStream) -> Option<T>,
) where
    A: Future<Output = ()> + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    telemetry::connections_bounded(door, max);
    let connections = TaskTracker::new();
    while let Some(stream) = next(&listener, shutdown).await {
        let Some(account) = budget.admit(door, max) else {
            turn_away(stream).into_iter().for_each(|telling| _ = connections.spawn(telling));
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        let attend = attend.clone();
        let attending = async move {
            // On the thread that it is to live on.
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            telemetry::connection_opened(door);
            attend(stream, account).await;
            telemetry::connection_closed(door);
        };
        connections.spawn_on(attending, threads.next(door));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, without Nagle's delay; `None` once the node shuts down.
async fn next(listener: &TcpListener, shutdown: &CancellationToken) -> Option<TcpStream> {
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

/// The other end of a connection; no address in particular if that has broken already.
pub(super) fn address(stream: &TcpStream) -> IpAddr {
    stream.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}

/// Says who we are, over TLS; `None` if the client does not understand it, or not within `limit`.
pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    live: &Live,
    limit: Duration,
) -> Option<TlsStream<S>> {
    // The certificate may have been replaced since the last connection.
    let acceptor = TlsAcceptor::from(live.current());
    match timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection was not secured");
            None
        }
        Err(_) => {
            tracing::debug!("a connection was not secured in time");
            None
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
