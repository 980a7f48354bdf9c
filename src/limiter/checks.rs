//! Decisions that are asked together. Which policy each means is kept, so that a policy that counts anew meanwhile is looked
//! up again.

use crate::limits::{Given, PolicyId, Request, Round};

use super::Chosen;

/// What a policy is looked up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Named(Box<str>),
    Given(Given),
}

/// Decisions that are asked; kept for its memory.
#[derive(Debug, Default)]
pub struct Checks {
    pub(super) requests: Vec<Request>,
    pub(super) round: Round,
    /// Each policy, from a place of `requests` on.
    meant: Vec<(usize, PolicyId, Meant)>,
}

impl Checks {
    /// Asks one more.
    pub(super) fn push(&mut self, chosen: &Chosen<'_>, request: Request) {
        if self.meant.last().is_none_or(|(_, id, _)| *id != request.policy) {
            self.meant.push((self.requests.len(), request.policy, chosen.meant()));
        }
        self.requests.push(request);
    }

    /// Forgets all but so many.
    pub fn truncate(&mut self, many: usize) {
        self.requests.truncate(many);
        self.meant.retain(|(first, ..)| *first < many);
    }

    /// How many are asked.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Which policy the request at this place means.
    pub(super) fn meant(&self, at: usize) -> Option<&Meant> {
        let after = self.meant.partition_point(|(first, ..)| *first <= at);
        self.meant.get(after.checked_sub(1)?).map(|(_, _, meant)| meant)
    }
}
