//! The text of a UUID: 32 hexadecimal digits in five groups (RFC 9562, section 4).

use super::{BadId, Format};

const WIDTH: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];

pub(super) fn write(uuid: u128) -> [u8; WIDTH] {
    let mut text = [b'-'; WIDTH];
    let mut shift = u128::BITS;
    for (at, place) in text.iter_mut().enumerate() {
        if !DASHES.contains(&at) {
            shift -= 4;
            *place = b"0123456789abcdef"[((uuid >> shift) & 15) as usize];
        }
    }
    text
}

/// Of a text that is as long as a UUID: no more than 32 of its characters are digits.
pub(super) fn read(text: &str) -> Result<u128, BadId> {
    let mut uuid = 0;
    for (at, found) in text.chars().enumerate() {
        let wrong = BadId::Character { format: Format::Uuid7, found, at };
        if DASHES.contains(&at) {
            if found != '-' {
                return Err(wrong);
            }
        } else {
            uuid = uuid << 4 | u128::from(found.to_digit(16).ok_or(wrong)?);
        }
    }
    Ok(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_in_five_groups_are_a_uuid() {
        assert_eq!(read("FFFFFFFF-ffff-ffff-ffff-ffffffffffff"), Ok(u128::MAX));
        for (text, found, at) in [
            ("fffffffff-fff-ffff-ffff-ffffffffffff", 'f', 8),
            ("ffffffff-ffff-ffff-ffff_ffffffffffff", '_', 23),
            ("{fffffff-ffff-ffff-ffff-ffffffffffff", '{', 0),
            ("fffffffg-ffff-ffff-ffff-ffffffffffff", 'g', 7),
            ("ffffffff-ffff-ffff-ffff-fffffffffff-", '-', 35),
        ] {
            assert_eq!(read(text), Err(BadId::Character { format: Format::Uuid7, found, at }), "{text}");
        }
    }
}
