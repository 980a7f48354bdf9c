//! Walking over one log, and searching it behind what is broken.

use std::io::{self, Read};

pub(super) const BLOCK_BYTES: usize = 32 << 10;
/// Checksum, length, type.
pub(super) const HEADER_BYTES: usize = 7;
/// In a log that takes over an older one's file, the log's number follows. RocksDB writes such only if told to.
const RECYCLED_HEADER_BYTES: usize = 11;
/// The sequence number with which a batch begins.
const SEQUENCE_BYTES: usize = 8;

/// What a record is to its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Middle,
    Last,
    /// Says something about the log itself.
    Other,
}

/// An intact record.
pub(super) struct Record<'a> {
    part: Part,
    /// With its header.
    bytes: usize,
    payload: &'a [u8],
}

/// What is found in one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Where the last whole batch ends.
    pub(super) whole: u64,
    /// Whether there is a beginning of a batch before the damage.
    pub(super) begun: bool,
    /// Where the first broken byte is, if there is one, or the unfinished batch begins.
    pub(super) damage: Option<u64>,
    /// Where an intact beginning stands behind it.
    pub(super) beyond: Option<u64>,
}

pub(super) fn scan(mut log: impl Read) -> io::Result<Findings> {
    let mut scan = Scan::default();
    loop {
        let block = next(&mut log, BLOCK_BYTES)?;
        scan.block(&block);
        if block.len() < BLOCK_BYTES || scan.findings.beyond.is_some() {
            return Ok(scan.finish());
        }
    }
}

/// So many bytes more, or what is left.
pub(super) fn next(log: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::with_capacity(bytes);
    log.take(bytes as u64).read_to_end(&mut read)?;
    Ok(read)
}

/// A walk over one log.
#[derive(Default)]
struct Scan {
    findings: Findings,
    /// Where the current block begins.
    base: u64,
    /// A batch has begun and not ended.
    within: bool,
    /// The sequence number of the last batch that began.
    sequence: u64,
}

impl Scan {
    fn block(&mut self, block: &[u8]) {
        let walked = if self.findings.damage.is_none() { self.walk(block) } else { 0 };
        if self.findings.damage.is_some() {
            self.search(block, walked);
        }
        self.base = self.base.saturating_add(block.len() as u64);
    }

    /// From record to record; returns where the walk ends: at the block's end, or at the damage.
    fn walk(&mut self, block: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = block.get(at..).unwrap_or_default();
            // What is left of a whole block is too short for a header, and filled with zeros.
            let padding = rest.len() < HEADER_BYTES && block.len() == BLOCK_BYTES;
            if rest.is_empty() || padding {
                return block.len();
            }
            let fits = |record: &Record<'_>| self.follows(record.part);
            let Some(record) = read(rest).filter(fits) else {
                self.findings.damage = Some(self.byte(at));
                return at;
            };
            at = at.saturating_add(record.bytes);
            self.take(&record, at);
        }
    }

    fn follows(&self, part: Part) -> bool {
        match part {
            Part::Whole | Part::First | Part::Other => !self.within,
            Part::Middle | Part::Last => self.within,
        }
    }

    fn take(&mut self, record: &Record<'_>, end: usize) {
        self.within = matches!(record.part, Part::First | Part::Middle);
        if let Part::Whole | Part::First = record.part {
            self.findings.begun = true;
            self.sequence = sequence(record.payload).unwrap_or(self.sequence);
        }
        if !self.within {
            self.findings.whole = self.byte(end);
        }
    }

    /// Looks for an intact beginning at every byte, because a length that is wrong says nothing about where the next
    /// record is. Chance does not pass a checksum. Somebody who may choose keys could make one look like a beginning,
    /// and with much luck have a power cut tear just that batch: then a start is refused that need not be.
    fn search(&mut self, block: &[u8], from: usize) {
        let begins = |at: &usize| {
            let record = block.get(*at..).and_then(read);
            record.is_some_and(|record| {
                matches!(record.part, Part::Whole | Part::First)
                    && sequence(record.payload).is_none_or(|sequence| sequence > self.sequence)
            })
        };
        let found = (from..block.len()).find(begins);
        self.findings.beyond = found.map(|at| self.byte(at));
    }

    fn finish(mut self) -> Findings {
        if self.within && self.findings.damage.is_none() {
            self.findings.damage = Some(self.findings.whole);
        }
        self.findings
    }

    fn byte(&self, at: usize) -> u64 {
        self.base.saturating_add(at as u64)
    }
}

/// Whether records of this kind belong to a file that was a log before.
pub(super) fn is_recycled(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

/// The record with which these bytes begin, if it is intact.
pub(super) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let ([sum @ .., low, high, kind], _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (part, header) = match kind {
        1 => (Part::Whole, HEADER_BYTES),
        2 => (Part::First, HEADER_BYTES),
        3 => (Part::Middle, HEADER_BYTES),
        4 => (Part::Last, HEADER_BYTES),
        5 => (Part::Whole, RECYCLED_HEADER_BYTES),
        6 => (Part::First, RECYCLED_HEADER_BYTES),
        7 => (Part::Middle, RECYCLED_HEADER_BYTES),
        8 => (Part::Last, RECYCLED_HEADER_BYTES),
        9 | 10 | 130 => (Part::Other, HEADER_BYTES),
        11 | 131 => (Part::Other, RECYCLED_HEADER_BYTES),
        _ => return None,
    };
    let end = header.checked_add(u16::from_le_bytes([*low, *high]).into())?;
    // The checksum covers everything from the type on: not itself, and not the length.
    let covered = bytes.get(HEADER_BYTES.checked_sub(1)?..end)?;
    let intact = mask(crc32c::crc32c(covered)) == u32::from_le_bytes(*sum);
    intact.then(|| Record { part, bytes: end, payload: bytes.get(header..end).unwrap_or_default() })
}

/// Checksums are stored so that the checksum of bytes that hold one is not degenerate.
pub(super) fn mask(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn sequence(payload: &[u8]) -> Option<u64> {
    payload.first_chunk::<SEQUENCE_BYTES>().map(|bytes| u64::from_le_bytes(*bytes))
}
