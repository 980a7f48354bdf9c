//! Arithmetic coding: yes-or-no questions whose answers cost the less, the better they are foreseen.
//!
//! The range coder of LZMA (after Martin, "Range encoding: an algorithm for removing redundancy from a digitised message",
//! 1979). A model asks the same questions at both ends, through [`Coder`]: the writer is told the answers, the reader finds
//! them out. So a model is written once, and both ends learn the same from it.

/// Below this, both ends make their range larger by a byte.
const RANGE_MIN: u32 = 1 << 24;
/// Bits of a probability.
const ODDS_BITS: u32 = 16;
/// How slowly a probability follows the answers, as a power of two.
const ODDS_INERTIA: u32 = 5;
/// No answer is held to be surer than this, so none costs more than ten bits.
const ODDS_MIN: u32 = 1 << (ODDS_BITS - 10);
/// Raw bits are written so many at a time at most.
const RAW_BITS_MAX: u32 = 16;

/// How probable it is that the answer is no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Odds(u16);

impl Odds {
    /// Nothing is known yet.
    pub(super) const EVEN: Self = Self(1 << (ODDS_BITS - 1));

    /// The part of `range` that stands for no.
    fn bound(self, range: u32) -> u32 {
        (range >> ODDS_BITS) * u32::from(self.0).clamp(ODDS_MIN, (1 << ODDS_BITS) - ODDS_MIN)
    }

    fn learn(&mut self, answer: bool) {
        if answer {
            self.0 -= self.0 >> ODDS_INERTIA;
        } else {
            self.0 += (u16::MAX - self.0) >> ODDS_INERTIA;
        }
    }
}

/// One end: the writer gives the answers back that it is told, the reader those that were written.
pub(super) trait Coder {
    /// One answer.
    fn bit(&mut self, odds: &mut Odds, answer: bool) -> bool;

    /// At most sixteen bits of which nothing is known.
    fn few(&mut self, bits: u64, count: u32) -> u64;

    /// At most 64 bits of which nothing is known.
    fn raw(&mut self, bits: u64, count: u32) -> u64 {
        let (mut left, mut done) = (count, 0);
        while left > 0 {
            let count = left.min(RAW_BITS_MAX);
            left -= count;
            done = done << count | self.few(bits >> left & ((1 << count) - 1), count);
        }
        done
    }
}

/// Writes answers.
#[derive(Debug)]
pub(super) struct Writer {
    low: u64,
    range: u32,
    /// The last byte that a carry can still change, and how many bytes of 255 follow it.
    cache: u8,
    carried: usize,
    bytes: Vec<u8>,
}

impl Writer {
    /// The first byte is the caller's own: no carry reaches it.
    pub(super) fn new(first: u8) -> Self {
        Self { low: 0, range: u32::MAX, cache: first, carried: 0, bytes: Vec::new() }
    }

    /// All bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        self.bytes
    }

    /// The top byte of `low` is known, but for a carry.
    fn shift(&mut self) {
        let [.., carry, top, _, _, _] = self.low.to_be_bytes();
        if top != u8::MAX || carry != 0 {
            self.bytes.push(self.cache.wrapping_add(carry));
            let carried = std::mem::take(&mut self.carried);
            self.bytes.extend(std::iter::repeat_n(u8::MAX.wrapping_add(carry), carried));
            self.cache = top;
        } else {
            self.carried += 1;
        }
        self.low = (self.low & u64::from(RANGE_MIN - 1)) << 8;
    }

    fn widen(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl Coder for Writer {
    fn bit(&mut self, odds: &mut Odds, answer: bool) -> bool {
        let bound = odds.bound(self.range);
        if answer {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        odds.learn(answer);
        self.widen();
        answer
    }

    fn few(&mut self, bits: u64, count: u32) -> u64 {
        self.range >>= count;
        self.low += u64::from(self.range) * bits;
        self.widen();
        bits
    }
}

/// Finds out what was written. Bytes that were not written by a [`Writer`] have answers, too.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    code: u32,
    range: u32,
    bytes: std::slice::Iter<'a, u8>,
    /// Bytes that were wanted and are not there.
    missing: usize,
}

impl<'a> Reader<'a> {
    /// `bytes` with the first one, of which it takes no notice.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { code: 0, range: u32::MAX, bytes: bytes.iter(), missing: 0 };
        for _ in 0..5 {
            reader.shift();
        }
        reader
    }

    /// Whether everything that was written has been read, and no more.
    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0 && self.bytes.as_slice().is_empty()
    }

    fn shift(&mut self) {
        let next = self.bytes.next().copied();
        self.missing += usize::from(next.is_none());
        self.code = self.code << 8 | u32::from(next.unwrap_or_default());
    }

    fn widen(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl Coder for Reader<'_> {
    fn bit(&mut self, odds: &mut Odds, _: bool) -> bool {
        let bound = odds.bound(self.range);
        let answer = self.code >= bound;
        if answer {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        odds.learn(answer);
        self.widen();
        answer
    }

    fn few(&mut self, _: u64, count: u32) -> u64 {
        self.range >>= count;
        // Bytes that nobody has written may lie beyond the range.
        let most = (1 << count) - 1;
        let bits = (self.code / self.range).min(most);
        self.code = self.code.wrapping_sub(bits.wrapping_mul(self.range));
        self.widen();
        u64::from(bits)
    }
}
