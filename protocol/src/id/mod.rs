//! The forms of an ID: one 63-bit number, written in several ways.
//!
//! | [`Format`] | Example | Width | Sorts as text like the numbers |
//! |---|---|---|---|
//! | `decimal` | `264905529122127872` | 1–19 | no: pad it, or compare numbers |
//! | `base32` | `07B925KD5S000` | 13 | yes |
//! | `base62` | `0JZGkOS9B3Y` | 11 | yes, byte by byte |
//! | `uuid7` | `01a2d3b2-2f69-7720-8003-3bb8068efd2e` | 36 | yes |
//! | `ulid` | `01MB9V4BV9E8005MSVQ038XZ9E` | 26 | yes |
//!
//! All of them are the same ID. Each is a function of it, one to one, so it is unique exactly as the ID is, sorts
//! exactly as the IDs of the cluster do, and leads back to it. Decimal, [`base32`] and [`base62`] need nothing else;
//! what a UUID and a ULID need of the cluster is its [`IdScheme`], which `Client::id_scheme` of the client tells.
//!
//! ```
//! use snowtide_protocol::id::{self, Format, IdScheme};
//!
//! # fn main() -> Result<(), id::BadId> {
//! let scheme = IdScheme::new("snowtide-dev", 1_735_689_600_000, 41);
//! let minted = 264_905_529_122_127_872;
//! assert_eq!(id::base32(minted)?.as_str(), "07B925KD5S000");
//! let uuid = scheme.write(minted, Format::Uuid7)?;
//! assert_eq!(scheme.read(&uuid)?, (minted, Format::Uuid7));
//! # Ok(())
//! # }
//! ```

mod base62;
mod crockford;
mod error;
mod format;
mod range;
mod scheme;
#[cfg(test)]
mod tests;
mod text;
mod uuid;

pub use error::BadId;
pub use format::{BadFormat, Format};
pub use range::{BadRange, IdRange};
pub use scheme::IdScheme;
pub use text::Text;

/// Bits of an ID: the highest of 64 is always zero.
pub const BITS: u32 = 63;

/// The ID as 13 characters of Crockford's base32.
pub fn base32(id: u64) -> Result<Text, BadId> {
    whole(id, Format::Base32).map(|id| Text::from(crockford::write::<13>(u128::from(id))))
}

/// The ID as 11 characters of base62.
pub fn base62(id: u64) -> Result<Text, BadId> {
    whole(id, Format::Base62).map(|id| Text::from(base62::write(id)))
}

/// An ID has no highest bit.
fn whole(id: u64, format: Format) -> Result<u64, BadId> {
    if id >> BITS == 0 { Ok(id) } else { Err(BadId::TooLarge { format }) }
}
