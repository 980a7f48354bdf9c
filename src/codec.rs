//! The one codec, shared with the client crate, which owns it.

pub use snowtide_client::codec::{DecodeError, decode, decode_borrowed, encode, encode_into};
