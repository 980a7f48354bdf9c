//! Requests: finds the next whole command in what has arrived, purely, and copies nothing.
//!
//! A command is an array of bulk strings, or a line of words as somebody types it. What has been looked at is not looked
//! at again when more arrives, so the time to read a command grows with its length alone, however it is cut. Both bounds
//! hold for what is announced, before any of it is waited for (I6).
//!
//! The well-kept decoder for this protocol reads its whole grammar by recursion, so that a client that opens arrays
//! within arrays ends the process (I8), and reads a cut command from its beginning each time. Requests need one flat shape
//! of it, which is this file; tests read our answers with that decoder.

use std::ops::Range;

use thiserror::Error;

/// A number with what surrounds it; no count or length needs more.
const HEAD_BYTES_MAX: usize = 24;
/// The longest command that is typed as a line.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Room for words that is kept from one command to the next.
const WORDS_KEPT: usize = 64;

/// What one command may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes_max: usize,
    pub(super) words_max: usize,
}

/// Why the rest of a connection cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("invalid multibulk length")]
    Count,
    #[error("invalid multibulk length: a command has at most {0} words here")]
    TooManyWords(usize),
    #[error("invalid bulk length")]
    Length,
    #[error("invalid bulk length: a command has at most {0} bytes here")]
    TooLong(usize),
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    NotBulk(u8),
    #[error("a bulk string does not end where it was announced to end")]
    End,
    #[error("too big inline request: a line has at most {0} bytes")]
    LongLine(usize),
    #[error("quotes in a line are not understood: send an array of bulk strings")]
    Quotes,
    #[error("this is not HTTP")]
    Http,
}

/// Looks for the next command. The bytes that it is shown begin where the command begins.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Everything before has been looked at.
    at: usize,
    /// How many words the command is to have, once that is known.
    wanted: Option<usize>,
    /// The length of the next word, once that is known; it begins at `at`.
    length: Option<usize>,
    words: Vec<Range<usize>>,
}

/// The words of a whole command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    bytes: &'a [u8],
    places: &'a [Range<usize>],
}

impl Scanner {
    /// Where the command ends that `bytes` begin with; `None` until it is whole.
    pub(super) fn scan(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Malformed> {
        let wanted = match (self.wanted, bytes.first()) {
            (Some(wanted), _) => wanted,
            (None, None) => return Ok(None),
            (None, Some(b'*')) => match number(bytes, 1).map_err(|Garbled| Malformed::Count)? {
                None => return Ok(None),
                Some((Some(count), _)) if count > bounds.words_max => {
                    return Err(Malformed::TooManyWords(bounds.words_max));
                }
                Some((count, at)) => {
                    // An array of no words, or none at all, is no command, and harmless.
                    let count = count.unwrap_or_default();
                    (self.wanted, self.at) = (Some(count), at);
                    count
                }
            },
            (None, Some(_)) => return self.scan_line(bytes, bounds),
        };
        while self.words.len() < wanted {
            if !self.scan_word(bytes, bounds)? {
                return Ok(None);
            }
        }
        Ok(Some(self.at))
    }

    /// Whether the next word is whole.
    fn scan_word(&mut self, bytes: &[u8], bounds: Bounds) -> Result<bool, Malformed> {
        let length = match (self.length, bytes.get(self.at)) {
            (Some(length), _) => length,
            (None, None) => return Ok(false),
            (None, Some(b'$')) => {
                let head = number(bytes, self.at.saturating_add(1)).map_err(|Garbled| Malformed::Length)?;
                let Some((length, at)) = head else { return Ok(false) };
                let length = length.ok_or(Malformed::Length)?;
                if at.saturating_add(length).saturating_add(2) > bounds.bytes_max {
                    return Err(Malformed::TooLong(bounds.bytes_max));
                }
                (self.length, self.at) = (Some(length), at);
                length
            }
            (None, Some(other)) => return Err(Malformed::NotBulk(*other)),
        };
        let end = self.at.saturating_add(length);
        let after = end.saturating_add(2);
        match bytes.get(end..after) {
            None => Ok(false),
            Some(b"\r\n") => {
                self.words.push(self.at..end);
                (self.length, self.at) = (None, after);
                Ok(true)
            }
            Some(_) => Err(Malformed::End),
        }
    }

    /// As somebody types it: words with spaces between.
    fn scan_line(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Malformed> {
        let longest = LINE_BYTES_MAX.min(bounds.bytes_max);
        let new = bytes.get(self.at..).unwrap_or_default();
        let end = new.iter().position(|byte| *byte == b'\n').map(|end| self.at.saturating_add(end));
        if end.unwrap_or(bytes.len()) > longest {
            return Err(Malformed::LongLine(longest));
        }
        let Some(end) = end else {
            self.at = bytes.len();
            return Ok(None);
        };
        let mut start = None;
        for (at, byte) in bytes.iter().enumerate().take(end.saturating_add(1)) {
            match (byte.is_ascii_whitespace(), start) {
                (false, None) => start = Some(at),
                (true, Some(begun)) => {
                    self.words.push(begun..at);
                    start = None;
                }
                _ => {}
            }
            if matches!(byte, b'"' | b'\'') {
                return Err(Malformed::Quotes);
            }
        }
        if self.words.len() > bounds.words_max {
            return Err(Malformed::TooManyWords(bounds.words_max));
        }
        // A web page can make a browser post lines to any address, and a line may be a command.
        let first = self.words(bytes).get(0).unwrap_or_default();
        if first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:") {
            return Err(Malformed::Http);
        }
        (self.wanted, self.at) = (Some(self.words.len()), end.saturating_add(1));
        Ok(Some(self.at))
    }

    /// The words of the command that was found in `bytes`.
    pub(super) fn words<'a>(&'a self, bytes: &'a [u8]) -> Words<'a> {
        Words { bytes, places: &self.words }
    }

    /// Begins anew, with the bytes behind the command that was found.
    pub(super) fn pass(&mut self) {
        (self.at, self.wanted, self.length) = (0, None, None);
        self.words.clear();
        self.words.shrink_to(WORDS_KEPT);
    }
}

impl<'a> Words<'a> {
    /// Words that stand at these places.
    pub(super) fn of(bytes: &'a [u8], places: &'a [Range<usize>]) -> Self {
        Self { bytes, places }
    }

    pub(super) fn len(self) -> usize {
        self.places.len()
    }

    pub(super) fn get(self, at: usize) -> Option<&'a [u8]> {
        self.places.get(at).and_then(|place| self.bytes.get(place.clone()))
    }

    /// The word at this place alone.
    pub(super) fn only(self, at: usize) -> Self {
        Self { places: self.places.get(at..=at).unwrap_or_default(), ..self }
    }

    /// All but the first `skipped`.
    pub(super) fn after(self, skipped: usize) -> Self {
        Self { places: self.places.get(skipped..).unwrap_or_default(), ..self }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.places.iter().filter_map(move |place| self.bytes.get(place.clone()))
    }
}

/// Not a number and the end of a line.
struct Garbled;

/// The number at `at` and where its line ends; `None` until it is whole, the number `None` if it is negative.
#[allow(clippy::type_complexity)] // read once, right above
fn number(bytes: &[u8], at: usize) -> Result<Option<(Option<usize>, usize)>, Garbled> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if rest.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(Garbled) };
    };
    let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Garbled)?;
    let (negative, digits) = line.strip_prefix(b"-").map_or((false, line), |digits| (true, digits));
    if digits.is_empty() {
        return Err(Garbled);
    }
    let mut value = 0_usize;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10).ok_or(Garbled)?;
        value = value.saturating_mul(10).saturating_add(digit.into());
    }
    Ok(Some(((!negative).then_some(value), at.saturating_add(end).saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes_max: 100, words_max: 4 };

    /// The commands that `bytes` begin with, and why they end, if they are malformed.
    fn commands(bytes: &[u8]) -> (Vec<Vec<String>>, Option<Malformed>) {
        let (mut scanner, mut at, mut found) = (Scanner::default(), 0, Vec::new());
        loop {
            match scanner.scan(&bytes[at..], BOUNDS) {
                Ok(Some(end)) => {
                    let words = scanner.words(&bytes[at..]).iter();
                    found.push(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect());
                    at += end;
                    scanner.pass();
                }
                Ok(None) => return (found, None),
                Err(malformed) => return (found, Some(malformed)),
            }
        }
    }

    #[test]
    fn arrays_of_bulk_strings_and_lines_are_commands() {
        let bytes =
            b"*2\r\n$4\r\nINCR\r\n$3\r\na\r\n\r\nPING\r\n get  a \n\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\n*1\r\n$4\r\nPIN";
        let (found, malformed) = commands(bytes);
        let expected: [&[&str]; 7] = [&["INCR", "a\r\n"], &["PING"], &["get", "a"], &[], &[], &[], &[""]];
        assert_eq!(found, expected);
        assert_eq!(malformed, None);
    }

    #[test]
    fn what_is_malformed_says_why() {
        for (bytes, why) in [
            ("*x\r\n", Malformed::Count),
            ("*\r\n", Malformed::Count),
            ("*1\n", Malformed::Count),
            ("*0000000000000000000000000000", Malformed::Count),
            ("*5\r\n", Malformed::TooManyWords(4)),
            ("*99999999999999999999\r\n", Malformed::TooManyWords(4)),
            ("*1\r\n$-1\r\n", Malformed::Length),
            ("*1\r\n$1a\r\n", Malformed::Length),
            ("*1\r\n$91\r\n", Malformed::TooLong(100)),
            ("*1\r\n$18446744073709551615\r\n", Malformed::TooLong(100)),
            ("*1\r\n*1\r\n", Malformed::NotBulk(b'*')),
            ("*1\r\n$1\r\nabc", Malformed::End),
            ("get \"a b\"\r\n", Malformed::Quotes),
            ("a b c d e\r\n", Malformed::TooManyWords(4)),
            ("POST / HTTP/1.1\r\n", Malformed::Http),
            ("Host: here\r\n", Malformed::Http),
        ] {
            assert_eq!(commands(bytes.as_bytes()), (vec![], Some(why)), "{bytes:?}");
        }
        assert_eq!(commands(&[b'a'; 101]).1, Some(Malformed::LongLine(100)));
        assert_eq!(Malformed::NotBulk(b'\r').to_string(), "expected '$', got '\\r'");
    }

    #[test]
    fn a_bound_is_held_before_what_it_bounds_has_come() {
        assert_eq!(commands(b"*1\r\n$88\r\n").1, None, "4 and 5 bytes of heads, 88, and 2 for the end: one is left");
        assert_eq!(commands(b"*1\r\n$89\r\n").1, None);
        assert_eq!(commands(b"*1\r\n$90\r\n").1, Some(Malformed::TooLong(100)));
        assert_eq!(commands(b"*2\r\n$40\r\n").1, None);
        let halves = format!("*2\r\n$40\r\n{}\r\n$50\r\n", "a".repeat(40));
        assert_eq!(commands(halves.as_bytes()).1, Some(Malformed::TooLong(100)), "the whole command counts");
    }

    #[test]
    fn arrays_within_arrays_are_refused_at_the_first() {
        assert_eq!(commands("*1\r\n".repeat(500_000).as_bytes()).1, Some(Malformed::NotBulk(b'*')));
    }
}
