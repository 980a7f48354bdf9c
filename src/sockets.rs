//! Sockets that listen. One on all IPv6 addresses takes callers over IPv4 too, whatever the system's default is.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

/// Connections that the system completes before they are accepted.
const BACKLOG: i32 = 1_024;

/// Datagrams that the system holds until we take them: enough for all that comes while the thread is busy for some
/// milliseconds. It may allow less (`net.core.rmem_max`); then datagrams are lost and sent again under load.
const DATAGRAM_BYTES: usize = 4 << 20;

/// The addresses at which nothing can listen, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct NotBound {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// A socket at the first of these addresses that the machine has.
pub fn udp(candidates: &[SocketAddr]) -> Result<UdpSocket, NotBound> {
    first(candidates, |address| {
        let socket = bound(address, Type::DGRAM)?;
        // Whatever the system allows will do.
        let _ = socket.set_recv_buffer_size(DATAGRAM_BYTES);
        let _ = socket.set_send_buffer_size(DATAGRAM_BYTES);
        Ok(socket.into())
    })
}

/// A listener at the first of these addresses that the machine has. It does not block, as Tokio demands.
pub fn tcp(candidates: &[SocketAddr]) -> Result<TcpListener, NotBound> {
    first(candidates, |address| {
        let socket = bound(address, Type::STREAM)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    })
}

fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        // A restart need not wait until the connections of its predecessor are forgotten.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// One that is taken is not passed over: its owner may be another node, and half a door is no door.
fn first<T>(candidates: &[SocketAddr], bind: impl Fn(SocketAddr) -> io::Result<T>) -> Result<T, NotBound> {
    let mut attempts = candidates.iter().map(|address| (*address, bind(*address))).peekable();
    while let Some((address, outcome)) = attempts.next() {
        match outcome {
            Ok(socket) => return Ok(socket),
            Err(source) if attempts.peek().is_none() || source.kind() == io::ErrorKind::AddrInUse => {
                return Err(NotBound { address, source });
            }
            Err(_) => {}
        }
    }
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    Err(NotBound { address: nowhere, source: io::ErrorKind::InvalidInput.into() })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// Of the documentation's range (RFC 5737): no machine has it.
    const FOREIGN: ([u8; 4], u16) = ([192, 0, 2, 1], 7_400);

    fn everywhere() -> [SocketAddr; 2] {
        [(Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::UNSPECIFIED, 0).into()]
    }

    #[test]
    fn a_socket_on_all_addresses_hears_ipv4() {
        let socket = udp(&everywhere()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let caller = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        caller.send_to(b"hello", (Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(socket.recv(&mut bytes).unwrap(), 5);
        let listener = tcp(&everywhere()).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn an_address_that_the_machine_lacks_is_passed_over_and_the_last_one_is_named() {
        let socket = udp(&[FOREIGN.into(), (Ipv4Addr::LOCALHOST, 0).into()]).unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        let error = tcp(&[FOREIGN.into()]).unwrap_err();
        assert_eq!((error.address, error.source.kind()), (FOREIGN.into(), io::ErrorKind::AddrNotAvailable));
        assert!(udp(&[]).is_err());
    }

    #[test]
    fn an_address_that_is_taken_is_not_passed_over() {
        let held = udp(&[(Ipv4Addr::LOCALHOST, 0).into()]).unwrap();
        let taken = held.local_addr().unwrap();
        let error = udp(&[taken, (Ipv4Addr::LOCALHOST, 0).into()]).unwrap_err();
        assert_eq!((error.address, error.source.kind()), (taken, io::ErrorKind::AddrInUse));
    }
}
