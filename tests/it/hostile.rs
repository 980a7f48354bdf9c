//! Callers that send anything: each gets a typed answer or is hung up on, and the node serves on, without a panic (G7, I8).

mod http;
mod peers;
mod quic;
mod rogue;
mod rogues;
