//! The generator's own books of a limit: what was admitted to which key, where and when, and whether that is within what the
//! law of the limit allows ([`bounds`]). Pure but for the lock.
//!
//! A decision was made at some moment between the request and its answer, by a clock that may be off by a little. So what is
//! held to the bound is only what is certain: a sum of admissions that certainly fall into one window, or into one span of time,
//! against the most that nodes may have admitted without each other's knowledge. An admission without an answer counts for the
//! second and not for the first.

pub mod books;
pub mod bounds;
mod judge;
mod spans;

pub use judge::{Closest, Disturbance, Fair, Judged, Law, Over, judge};
