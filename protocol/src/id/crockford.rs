//! Crockford's base32 in a fixed width: the text of IDs and of ULIDs. It sorts as the numbers do.
//!
//! Read without regard to case, with I and L for 1 and O for 0, since people type it. Without check symbols, and without
//! dashes, which would end the fixed width.

use super::{BadId, Format};

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGIT_BITS: u32 = 5;

/// The lowest `5 * N` bits of a number.
pub(super) fn write<const N: usize>(mut number: u128) -> [u8; N] {
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number & 31) as usize];
        number >>= DIGIT_BITS;
    }
    text
}

/// A number of at most `bits`.
pub(super) fn read(text: &str, bits: u32, format: Format) -> Result<u128, BadId> {
    let mut number = 0;
    for (at, found) in text.chars().enumerate() {
        let digit = digit(found).ok_or(BadId::Character { format, found, at })?;
        if number >> (bits - DIGIT_BITS) != 0 {
            return Err(BadId::TooLarge { format });
        }
        number = number << DIGIT_BITS | digit;
    }
    Ok(number)
}

fn digit(character: char) -> Option<u128> {
    let canonical = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let digits = (0..).zip(DIGITS);
    digits.filter(|(_, digit)| char::from(**digit) == canonical).map(|(value, _)| value).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_13(text: &str) -> Result<u128, BadId> {
        read(text, 63, Format::Base32)
    }

    #[test]
    fn people_may_type_it() {
        assert_eq!(write::<13>(32 + 1), *b"0000000000011");
        for typed in ["0000000000011", "OoOoOoOoOoOiL", "ooooooooooolI"] {
            assert_eq!(read_13(typed), Ok(33), "{typed}");
        }
        assert_eq!(read_13("7ZZZZZZZZZZZZ"), Ok(u128::from(u64::MAX >> 1)));
        assert_eq!(read_13("7zzzzzzzzzzzz"), Ok(u128::from(u64::MAX >> 1)));
    }

    #[test]
    fn what_does_not_fit_or_belong_is_refused() {
        let format = Format::Base32;
        assert_eq!(read_13("8000000000000"), Err(BadId::TooLarge { format }));
        assert_eq!(read_13("ZZZZZZZZZZZZZ"), Err(BadId::TooLarge { format }));
        assert_eq!(
            read("80000000000000000000000000", 128, Format::Ulid),
            Err(BadId::TooLarge { format: Format::Ulid })
        );
        assert_eq!(read("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 128, Format::Ulid), Ok(u128::MAX));
        for found in ['U', 'u', '-', '*', ' ', 'é', '٣'] {
            let text = format!("00{found}0000000000");
            assert_eq!(read_13(&text), Err(BadId::Character { format, found, at: 2 }));
        }
    }
}
