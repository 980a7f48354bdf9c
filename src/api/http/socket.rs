//! The socket of one connection, and what can be known of its client without reading.
//!
//! A client that closes its sending side may still wait for its answer, or may be gone: TCP says the same of both. So a
//! request in progress is not dropped for it; what lasts longer than others asks here and cuts itself short.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, Interest, Join, ReadBuf, join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How often what lasts looks for its client.
const LOOK: Duration = Duration::from_millis(100);

/// What is read from and written to.
pub(super) type Socket = Join<ClientSide, OwnedWriteHalf>;

/// The client's end of a connection: what is read from, and what the requests on it may ask of.
#[derive(Clone)]
pub(super) struct ClientSide(Arc<OwnedReadHalf>);

/// Both ends of a connection.
pub(super) fn socket(stream: TcpStream) -> (Socket, ClientSide) {
    let (incoming, outgoing) = stream.into_split();
    let client = ClientSide(Arc::new(incoming));
    (join(client.clone(), outgoing), client)
}

impl ClientSide {
    /// Whether the client has closed its sending side, or the connection is broken.
    fn has_ended(&self) -> bool {
        let state = self.0.ready(Interest::READABLE).now_or_never();
        state.is_some_and(|state| state.is_ok_and(|ready| ready.is_read_closed()))
    }

    /// Returns once it has.
    pub(super) async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl AsyncRead for ClientSide {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = self.0.as_ref().as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}
