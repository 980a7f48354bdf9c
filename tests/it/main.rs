//! Tests of the whole: real processes, real parts.
//!
//! No test sleeps until something is probably true: each waits for a condition with a deadline. When one fails, the ends
//! of its nodes' logs are printed. No process outlives its test.

// Nothing where something must be is what a test is for; what it prints is its report; rogue bytes are cut to size.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation)]

mod audit;
mod certificates;
mod cli;
mod clocks;
mod clones;
mod config;
mod descriptors;
mod docs;
mod drain;
mod drill;
mod durability;
mod envoy;
mod examples;
mod forms;
mod fuzz;
mod harness;
mod hostile;
mod http;
mod incarnations;
mod kills;
mod limited;
mod limits;
mod minting;
mod once;
mod order;
mod partitions;
mod planted;
mod prefetched;
mod quotas;
mod readme;
mod redis;
mod refusals;
mod reload;
mod repair;
mod residency;
mod signals;
mod single;
mod starts;
mod store;
mod strangers;
mod tokens;
mod workers;
