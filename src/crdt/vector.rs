//! Version vectors: how much of each replica's log is known.
//!
//! Parker et al., "Detection of mutual inconsistency in distributed systems" (1983). Each entry also carries the
//! origin's running log hash, so that two logs that share numbers but not content are told apart.

use std::fmt;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};
use xxhash_rust::xxh3::Xxh3;

use crate::identity::ReplicaId;

/// The running hash of one origin's log up to one seq: each commit's hash covers the one before.
///
/// It tells forks apart; it does not stand against forgery, which is what mutual TLS is for.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LogHash(pub u128);

impl LogHash {
    /// Stands in place of a hash where the log is known to have forked: what was written under this replica id is no one
    /// history any more, and never will be again.
    pub const FORKED: Self = Self(u128::MAX);

    /// The hash after one more commit whose encoded slots are `payload`.
    #[must_use]
    pub fn then(self, payload: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(payload);
        Self(hasher.digest128().min(Self::FORKED.0 - 1))
    }
}

impl fmt::Debug for LogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How far one origin's log is known: everything up to `seq`, where its running hash was `hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Mark {
    /// 0 before the first commit.
    pub seq: u64,
    /// The origin's running hash at `seq`.
    pub hash: LogHash,
}

impl Mark {
    /// Whether the log is known to have forked.
    pub fn is_forked(self) -> bool {
        self.hash == LogHash::FORKED
    }

    /// The same place of a log that has forked.
    #[must_use]
    pub fn forked(self) -> Self {
        Self { hash: LogHash::FORKED, ..self }
    }

    /// Whether two marks show that the log has forked: one says so, or they share a number and no history.
    pub fn shows_fork(self, other: Self) -> bool {
        self.is_forked() || other.is_forked() || (self.seq == other.seq && self.hash != other.hash)
    }

    /// The join: the further mark, and of two at one number the one of the greater hash; a fork is never forgotten.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let further = self.max(other);
        if self.is_forked() || other.is_forked() { further.forked() } else { further }
    }
}

/// Replica id → mark. A replica that is absent stands at seq 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct VersionVector {
    /// Sorted by replica id: vectors are copied, walked through and compared far more often than a replica joins one.
    marks: Vec<(ReplicaId, Mark)>,
}

impl VersionVector {
    /// How far `origin` is known.
    pub fn mark(&self, origin: ReplicaId) -> Mark {
        self.find(origin).ok().and_then(|at| self.marks.get(at)).map_or(Mark::default(), |(_, mark)| *mark)
    }

    /// Joins the mark of `origin` with `mark`; true if it moved. Never moves back.
    pub fn advance(&mut self, origin: ReplicaId, mark: Mark) -> bool {
        match self.find(origin) {
            Ok(at) => self.marks.get_mut(at).is_some_and(|(_, held)| {
                let joined = held.join(mark);
                let moves = joined != *held && joined.seq > 0;
                if moves {
                    *held = joined;
                }
                moves
            }),
            Err(_) if mark.seq == 0 => false,
            Err(at) => {
                self.marks.insert(at, (origin, mark));
                true
            }
        }
    }

    /// The join: that of each origin's marks.
    pub fn join(&mut self, other: &Self) {
        let (known, new): (Vec<_>, Vec<_>) = other.iter().partition(|(origin, _)| self.find(*origin).is_ok());
        known.into_iter().for_each(|(origin, mark)| _ = self.advance(origin, mark));
        if !new.is_empty() {
            // At once: each by itself would move all that are behind it.
            self.marks.extend(new.into_iter().filter(|(_, mark)| mark.seq > 0));
            self.marks.sort_by_key(|(origin, _)| *origin);
        }
    }

    /// The meet: what both know.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let common = self.iter().map(|(origin, mark)| {
            let theirs = other.mark(origin);
            (origin, if theirs.seq < mark.seq { theirs } else { mark })
        });
        common.filter(|(_, mark)| mark.seq > 0).collect()
    }

    /// Whether everything that `other` knows is known here.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(origin, mark)| self.mark(origin).seq >= mark.seq)
    }

    /// All marks, sorted by origin.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, Mark)> + '_ {
        self.marks.iter().copied()
    }

    fn find(&self, origin: ReplicaId) -> Result<usize, usize> {
        self.marks.binary_search_by_key(&origin, |(held, _)| *held)
    }
}

impl<C> Decode<C> for VersionVector {
    /// Whatever a peer or a disk says comes in order first; of two marks of one replica the last one counts.
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let mut marks = Vec::<(ReplicaId, Mark)>::decode(decoder)?;
        marks.sort_by_key(|(origin, _)| *origin);
        marks.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                *kept = *later;
            }
            same
        });
        Ok(Self { marks })
    }
}

impl<'de, C> BorrowDecode<'de, C> for VersionVector {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl FromIterator<(ReplicaId, Mark)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, Mark)>>(marks: I) -> Self {
        let mut vector = Self::default();
        for (origin, mark) in marks {
            vector.advance(origin, mark);
        }
        vector
    }
}
