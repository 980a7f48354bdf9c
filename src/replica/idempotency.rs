//! Exactly once: what was answered to requests that a client may repeat (G6).
//!
//! A request with a name is remembered with its answer in the commit that holds its writes, so that whoever repeats it gets
//! that answer, also after a crash. Two kinds of names: an idempotency key stands for one request; a session, for one after
//! another, of which only the last is kept. Records are forgotten a while after their last use, by time that this node has
//! lived through: neither a wall clock that jumps nor a long stop makes it forget early. None goes for want of room.
//!
//! What is not known here was not carried out, with two exceptions: it was carried out on a disk that is gone, or so long
//! ago that it is forgotten. A repetition that cannot rule them out is refused ([`judge`]). For the first, a session
//! belongs to an incarnation of the node's data, which is new with a new disk, a restored one, and one whose start cannot be
//! proven (I3). For the second, a repetition says how long ago the request was first sent.

use std::collections::{BTreeMap, VecDeque};

use bincode::{Decode, Encode};

use crate::identity::ReplicaId;
use crate::section::{Bytes, Milliseconds};

use super::operation::{Outcome, Refusal};
use super::request::{Caller, Kind, RequestId, Turn};
use super::settings::Settings;
use super::shares::Shares;

/// What a record takes in memory beside its outcomes, about.
const RECORD_BYTES: usize = 160;
/// Time is lived through in steps of this many milliseconds at most: what a node that stands still does not see does not age
/// what it has to remember for requests that come in meanwhile.
const STEP_MS_MAX: u64 = 10_000;
/// A repetition may come within one part of so many of the time for which its name is remembered; the rest is for its way.
const REPEATABLE: u64 = 2;
/// Names that are forgotten at a time, so that nobody waits for long.
const FORGOTTEN_MAX: usize = 1_024;
/// The table is said to be filling up at this percentage, and to have room again at the other.
const WARNED_PERCENT: usize = 80;
const CALM_PERCENT: usize = 60;

/// A request that was carried out, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answered {
    /// Its name.
    pub request: RequestId,
    /// When, in milliseconds that this data directory has been served.
    pub at: u64,
    /// What was answered; nothing if it is not known whether what the request changed counts.
    pub outcomes: Vec<Outcome>,
}

/// What is remembered of one name.
#[derive(Debug)]
struct Entry {
    caller: Caller,
    kind: Kind,
    answered: Option<Answered>,
    /// A request that is not answered yet, and the bytes that are kept free for what its answer takes beyond the last one.
    under_way: Option<usize>,
}

/// What answers take in memory.
fn bytes_of(answers: usize) -> usize {
    answers * size_of::<Outcome>()
}

/// What becomes of a request with a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// It is carried out now.
    New,
    /// It was carried out before, and these were the outcomes.
    Replay(Vec<Outcome>),
}

/// What a request says of itself, if it may be a repetition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claimed {
    /// The incarnation to which its session belongs; `None` if the caller does not say.
    pub(super) incarnation: Option<ReplicaId>,
    /// It was sent before, for the first time so many milliseconds ago.
    pub(super) again: Option<u64>,
}

/// How full the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// What the names take in memory.
    pub bytes: usize,
    /// What they may take: `idempotency.bytes_max`.
    pub bytes_max: usize,
    /// Names that are remembered.
    pub names: usize,
}

/// All names that are remembered.
#[derive(Debug)]
pub(super) struct Idempotency {
    entries: BTreeMap<u128, Entry>,
    shares: Shares,
    /// Each key that was carried out, once, with a time at which it was used; perhaps it was used again since.
    keys: VecDeque<(u64, u128)>,
    /// The same of sessions.
    sessions: VecDeque<(u64, u128)>,
    /// What the next commit erases from disk.
    forgotten: Vec<u128>,
    /// Milliseconds that were lived through on this disk, and until when they are counted.
    lived: u64,
    seen: u64,
    /// It was said that the table fills up.
    warned: bool,
}

impl Idempotency {
    pub(super) fn new(recovered: Vec<Answered>, now: u64) -> Self {
        let mut recovered = recovered;
        recovered.sort_by_key(|done| done.at);
        let mut table = Self {
            entries: BTreeMap::new(),
            shares: Shares::default(),
            keys: VecDeque::new(),
            sessions: VecDeque::new(),
            forgotten: Vec::new(),
            lived: recovered.last().map_or(0, |done| done.at),
            seen: now,
            warned: false,
        };
        recovered.into_iter().for_each(|done| table.settle(done));
        table
    }

    fn live(&mut self, now: u64) {
        self.lived = self.lived.saturating_add(now.saturating_sub(self.seen).min(STEP_MS_MAX));
        self.seen = now;
    }

    /// What the next commit erases.
    pub(super) fn take_forgotten(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.forgotten)
    }

    /// Lets a request in that will have so many `answers`, for which it keeps room: so the bound holds whatever is let in.
    pub(super) fn enter(
        &mut self,
        request: RequestId,
        claimed: Claimed,
        answers: usize,
        (own, settings): (Option<ReplicaId>, &Settings),
    ) -> Result<Entrance, Refusal> {
        let known = self.entries.get(&request.id);
        let before = known.and_then(|entry| entry.answered.as_ref());
        if let Some(done) = before {
            match (done.request.turn, request.turn) {
                (before, now) if before == now && done.outcomes.is_empty() => return Err(Refusal::Outdated),
                (before, now) if before == now => return Ok(Entrance::Replay(done.outcomes.clone())),
                (Turn::Next { number: before, .. }, Turn::Next { number: now, .. }) if now > before => {}
                (Turn::Next { number: before, .. }, Turn::Next { number: now, .. }) if now < before => {
                    return Err(Refusal::Outdated);
                }
                _ => return Err(Refusal::AnotherRequest),
            }
        }
        if known.is_some_and(|entry| entry.under_way.is_some()) {
            return Err(Refusal::UnderWay);
        }
        let kind = request.turn.kind();
        judge(claimed, before.is_some(), own, settings.kept_ms(kind))?;
        let held = before.map_or(0, |done| bytes_of(done.outcomes.len()));
        let room = bytes_of(answers).saturating_sub(held);
        let record = if known.is_some() { 0 } else { RECORD_BYTES };
        self.shares.take(request.caller, kind, room + record, settings.tuning.idempotency.bytes_max.bytes())?;
        let new = Entry { caller: request.caller, kind, answered: None, under_way: None };
        self.entries.entry(request.id).or_insert(new).under_way = Some(room);
        Ok(Entrance::New)
    }

    /// A request that was let in is not carried out.
    pub(super) fn leave(&mut self, id: u128) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (caller, kind) = (entry.caller, entry.kind);
        let mut bytes = entry.under_way.take().unwrap_or_default();
        if entry.answered.is_none() {
            self.entries.remove(&id);
            bytes += RECORD_BYTES;
        }
        self.shares.remove(caller, kind, bytes);
    }

    /// I1: its commit is synced.
    pub(super) fn settle(&mut self, done: Answered) {
        let bytes = |done: &Answered| bytes_of(done.outcomes.len());
        let RequestId { caller, id, turn } = done.request;
        let (at, added) = (done.at, bytes(&done));
        let entry = self.entries.entry(id).or_insert_with(|| {
            self.shares.add(caller, turn.kind(), RECORD_BYTES);
            Entry { caller, kind: turn.kind(), answered: None, under_way: None }
        });
        let room = entry.under_way.take().unwrap_or_default();
        let before = entry.answered.replace(done);
        let (caller, kind) = (entry.caller, entry.kind);
        if before.is_none() {
            self.ages(kind).push_back((at, id));
        }
        self.shares.add(caller, kind, added);
        self.shares.remove(caller, kind, room + before.as_ref().map_or(0, bytes));
    }

    fn ages(&mut self, kind: Kind) -> &mut VecDeque<(u64, u128)> {
        match kind {
            Kind::Key => &mut self.keys,
            Kind::Session => &mut self.sessions,
        }
    }

    /// Forgets what was last used longer ago than it is kept.
    fn expire(&mut self, kind: Kind, kept_ms: u64) {
        let until = self.lived.saturating_sub(kept_ms);
        for _ in 0..FORGOTTEN_MAX {
            let Some((at, id)) = self.ages(kind).front().copied().filter(|(at, _)| *at < until) else { return };
            self.ages(kind).pop_front();
            let Some(Entry { caller, answered: Some(done), under_way, .. }) = self.entries.get(&id) else { continue };
            if under_way.is_some() {
                self.ages(kind).push_back((until, id));
            } else if done.at > at {
                let at = done.at;
                self.ages(kind).push_back((at, id));
            } else {
                self.shares.remove(*caller, kind, RECORD_BYTES + bytes_of(done.outcomes.len()));
                self.entries.remove(&id);
                self.forgotten.push(id);
            }
        }
    }

    /// Time has passed: forgets what is old enough, and tells how full the table is if that is news.
    pub(super) fn advance(&mut self, settings: &Settings, now: u64) -> Option<Fill> {
        self.live(now);
        for kind in [Kind::Key, Kind::Session] {
            self.expire(kind, settings.kept_ms(kind));
        }
        self.warn(settings.tuning.idempotency.bytes_max.bytes())
    }

    /// A request is carried out now, with these outcomes.
    pub(super) fn answer(&mut self, request: RequestId, outcomes: &[Outcome], now: u64) -> Answered {
        self.live(now);
        Answered { request, at: self.lived, outcomes: outcomes.to_vec() }
    }

    pub(super) fn fill(&self, bytes_max: usize) -> Fill {
        Fill { bytes: self.shares.used(), bytes_max, names: self.entries.len() }
    }

    /// How full the table is, once when it fills up, until it has room again.
    fn warn(&mut self, bytes_max: usize) -> Option<Fill> {
        let percent = self.shares.used().saturating_mul(100) / bytes_max.max(1);
        let warned = percent >= if self.warned { CALM_PERCENT } else { WARNED_PERCENT };
        let news = warned && !self.warned;
        self.warned = warned;
        news.then(|| self.fill(bytes_max))
    }
}

/// What is not known may have been carried out all the same. `known` are those that are not the first of their session, of
/// which the one before is remembered: then this one cannot have been forgotten.
fn judge(claimed: Claimed, known: bool, own: Option<ReplicaId>, kept_ms: u64) -> Result<(), Refusal> {
    if let Some(incarnation) = claimed.incarnation
        && Some(incarnation) != own
    {
        return Err(Refusal::AnotherIncarnation);
    }
    match claimed.again {
        Some(_) if claimed.incarnation.is_none() => Err(Refusal::Outdated),
        Some(age_ms) if !known && age_ms > kept_ms / REPEATABLE => Err(Refusal::Outdated),
        _ => Ok(()),
    }
}

impl Settings {
    /// How long a name is remembered after its last use.
    fn kept_ms(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Key => self.tuning.idempotency.retention.ms(),
            Kind::Session => self.tuning.idempotency.session_idle.ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::replica::durability_tests::settings;
    use crate::replica::tuning;
    use bytesize::ByteSize;

    const HOUR_MS: u64 = 3_600_000;

    fn once(caller: u64, id: u128, turn: Turn) -> RequestId {
        RequestId { caller: Caller(caller), id, turn }
    }

    fn next(number: u64) -> Turn {
        Turn::Next { number, content: 0 }
    }

    /// A table in virtual time.
    struct Table {
        idempotency: Idempotency,
        settings: Settings,
        now: u64,
    }

    impl Table {
        fn new(bytes_max: usize) -> Self {
            let mut settings = settings();
            settings.tuning.idempotency = tuning::Idempotency {
                retention: Duration::from_millis(24 * HOUR_MS),
                session_idle: Duration::from_secs(600),
                bytes_max: ByteSize(bytes_max as u64),
            };
            Self { idempotency: Idempotency::new(Vec::new(), 0), settings, now: 0 }
        }

        fn pass(&mut self, ms: u64) {
            for _ in 0..ms.div_ceil(1_000) {
                self.now += 1_000;
                self.idempotency.live(self.now);
                for kind in [Kind::Key, Kind::Session] {
                    self.idempotency.expire(kind, self.settings.kept_ms(kind));
                }
            }
        }

        /// Asked, and carried out if it is let in.
        fn ask(&mut self, request: RequestId) -> Result<Entrance, Refusal> {
            let entered = self.idempotency.enter(request, Claimed::default(), 1, (None, &self.settings));
            if entered == Ok(Entrance::New) {
                let answered = self.idempotency.answer(request, &[Outcome::Value(1)], self.now);
                self.idempotency.settle(answered);
            }
            entered
        }
    }

    #[test]
    fn a_hundred_thousand_clients_an_hour_that_stay_for_a_moment_take_what_is_alive_of_them() {
        const AN_HOUR: u128 = 100_000;
        let mut table = Table::new(8 << 20);
        let mut most = 0;
        for client in 0..3 * AN_HOUR {
            if client % 28 == 0 {
                table.pass(1_000);
            }
            assert_eq!(table.ask(once(1, client, next(1))), Ok(Entrance::New), "client {client}");
            assert_eq!(table.ask(once(1, client, next(1))), Ok(Entrance::Replay(vec![Outcome::Value(1)])));
            most = most.max(table.idempotency.entries.len());
        }
        assert!(most < 17_500, "a sixth of those of an hour, and {most} were remembered");
        table.pass(700_000);
        let fill = table.idempotency.fill(0);
        assert_eq!((fill.bytes, fill.names), (0, 0));
    }

    #[test]
    fn a_caller_that_fills_its_share_leaves_the_others_theirs_and_loses_nothing() {
        let mut table = Table::new(64_000);
        let refused = (0..).find(|key| table.ask(once(1, *key, Turn::Only(7))).is_err()).unwrap();
        assert_eq!(table.ask(once(1, refused, Turn::Only(7))), Err(Refusal::TooManyNames));
        for caller in 2..5 {
            assert_eq!(table.ask(once(caller, u128::from(caller) << 64, Turn::Only(7))), Ok(Entrance::New));
        }
        assert_eq!(table.ask(once(1, 1 << 100, next(1))), Ok(Entrance::New), "the reserve for sessions");
        for key in 0..refused {
            assert!(matches!(table.ask(once(1, key, Turn::Only(7))), Ok(Entrance::Replay(_))), "{key}");
        }
    }

    #[test]
    fn a_session_that_is_known_goes_on_however_full_the_table_is() {
        let mut table = Table::new(16_000);
        assert_eq!(table.ask(once(1, 1 << 100, next(1))), Ok(Entrance::New));
        for caller in 0..100 {
            let _ = (0..).find(|id| table.ask(once(caller, u128::from(caller) << 64 | id, next(1))).is_err());
        }
        for number in 2..100 {
            assert_eq!(table.ask(once(1, 1 << 100, next(number))), Ok(Entrance::New));
        }
        assert!(table.idempotency.shares.used() <= 16_000);
    }

    #[test]
    fn time_in_which_a_node_stands_still_ages_nothing() {
        let mut table = Table::new(64_000);
        table.ask(once(1, 5, next(1))).unwrap();
        table.now += HOUR_MS;
        table.idempotency.live(table.now);
        table.idempotency.expire(Kind::Session, table.settings.tuning.idempotency.session_idle.ms());
        assert_eq!(table.ask(once(1, 5, next(1))), Ok(Entrance::Replay(vec![Outcome::Value(1)])));
    }

    #[test]
    fn that_the_table_fills_up_is_said_once_until_it_has_room_again() {
        let mut table = Table::new(16_000);
        let mut said = 0;
        for round in 0..3u64 {
            for caller in 0..50 {
                let id = u128::from(round * 1_000 + caller);
                let _ = (0..).find(|more| table.ask(once(caller, id << 64 | more, next(1))).is_err());
                said += u64::from(table.idempotency.warn(16_000).is_some());
            }
            assert_eq!(said, round + 1);
            table.pass(700_000);
            assert_eq!(table.idempotency.warn(16_000), None);
        }
    }

    #[test]
    fn a_repetition_that_may_have_been_carried_out_elsewhere_or_long_ago_is_refused() {
        let (own, other) = (Some(ReplicaId(1)), Some(ReplicaId(2)));
        let again = |incarnation, age_ms| Claimed { incarnation, again: Some(age_ms) };
        let judged = |claimed: Claimed, known| judge(claimed, known, own, 1_000);
        assert_eq!(judged(Claimed::default(), false), Ok(()), "not sent before");
        assert_eq!(judged(again(own, 500), false), Ok(()));
        assert_eq!(judged(again(own, 501), false), Err(Refusal::Outdated), "it may be forgotten");
        assert_eq!(judged(again(own, u64::MAX), true), Ok(()), "the one before is remembered");
        for known in [false, true] {
            assert_eq!(judged(again(None, 0), known), Err(Refusal::Outdated), "nobody knows of which disk");
            assert_eq!(judged(again(other, 0), known), Err(Refusal::AnotherIncarnation));
            let first = Claimed { incarnation: other, again: None };
            assert_eq!(judged(first, known), Err(Refusal::AnotherIncarnation));
        }
        assert_eq!(judge(again(other, 0), true, None, 1_000), Err(Refusal::AnotherIncarnation), "none yet");
    }
}
