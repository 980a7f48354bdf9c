//! What is foreseen of numbers and of keys' bytes. It is learned from what the link has carried, alike at both ends.

use super::arithmetic::{Coder, Odds};

/// Lengths of numbers in bits that cost four answers; greater ones cost six more.
const SHORT: u32 = 15;
/// Of the bits below a number's first one, so many are foreseen.
const LEADING: u32 = 2;
/// Lengths that a number of 64 bits can have.
const LENGTHS: usize = 65;
const BYTES: usize = 256;

/// What a number stands for: each kind is foreseen by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Which log.
    Log,
    /// Where a record begins, counted from where the last one ended.
    After,
    /// How many commits it holds.
    Span,
    /// How many keys it refers to.
    References,
    /// How many keys it names.
    Names,
    /// How much was added or subtracted since.
    Added,
    Subtracted,
    /// How much was added or subtracted before a key is named.
    AddedBefore,
    SubtractedBefore,
    /// How many bytes a key shares with the one named before, and how many it has beside.
    Shared,
    Rest,
    /// How many places lie between a reference and the one before, which stands at a number of so many bits.
    Gap(u32),
}

/// Kinds beside [`Kind::Gap`].
const KINDS: usize = 11;
/// Bits of a place.
const PLACE_BITS: usize = 32;

impl Kind {
    fn position(self) -> usize {
        match self {
            Self::Log => 0,
            Self::After => 1,
            Self::Span => 2,
            Self::References => 3,
            Self::Names => 4,
            Self::Added => 5,
            Self::Subtracted => 6,
            Self::AddedBefore => 7,
            Self::SubtractedBefore => 8,
            Self::Shared => 9,
            Self::Rest => 10,
            Self::Gap(bits) => KINDS + (bits as usize).min(PLACE_BITS),
        }
    }
}

/// Everything that one end of a link foresees.
#[derive(Debug)]
pub(super) struct Models {
    numbers: Vec<Number>,
    /// The first byte in which a key differs from the one before, by the byte that stands there in that.
    first: Letters,
    /// Every further one, by the one before it.
    next: Letters,
}

/// A number: its length in bits, then what follows its first one.
#[derive(Clone, Debug)]
struct Number {
    short: [Odds; 1 << 4],
    long: [Odds; 1 << 6],
    leading: [[Odds; 1 << LEADING]; LENGTHS],
}

/// A byte, by another.
#[derive(Debug)]
struct Letters(Vec<[Odds; BYTES]>);

/// The low bits.
fn low(number: u64, bits: u32) -> u64 {
    number & !u64::MAX.checked_shl(bits).unwrap_or_default()
}

/// A number of so many bits, the upper ones first; `odds` has one for each beginning of it.
fn branch(coder: &mut impl Coder, odds: &mut [Odds], bits: u32, number: u64) -> u64 {
    let mut path = 1_usize;
    for bit in (0..bits).rev() {
        let Some(odds) = odds.get_mut(path) else { break };
        path = path << 1 | usize::from(coder.bit(odds, number >> bit & 1 == 1));
    }
    low(path as u64, bits)
}

impl Models {
    pub(super) fn new() -> Self {
        Self { numbers: vec![Number::new(); KINDS + PLACE_BITS + 1], first: Letters::new(), next: Letters::new() }
    }

    /// A number of this kind.
    pub(super) fn number(&mut self, coder: &mut impl Coder, kind: Kind, number: u64) -> u64 {
        self.numbers.get_mut(kind.position()).map_or(0, |model| model.code(coder, number))
    }

    /// Where `known`, the key that was named before, ends to be the same, another one goes on with `rest`; the reader
    /// gets it by its length.
    pub(super) fn letters(&mut self, coder: &mut impl Coder, known: &[u8], shared: usize, rest: &mut [u8]) {
        let mut before = None;
        for byte in rest {
            let (letters, by) = match before {
                None => (&mut self.first, known.get(shared).copied().unwrap_or_default()),
                Some(before) => (&mut self.next, before),
            };
            *byte = letters.code(coder, by, *byte);
            before = Some(*byte);
        }
    }
}

impl Number {
    fn new() -> Self {
        Self { short: [Odds::EVEN; 1 << 4], long: [Odds::EVEN; 1 << 6], leading: [[Odds::EVEN; 1 << LEADING]; LENGTHS] }
    }

    fn code(&mut self, coder: &mut impl Coder, number: u64) -> u64 {
        let length = self.length(coder, u64::BITS - number.leading_zeros());
        let Some(below) = length.checked_sub(1) else { return 0 };
        let leading = below.min(LEADING);
        let rest = below - leading;
        let upper = match self.leading.get_mut(length as usize) {
            Some(odds) => branch(coder, odds, leading, low(number >> rest, leading)),
            None => 0,
        };
        1 << below | upper << rest | coder.raw(low(number, rest), rest)
    }

    fn length(&mut self, coder: &mut impl Coder, length: u32) -> u32 {
        let short = branch(coder, &mut self.short, 4, u64::from(length.min(SHORT)));
        if short < u64::from(SHORT) {
            return u32::try_from(short).unwrap_or_default();
        }
        let more = branch(coder, &mut self.long, 6, u64::from(length.saturating_sub(SHORT)));
        // Whoever writes what no writer would may mean more.
        (SHORT + u32::try_from(more).unwrap_or_default()).min(u64::BITS)
    }
}

impl Letters {
    fn new() -> Self {
        Self(vec![[Odds::EVEN; BYTES]; BYTES])
    }

    fn code(&mut self, coder: &mut impl Coder, by: u8, byte: u8) -> u8 {
        let Some(odds) = self.0.get_mut(usize::from(by)) else { return 0 };
        u8::try_from(branch(coder, odds, 8, u64::from(byte))).unwrap_or_default()
    }
}
