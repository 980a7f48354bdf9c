//! Snowflake-style IDs: the layout of the bits, the claim to a worker id, the generator, and when to believe a clock. Pure (I7).
//!
//! Promises (G5): the IDs of one generator are strictly increasing, over restarts too, as long as it is given the last
//! durable ceiling. Never: reads a clock, sleeps, or issues an ID above the ceiling it was told is durable (I10).

mod claim;
#[cfg(test)]
mod clock_tests;
mod generator;
mod layout;
#[cfg(test)]
mod model_tests;
mod trust;

pub use claim::{Claim, Floor};
pub use generator::{Generator, Limits, Misfit, Run, Verdict};
pub use layout::{Bits, Layout, LayoutError, NotAnId, Parts};
pub use trust::{Reading, ceiling_max};
