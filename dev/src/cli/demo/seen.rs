//! Every ID that the demo was given, to find one that was given twice.

use std::collections::HashSet;

/// IDs so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: HashSet<u64>,
}

/// The promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Finding {
    /// An ID was given before.
    #[error("DUPLICATE: the ID {0} was given twice")]
    Duplicate(u64),
    /// A later ID of one node is lower than an earlier one.
    #[error("OUT OF ORDER: a node gave the ID {later} after {earlier}")]
    Descending { earlier: u64, later: u64 },
}

impl Seen {
    /// Remembers what one node gave, in this order, after it gave `last` to the same caller. Returns the new last one.
    pub(super) fn add(&mut self, last: Option<u64>, ids: &[u64]) -> Result<Option<u64>, Finding> {
        let mut last = last;
        for id in ids {
            if !self.ids.insert(*id) {
                return Err(Finding::Duplicate(*id));
            }
            if let Some(earlier) = last.filter(|earlier| earlier >= id) {
                return Err(Finding::Descending { earlier, later: *id });
            }
            last = Some(*id);
        }
        Ok(last)
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_comes_twice_is_found_whoever_gave_it() {
        let mut seen = Seen::default();
        assert_eq!(seen.add(None, &[1, 2, 5]), Ok(Some(5)));
        assert_eq!(seen.add(None, &[3, 4]), Ok(Some(4)));
        assert_eq!(seen.add(Some(5), &[6, 4]), Err(Finding::Duplicate(4)));
        assert_eq!(seen.count(), 6);
    }

    #[test]
    fn ids_of_one_node_ascend_over_calls() {
        let mut seen = Seen::default();
        assert_eq!(seen.add(Some(9), &[]), Ok(Some(9)));
        assert_eq!(seen.add(Some(9), &[8]), Err(Finding::Descending { earlier: 9, later: 8 }));
    }
}
