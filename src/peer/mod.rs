//! Links to other nodes: QUIC with mutual TLS.
