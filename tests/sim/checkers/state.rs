//! G4: after healing, all nodes hold the same, byte by byte: rows and vectors, read through the store as a start would.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use snowtide::crdt::{Mark, Row};
use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::Recovered;
use snowtide::store::Store;
use snowtide_protocol::Key;

use super::ledger::Rows;
use crate::clients::name;
use crate::disk::{Disk, Untouched};
use crate::node::Node;

/// What one node's disk holds of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub vector: Vec<(ReplicaId, Mark)>,
    pub rows: BTreeMap<Key, Row>,
}

/// What a start would find on a node's disk; nothing on it changes.
pub fn held(node: &Node, keys: usize) -> Result<BTreeMap<NamespaceId, Held>, String> {
    held_on(node, &node.disk, keys)
}

/// What these nodes would hold together if the power went now.
pub fn durable<'a>(nodes: impl Iterator<Item = &'a Node>, keys: usize) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for node in nodes {
        let disk = Disk::holding(node.disk.image());
        disk.cut_power(0);
        join(&mut rows, held_on(node, &disk, keys)?);
    }
    Ok(rows)
}

fn join(rows: &mut Rows, state: BTreeMap<NamespaceId, Held>) {
    for (namespace, held) in state {
        for (key, row) in held.rows {
            match rows.entry((namespace, key)) {
                Entry::Vacant(entry) => {
                    entry.insert(row);
                }
                Entry::Occupied(mut entry) => {
                    entry.get_mut().join(&row);
                }
            }
        }
    }
}

fn held_on(node: &Node, disk: &Disk, keys: usize) -> Result<BTreeMap<NamespaceId, Held>, String> {
    if !disk.is_established() {
        return Ok(BTreeMap::new());
    }
    let medium = Box::new(Untouched(disk.clone()));
    let refused = |refusal: &dyn std::fmt::Display| format!("the disk of {} cannot be read: {refusal}", node.worker);
    let options = crate::cluster::store_options(node, node.namespaces.clone(), 0);
    let (store, recovered) = Store::recover(medium, false, &options).map_err(|error| refused(&error))?;
    let keys: Vec<Key> = (0..keys).filter_map(|key| Key::new(name(key)).ok()).collect();
    let mut all = BTreeMap::new();
    for space in recovered.spaces {
        let loaded = store.load(space.namespace, &keys).map_err(|error| refused(&error))?;
        let dirty = space.dirty.into_iter().map(|dirty| (dirty.key, dirty.row));
        let held = Held { vector: space.vector.iter().collect(), rows: loaded.into_iter().chain(dirty).collect() };
        all.insert(space.namespace, held);
    }
    Ok(all)
}

/// What is on a node's disk of all namespaces of its region, whether or not its configuration names them.
pub fn found(node: &Node) -> Result<Recovered, String> {
    let options = crate::cluster::store_options(node, node.namespaces.clone(), 0);
    let recovered = Store::recover(Box::new(Untouched(node.disk.clone())), !node.disk.is_established(), &options);
    recovered.map(|(_, recovered)| recovered).map_err(|refusal| refusal.to_string())
}

/// The incarnation that a node would find after a power cut.
pub fn incarnation(node: &Node) -> Result<Option<ReplicaId>, String> {
    let disk = Disk::holding(node.disk.image());
    disk.cut_power(0);
    let options = crate::cluster::store_options(node, node.namespaces.clone(), 0);
    let recovered = Store::recover(Box::new(Untouched(disk)), false, &options);
    recovered.map(|(_, recovered)| recovered.replica).map_err(|refusal| refusal.to_string())
}

/// The join of what nodes hold.
pub fn join_all(states: Vec<BTreeMap<NamespaceId, Held>>) -> Rows {
    states.into_iter().fold(Rows::new(), |mut rows, state| {
        join(&mut rows, state);
        rows
    })
}

/// The join of what these nodes hold.
pub fn joined<'a>(nodes: impl Iterator<Item = &'a Node>, keys: usize) -> Result<Rows, String> {
    nodes.map(|node| held(node, keys)).collect::<Result<_, _>>().map(join_all)
}

/// `None` if all agree on each namespace that they serve; else where they differ.
pub fn difference(states: &[BTreeMap<NamespaceId, Held>]) -> Option<String> {
    let mut first: BTreeMap<NamespaceId, (usize, &Held)> = BTreeMap::new();
    for (node, state) in states.iter().enumerate() {
        for (namespace, held) in state {
            let (other, expected) = *first.entry(*namespace).or_insert((node, held));
            if expected.vector != held.vector {
                let (here, there) = (&held.vector, &expected.vector);
                return Some(format!("vectors of {namespace:?}: node {node} {here:?}, node {other} {there:?}"));
            }
            let differing = held.rows.iter().find(|(key, row)| expected.rows.get(*key) != Some(*row));
            if let Some((key, row)) = differing {
                let there = expected.rows.get(key);
                return Some(format!("{key:?} of {namespace:?}: node {node} {row:?}, node {other} {there:?}"));
            }
        }
    }
    None
}
