//! Every ID that the demo was given by itself, to find one that came twice or out of order.

use std::collections::BTreeMap;

use anyhow::ensure;
use snowtide_loadtest::ids::{Finder, Run};

/// More than the demo asks for.
const IDS_MAX: usize = 1_000_000;

/// IDs so far.
#[derive(Debug, Default)]
pub(super) struct Minted {
    runs: Vec<Run>,
    /// What each node gave last.
    last: BTreeMap<u16, u64>,
}

impl Minted {
    /// Takes in what one node gave, in this order. An error if one of them is not above what it gave before.
    pub(super) fn add(&mut self, node: u16, ids: &[u64]) -> anyhow::Result<()> {
        for id in ids {
            let earlier = self.last.insert(node, *id);
            let ascends = earlier.is_none_or(|earlier| earlier < *id);
            ensure!(ascends, "OUT OF ORDER: a node gave the ID {id} after {}", earlier.unwrap_or_default());
            self.runs.push(Run { first: *id, count: 1, target: node });
        }
        Ok(())
    }

    /// How many there are. An error if one of them came twice, whoever gave it.
    pub(super) fn all_different(&self) -> anyhow::Result<u64> {
        let mut finder = Finder::new(IDS_MAX);
        self.runs.iter().try_for_each(|run| finder.add(*run))?;
        let (found, _) = finder.finish();
        match found.named.first() {
            Some(duplicate) => anyhow::bail!("DUPLICATE: the ID {} was given twice", duplicate.id),
            None => Ok(found.seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_comes_twice_is_found_whoever_gave_it() {
        let mut minted = Minted::default();
        minted.add(0, &[1, 2, 5]).unwrap();
        minted.add(1, &[3, 4]).unwrap();
        assert_eq!(minted.all_different().unwrap(), 5);
        minted.add(1, &[5]).unwrap();
        let found = minted.all_different().unwrap_err().to_string();
        assert_eq!(found, "DUPLICATE: the ID 5 was given twice");
    }

    #[test]
    fn ids_of_one_node_ascend_over_calls() {
        let mut minted = Minted::default();
        minted.add(0, &[9]).unwrap();
        minted.add(1, &[2]).unwrap();
        let found = minted.add(0, &[8]).unwrap_err().to_string();
        assert_eq!(found, "OUT OF ORDER: a node gave the ID 8 after 9");
    }
}
