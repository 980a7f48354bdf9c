//! A slot: what one replica added to one counter, as two grow-only totals.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Two grow-only totals; their difference is the slot's share of the counter's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Slot {
    /// Sum of all increments.
    pub added: u64,
    /// Sum of all decrements, as a positive number.
    pub subtracted: u64,
}

/// A total would exceed 64 bits. The slot is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counter's total would exceed 64 bits at this node")]
pub struct Overflow;

impl Slot {
    /// The join: the greater of each total.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { added: self.added.max(other.added), subtracted: self.subtracted.max(other.subtracted) }
    }

    /// Whether `self` holds everything that `other` does.
    pub fn covers(self, other: Self) -> bool {
        self.added >= other.added && self.subtracted >= other.subtracted
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
