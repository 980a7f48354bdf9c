//! What is asked of limits: a policy, a key, and how much is to be charged.

mod batch;
mod policy;

pub use batch::LimitBatch;
pub use policy::Policy;

#[cfg(feature = "tower")]
pub(crate) use policy::Kept;

/// One decision that is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    pub(crate) policy: Policy<'a>,
    pub(crate) key: &'a str,
    /// How much is to be charged; zero looks.
    pub(crate) cost: u64,
}
