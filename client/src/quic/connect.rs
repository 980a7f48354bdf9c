//! Making a connection: resolve, handshake, greeting; and saying clearly what went wrong.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use snowtide_protocol::codec;
use snowtide_protocol::frame::{self, FrameBuffer};
use snowtide_protocol::wire::{FRAME_BYTES_MAX, Greeting, HELLO_BYTES_MAX, Hello, VERSION, Welcome};

use super::config::{Config, host};
use super::lane::{lost, reason_of};
use super::tls;
use crate::error::ConnectError;

/// TLS alerts (RFC 8446, section 6) as QUIC transport errors (RFC 9001, section 4.8).
const TLS_ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
const NO_APPLICATION_PROTOCOL: u64 = 0x178;

/// A connection with its first stream greeted.
pub(crate) struct Connected {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) streams: Vec<Greeted>,
    pub(crate) welcome: Welcome,
}

/// A stream that is ready for requests.
pub(crate) struct Greeted {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) buffer: FrameBuffer,
}

/// Tries every address in order, and every IP address it resolves to; the last error is reported.
pub(crate) async fn connect(config: &Config) -> Result<Connected, ConnectError> {
    let client = tls::client_config(config.roots.clone(), config.idle_timeout)?;
    let mut last = ConnectError::Config("no address is given".into());
    for address in &config.addresses {
        let host = host(address)?;
        let name = config.server_name.as_deref().unwrap_or(host);
        let resolved = match tokio::net::lookup_host(address.as_str()).await {
            Ok(resolved) => resolved,
            Err(source) => {
                last = ConnectError::Resolve { address: address.clone(), source };
                continue;
            }
        };
        for ip in resolved {
            let attempt = Attempt { address, ip, name, config };
            match tokio::time::timeout(config.connect_timeout, attempt.run(client.clone())).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = error,
                Err(_) => last = attempt.unreachable(silence(config.connect_timeout)),
            }
        }
    }
    Err(last)
}

fn silence(after: Duration) -> String {
    format!("no answer within {after:?}")
}

/// One address, once.
struct Attempt<'a> {
    address: &'a str,
    ip: SocketAddr,
    name: &'a str,
    config: &'a Config,
}

impl Attempt<'_> {
    async fn run(&self, client: quinn::ClientConfig) -> Result<Connected, ConnectError> {
        let local = match self.ip {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let endpoint = Endpoint::client(local)?;
        let connecting = endpoint
            .connect_with(client, self.ip, self.name)
            .map_err(|error| ConnectError::Config(format!("{:?} as the server's name: {error}", self.name)))?;
        let connection = connecting.await.map_err(|error| self.explain(&error))?;
        let mut streams = Vec::with_capacity(self.config.streams);
        let (first, welcome) = self.greet(&connection).await?;
        streams.push(first);
        while streams.len() < self.config.streams {
            streams.push(self.greet(&connection).await?.0);
        }
        Ok(Connected { endpoint, connection, streams, welcome })
    }

    /// Opens a stream, says hello and reads the answer.
    async fn greet(&self, connection: &Connection) -> Result<(Greeted, Welcome), ConnectError> {
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| self.explain(&error))?;
        let mut bytes = Vec::new();
        frame::append(&Hello { versions: (VERSION, VERSION), token: self.config.token.clone() }, &mut bytes);
        if bytes.len() > HELLO_BYTES_MAX {
            return Err(ConnectError::Config("the token is too long".into()));
        }
        send.write_all(&bytes).await.map_err(|error| self.unreachable(error.to_string()))?;
        let mut buffer = FrameBuffer::new(HELLO_BYTES_MAX);
        let greeting = self.greeting(&mut recv, &mut buffer).await?;
        buffer.set_limit(FRAME_BYTES_MAX);
        match greeting {
            Greeting::Welcome(welcome) if welcome.version == VERSION => Ok((Greeted { send, recv, buffer }, welcome)),
            Greeting::Welcome(welcome) => {
                Err(self.wrong_protocol(format!("it chose version {} of the frames", welcome.version)))
            }
            Greeting::Refused(error) => {
                Err(ConnectError::Refused { address: self.address.to_owned(), code: error.code, detail: error.detail })
            }
        }
    }

    async fn greeting(&self, recv: &mut RecvStream, buffer: &mut FrameBuffer) -> Result<Greeting, ConnectError> {
        loop {
            match recv.read(buffer.room()).await {
                Ok(Some(count)) => buffer.filled(count),
                Ok(None) => return Err(self.unreachable("it ended the stream without a greeting".into())),
                Err(error) => return Err(self.unreachable(lost(&error))),
            }
            if let Some(frame) = buffer.next_frame().map_err(|error| self.wrong_protocol(error.to_string()))? {
                return codec::decode(frame).map_err(|error| self.wrong_protocol(error.to_string()));
            }
        }
    }

    /// Tells a certificate, a foreign protocol and silence apart.
    fn explain(&self, error: &ConnectionError) -> ConnectError {
        let (code, reason) = match error {
            ConnectionError::TransportError(error) => (u64::from(error.code), error.reason.clone()),
            ConnectionError::ConnectionClosed(close) => {
                (u64::from(close.error_code), String::from_utf8_lossy(&close.reason).into_owned())
            }
            ConnectionError::TimedOut => return self.unreachable(silence(self.config.idle_timeout)),
            other => return self.unreachable(reason_of(other)),
        };
        let reason = if reason.is_empty() { error.to_string() } else { reason };
        match code {
            NO_APPLICATION_PROTOCOL => self.wrong_protocol(reason),
            code if TLS_ALERTS.contains(&code) => {
                ConnectError::Certificate { address: self.address.to_owned(), reason }
            }
            _ => self.unreachable(reason),
        }
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        ConnectError::Unreachable { address: self.address.to_owned(), reason }
    }

    fn wrong_protocol(&self, reason: String) -> ConnectError {
        ConnectError::WrongProtocol { address: self.address.to_owned(), reason }
    }
}
