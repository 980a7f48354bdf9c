//! What a node knows of one peer: its boot, both streams, and whether each hears the other.
//!
//! Streams are one-way, so to hear a peer is not to be heard by it. A peer is **present** while it has echoed a beat of
//! ours that is not older than the presence time. Such an echo says more than a beat: the peer's beat is younger than
//! ours that it echoes, and everything it said before that has arrived. So beats that come late, out of the buffers of a
//! process that stood still, prove nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::{Boot, WorkerId};

use super::fingerprint::Fingerprint;
use super::message::{Beat, Echo, Opening};
use super::rule::Rule;
use super::slot::Teller;
use super::timeline::Moment;
use super::workers::Workers;

/// A peer whose clock is off by more than this part of a window is parted.
const CLOCK_OFF_PART: u64 = 8;
/// How much of a table is still to be told: the shard, and the place in it.
pub(super) type Cursor = (u32, usize);

/// Why a node does not count with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Parted {
    /// The policy is each node's own business.
    #[error("each node counts by itself")]
    ByItself,
    /// No stream to it is open.
    #[error("there is no stream to it")]
    NoLink,
    /// No stream from it is open, or nothing has come on it for the presence time.
    #[error("nothing is heard of it")]
    NotHeard,
    /// It has not heard of this node for the presence time.
    #[error("it does not hear this node")]
    NotEchoed,
    /// It does not have the policy, or other numbers, shares or nodes in it.
    #[error("it has another policy, or none, of this name")]
    OtherPolicy,
    /// Its window time is further from this node's than an eighth of a window.
    #[error("its clock is {ahead_ms} ms ahead")]
    ClockOff {
        /// Milliseconds; less than zero if it is behind.
        ahead_ms: i64,
    },
    /// This node has more to tell than goes out.
    #[error("this node is behind with telling")]
    Behind,
    /// It counts with others than this node would.
    #[error("it does not name the same nodes")]
    NamesOthers,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    boot: Option<Boot>,
    /// How many boots of this peer there were.
    boots: u32,
    /// A stream to the peer is open.
    pub(super) is_open: bool,
    pub(super) incoming: Option<Incoming>,
    /// When the last beat was sent that the peer echoed, in monotonic time.
    echoed_ms: Option<u64>,
    /// How far its window time is ahead of ours.
    ahead_ms: i64,
    pub(super) table: Option<Cursor>,
}

/// A stream from a peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    pub(super) began_ms: u64,
    pub(super) fingerprints: BTreeSet<Fingerprint>,
    pub(super) namings: BTreeMap<Fingerprint, (Workers, u64)>,
    /// The last beat: its number, and when it came, in monotonic time.
    beat: Option<(u64, u64)>,
    pub(super) has_table: bool,
}

impl Link {
    /// A boot of the peer is met. False if it is not the last that is known.
    pub(super) fn meet(&mut self, boot: Boot) -> bool {
        if self.boot.is_none_or(|known| boot > known) {
            *self = Self { boot: Some(boot), boots: self.boots + 1, is_open: self.is_open, ..Self::default() };
        }
        self.boot == Some(boot)
    }

    /// How slots name the peer's present boot.
    pub(super) fn teller(&self, worker: WorkerId) -> Teller {
        Teller::new(worker, self.boots)
    }

    /// A stream from the peer begins, or its policies have changed: what it named of those that stay still holds.
    pub(super) fn open(&mut self, opening: Opening) {
        let incoming = self.incoming.get_or_insert_default();
        incoming.began_ms = opening.began_ms;
        incoming.fingerprints = opening.fingerprints.into_iter().collect();
        let kept = &incoming.fingerprints;
        incoming.namings.retain(|fingerprint, _| kept.contains(fingerprint));
    }

    /// The stream from the peer has ended.
    pub(super) fn end(&mut self) {
        (self.incoming, self.echoed_ms) = (None, None);
    }

    /// A beat came. `sent_ms` tells when our beat of a number was sent.
    pub(super) fn beat(&mut self, beat: Beat, now: Moment, sent_ms: impl Fn(u64) -> Option<u64>) {
        let Some(incoming) = &mut self.incoming else { return };
        incoming.beat = Some((beat.number, now.mono_ms));
        let Some((sent_ms, echo)) = beat.echo.and_then(|echo| Some((sent_ms(echo.number)?, echo))) else { return };
        self.echoed_ms = self.echoed_ms.max(Some(sent_ms));
        let round_trip_ms = now.mono_ms.saturating_sub(sent_ms).saturating_sub(echo.held_ms);
        let theirs_ms = beat.unix_ms.saturating_add(round_trip_ms / 2);
        self.ahead_ms = i64::try_from(theirs_ms.abs_diff(now.unix_ms)).unwrap_or(i64::MAX);
        if theirs_ms < now.unix_ms {
            self.ahead_ms = -self.ahead_ms;
        }
    }

    /// Our window time has leapt ahead.
    pub(super) fn leapt(&mut self, ms: u64) {
        self.ahead_ms = self.ahead_ms.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX));
    }

    /// What the next beat to the peer says of its last.
    pub(super) fn echo(&self, mono_ms: u64) -> Option<Echo> {
        let (number, heard_ms) = self.incoming.as_ref()?.beat?;
        Some(Echo { number, held_ms: mono_ms.saturating_sub(heard_ms) })
    }

    /// Until when the peer is present under a rule, unless more is heard of it; or why it is not.
    pub(super) fn presence(&self, rule: &Rule, now: Moment, presence_ms: u64) -> Result<u64, Parted> {
        if !self.is_open {
            return Err(Parted::NoLink);
        }
        let lasts = |at_ms: u64| Some(at_ms.saturating_add(presence_ms)).filter(|until_ms| now.mono_ms < *until_ms);
        let incoming = self.incoming.as_ref().ok_or(Parted::NotHeard)?;
        incoming.beat.and_then(|(_, at_ms)| lasts(at_ms)).ok_or(Parted::NotHeard)?;
        let until_ms = self.echoed_ms.and_then(lasts).ok_or(Parted::NotEchoed)?;
        if !incoming.fingerprints.contains(&rule.fingerprint) {
            return Err(Parted::OtherPolicy);
        }
        let is_off = self.ahead_ms.unsigned_abs() > rule.policy.window_ms / CLOCK_OFF_PART;
        if is_off { Err(Parted::ClockOff { ahead_ms: self.ahead_ms }) } else { Ok(until_ms) }
    }

    /// Whom the peer names under a policy, and since when.
    pub(super) fn naming(&self, fingerprint: Fingerprint) -> Option<(Workers, u64)> {
        self.incoming.as_ref()?.namings.get(&fingerprint).copied()
    }
}
