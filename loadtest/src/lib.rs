//! A load generator for Snowtide that proves nothing was lost.
//!
//! It sends at times fixed in advance (an *open loop*), measures every latency from the intended time, and at the end
//! compares each counter in each region with its own ledger of what was acknowledged and what was attempted. Every ID
//! it is given goes through a duplicate finder.
//!
//! The pure parts take time, randomness and answers as arguments: [`schedule`] (when), [`keys`] (what), [`ledger`] and
//! [`ids`] (what must be true). The shell around them: [`target`] (the two front doors), [`lane`] (one connection's
//! requests), [`run`] (all of it), [`conserve`] (the check at the end), [`report`] (what people and programs read).
//!
//! It links the client crate only; it shares no code with the server that it tests.

pub mod args;
pub mod conserve;
pub mod finding;
pub mod ids;
pub mod keys;
pub mod lane;
pub mod ledger;
pub mod measure;
pub mod report;
pub mod run;
pub mod schedule;
pub mod target;
pub mod ticker;
