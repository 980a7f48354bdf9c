//! Logs that nobody wrote.

use super::mend;
use super::scan::{BLOCK_BYTES, mask, read, scan};

/// Scans a log, and mends it where one bit explains what is broken.
pub(in crate::store) fn examine(bytes: &[u8]) {
    // Memory can be read.
    let Ok(found) = scan(bytes) else { return };
    let length = bytes.len() as u64;
    assert!(found.whole <= length && found.damage.is_none_or(|damage| found.whole <= damage && damage <= length));
    assert!(found.beyond.is_none_or(|beyond| found.damage.is_some_and(|damage| damage <= beyond && beyond < length)));
    let Some(at) = found.damage.and_then(|damage| usize::try_from(damage).ok()) else { return };
    let rest = bytes.get(at..).unwrap_or_default();
    let mut block = rest.get(..BLOCK_BYTES.min(rest.len())).unwrap_or_default().to_vec();
    if let Some((at, bits)) = mend::find(&block) {
        block.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
        assert!(read(&block).is_some(), "what mends a record makes it intact");
    }
}

/// A record as RocksDB writes it.
pub(in crate::store) fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let covered = [&[kind], payload].concat();
    let length = u16::try_from(payload.len()).unwrap_or_default();
    [mask(crc32c::crc32c(&covered)).to_le_bytes().as_slice(), &length.to_le_bytes(), &covered].concat()
}
