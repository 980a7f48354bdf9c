//! The outside ledger: what was asked of each counter, written down before it is sent, and what was acknowledged.
//!
//! It believes no node. A request that got no answer counts as neither done nor refused; each counter has at most one
//! such request, so that the counter's final value tells which of the two it was.

use std::collections::BTreeMap;

/// What was asked of one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    acknowledged: u128,
    increments: u64,
    /// Sent, and not answered yet or never.
    unanswered: Option<u64>,
}

/// What was asked of all counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<String, Entry>,
}

/// What became of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The node says that it is counted and on its disk.
    Acknowledged,
    /// It surely is not counted.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What all counters hold together, compared with the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// How many increments were acknowledged.
    pub(super) increments: u64,
    /// What they add up to.
    pub(super) acknowledged: u128,
    /// Increments without an answer that turned out to be counted, and what they add up to.
    pub(super) late: (u64, u128),
    /// Increments without an answer that turned out not to be counted.
    pub(super) lapsed: u64,
}

/// The promise is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Finding {
    /// A counter holds less than was acknowledged.
    #[error("LOST: {region} counts {value} on {key}, and {acknowledged} were acknowledged")]
    Lost { region: String, key: String, value: i128, acknowledged: u128 },
    /// A counter holds what nobody asked for.
    #[error("INVENTED: {region} counts {value} on {key}, where {acknowledged} were acknowledged{}", open(*unanswered))]
    Invented { region: String, key: String, value: i128, acknowledged: u128, unanswered: Option<u64> },
    /// A counter was not read at all.
    #[error("{region} does not tell what {key} holds")]
    Unread { region: String, key: String },
}

fn open(unanswered: Option<u64>) -> String {
    unanswered.map(|by| format!(" and {by} has no answer")).unwrap_or_default()
}

impl Ledger {
    /// Writes down what is about to be sent. The counter must have no request without an answer.
    pub(super) fn attempt(&mut self, key: &str, by: u64) {
        self.entries.entry(key.to_owned()).or_default().unanswered = Some(by);
    }

    /// Writes down what became of it.
    pub(super) fn settle(&mut self, key: &str, fate: Fate) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(by) = entry.unanswered else { return };
        match fate {
            Fate::Unknown => return,
            Fate::Refused => {}
            Fate::Acknowledged => {
                entry.acknowledged = entry.acknowledged.saturating_add(by.into());
                entry.increments = entry.increments.saturating_add(1);
            }
        }
        entry.unanswered = None;
    }

    /// Every counter, by name.
    pub(super) fn keys(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// How many increments were acknowledged so far.
    pub(super) fn increments(&self) -> u64 {
        self.entries.values().map(|entry| entry.increments).sum()
    }

    /// Compares what a region counts with what it must.
    pub(super) fn judge(&self, region: &str, values: &BTreeMap<String, i128>) -> Result<Totals, Finding> {
        let mut totals = Totals::default();
        for (key, entry) in &self.entries {
            let value = values.get(key).copied();
            let value = value.ok_or_else(|| Finding::Unread { region: region.to_owned(), key: key.clone() })?;
            entry.judge(region, key, value, &mut totals)?;
        }
        Ok(totals)
    }
}

impl Entry {
    fn judge(&self, region: &str, key: &str, value: i128, totals: &mut Totals) -> Result<(), Finding> {
        let (region, key, acknowledged) = (region.to_owned(), key.to_owned(), self.acknowledged);
        let surplus = u128::try_from(value).ok().and_then(|value| value.checked_sub(acknowledged));
        match (surplus, self.unanswered) {
            (None, _) => return Err(Finding::Lost { region, key, value, acknowledged }),
            (Some(0), None) => {}
            (Some(0), Some(_)) => totals.lapsed = totals.lapsed.saturating_add(1),
            (Some(surplus), Some(by)) if surplus == u128::from(by) => {
                totals.late = (totals.late.0.saturating_add(1), totals.late.1.saturating_add(surplus));
            }
            (Some(_), unanswered) => return Err(Finding::Invented { region, key, value, acknowledged, unanswered }),
        }
        totals.increments = totals.increments.saturating_add(self.increments);
        totals.acknowledged = totals.acknowledged.saturating_add(acknowledged);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (key, by, fate) in [
            ("a", 5, Fate::Acknowledged),
            ("a", 7, Fate::Acknowledged),
            ("b", 100, Fate::Refused),
            ("c", 1_000, Fate::Acknowledged),
            ("c", 2_000, Fate::Unknown),
        ] {
            ledger.attempt(key, by);
            ledger.settle(key, fate);
        }
        ledger
    }

    fn judged(a: i128, b: i128, c: i128) -> Result<Totals, Finding> {
        let values = [("a", a), ("b", b), ("c", c)].map(|(key, value)| (key.to_owned(), value));
        ledger().judge("eu-west", &values.into())
    }

    #[test]
    fn the_final_value_tells_what_became_of_a_request_without_an_answer() {
        let totals = Totals { increments: 3, acknowledged: 1_012, late: (0, 0), lapsed: 1 };
        assert_eq!(judged(12, 0, 1_000), Ok(totals));
        assert_eq!(judged(12, 0, 3_000), Ok(Totals { late: (1, 2_000), lapsed: 0, ..totals }));
    }

    #[test]
    fn too_little_is_lost_and_too_much_is_invented() {
        assert!(matches!(judged(11, 0, 1_000), Err(Finding::Lost { .. })));
        assert!(matches!(judged(12, 0, -1), Err(Finding::Lost { .. })));
        assert!(matches!(judged(13, 0, 1_000), Err(Finding::Invented { .. })));
        assert!(matches!(judged(12, 100, 1_000), Err(Finding::Invented { .. })), "refused is not counted");
        assert!(matches!(judged(12, 0, 2_000), Err(Finding::Invented { .. })), "half an increment");
    }

    #[test]
    fn a_counter_that_was_not_read_is_not_taken_for_whole() {
        assert!(matches!(ledger().judge("eu-west", &BTreeMap::new()), Err(Finding::Unread { .. })));
    }
}
