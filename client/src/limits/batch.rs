//! A batch of decisions under construction: they are checked and encoded as they are added.

use snowtide_protocol::wire::{Ask, BATCH_OPERATIONS_MAX, BATCH_POLICIES_MAX, RequestHead, WireCheck};
use snowtide_protocol::{codec, key};

use super::Check;
use super::policy::{Kept, Policy};
use crate::error::InvalidArgument;

/// An upper bound of a request's head: an id, a tag and two counts, each at most nine bytes.
const HEAD_BYTES_MAX: usize = 48;
/// An upper bound of a policy but for its name: two tags, and a length or three numbers.
const POLICY_BYTES: usize = 48;

/// Decisions that travel together, each by itself: at most 10 000, by at most 256 policies. Those on one key are made in order.
///
/// ```
/// # fn main() -> Result<(), snowtide_client::InvalidArgument> {
/// use snowtide_client::{Algorithm, LimitBatch, Numbers};
///
/// let given = Numbers { algorithm: Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };
/// let mut batch = LimitBatch::new();
/// batch.check("default", "alice", 1)?.check(given, "192.0.2.7", 5)?.peek("default", "bob")?;
/// assert_eq!(batch.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct LimitBatch {
    policies: Vec<Kept>,
    checks: Vec<u8>,
    count: usize,
    /// Some check charges something.
    pub(crate) charges: bool,
}

impl LimitBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of one.
    pub(crate) fn of(Check { policy, key, cost }: Check<'_>) -> Result<Self, InvalidArgument> {
        let mut batch = Self::new();
        batch.check(policy, key, cost)?;
        Ok(batch)
    }

    /// Asks whether the key may have `cost` units more, and charges them if so. A cost of zero looks.
    pub fn check<'a>(
        &mut self,
        policy: impl Into<Policy<'a>>,
        key: &str,
        cost: u64,
    ) -> Result<&mut Self, InvalidArgument> {
        key::check(key)?;
        if self.count >= BATCH_OPERATIONS_MAX {
            return Err(InvalidArgument::TooManyChecks);
        }
        let policy = self.position(policy.into())?;
        codec::encode_into(&WireCheck { policy, key, cost }, &mut self.checks);
        self.count = self.count.saturating_add(1);
        self.charges |= cost > 0;
        Ok(self)
    }

    /// Asks how the key stands, and charges nothing.
    pub fn peek<'a>(&mut self, policy: impl Into<Policy<'a>>, key: &str) -> Result<&mut Self, InvalidArgument> {
        self.check(policy, key, 0)
    }

    /// Checks so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.policies.clear();
        self.checks.clear();
        (self.count, self.charges) = (0, false);
    }

    /// The checks as they were added.
    #[cfg(feature = "http")]
    pub(crate) fn checks(&self) -> impl Iterator<Item = Check<'_>> {
        let mut cursor = codec::Cursor::new(&self.checks);
        // They were encoded here, so they are read to the end.
        std::iter::from_fn(move || {
            let WireCheck { policy, key, cost } = cursor.read().ok()?;
            let policy = self.policies.get(usize::try_from(policy).ok()?)?.policy();
            Some(Check { policy, key, cost })
        })
    }

    /// An upper bound of the bytes that [`Self::append_request`] appends.
    pub(crate) fn weight(&self) -> usize {
        let policy = |kept: &Kept| match kept {
            Kept::Named(name) => name.len().saturating_add(POLICY_BYTES),
            Kept::Given(_) => POLICY_BYTES,
        };
        let policies = self.policies.iter().map(policy).sum::<usize>();
        policies.saturating_add(self.checks.len()).saturating_add(HEAD_BYTES_MAX)
    }

    /// Appends the whole request.
    pub(crate) fn append_request(&self, id: u64, bytes: &mut Vec<u8>) {
        let ask = Ask::Limits { policies: narrow(self.policies.len()), checks: narrow(self.count) };
        codec::encode_into(&RequestHead { id, ask }, bytes);
        for kept in &self.policies {
            codec::encode_into(&kept.policy().0, bytes);
        }
        bytes.extend_from_slice(&self.checks);
    }

    /// Where the policy stands in the list; most batches have one or two.
    fn position(&mut self, policy: Policy<'_>) -> Result<u32, InvalidArgument> {
        if let Some(at) = self.policies.iter().position(|kept| kept.policy() == policy) {
            return Ok(narrow(at));
        }
        policy.check()?;
        if self.policies.len() >= BATCH_POLICIES_MAX {
            return Err(InvalidArgument::TooManyPolicies);
        }
        self.policies.push(Kept::of(policy));
        Ok(narrow(self.policies.len().saturating_sub(1)))
    }
}

/// A count that the limits above keep far below 2^32.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snowtide_protocol::codec::Cursor;
    use snowtide_protocol::limit::{Algorithm, Numbers};
    use snowtide_protocol::wire::WirePolicy;

    use super::*;

    fn policy() -> impl Strategy<Value = Kept> {
        let numbers = (0_usize..3, any::<[u64; 3]>()).prop_map(|(algorithm, [limit, window_ms, burst])| {
            Kept::Given(Numbers { algorithm: Algorithm::ALL[algorithm], limit, window_ms, burst })
        });
        prop_oneof!["[a-c]{1,2}".prop_map(|name| Kept::Named(name.into())), numbers]
    }

    proptest! {
        #[test]
        fn a_batch_arrives_as_it_was_built(
            id: u64,
            checks in prop::collection::vec((policy(), "[a-z]{1,40}", any::<u64>()), 0..60),
        ) {
            let mut batch = LimitBatch::new();
            for (kept, key, cost) in &checks {
                batch.check(kept.policy(), key, *cost).unwrap();
            }
            let mut bytes = Vec::new();
            batch.append_request(id, &mut bytes);
            prop_assert!(bytes.len() <= batch.weight());
            prop_assert_eq!(batch.charges, checks.iter().any(|(_, _, cost)| *cost > 0));
            // As a server reads it.
            let mut cursor = Cursor::new(&bytes);
            let head: RequestHead = cursor.read().unwrap();
            let Ask::Limits { policies, checks: count } = head.ask else { panic!("{head:?}") };
            prop_assert_eq!((head.id, count as usize), (id, checks.len()));
            let policies: Vec<WirePolicy<'_>> = (0..policies).map(|_| cursor.read().unwrap()).collect();
            for (kept, key, cost) in &checks {
                let read: WireCheck<'_> = cursor.read().unwrap();
                prop_assert_eq!(policies[read.policy as usize], kept.policy().0);
                prop_assert_eq!((read.key, read.cost), (&**key, *cost));
            }
            prop_assert!(cursor.finish().is_ok());
        }
    }

    #[test]
    fn what_breaks_a_limit_is_refused_and_leaves_no_trace() {
        let mut batch = LimitBatch::new();
        let long = "p".repeat(65);
        for wrong in ["", &long] {
            let refused = batch.check(wrong, "k", 1).unwrap_err();
            assert_eq!(refused, InvalidArgument::PolicyLength(wrong.len()));
        }
        assert!(matches!(batch.check("p", "", 1), Err(InvalidArgument::Key(_))));
        for number in 0..BATCH_POLICIES_MAX {
            batch.peek(&number.to_string(), "k").unwrap();
        }
        assert_eq!(batch.check("one-more", "k", 1).unwrap_err(), InvalidArgument::TooManyPolicies);
        assert!(!batch.charges && batch.len() == BATCH_POLICIES_MAX);
        batch.clear();
        assert!(batch.is_empty());
        for _ in 0..BATCH_OPERATIONS_MAX {
            batch.check("p", "k", 1).unwrap();
        }
        assert_eq!(batch.check("p", "k", 1).unwrap_err(), InvalidArgument::TooManyChecks);
    }
}
