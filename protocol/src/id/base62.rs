//! Base62 in a fixed width of 11: digits, upper-case, lower-case letters, in the order of ASCII, so that it sorts byte
//! by byte as the numbers do. Case matters: it is no form for people, nor for a collation that ignores case.

use super::{BITS, BadId, Format};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const WIDTH: usize = 11;

/// A number of 64 bits, which 11 digits hold.
pub(super) fn write(mut number: u64) -> [u8; WIDTH] {
    let mut text = [b'0'; WIDTH];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    text
}

pub(super) fn read(text: &str) -> Result<u64, BadId> {
    let format = Format::Base62;
    let mut number: u64 = 0;
    for (at, found) in text.chars().enumerate() {
        let digit = digit(found).ok_or(BadId::Character { format, found, at })?;
        let longer = number.checked_mul(62).and_then(|number| number.checked_add(digit));
        number = longer.filter(|number| number >> BITS == 0).ok_or(BadId::TooLarge { format })?;
    }
    Ok(number)
}

fn digit(character: char) -> Option<u64> {
    let digits = (0..).zip(DIGITS);
    digits.filter(|(_, digit)| char::from(**digit) == character).map(|(value, _)| value).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_id_fits_and_one_more_does_not() {
        assert_eq!(&write(u64::MAX >> 1), b"AzL8n0Y58m7");
        assert_eq!(read("AzL8n0Y58m7"), Ok(u64::MAX >> 1));
        for text in ["AzL8n0Y58m8", "LygHa16AHYG", "zzzzzzzzzzz"] {
            assert_eq!(read(text), Err(BadId::TooLarge { format: Format::Base62 }), "{text}");
        }
    }

    #[test]
    fn case_matters_and_other_characters_are_refused() {
        assert_eq!((read("0000000000A"), read("0000000000a")), (Ok(10), Ok(36)));
        for found in ['-', '_', '+', ' ', 'é', '٣'] {
            let text = format!("0000000000{found}");
            assert_eq!(read(&text), Err(BadId::Character { format: Format::Base62, found, at: 10 }));
        }
    }
}
