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
    places: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
    sums: Vec<Sum>,
    /// What the names take.
    bytes: usize,
    pub(super) cohort: Arc<Cohort>,
}

/// What is added to one counter.
struct Sum {
    namespace: Arc<str>,
    key: Arc<str>,
    by: i64,
    /// Of so many increments.
    increments: u64,
}

/// A heap on its way.
pub(crate) struct Load {
    /// Its operations stand in the order of their places.
    pub(crate) batch: Batch,
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
        let known = self.places.get_key_value(namespace).map(|(name, _)| Arc::clone(name));
        if self.is_full(limits) || (known.is_none() && self.places.len() >= BATCH_NAMESPACES_MAX) {
            return None;
        }
        let place = self.sums.len();
        let name_bytes = if known.is_some() { 0 } else { namespace.len() };
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(name_bytes);
        let (namespace, key) = (known.unwrap_or_else(|| namespace.into()), Arc::<str>::from(key));
        self.places.entry(Arc::clone(&namespace)).or_default().insert(Arc::clone(&key), place);
        self.sums.push(Sum { namespace, key, by, increments: 1 });
        Some(place)
    }

    /// As a batch.
    pub(super) fn load(self) -> Load {
        let mut batch = Batch::new();
        for Sum { namespace, key, by, .. } in &self.sums {
            // Every name was checked before it came here, and so were the limits.
            let _ = batch.add(namespace, key, *by);
        }
        let increments = self.sums.iter().map(|sum| sum.increments).collect();
        Load { batch, increments, cohort: self.cohort }
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
        assert_eq!(load.batch.len(), 2);
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
