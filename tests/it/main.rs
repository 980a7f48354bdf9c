//! Tests of the whole: real processes, real parts.
//!
//! No test sleeps until something is probably true: each waits for a condition with a deadline. When one fails, the ends
//! of its nodes' logs are printed. No process outlives its test.

#![allow(clippy::unwrap_used)] // nothing where something must be is what a test is for

mod architecture;
mod config;
mod drain;
mod harness;
mod hostile;
mod kills;
mod order;
mod partitions;
mod readme;
mod refusals;
mod single;
