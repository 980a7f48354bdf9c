//! Faults: what is done to a cluster while a load goes on.
//!
//! A [`fault`] is a sentence; a [`script`] has all of them carried out, beside the load, by [`orders`] to whoever runs the
//! cluster.

pub mod fault;
pub mod orders;
pub mod script;
