//! A region that is said to hold all that a node has acknowledged holds it: one of its nodes does, on its disk.

use std::collections::BTreeMap;

use snowtide::identity::ReplicaId;
use snowtide::replica::Operation;
use snowtide_protocol::Action;

use super::ledger::{Counter, Rows, counter};

/// What was added and subtracted, by the slot that has to hold it.
type Totals = BTreeMap<(Counter, ReplicaId), (u64, u64)>;

/// What each node has acknowledged since it has its disk.
#[derive(Default)]
pub struct Handovers(BTreeMap<usize, Totals>);

impl Handovers {
    pub fn acknowledged(&mut self, node: usize, replica: ReplicaId, operation: &Operation) {
        let Action::Increment(by) = operation.action else { return };
        let (added, subtracted) = self.0.entry(node).or_default().entry((counter(operation), replica)).or_default();
        let total = if by < 0 { subtracted } else { added };
        *total += by.unsigned_abs();
    }

    /// Neither the node nor anybody else can know any more what was on its disk alone.
    pub fn forget(&mut self, node: usize) {
        self.0.remove(&node);
    }

    /// `region` is said to hold everything of `node`; `disks` are those of its nodes, if the power went now.
    pub fn check(&self, node: usize, region: u8, disks: &[Rows]) -> Option<String> {
        let lacking: Option<Vec<String>> = disks.iter().map(|rows| self.lacking(node, rows)).collect();
        lacking.map(|lacking| {
            format!("drain: region {region} is said to hold all that node {node} has acknowledged: {lacking:?}")
        })
    }

    /// Something that these rows lack.
    fn lacking(&self, node: usize, rows: &Rows) -> Option<String> {
        self.0.get(&node)?.iter().find_map(|((counter, replica), told)| {
            let held = rows.get(counter).map_or((0, 0), |row| row.slot(*replica).totals());
            let all = held.0 >= told.0 && held.1 >= told.1;
            (!all).then(|| format!("{held:?} of {told:?} under {replica} in {counter:?} is there"))
        })
    }
}
