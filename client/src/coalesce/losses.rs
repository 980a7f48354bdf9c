//! What was not counted, and what of it was reported.

use super::NotCounted;
use crate::error::Error;

/// All that was not counted since the beginning. To remember sums is enough for any number of flushes: each tells what came
/// since the last one that was over when it began, so that those that wait at the same time all hear of the same loss.
#[derive(Debug, Default)]
pub(super) struct Losses {
    lost: Sums,
    reported: Sums,
    /// Why, of the first that was not reported yet.
    first: Option<Error>,
    /// Why, of the first that was reported last.
    reported_first: Option<Error>,
}

/// Increments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    refused: u64,
    unknown: u64,
}

/// What had been reported when a flush began.
#[derive(Debug)]
pub(super) struct Since {
    reported: Sums,
    first: Option<Error>,
}

impl Losses {
    /// So many increments were not counted, or perhaps.
    pub(super) fn add(&mut self, error: &Error, increments: u64) {
        let sum = if error.is_ambiguous() { &mut self.lost.unknown } else { &mut self.lost.refused };
        *sum = sum.saturating_add(increments);
        self.first.get_or_insert_with(|| error.clone());
    }

    /// A flush begins.
    pub(super) fn since(&self) -> Since {
        Since { reported: self.reported, first: self.first.clone() }
    }

    /// A flush is over: what it has to tell.
    pub(super) fn report(&mut self, since: &Since) -> Result<(), NotCounted> {
        if self.reported != self.lost {
            self.reported = self.lost;
            self.reported_first = self.first.take();
        }
        let refused = self.lost.refused.saturating_sub(since.reported.refused);
        let unknown = self.lost.unknown.saturating_sub(since.reported.unknown);
        match since.first.as_ref().or(self.reported_first.as_ref()) {
            Some(first) if (refused, unknown) != (0, 0) => Err(NotCounted { refused, unknown, first: first.clone() }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::Code;

    use super::*;

    #[test]
    fn flushes_at_the_same_time_tell_the_same_and_later_ones_only_what_is_new() {
        let mut losses = Losses::default();
        let [refused, other] = [Code::Draining, Code::Overloaded].map(|code| Error::Refused {
            code,
            detail: "no".into(),
            retry_after: None,
        });
        let unknown = Error::Ambiguous { reason: "gone".into() };
        let (one, two) = (losses.since(), losses.since());
        losses.add(&refused, 3);
        let late = losses.since();
        let told = Err(NotCounted { refused: 3, unknown: 0, first: refused.clone() });
        assert_eq!(
            [losses.report(&one), losses.report(&two), losses.report(&late)],
            [told.clone(), told.clone(), told]
        );
        let after = losses.since();
        losses.add(&unknown, 2);
        losses.add(&other, 1);
        assert_eq!(losses.report(&after), Err(NotCounted { refused: 1, unknown: 2, first: unknown }));
        assert_eq!(losses.report(&losses.since()), Ok(()));
        // Who still waits hears of everything.
        assert_eq!(losses.report(&late), Err(NotCounted { refused: 4, unknown: 2, first: refused }));
    }
}
