//! By which policy a decision is asked.

use snowtide_protocol::limit::{Numbers, POLICY_BYTES_MAX};
use snowtide_protocol::wire::WirePolicy;

use crate::error::InvalidArgument;

/// A policy of the node's configuration, by its name, or [`Numbers`] that the request brings along. Those are part of the
/// key: under other numbers, the same key is counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a>(pub(crate) WirePolicy<'a>);

impl<'a> From<&'a str> for Policy<'a> {
    fn from(name: &'a str) -> Self {
        Self(WirePolicy::Named(name))
    }
}

impl<'a> From<&'a String> for Policy<'a> {
    fn from(name: &'a String) -> Self {
        Self(WirePolicy::Named(name))
    }
}

impl From<Numbers> for Policy<'_> {
    fn from(numbers: Numbers) -> Self {
        Self(WirePolicy::Given(numbers))
    }
}

impl Policy<'_> {
    pub(crate) fn check(self) -> Result<(), InvalidArgument> {
        match self.0 {
            WirePolicy::Named(name) if !(1..=POLICY_BYTES_MAX).contains(&name.len()) => {
                Err(InvalidArgument::PolicyLength(name.len()))
            }
            WirePolicy::Named(_) | WirePolicy::Given(_) => Ok(()),
        }
    }
}

/// The same for a list that outlives the names.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Named(Box<str>),
    Given(Numbers),
}

impl Kept {
    pub(crate) fn of(Policy(policy): Policy<'_>) -> Self {
        match policy {
            WirePolicy::Named(name) => Self::Named(name.into()),
            WirePolicy::Given(numbers) => Self::Given(numbers),
        }
    }

    pub(crate) fn policy(&self) -> Policy<'_> {
        match self {
            Self::Named(name) => (&**name).into(),
            Self::Given(numbers) => (*numbers).into(),
        }
    }
}
