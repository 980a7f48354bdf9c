//! Finding the one bit that has flipped in a record.
//!
//! Nothing behind the last batch proves that it was whole, so rot in it looks like a torn write, and would be cut off,
//! acknowledged or not. But a record that is one bit away from its checksum is no torn write. And if it were one after
//! all, then that bit is what it lacks: what comes out is what was written, either way.

use super::scan::{HEADER_BYTES, mask, read};

/// Where in these bytes, which begin with a broken record, one bit must be turned over to make the record intact: the
/// byte, and the bits of it.
pub(super) fn find(bytes: &[u8]) -> Option<(usize, u8)> {
    let (at, bits) = in_header(bytes).or_else(|| in_content(bytes))?;
    // A checksum that comes out says nothing of a record of no known kind.
    let mut mended = bytes.to_vec();
    mended.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
    read(&mended).map(|_| (at, bits))
}

/// By trying: checksum, length and type are few bits.
fn in_header(bytes: &[u8]) -> Option<(usize, u8)> {
    let mut tried = bytes.to_vec();
    for at in 0..HEADER_BYTES.min(bytes.len()) {
        for bit in 0..u8::BITS {
            let bits = 1u8 << bit;
            let turn = |bytes: &mut [u8]| bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
            turn(&mut tried);
            if read(&tried).is_some() {
                return Some((at, bits));
            }
            turn(&mut tried);
        }
    }
    None
}

/// By what it does to the checksum. A checksum is linear: what one bit does to it depends on how many bytes follow, and
/// on nothing else.
fn in_content(bytes: &[u8]) -> Option<(usize, u8)> {
    let ([sum @ .., low, high, _], _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let end = HEADER_BYTES.checked_add(u16::from_le_bytes([*low, *high]).into())?;
    let content = bytes.get(HEADER_BYTES..end)?;
    let covered = bytes.get(HEADER_BYTES.checked_sub(1)?..end)?;
    let wanted = unmask(u32::from_le_bytes(*sum)) ^ crc32c::crc32c(covered);
    let effects: Vec<u32> = (0..=u8::MAX).map(|bits| crc32c::crc32c(&[bits]) ^ crc32c::crc32c(&[0])).collect();
    let effect = |bits: u8| effects.get(usize::from(bits)).copied().unwrap_or_default();
    let mut of_bits = [1, 2, 4, 8, 16, 32, 64, 128].map(|bits| (bits, effect(bits)));
    for (at, _) in content.iter().enumerate().rev() {
        if let Some((bits, _)) = of_bits.iter().find(|(_, sum)| *sum == wanted) {
            return Some((HEADER_BYTES.checked_add(at)?, *bits));
        }
        for (_, sum) in &mut of_bits {
            let [low, ..] = sum.to_le_bytes();
            *sum = (*sum >> 8) ^ effect(low);
        }
    }
    None
}

/// The inverse of [`mask`].
fn unmask(masked: u32) -> u32 {
    let sum = masked.wrapping_sub(mask(0)).rotate_left(15);
    debug_assert_eq!(mask(sum), masked);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(content: &[u8]) -> Vec<u8> {
        let covered = [&[1], content].concat();
        let mut bytes = mask(crc32c::crc32c(&covered)).to_le_bytes().to_vec();
        bytes.extend(u16::try_from(content.len()).unwrap().to_le_bytes());
        bytes.extend(covered);
        bytes
    }

    proptest! {
        #[test]
        fn any_one_bit_is_found(
            content in prop::collection::vec(any::<u8>(), 12..3000), at in any::<prop::sample::Index>(), bit in 0..8u32,
        ) {
            let whole = record(&content);
            let mut broken = whole.clone();
            let at = at.index(broken.len());
            broken[at] ^= 1 << bit;
            let (found, bits) = find(&broken).unwrap();
            broken[found] ^= bits;
            prop_assert_eq!(broken, whole);
        }

        #[test]
        fn a_torn_record_is_left_alone(content in prop::collection::vec(1..=255u8, 600..3000), kept in 0..500usize) {
            let mut torn = record(&content);
            torn[HEADER_BYTES + kept..].fill(0);
            prop_assert_eq!(find(&torn), None);
            torn.truncate(HEADER_BYTES + kept);
            prop_assert_eq!(find(&torn), None);
        }

        #[test]
        fn arbitrary_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = find(&bytes);
        }
    }
}
