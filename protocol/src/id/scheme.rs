//! What a cluster's UUIDs and ULIDs need beyond the ID: where its time begins, how many bits that has, and its name.
//!
//! # The bits
//! Both begin with 48 bits of Unix time in milliseconds, as their standards want it; then come the ID's bits below its
//! time (region, node, sequence: as many as the layout has, 22 by default), and then a *seal*, which fills what is left.
//! In a UUID, four bits of version (7) and two of variant (binary 10) stand between, after the first 48 and 64 bits.
//!
//! ```text
//! ID           0 │ 41 time since the epoch │ 5 region │ 5 node │ 12 sequence
//! UUIDv7    48 Unix time │ 0111 │ 5 region  5 node  2 of sequence │ 10 │ 10 of sequence  52 seal
//! ULID      48 Unix time │ 5 region  5 node  12 sequence  58 seal
//! ```
//!
//! The seal is the lowest bits of the 128-bit XXH3 of the ID (8 bytes, big-endian), seeded with the 64-bit XXH3 of the
//! cluster's name. So the whole is a function of the ID: unique because the ID is, in the order of the IDs because their
//! bits come first, and it leads back to the ID. Clusters of different names do not make the same one, though their IDs
//! may be equal; and one that was made elsewhere is told apart, but for a chance of 2^-52. It is no secret, and no proof
//! against somebody who means to make one.

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::{BITS, BadId, Format, Text, crockford, uuid, whole};

const TIME_BITS: u32 = 48;
/// What a UUID of version 7 holds beside time, version and variant, and a ULID beside time.
const UUID_ROOM: u32 = 74;
const ULID_ROOM: u32 = 80;
const VERSION: u128 = 7;
const VARIANT: u128 = 0b10;

/// How a cluster's IDs are written as UUIDs and ULIDs, and where they stand in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct IdScheme {
    epoch_ms: u64,
    time_bits: u8,
    seed: u64,
}

impl IdScheme {
    /// Of the cluster of this name (`cluster.id`), whose IDs have `time_bits` of milliseconds since `epoch_ms`, in Unix
    /// time. No number makes it panic, but it means something only with those of the cluster.
    pub fn new(cluster: &str, epoch_ms: u64, time_bits: u8) -> Self {
        Self { epoch_ms, time_bits, seed: xxh3_64(cluster.as_bytes()) }
    }

    /// Where the IDs' time begins, in milliseconds of Unix time.
    pub const fn epoch_ms(self) -> u64 {
        self.epoch_ms
    }

    /// The last moment that an ID can carry, in milliseconds of Unix time.
    pub const fn end_ms(self) -> u64 {
        self.epoch_ms.saturating_add(low(BITS) >> self.low_bits())
    }

    /// When an ID was made, by the clock of the node that made it, in milliseconds of Unix time.
    pub const fn unix_ms(self, id: u64) -> u64 {
        self.epoch_ms.saturating_add((id & low(BITS)) >> self.low_bits())
    }

    /// The smallest ID of a moment in Unix time, if the IDs' time has it.
    pub(super) const fn first_of(self, unix_ms: u64) -> Option<u64> {
        if unix_ms < self.epoch_ms || unix_ms > self.end_ms() {
            return None;
        }
        (unix_ms - self.epoch_ms).checked_shl(self.low_bits())
    }

    /// The largest ID of a moment in Unix time, if the IDs' time has it.
    pub(super) fn last_of(self, unix_ms: u64) -> Option<u64> {
        self.first_of(unix_ms).map(|first| first | low(self.low_bits()))
    }

    /// The ID as a UUID of version 7.
    pub fn uuid7(self, id: u64) -> Result<u128, BadId> {
        let format = Format::Uuid7;
        let content = self.content(whole(id, format)?, UUID_ROOM);
        self.time(id, format).map(|time| uuid_of(time, content))
    }

    /// The ID as a ULID.
    pub fn ulid(self, id: u64) -> Result<u128, BadId> {
        let format = Format::Ulid;
        let content = self.content(whole(id, format)?, ULID_ROOM);
        self.time(id, format).map(|time| ulid_of(time, content))
    }

    /// The ID whose UUID this is.
    pub fn id_of_uuid7(self, uuid: u128) -> Result<u64, BadId> {
        if (uuid >> 76) & 15 != VERSION || (uuid >> 62) & 3 != VARIANT {
            return Err(BadId::OtherUuid);
        }
        let content = ((uuid >> 2) & (wide_low(12) << 62)) | (uuid & wide_low(62));
        self.id_of(uuid, content, UUID_ROOM, Format::Uuid7)
    }

    /// The ID whose ULID this is.
    pub fn id_of_ulid(self, ulid: u128) -> Result<u64, BadId> {
        self.id_of(ulid, ulid & wide_low(ULID_ROOM), ULID_ROOM, Format::Ulid)
    }

    /// Writes an ID.
    pub fn write(self, id: u64, format: Format) -> Result<Text, BadId> {
        Ok(match format {
            Format::Decimal => Text::decimal(whole(id, format)?),
            Format::Base32 => super::base32(id)?,
            Format::Base62 => super::base62(id)?,
            Format::Uuid7 => uuid::write(self.uuid7(id)?).into(),
            Format::Ulid => crockford::write::<26>(self.ulid(id)?).into(),
        })
    }

    /// Reads an ID in any form, as [`Format::of`] tells it.
    pub fn read(self, text: &str) -> Result<(u64, Format), BadId> {
        let format = Format::of(text).ok_or(BadId::Unknown)?;
        self.read_as(text, format).map(|id| (id, format))
    }

    /// Reads an ID in one form.
    pub fn read_as(self, text: &str, format: Format) -> Result<u64, BadId> {
        if let Some(expected) = format.width() {
            let found = text.chars().count();
            if found != expected {
                return Err(BadId::Width { format, expected, found });
            }
        }
        match format {
            Format::Decimal => decimal(text),
            Format::Base32 => {
                let number = crockford::read(text, BITS, format)?;
                u64::try_from(number).map_err(|_| BadId::TooLarge { format })
            }
            Format::Base62 => super::base62::read(text),
            Format::Uuid7 => self.id_of_uuid7(uuid::read(text)?),
            Format::Ulid => self.id_of_ulid(crockford::read(text, u128::BITS, format)?),
        }
    }

    /// How many bits the ID has below its time.
    const fn low_bits(self) -> u32 {
        BITS.saturating_sub(self.time_bits as u32)
    }

    fn time(self, id: u64, format: Format) -> Result<u64, BadId> {
        let unix_ms = self.unix_ms(id);
        if unix_ms >> TIME_BITS == 0 { Ok(unix_ms) } else { Err(BadId::TooLate { format }) }
    }

    /// `room` bits: the ID's below its time, then the seal.
    fn content(self, id: u64, room: u32) -> u128 {
        let seal_bits = room - self.low_bits();
        let seal = xxh3_128_with_seed(&id.to_be_bytes(), self.seed) & wide_low(seal_bits);
        u128::from(id & low(self.low_bits())) << seal_bits | seal
    }

    /// The ID with the time of `whole` that is written with this content, and with no other.
    fn id_of(self, whole: u128, content: u128, room: u32, format: Format) -> Result<u64, BadId> {
        let time = u64::try_from(whole >> (u128::BITS - TIME_BITS)).map_err(|_| BadId::Time { format })?;
        let first = self.first_of(time).ok_or(BadId::Time { format })?;
        // `low_bits` of them are left.
        let below = u64::try_from(content >> (room - self.low_bits())).map_err(|_| BadId::TooLarge { format })?;
        let id = first | below;
        if self.content(id, room) == content { Ok(id) } else { Err(BadId::Foreign { format }) }
    }
}

/// The UUID of 48 bits of time and 74 of content.
pub(super) fn uuid_of(time: u64, content: u128) -> u128 {
    u128::from(time) << 80 | VERSION << 76 | (content >> 62) << 64 | VARIANT << 62 | content & wide_low(62)
}

/// The ULID of 48 bits of time and 80 of content.
pub(super) fn ulid_of(time: u64, content: u128) -> u128 {
    u128::from(time) << ULID_ROOM | content
}

fn decimal(text: &str) -> Result<u64, BadId> {
    let format = Format::Decimal;
    if text.is_empty() {
        return Err(BadId::Unknown);
    }
    if let Some((at, found)) = text.chars().enumerate().find(|(_, found)| !found.is_ascii_digit()) {
        return Err(BadId::Character { format, found, at });
    }
    // Only digits are left, so only their number can be wrong.
    let id = text.parse().map_err(|_| BadId::TooLarge { format })?;
    whole(id, format)
}

/// So many ones, at most 63.
const fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// So many ones, at most 127.
const fn wide_low(bits: u32) -> u128 {
    (1 << bits) - 1
}
