//! The Rust client of Snowtide, and the frames it shares with the server.

pub mod code;
pub mod codec;
pub mod wire;

pub use code::Code;
