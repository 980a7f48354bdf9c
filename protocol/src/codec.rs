//! The one place where bytes become values: bincode 2 with variable-length integers, a size limit and no trailing
//! bytes. Everything that crosses a wire or reaches a disk goes through here, so that no other module has to remember
//! to bound what it decodes.

use bincode::{BorrowDecode, Decode, Encode, config};

/// No decoded value may claim more than this many bytes; frames have limits of their own, far below.
pub const DECODE_BYTES_MAX: usize = 64 << 20;

const CONFIG: config::Configuration<config::LittleEndian, config::Varint, config::Limit<DECODE_BYTES_MAX>> =
    config::standard().with_limit::<DECODE_BYTES_MAX>();

/// The bytes are not one whole value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Malformed, truncated, or claiming more than the limit.
    #[error("malformed bytes: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
    /// A whole value, and then something else.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// Encodes a value.
///
/// # Panics
/// Never: writing to memory cannot fail, and no type here refuses to be encoded.
pub fn encode<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, CONFIG).expect("memory can be written, and every wire type can be encoded")
}

/// Appends an encoded value to `bytes`.
///
/// # Panics
/// Never, as [`encode`].
pub fn encode_into<T: Encode + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, bytes, CONFIG).expect("memory can be written, and every wire type encoded");
}

/// Decodes exactly one value.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    whole(bincode::decode_from_slice(bytes, CONFIG)?, bytes.len())
}

/// Decodes exactly one value that borrows from `bytes`.
pub fn decode_borrowed<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    whole(bincode::borrow_decode_from_slice(bytes, CONFIG)?, bytes.len())
}

/// Decodes several values that follow each other, without trusting any of them to say how many there are.
#[derive(Clone, Debug)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next value; it may borrow from the bytes.
    pub fn read<T: BorrowDecode<'a, ()>>(&mut self) -> Result<T, DecodeError> {
        let (value, used) = bincode::borrow_decode_from_slice(self.0, CONFIG)?;
        self.0 = self.0.get(used..).unwrap_or_default();
        Ok(value)
    }

    /// Refuses bytes behind the last value.
    pub fn finish(self) -> Result<(), DecodeError> {
        whole(((), 0), self.0.len())
    }
}

fn whole<T>((value, used): (T, usize), length: usize) -> Result<T, DecodeError> {
    match length.saturating_sub(used) {
        0 => Ok(value),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}
