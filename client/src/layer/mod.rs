//! A layer of tower that limits a service by the decisions of a node.

mod denied;
mod limited;
mod settings;
#[cfg(test)]
mod tests;

pub use denied::{Denied, too_many_requests};
pub use limited::{Limited, LimitedFuture};
pub use settings::LimitLayer;
