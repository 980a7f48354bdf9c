//! TLS and the transport for a client; no 0-RTT.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig, VarInt};
use rustls::RootCertStore;
use snowtide_protocol::wire;

use crate::error::ConnectError;
use crate::trust;

/// Bytes of answers that may be on their way on one stream: the bandwidth-delay product of 1 Gbit/s over 64 ms.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same for the connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// What quinn needs to connect.
pub(crate) fn client_config(roots: RootCertStore, idle: Duration) -> Result<quinn::ClientConfig, ConnectError> {
    let mut tls = trust::tls(roots)?;
    tls.alpn_protocols = vec![wire::ALPN.to_vec()];
    tls.enable_early_data = false;
    let tls = QuicClientConfig::try_from(tls).map_err(|error| ConnectError::Config(error.to_string()))?;
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(transport(idle)?));
    Ok(client)
}

fn transport(idle: Duration) -> Result<TransportConfig, ConnectError> {
    let timeout = IdleTimeout::try_from(idle)
        .map_err(|_| ConnectError::Config(format!("an idle timeout of {idle:?} is too long")))?;
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(wire::PACKETS_UNACKNOWLEDGED_MAX));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(timeout))
        .keep_alive_interval(Some(idle / 3))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .ack_frequency_config(Some(acknowledgements))
        .datagram_receive_buffer_size(None);
    Ok(transport)
}
