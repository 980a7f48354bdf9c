//! What a fuzzer calls: one target for each kind of bytes that come from outside, a client, a peer, a disk or an operator.
//!
//! A target must give every input a verdict: it may refuse, and it may not panic or take more than its bounds (I8). What
//! it accepts must come back as it was once it is written and read again. Each names a few real encodings to begin with,
//! so that no search has to find them.
//!
//! `make fuzz` searches with a program that sees which branches an input takes (`fuzz/`); `make test` repeats what it has
//! found, and mutations of that, without it ([`mutations`]). Nothing in a node calls this.

use std::fmt;

use snowtide_protocol::Token;
use snowtide_protocol::id::{self, Format, IdScheme};

use crate::{api, config, peer, store};

/// Longer inputs are cut: what matters about a length is tried below this.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// One kind of bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    /// Gives the bytes their verdict; panics if it finds a fault.
    pub run: fn(&[u8]),
    /// Real encodings.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// Every decoder.
pub const TARGETS: [Target; 12] = [
    target("client_frames", api::fuzzed::client_frames, api::fuzzed::client_frames_seeds),
    target("http_parameters", api::fuzzed::http_parameters, api::fuzzed::http_parameters_seeds),
    target("redis_requests", api::fuzzed::redis_requests, api::fuzzed::redis_requests_seeds),
    target("peer_frames", peer::fuzzed::frames, peer::fuzzed::frames_seeds),
    target("peer_deltas", peer::fuzzed::deltas, peer::fuzzed::deltas_seeds),
    target("peer_messages", peer::fuzzed::messages, peer::fuzzed::messages_seeds),
    target("journal", store::fuzzed::journal, store::fuzzed::journal_seeds),
    target("rows", store::fuzzed::rows, store::fuzzed::rows_seeds),
    target("wal", store::fuzzed::wal, store::fuzzed::wal_seeds),
    target("region_files", config::fuzzed::region_files, config::fuzzed::region_files_seeds),
    target("tokens", tokens, tokens_seeds),
    target("ids", ids, ids_seeds),
];

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The token that a client shows, in bytes and as a text.
fn tokens(bytes: &[u8]) {
    if let Ok(token) = Token::from_bytes(bytes) {
        assert_eq!(Token::from_bytes(&token.to_bytes()).ok().as_ref(), Some(&token));
    }
    if let Some(token) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Token>().ok()) {
        assert_eq!(token.to_string().parse::<Token>().ok(), Some(token));
    }
}

fn tokens_seeds() -> Vec<Vec<u8>> {
    let mut token = Token::new();
    token.raise(1, 2, 3);
    token.raise(u64::MAX, u64::MAX, u64::MAX);
    vec![Token::new().to_bytes(), token.to_bytes(), token.to_string().into_bytes()]
}

/// The forms of an ID.
fn ids(bytes: &[u8]) {
    let scheme = IdScheme::new("snowtide-dev", 1_735_689_600_000, 41);
    let text = String::from_utf8_lossy(bytes);
    if let Ok((id, format)) = scheme.read(&text) {
        assert!(id >> id::BITS == 0);
        let written = scheme.write(id, format).ok();
        assert_eq!(written.and_then(|text| scheme.read_as(&text, format).ok()), Some(id));
    }
    for format in FORMATS {
        let _ = scheme.read_as(&text, format);
    }
    if let Some((from, to)) = bytes.split_at_checked(8) {
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let _ = scheme.range(number(from), number(to));
        for format in FORMATS {
            let written = scheme.write(number(from), format).ok();
            let read = written.and_then(|text| scheme.read_as(&text, format).ok());
            assert!(read.is_none_or(|id| id == number(from)));
        }
    }
}

const FORMATS: [Format; 5] = [Format::Decimal, Format::Base32, Format::Base62, Format::Uuid7, Format::Ulid];

fn ids_seeds() -> Vec<Vec<u8>> {
    let scheme = IdScheme::new("snowtide-dev", 1_735_689_600_000, 41);
    let minted = 264_905_529_122_127_872;
    FORMATS.into_iter().filter_map(|format| Some(scheme.write(minted, format).ok()?.as_str().into())).collect()
}

/// `count` inputs made of `corpus` by what a fuzzer does to one, always the same ones for the same seed: bits turned,
/// bytes set to telling values, stretches cut out, doubled, overwritten or taken from another input.
pub fn mutations(corpus: &[Vec<u8>], seed: u64, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = Random(seed);
    (0..count).map(move |_| {
        let mut input = random.one_of(corpus).cloned().unwrap_or_default();
        for _ in 0..=random.below(4) {
            random.mutate(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    })
}

/// SplitMix64: enough for mutations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// A byte that is likelier to matter than another.
    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, b'0', b'\r', b'\n'];
        let [any, ..] = self.next().to_le_bytes();
        if self.below(2) == 0 { any } else { self.one_of(&TELLING).copied().unwrap_or(any) }
    }

    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len().saturating_add(1));
        let stretch = at..at.saturating_add(self.below(16)).min(input.len());
        match self.below(6) {
            0 => input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << self.below(8)),
            1 => input.get_mut(at).into_iter().for_each(|byte| *byte = self.byte()),
            2 => input.insert(at, self.byte()),
            3 => drop(input.drain(stretch)),
            4 => {
                let again = input.get(stretch).unwrap_or_default().to_vec();
                drop(input.splice(at..at, again));
            }
            _ => {
                let other = self.one_of(corpus).cloned().unwrap_or_default();
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_accepts_its_own_seeds_and_has_a_name_of_its_own() {
        for (at, target) in TARGETS.iter().enumerate() {
            assert!(TARGETS[..at].iter().all(|other| other.name != target.name), "{target:?}");
            assert!(!(target.seeds)().is_empty(), "{target:?}");
            (target.seeds)().iter().for_each(|seed| (target.run)(seed));
        }
    }

    #[test]
    fn mutations_are_the_same_for_the_same_seed_and_differ_from_what_they_came_from() {
        let corpus = vec![b"one input".to_vec(), b"another".to_vec()];
        let made: Vec<_> = mutations(&corpus, 7, 100).collect();
        assert_eq!(made, mutations(&corpus, 7, 100).collect::<Vec<_>>());
        assert!(made.iter().filter(|made| !corpus.contains(made)).count() > 80);
    }
}
