//! Batches on their way to the engine: operations on namespaces that are not served here stay behind, and their refusals come back
//! in their places.

use super::Refused;
use crate::replica::Operation;

/// What the engine is asked of a batch, and what it never sees.
#[derive(Debug)]
pub(in crate::api) struct Plan<R> {
    /// For the engine, in order.
    pub(in crate::api) operations: Vec<Operation>,
    /// Places in the batch, ascending, and why the operations there stay behind.
    pub(in crate::api) left_out: Vec<(usize, R)>,
}

impl<R> Default for Plan<R> {
    fn default() -> Self {
        Self { operations: Vec::new(), left_out: Vec::new() }
    }
}

impl<R: From<Refused>> Plan<R> {
    /// Takes the next operation of the batch, unless the whole batch is refused for it.
    pub(in crate::api) fn push(&mut self, operation: Result<Operation, Refused>) -> Result<(), Refused> {
        let place = self.operations.len().saturating_add(self.left_out.len());
        match operation {
            Ok(operation) => self.operations.push(operation),
            Err(refused) if refused.is_not_served() => self.left_out.push((place, refused.into())),
            Err(refused) => return Err(refused),
        }
        Ok(())
    }

    /// Takes the next one, which is not the engine's business.
    pub(in crate::api) fn leave_out(&mut self, beside: R) {
        self.left_out.push((self.operations.len().saturating_add(self.left_out.len()), beside));
    }
}

/// Appends results in the order of the batch: what the engine said, and between that what was left out.
pub(in crate::api) fn weave<T>(
    said: impl IntoIterator<Item = T>,
    left_out: impl IntoIterator<Item = (usize, T)>,
    results: &mut Vec<T>,
) {
    let (mut said, mut left_out) = (said.into_iter(), left_out.into_iter().peekable());
    loop {
        let here = left_out.next_if(|(place, _)| *place == results.len()).map(|(_, result)| result);
        match here.or_else(|| said.next()) {
            Some(result) => results.push(result),
            None => break,
        }
    }
    // Places ascend and leave no holes, so nothing is.
    results.extend(left_out.map(|(_, result)| result));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_woven_in_where_it_stood() {
        for (places, expected) in [
            (vec![], vec![10, 11]),
            (vec![0], vec![-1, 10, 11]),
            (vec![1], vec![10, -1, 11]),
            (vec![2, 3], vec![10, 11, -1, -1]),
            (vec![0, 2, 4], vec![-1, 10, -1, 11, -1]),
        ] {
            let mut results = Vec::new();
            weave([10, 11], places.iter().map(|place| (*place, -1)), &mut results);
            assert_eq!(results, expected, "{places:?}");
        }
    }
}
