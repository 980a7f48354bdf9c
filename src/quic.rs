//! The node's one UDP socket: QUIC for peers and clients, told apart by their application protocol.
//!
//! Peers and clients have places of their own, so that neither crowds the other out: client connections are counted
//! by their door against `quic.connections_max`, peer connections by [`Peers`]. Handshakes that are not finished are bounded too:
//! past half of the places a caller must first prove its address, past three quarters those that have taken long are given
//! up, past all of them it is refused, except that addresses of the cluster's own map have some places kept for them.
//!
//! One server configuration serves both protocols, so its idle timeout is the longer of `quic.idle_timeout` and
//! `peer.idle_timeout`; each side of a connection may ask for less and the lower one holds (RFC 9000, 10.1), which is
//! what [`Endpoint::dial`] does for peers.
//!
//! The stateless reset key is derived from the node's private key: a process that restarts tells the callers of its
//! predecessor at once that their connections are gone, instead of leaving them to a timeout.

mod handshakes;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TransportConfig,
    VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use snowtide_protocol::wire::{ALPN as CLIENT_ALPN, PACKETS_UNACKNOWLEDGED_MAX};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::clock;
use crate::config::{PeerLinks, Quic};
use crate::sockets::{self, NotBound};
use crate::tls::{self, Credentials, TlsError};

use handshakes::{HANDSHAKES_KEPT, HANDSHAKES_MAX, Handshakes, Place};

/// The application protocol of links between nodes.
pub const PEER_ALPN: &[u8] = b"snowtide-peer/1";
/// A certificate that was shown is judged again when it ends, but no oftener and no more rarely than this: its last second is
/// part of it, and the wall clock can be set.
const JUDGED_AGAIN_MIN: Duration = Duration::from_secs(1);
const JUDGED_AGAIN_MAX: Duration = Duration::from_secs(60);
/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that has ended is remembered for so long, about, so that late packets find it (RFC 9000, 10.2). Whoever held
/// a place keeps it until then, or those that begin and end at once would have no bound.
pub const DRAINING: Duration = Duration::from_secs(3);
/// Unread bytes that one connection of a client may make us hold, until its door allows it more.
const CLIENT_WINDOW_BYTES: u32 = 32 << 10;
/// Unread bytes per peer: enough for 80 MB/s at 200 ms.
const PEER_WINDOW_BYTES: u32 = 16 << 20;
/// The same for what a peer tells of limits, which must not wait for its other messages: ten times what is told at once.
const LIMITS_WINDOW_BYTES: u32 = 2 << 20;
/// Unidirectional streams of a peer: that of its messages, that of its limits, and one that was broken off.
const PEER_STREAMS_MAX: u32 = 3;
/// Unacknowledged bytes that we hold for one connection of a client, and for a link.
const CLIENT_SEND_BYTES: u64 = 2 << 20;
const SEND_WINDOW_BYTES: u64 = (16 << 20) + LIMITS_WINDOW_BYTES as u64;
/// Bytes that a link may have under way before congestion control has learnt anything. It learns only from links that are
/// busy, so with the usual ten packets what gathers in a pause of a tenth of a second would wait for acknowledgements.
const LINK_INITIAL_WINDOW_BYTES: u64 = 64 << 10;
/// How long closing waits for the other ends to hear of it.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// What serves one client connection until it ends.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why we close a connection; the number goes over the wire, with a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Close {
    /// The node shuts down, or a link is not needed any more.
    Done = 0,
    /// All places are taken: try again later.
    Busy = 1,
    /// Never with this caller as it is configured.
    Refused = 2,
    /// The caller broke the protocol.
    Malformed = 3,
    /// A newer connection of the same caller took this one's place.
    Replaced = 4,
}

impl Close {
    /// Closes `connection`, telling the other end why.
    pub fn close(self, connection: &Connection, reason: &str) {
        connection.close(self.code(), reason.as_bytes());
    }

    /// The number.
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// The node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address belongs to someone else.
    #[error(
        "{address}/udp is in use: is another node running here? The address is quic.listen, or follows from `quic` in the \
         region's file"
    )]
    InUse {
        /// Which.
        address: SocketAddr,
    },
    /// The system refuses for another reason.
    #[error(
        "cannot listen on {address}/udp: {source}; where others reach this node by an address that the machine does not \
         have, set quic.listen"
    )]
    System {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificates are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The socket and how to use it; cheap to clone. It lives until [`Self::close`].
#[derive(Clone, Debug)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    /// Made when it is first needed; `None` if the system has none of its kind.
    other: Arc<OnceLock<Option<quinn::Endpoint>>>,
    dialer: Arc<Mutex<ClientConfig>>,
    /// Whom we believe.
    trust: Arc<watch::Sender<Credentials>>,
    quic: Quic,
    peer: PeerLinks,
}

/// Credentials that the endpoint can take up.
#[derive(Debug)]
pub struct Renewal {
    acceptor: ServerConfig,
    dialer: ClientConfig,
    credentials: Credentials,
}

impl Endpoint {
    /// Listens on the first of these addresses that the machine has. Must be called within a Tokio runtime.
    pub fn bind(
        quic: &Quic,
        peer: &PeerLinks,
        credentials: &Credentials,
        listen: &[SocketAddr],
    ) -> Result<Self, BindError> {
        let socket = sockets::udp(listen)?;
        let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let endpoint = quinn::Endpoint::new(
            identity(credentials),
            Some(acceptor(quic, peer, credentials)?),
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(|source| NotBound { address, source })?;
        let dialer = Arc::new(Mutex::new(dialer(peer, credentials)?));
        let trust = Arc::new(watch::Sender::new(credentials.clone()));
        Ok(Self { quinn: endpoint, other: Arc::default(), dialer, trust, quic: quic.clone(), peer: peer.clone() })
    }

    /// Whether these credentials can be taken up.
    pub fn renewal(&self, credentials: Credentials) -> Result<Renewal, TlsError> {
        let (acceptor, dialer) = (acceptor(&self.quic, &self.peer, &credentials)?, dialer(&self.peer, &credentials)?);
        Ok(Renewal { acceptor, dialer, credentials })
    }

    /// From now on new connections are made with these credentials, and every other end that has shown a certificate on one
    /// that is open is judged by them. The stateless reset key stays: those who call us know it.
    pub fn renew(&self, renewal: Renewal) {
        self.quinn.set_server_config(Some(renewal.acceptor));
        *self.dialer.lock().unwrap_or_else(PoisonError::into_inner) = renewal.dialer;
        // Last: whoever is judged by the former ones until now is told to look again.
        self.trust.send_replace(renewal.credentials);
    }

    /// Returns once the certificate that the other end has shown is not believed any more, and why; as one of this name, if
    /// it stands for one. Never, if it has shown none.
    pub(crate) async fn distrust(&self, connection: &Connection, name: Option<&str>) -> String {
        let shown = connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
        let Some(chain) = shown else { return std::future::pending().await };
        let (mut trust, end_ms) = (self.trust.subscribe(), tls::end_of(&chain));
        loop {
            let credentials = trust.borrow_and_update().clone();
            if let Err(why) = credentials.believes(&chain, name) {
                return why;
            }
            let left = Duration::from_millis(end_ms.saturating_sub(clock::wall_ms()));
            // Changes never fail: the sender is ours.
            let _ = timeout(left.clamp(JUDGED_AGAIN_MIN, JUDGED_AGAIN_MAX), trust.changed()).await;
        }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// The socket itself, for tests that answer otherwise than a node does.
    #[cfg(test)]
    pub(crate) fn quinn(&self) -> &quinn::Endpoint {
        &self.quinn
    }

    /// Calls another node, which must prove that it is `name`.
    pub(crate) fn dial(&self, address: SocketAddr, name: &str) -> Result<quinn::Connecting, quinn::ConnectError> {
        let dialer = self.dialer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.towards(address).connect_with(dialer, address, name)
    }

    /// What calls are made from: the socket that listens, or, where its addresses are not of the callee's kind, one
    /// beside it.
    fn towards(&self, address: SocketAddr) -> &quinn::Endpoint {
        let own = self.quinn.local_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |own| own.ip());
        if own.is_ipv4() == address.is_ipv4() || own == Ipv6Addr::UNSPECIFIED {
            return &self.quinn;
        }
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        let other = self.other.get_or_init(|| quinn::Endpoint::client((any, 0).into()).ok());
        other.as_ref().unwrap_or(&self.quinn)
    }

    /// Accepts connections until the endpoint is closed: peers go to `links`, or are told to come again later if there are
    /// none; each client goes to a new task of `clients`.
    pub async fn serve<P, F>(&self, links: Option<P>, clients: F)
    where
        P: Peers,
        F: Fn(Connection) -> Serving + Send + Sync + 'static,
    {
        let gate = Arc::new(Gate {
            endpoint: self.clone(),
            handshakes: Handshakes::new(links.clone()),
            clients,
            links,
            last_failure: Mutex::default(),
        });
        while let Some(incoming) = self.quinn.accept().await {
            if let Some((incoming, place)) = gate.handshakes.admit(incoming) {
                tokio::spawn(gate.clone().greet(incoming, place));
            }
        }
    }

    /// Closes every connection with a reason, and waits a moment for the other ends to hear it.
    pub async fn close(&self, reason: &str) {
        let all = || std::iter::once(&self.quinn).chain(self.other.get().into_iter().flatten());
        all().for_each(|endpoint| endpoint.close(Close::Done.code(), reason.as_bytes()));
        let idle = async {
            for endpoint in all() {
                endpoint.wait_idle().await;
            }
        };
        // Whoever has not heard by then finds out by a reset or a timeout.
        let _ = timeout(GOODBYE_TIMEOUT, idle).await;
    }
}

impl From<NotBound> for BindError {
    fn from(NotBound { address, source }: NotBound) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            _ => Self::System { address, source },
        }
    }
}

/// Keys that must outlive the process: a reset is sent only for connection ids that the predecessor could have made,
/// and believed only with its token.
fn identity(credentials: &Credentials) -> EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &credentials.secret("snowtide quic stateless reset"));
    let [a, b, c, d, e, f, g, h, ..] = credentials.secret("snowtide quic connection ids");
    let ids = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

fn acceptor(quic: &Quic, peer: &PeerLinks, credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    let tls = credentials.acceptor(&[PEER_ALPN, CLIENT_ALPN])?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| TlsError::Unusable(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle(quic.idle_timeout.max(peer.idle_timeout))))
        .max_concurrent_bidi_streams(VarInt::from_u32(quic.streams_max.max(1)))
        .max_concurrent_uni_streams(VarInt::from_u32(PEER_STREAMS_MAX))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(PEER_WINDOW_BYTES))
        .send_window(CLIENT_SEND_BYTES)
        .ack_frequency_config(Some(acknowledgements()))
        .datagram_receive_buffer_size(None);
    server.transport_config(Arc::new(transport)).max_incoming(HANDSHAKES_MAX + HANDSHAKES_KEPT);
    Ok(server)
}

fn dialer(peer: &PeerLinks, credentials: &Credentials) -> Result<ClientConfig, TlsError> {
    let tls = credentials.dialer(PEER_ALPN)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| TlsError::Unusable(error.to_string()))?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(LINK_INITIAL_WINDOW_BYTES);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle(peer.idle_timeout)))
        .keep_alive_interval(Some(peer.idle_timeout / 3))
        // Two questions after its pulse may be under way: one for the place of its worker id, one for its clock.
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .ack_frequency_config(Some(acknowledgements()))
        .congestion_controller_factory(Arc::new(congestion))
        .datagram_receive_buffer_size(None);
    client.transport_config(Arc::new(transport));
    Ok(client)
}

/// How often the other end acknowledges what we send.
fn acknowledgements() -> AckFrequencyConfig {
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(PACKETS_UNACKNOWLEDGED_MAX));
    acknowledgements
}

fn idle(timeout: Duration) -> IdleTimeout {
    IdleTimeout::from(VarInt::from_u32(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)))
}

/// Who takes connections of other nodes.
pub trait Peers: Clone + Send + Sync + 'static {
    /// Whether a node of the map is at this address.
    fn know(&self, ip: IpAddr) -> bool;
    /// Serves a connection that another node opened, until it ends.
    fn accept(&self, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// Sends each connection to whom it is for.
struct Gate<P, F> {
    endpoint: Endpoint,
    handshakes: Handshakes<P>,
    clients: F,
    links: Option<P>,
    last_failure: Mutex<Option<(IpAddr, String)>>,
}

impl<P, F> Gate<P, F>
where
    P: Peers,
    F: Fn(Connection) -> Serving + Send + Sync + 'static,
{
    async fn greet(self: Arc<Self>, incoming: Incoming, place: Place) {
        let from = incoming.remote_address();
        let over = place.over.clone();
        let connection = tokio::select! {
            shaken = timeout(HANDSHAKE_TIMEOUT, incoming) => match shaken {
                Ok(shaken) => shaken.map_err(|error| self.failed(from, &error)).ok(),
                Err(_elapsed) => {
                    debug!(%from, "the handshake took too long");
                    None
                }
            },
            () = over.cancelled() => {
                debug!(%from, "the handshake took too long for others to wait");
                None
            }
        };
        let Some(connection) = connection else { return sleep(DRAINING).await };
        drop(place);
        let mut serving = pin!(self.serve(connection.clone()));
        // From the end of the handshake on, which may have been made with credentials that are replaced by now.
        tokio::select! {
            () = &mut serving => return,
            why = self.endpoint.distrust(&connection, None) => {
                warn!(%from, why, "closed a connection: its certificate is not believed any more");
                Close::Refused.close(&connection, "the certificate is not believed any more");
            }
        }
        serving.await;
    }

    async fn serve(&self, connection: Connection) {
        match protocol(&connection).as_deref() {
            Some(PEER_ALPN) => {
                connection.set_receive_window(VarInt::from_u32(PEER_WINDOW_BYTES + LIMITS_WINDOW_BYTES));
                connection.set_send_window(SEND_WINDOW_BYTES);
                match &self.links {
                    Some(links) => links.accept(connection).await,
                    None => Close::Busy.close(&connection, "this node has no room on its disk: it only answers reads"),
                }
            }
            Some(CLIENT_ALPN) => self.client(connection).await,
            _ => Close::Refused.close(&connection, "no known application protocol"),
        }
    }

    async fn client(&self, connection: Connection) {
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
        (self.clients)(connection).await;
    }

    /// A foreign certificate must be seen by an operator, but one that comes each second only once.
    fn failed(&self, from: SocketAddr, error: &quinn::ConnectionError) {
        let failure = (from.ip(), error.to_string());
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&failure) {
            debug!(%from, %error, "handshake failed again");
        } else {
            warn!(%from, %error, "refused a connection: the handshake failed");
            *last = Some(failure);
        }
    }
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

#[cfg(test)]
mod tests;
