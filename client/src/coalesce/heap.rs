//! What is gathered for one batch.

use std::collections::HashMap;
use std::sync::Arc;

use snowtide_protocol::wire::BATCH_NAMESPACES_MAX;

use super::settings::Coalescing;
use super::ticket::Cohort;
use crate::batch::Batch;

/// Increments by counter.
#[derive(Default)]
pub(super) struct Heap {
    /// By namespace and key: a place in `sums`.
    places: HashMap<Box<str>, HashMap<Box<str>, usize>>,
    sums: Vec<Sum>,
    /// What the names take.
    bytes: usize,
    pub(super) cohort: Arc<Cohort>,
}

/// What is added to one counter.
#[derive(Clone, Copy)]
struct Sum {
    by: i64,
    /// Of so many increments.
    increments: u64,
}

/// A heap on its way.
pub(super) struct Load {
    pub(super) batch: Batch,
    /// For each operation of the batch, its place among the outcomes.
    pub(super) places: Vec<usize>,
    /// By place: how many increments were merged.
    pub(super) increments: Vec<u64>,
    pub(super) cohort: Arc<Cohort>,
}

impl Heap {
    pub(super) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// How many were merged.
    pub(super) fn increments(&self) -> u64 {
        self.sums.iter().map(|sum| sum.increments).fold(0, u64::saturating_add)
    }

    /// There is enough for a batch.
    pub(super) fn is_full(&self, limits: &Coalescing) -> bool {
        self.sums.len() >= limits.counters || self.bytes >= limits.bytes
    }

    /// Merges an increment, if there is room for it; its place.
    pub(super) fn add(&mut self, namespace: &str, key: &str, by: i64, limits: &Coalescing) -> Option<usize> {
        if let Some(place) = self.places.get(namespace).and_then(|keys| keys.get(key)) {
            let sum = self.sums.get_mut(*place)?;
            // One operation holds no larger sum: the next heap does.
            sum.by = sum.by.checked_add(by)?;
            sum.increments = sum.increments.saturating_add(1);
            return Some(*place);
        }
        let is_known = self.places.contains_key(namespace);
        if self.is_full(limits) || (!is_known && self.places.len() >= BATCH_NAMESPACES_MAX) {
            return None;
        }
        let place = self.sums.len();
        self.places.entry(namespace.into()).or_default().insert(key.into(), place);
        self.sums.push(Sum { by, increments: 1 });
        let name = if is_known { 0 } else { namespace.len() };
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(name);
        Some(place)
    }

    /// As a batch. Every name was checked before it came here, and so were the limits.
    pub(super) fn load(self) -> Load {
        let Self { places, sums, cohort, .. } = self;
        let (mut batch, mut order) = (Batch::new(), Vec::with_capacity(sums.len()));
        for (namespace, keys) in &places {
            for (key, place) in keys {
                let by = sums.get(*place).map_or(0, |sum| sum.by);
                if batch.add(namespace, key, by).is_ok() {
                    order.push(*place);
                }
            }
        }
        Load { batch, places: order, increments: sums.iter().map(|sum| sum.increments).collect(), cohort }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(heap: &mut Heap, namespace: &str, key: &str, by: i64) -> Option<usize> {
        heap.add(namespace, key, by, &Coalescing::default().counters(3).bytes(1_024))
    }

    #[test]
    fn increments_of_a_counter_are_one_operation_and_others_their_own() {
        let mut heap = Heap::default();
        assert_eq!(add(&mut heap, "a", "x", 5), Some(0));
        assert_eq!(add(&mut heap, "b", "x", 1), Some(1));
        assert_eq!(add(&mut heap, "a", "x", -7), Some(0));
        let load = heap.load();
        assert_eq!((load.batch.len(), load.places.len()), (2, 2));
        assert_eq!(load.increments, [2, 1]);
    }

    #[test]
    fn a_full_heap_merges_but_takes_no_more_counters() {
        let mut heap = Heap::default();
        assert!(["x", "y", "z"].iter().all(|key| add(&mut heap, "n", key, 1).is_some()));
        assert_eq!(add(&mut heap, "n", "w", 1), None);
        assert_eq!(add(&mut heap, "n", "y", 1), Some(1));
        let mut heap = Heap::default();
        let long = |key: &str| key.repeat(512);
        assert!(add(&mut heap, "n", &long("a"), 1).is_some() && add(&mut heap, "n", &long("b"), 1).is_some());
        assert_eq!(add(&mut heap, "n", "c", 1), None, "the names take more than 1 KiB");
    }

    #[test]
    fn a_sum_that_no_operation_holds_waits_for_the_next_heap() {
        let mut heap = Heap::default();
        assert_eq!(add(&mut heap, "n", "x", i64::MAX), Some(0));
        assert_eq!(add(&mut heap, "n", "x", 1), None);
        assert_eq!(add(&mut heap, "n", "x", -1), Some(0));
    }

    #[test]
    fn a_batch_names_no_more_namespaces_than_it_may() {
        let mut heap = Heap::default();
        let limits = Coalescing::default();
        for namespace in 0..BATCH_NAMESPACES_MAX {
            assert!(heap.add(&namespace.to_string(), "x", 1, &limits).is_some());
        }
        assert_eq!(heap.add("one more", "x", 1, &limits), None);
        assert_eq!(heap.load().batch.len(), BATCH_NAMESPACES_MAX);
    }
}
