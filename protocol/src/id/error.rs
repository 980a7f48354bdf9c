//! What is wrong with a text or a number that should be an ID.

use super::Format;

/// It is no ID, or has no such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadId {
    /// Neither digits nor one of the widths.
    #[error("an ID is a decimal number, 13 characters of base32, 11 of base62, a UUID of 36 or a ULID of 26")]
    Unknown,
    /// The form has another width.
    #[error("{format} has {expected} characters, this has {found}")]
    Width {
        /// Of this form.
        format: Format,
        /// How many it has.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The form does not use this character, or not here.
    #[error("{found:?} at position {at} has no place in {format}")]
    Character {
        /// In this form.
        format: Format,
        /// The character.
        found: char,
        /// Counted from 0.
        at: usize,
    },
    /// More than an ID, or a ULID, holds.
    #[error("this {format} is a larger number than any ID")]
    TooLarge {
        /// In this form.
        format: Format,
    },
    /// A UUID of another kind.
    #[error("this UUID is not of version 7, as those of IDs are")]
    OtherUuid,
    /// Before the IDs' time begins, or after its end.
    #[error("the time of this {format} lies outside that of this cluster's IDs")]
    Time {
        /// In this form.
        format: Format,
    },
    /// Well-formed, but made elsewhere: the bits that follow from the ID and the cluster's name do not match.
    #[error("this {format} was not made by this cluster: the bits behind its ID do not match")]
    Foreign {
        /// In this form.
        format: Format,
    },
    /// After the year 10889, where 48 bits of milliseconds end.
    #[error("this ID's time does not fit into a {format}")]
    TooLate {
        /// In this form.
        format: Format,
    },
}
