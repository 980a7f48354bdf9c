//! G3: answers about one counter at one node never go backwards, restarts included, while its disk survives.

use std::collections::BTreeMap;

use snowtide::identity::NamespaceId;
use snowtide::replica::Operation;

use crate::clients::only_grows;

#[derive(Default)]
pub struct Reads(BTreeMap<(usize, NamespaceId, String), i128>);

impl Reads {
    pub fn check(&mut self, node: usize, operation: &Operation, value: i128) -> Option<String> {
        if !only_grows(&operation.key) {
            return None;
        }
        let last = self.0.entry((node, operation.namespace, operation.key.to_string())).or_insert(value);
        let before = std::mem::replace(last, value);
        (value < before).then(|| format!("G3: node {node} answered {value} to {operation:?} after {before}"))
    }

    pub fn forget(&mut self, node: usize) {
        self.0.retain(|(at, ..), _| *at != node);
    }
}
