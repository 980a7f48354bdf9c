//! The attacks: what each of many clients does, again and again, as often as the node shows it out.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use snowtide_protocol::frame;
use snowtide_protocol::wire::{ALPN, Hello, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::http2;

/// How long a client that was shown out stays away.
const PAUSE: Duration = Duration::from_secs(2);
/// Somebody who is being served does not wait longer for what to do next.
const HOLD: Duration = Duration::from_secs(3_600);

/// Where a node is to be found.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) http: SocketAddr,
    pub(super) redis: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) quic: SocketAddr,
    pub(super) certs: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    SilentHttp,
    SilentRedis,
    Heads,
    Heads2,
    Bodies,
    Windows,
    Unread,
    Resets,
    Watchers,
    Replies,
    Commands,
    Calls,
    Frames,
    Handshakes,
}

impl Attack {
    pub(super) const ALL: [Self; 14] = [
        Self::SilentHttp,
        Self::SilentRedis,
        Self::Heads,
        Self::Heads2,
        Self::Bodies,
        Self::Windows,
        Self::Unread,
        Self::Resets,
        Self::Watchers,
        Self::Replies,
        Self::Commands,
        Self::Calls,
        Self::Frames,
        Self::Handshakes,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SilentHttp => "connections to HTTP that say nothing",
            Self::SilentRedis => "connections to Redis that say nothing",
            Self::Heads => "HTTP/1 heads of 60 KiB that do not end",
            Self::Heads2 => "HTTP/2 heads that do not end",
            Self::Bodies => "bodies that do not end",
            Self::Windows => "HTTP/2 windows of 0, 100 answers each",
            Self::Unread => "HTTP/2 answers that nobody reads",
            Self::Resets => "HTTP/2 resets in floods",
            Self::Watchers => "watchers that read nothing",
            Self::Replies => "Redis replies that nobody reads",
            Self::Commands => "Redis commands that do not end",
            Self::Calls => "gRPC messages that do not end, 100 calls each",
            Self::Frames => "QUIC frames that do not end",
            Self::Handshakes => "QUIC handshakes that do not end",
        }
    }
}

/// Lets them loose, until this is dropped.
pub(super) fn begin(attack: Attack, target: &Target, clients: usize) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let endpoint = if attack == Attack::Frames { Some(endpoint(target)) } else { None };
    // A handshake is sent by whoever likes; one task does it for all.
    let tasks_count = if attack == Attack::Handshakes { 1 } else { clients };
    for number in 0..tasks_count {
        let (target, endpoint) = (target.clone(), endpoint.clone());
        tasks.spawn(async move {
            // Not all at the same moment.
            sleep(Duration::from_micros(200 * number as u64)).await;
            loop {
                let _shown_out = assault(attack, &target, endpoint.as_ref(), clients).await;
                sleep(PAUSE).await;
            }
        });
    }
    tasks
}

/// What one client does, until the node shows it out.
async fn assault(
    attack: Attack,
    target: &Target,
    endpoint: Option<&quinn::Endpoint>,
    clients: usize,
) -> io::Result<()> {
    match attack {
        Attack::SilentHttp => says(target.http, b"").await,
        Attack::SilentRedis => says(target.redis, b"").await,
        Attack::Heads => {
            let head = format!("GET /livez HTTP/1.1\r\nhost: node\r\n{}", "x: 0123456789012345678\r\n".repeat(90));
            says(target.http, &[head.as_bytes(), &vec![b'y'; 58 << 10]].concat()).await
        }
        Attack::Heads2 => {
            says(target.http, &[http2::preface_without_windows(), http2::endless(1, &"z".repeat(120))].concat()).await
        }
        Attack::Bodies => {
            let head = "POST /v1/batch HTTP/1.1\r\nhost: node\r\ncontent-length: 2000000\r\n\r\n";
            says(target.http, &[head.as_bytes(), &vec![b' '; 256 << 10]].concat()).await
        }
        Attack::Windows => {
            let streams =
                (0..100).flat_map(|at| http2::get(2 * at + 1, if at % 3 == 0 { "/openapi.json" } else { "/metrics" }));
            takes(target.http, &[http2::preface_without_windows(), streams.collect()].concat()).await
        }
        Attack::Unread => {
            let streams = (0..100).flat_map(|at| http2::get(2 * at + 1, "/openapi.json"));
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &http2::frame(4, 0, 0, &[])].concat();
            says(target.http, &[preface, streams.collect()].concat()).await
        }
        Attack::Resets => resets(target.http).await,
        Attack::Watchers => {
            let request = "GET /v1/counters/default/ordinary/watch HTTP/1.1\r\nhost: node\r\n\r\n";
            says(target.http, request.as_bytes()).await
        }
        Attack::Replies => replies(target.redis).await,
        Attack::Commands => {
            let command = [&b"*2\r\n$3\r\nGET\r\n$1000000\r\n"[..], &vec![b'k'; 256 << 10]].concat();
            says(target.redis, &command).await
        }
        Attack::Calls => {
            let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
            // Of a message of 60 000 bytes, so much.
            let begun = [&[0, 0, 0, 0xea, 0x60][..], &[b' '; 16_000]].concat();
            let streams = (0..100).flat_map(|at| {
                let stream = 2 * at + 1;
                [http2::post(stream, path), http2::frame(0, 0, stream, &begun)].concat()
            });
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &http2::frame(4, 0, 0, &[])].concat();
            says(target.grpc, &[preface, streams.collect()].concat()).await
        }
        Attack::Frames => match endpoint {
            Some(endpoint) => frames(target, endpoint).await.map_err(io::Error::other),
            None => Ok(()),
        },
        Attack::Handshakes => handshakes(target, clients).await,
    }
}

/// Says this and no more, and never reads.
async fn says(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    held(&stream).await
}

/// Until the other end closes, of which only the system hears.
async fn held(stream: &TcpStream) -> io::Result<()> {
    let closed = async {
        loop {
            let ready = stream.ready(tokio::io::Interest::READABLE | tokio::io::Interest::ERROR).await?;
            if ready.is_read_closed() || ready.is_error() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    };
    timeout(HOLD, closed).await?
}

/// Says this, and takes whatever comes.
async fn takes(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut taken = [0; 4_096];
    while stream.read(&mut taken).await? > 0 {}
    Ok(())
}

/// Asks and takes back what it asked, as fast as it can.
async fn resets(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&http2::preface_without_windows()).await?;
    for round in 0..10_000 {
        let streams = (0..50).map(|at| 100 * round + 2 * at + 1);
        let frames: Vec<u8> =
            streams.flat_map(|stream| [http2::get(stream, "/metrics"), http2::reset(stream)].concat()).collect();
        stream.write_all(&frames).await?;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Asks for long replies as long as anybody listens.
async fn replies(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let commands = "COMMAND\r\n".repeat(1_000);
    loop {
        timeout(HOLD, stream.write_all(commands.as_bytes())).await??;
    }
}

fn client_config(target: &Target) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(target.certs.join("ca.pem")).unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(3)));
    config.transport_config(Arc::new(transport));
    config
}

fn endpoint(target: &Target) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    endpoint.set_default_client_config(client_config(target));
    endpoint
}

/// As many streams as there may be, each with most of a long frame.
async fn frames(target: &Target, endpoint: &quinn::Endpoint) -> anyhow::Result<()> {
    let connection = endpoint.connect(target.quic, "node-0.us-east.snowtide")?.await?;
    let mut bytes = Vec::new();
    frame::append(&Hello { versions: (VERSION, VERSION), token: None }, &mut bytes);
    bytes.extend(1_500_000_u32.to_le_bytes());
    bytes.extend(vec![0; 128 << 10]);
    let mut streams = Vec::new();
    for _ in 0..16 {
        let (mut send, receive) = connection.open_bi().await?;
        // A window that is full is an attack as well.
        let _ = timeout(Duration::from_millis(100), send.write_all(&bytes)).await;
        streams.push((send, receive));
    }
    connection.closed().await;
    Ok(())
}

/// First packets of so many clients, of whom nobody hears again.
async fn handshakes(target: &Target, clients: usize) -> io::Result<()> {
    let sink = UdpSocket::bind("127.0.0.1:0").await?;
    let endpoint = endpoint(target);
    let mut packet = vec![0; 2_048];
    let mut callers = Vec::new();
    for _ in 0..clients {
        let calling = endpoint.connect(sink.local_addr()?, "node-0.us-east.snowtide").map_err(io::Error::other)?;
        let count = sink.recv(&mut packet).await?;
        let caller = UdpSocket::bind("127.0.0.1:0").await?;
        caller.send_to(&packet[..count], target.quic).await?;
        // Every other one says at once that it has gone.
        let calling = Some(calling).filter(|_| callers.len() % 2 == 0);
        callers.push((caller, calling));
        if callers.len() > 1_000 {
            callers.clear();
        }
    }
    Ok(())
}
