//! A slot: what one replica added to one counter, as two grow-only totals.

use bincode::{Decode, Encode};

use super::Kind;

/// Two grow-only totals; their difference is the slot's share of the counter's value. The field order is the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Slot {
    /// Sum of all increments.
    added: u64,
    /// Sum of all decrements, as a positive number.
    subtracted: u64,
}

/// A total would exceed 64 bits. The slot is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counter's total would exceed 64 bits at this node")]
pub struct Overflow;

impl Kind for Slot {
    /// Each total as a number of variable length.
    const BYTES_MAX: usize = 2 * 9;

    type Hashed = [u8; 16];

    /// The greater of each total.
    fn join(self, other: Self) -> Self {
        Self { added: self.added.max(other.added), subtracted: self.subtracted.max(other.subtracted) }
    }

    fn covers(self, other: Self) -> bool {
        self.added >= other.added && self.subtracted >= other.subtracted
    }

    /// Both totals, little-endian.
    fn hashed(self) -> [u8; 16] {
        (u128::from(self.added) | u128::from(self.subtracted) << 64).to_le_bytes()
    }
}

impl Slot {
    /// What has come of changes that add up to these totals.
    pub const fn of(added: u64, subtracted: u64) -> Self {
        Self { added, subtracted }
    }

    /// What was added, and what was subtracted.
    pub const fn totals(self) -> (u64, u64) {
        (self.added, self.subtracted)
    }

    /// The slot after a change by `by`; a negative one is a decrement.
    pub fn changed(self, by: i64) -> Result<Self, Overflow> {
        let amount = by.unsigned_abs();
        let (added, subtracted) = if by >= 0 { (amount, 0) } else { (0, amount) };
        Ok(Self {
            added: self.added.checked_add(added).ok_or(Overflow)?,
            subtracted: self.subtracted.checked_add(subtracted).ok_or(Overflow)?,
        })
    }

    /// Added − subtracted.
    pub fn value(self) -> i128 {
        i128::from(self.added) - i128::from(self.subtracted)
    }
}
