//! G3: answers about one counter at one node never go backwards, restarts included, while its disk survives.

use std::collections::BTreeMap;

use snowtide::replica::Operation;

use super::ledger::{Counter, counter};
use crate::clients::only_grows;

#[derive(Default)]
pub struct Reads(BTreeMap<(usize, Counter), i128>);

impl Reads {
    pub fn check(&mut self, node: usize, operation: &Operation, value: i128) -> Option<String> {
        if !only_grows(&operation.key) {
            return None;
        }
        let last = self.0.entry((node, counter(operation))).or_insert(value);
        let before = std::mem::replace(last, value);
        (value < before).then(|| format!("G3: node {node} answered {value} to {operation:?} after {before}"))
    }

    pub fn forget(&mut self, node: usize) {
        self.0.retain(|(at, _), _| *at != node);
    }
}
