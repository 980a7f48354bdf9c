//! The budget of retries.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a retry takes, in what a success puts back.
const PRICE: u64 = 10;

/// Retries that may still be made. There is no clock in it: what counts is how many requests succeed meanwhile, so an
/// idle client cannot save up more than the reserve, and one that only fails soon stops to retry.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    most: u64,
}

impl Budget {
    /// Full.
    pub(super) fn new(retries: u32) -> Self {
        let most = u64::from(retries).saturating_mul(PRICE);
        Self { left: AtomicU64::new(most), most }
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&self) -> bool {
        let take = |left: u64| left.checked_sub(PRICE);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// A request has succeeded.
    pub(super) fn earn(&self) {
        // Nearly always full: then nothing is written, so that cores do not fight for the line.
        if self.left.load(Ordering::Relaxed) < self.most {
            let put = |left: u64| (left < self.most).then(|| left.saturating_add(1));
            let _full_meanwhile = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, put);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_successes_buy_one_retry_and_no_more_than_the_reserve_is_kept() {
        let budget = Budget::new(2);
        (0..100).for_each(|_| budget.earn());
        assert_eq!([budget.spend(), budget.spend(), budget.spend()], [true, true, false]);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend() && !budget.spend());
    }

    #[test]
    fn without_a_reserve_there_are_no_retries() {
        let budget = Budget::new(0);
        (0..100).for_each(|_| budget.earn());
        assert!(!budget.spend());
    }
}
