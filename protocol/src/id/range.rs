//! The smallest and the largest ID of a time range, for range scans.

use super::scheme::{ulid_of, uuid_of};
use super::{BadId, Format, IdScheme, Text, crockford, uuid};

/// The IDs of some milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The smallest ID that can be made in this time.
    pub first: u64,
    /// The largest.
    pub last: u64,
}

/// There are no IDs of such a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRange {
    /// It ends where it begins, or before.
    #[error("the range is empty: it begins at {from_ms} ms and ends before {to_ms} ms of Unix time")]
    Empty {
        /// Its beginning.
        from_ms: u64,
        /// Its end.
        to_ms: u64,
    },
    /// It begins before the IDs' time does.
    #[error("the range begins at {from_ms} ms, the IDs' time at {epoch_ms} ms of Unix time")]
    BeforeEpoch {
        /// Its beginning.
        from_ms: u64,
        /// The epoch.
        epoch_ms: u64,
    },
    /// It ends after the IDs' time does.
    #[error("the range ends at {to_ms} ms, and the last millisecond of the IDs' time is {end_ms} of Unix time")]
    AfterEnd {
        /// Its end.
        to_ms: u64,
        /// The last moment of all.
        end_ms: u64,
    },
}

impl IdScheme {
    /// The IDs of a time range that begins with `from_ms` and ends before `to_ms`, in Unix time.
    pub fn range(self, from_ms: u64, to_ms: u64) -> Result<IdRange, BadRange> {
        let last_ms = to_ms.checked_sub(1).filter(|last_ms| *last_ms >= from_ms);
        let last_ms = last_ms.ok_or(BadRange::Empty { from_ms, to_ms })?;
        let first = self.first_of(from_ms).ok_or(if from_ms < self.epoch_ms() {
            BadRange::BeforeEpoch { from_ms, epoch_ms: self.epoch_ms() }
        } else {
            BadRange::AfterEnd { to_ms, end_ms: self.end_ms() }
        })?;
        let last = self.last_of(last_ms).ok_or(BadRange::AfterEnd { to_ms, end_ms: self.end_ms() })?;
        Ok(IdRange { first, last })
    }

    /// The bounds of a range as texts between which every ID of it lies, and no ID of another time.
    ///
    /// Those of UUIDs and ULIDs hold for any others of that time as well, whatever made them: behind the time, one has
    /// only zeros and the other only ones. They are bounds, not IDs.
    pub fn write_range(self, range: IdRange, format: Format) -> Result<(Text, Text), BadId> {
        let (from_ms, last_ms) = (self.unix_ms(range.first), self.unix_ms(range.last));
        // What cannot be written is refused for the same reason as its IDs.
        let plain = (self.write(range.first, format)?, self.write(range.last, format)?);
        Ok(match format {
            Format::Decimal | Format::Base32 | Format::Base62 => plain,
            Format::Uuid7 => {
                let bound = |time, content| Text::from(uuid::write(uuid_of(time, content)));
                (bound(from_ms, 0), bound(last_ms, (1 << 74) - 1))
            }
            Format::Ulid => {
                let bound = |time, content| Text::from(crockford::write::<26>(ulid_of(time, content)));
                (bound(from_ms, 0), bound(last_ms, (1 << 80) - 1))
            }
        })
    }
}
