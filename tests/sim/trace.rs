//! What happened, as a hash; and as lines, if somebody wants to read them.
//!
//! Lines are made only when they are kept, so that a run without a reader costs next to nothing. A seed that fails is
//! run again with its lines kept, which also shows that it does the same again.

use std::collections::VecDeque;

use snowtide::codec;
use snowtide::replica::{Effect, Event, Job, Message};
use xxhash_rust::xxh3::xxh3_64;

/// Older lines are forgotten.
const LINES_MAX: usize = 50_000;

#[derive(Default)]
pub struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
    /// The last message, encoded.
    encoded: Vec<u8>,
}

impl Trace {
    pub fn keeping_lines(keep: bool) -> Self {
        Self { lines: keep.then(VecDeque::new), ..Self::default() }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(self) -> VecDeque<String> {
        self.lines.unwrap_or_default()
    }

    /// Something happened at `now`; `what` tells it from other things, as numbers.
    pub fn note(&mut self, now: u64, what: [u64; 3], line: impl FnOnce() -> String) {
        for word in [now, what[0], what[1], what[2]] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() >= LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{:>9}.{:03} {}", now / 1_000, now % 1_000, line()));
        }
    }

    pub fn event(&mut self, now: u64, node: usize, event: &Event) {
        let digest = match event {
            Event::Received { message, .. } => self.message_hash(message),
            Event::Committed(number) | Event::Ceiling(number) | Event::Inspect(number) => *number,
            Event::Submit { ticket, .. } | Event::List { ticket, .. } | Event::Hurry(ticket) => *ticket,
            Event::Hold(held) => u64::from(*held),
            Event::Loaded { rows, .. } => rows.len() as u64,
            Event::Minted(replica) => replica.0,
            Event::PeerBoot(peer) | Event::PeerDown(peer) | Event::PeerUp { peer, .. } => peer.boot.nonce,
            _ => 0,
        };
        self.note(now, [1, node as u64, digest], || format!("node {node} <- {event:?}"));
    }

    pub fn effect(&mut self, now: u64, node: usize, effect: &Effect) {
        let digest = match effect {
            Effect::Send { message, .. } => self.message_hash(message),
            Effect::Disk(Job::Commit(commit)) => commit.records.iter().fold(commit.number, |sum, record| {
                sum.rotate_left(7) ^ record.upto ^ u64::from_le_bytes(low_half(record.hash.0))
            }),
            Effect::Reply { ticket, .. } => *ticket,
            Effect::Listed { ticket, answer } => answer.as_ref().map_or(*ticket, |page| {
                page.counters.iter().fold(*ticket, |sum, (key, _)| sum.rotate_left(7) ^ xxh3_64(key.as_bytes()))
            }),
            Effect::Disk(Job::Checkpoint(chunk)) => chunk.rows.len() as u64,
            _ => 0,
        };
        self.note(now, [2, node as u64, digest], || format!("node {node} -> {effect:?}"));
    }

    fn message_hash(&mut self, message: &Message) -> u64 {
        self.encoded.clear();
        codec::encode_into(message, &mut self.encoded);
        xxh3_64(&self.encoded)
    }
}

fn low_half(wide: u128) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = wide.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}
