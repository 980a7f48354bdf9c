//! The one codec, shared with the client crate, which owns it.

pub use snowtide_protocol::codec::{DecodeError, decode, decode_borrowed, encode, encode_into};
