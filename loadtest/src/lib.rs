//! A load generator for Snowtide that proves nothing was lost.
//!
//! It sends at times fixed in advance (an *open loop*), measures every latency from the intended time, and at the end
//! compares each counter in each region with its own ledger of what was acknowledged and what was attempted. Every ID
//! it is given goes through a duplicate finder.
//!
//! What a run is asked is a [`plan`]; a [`scenario`] is one with a name. The pure parts take time, randomness and answers as
//! arguments: [`schedule`] (when), [`keys`] (what), [`ledger`] and [`ids`] (what must be true), [`measure`] (what is measured).
//! The shell around them is [`run`]: lanes that send to a [`target`], in one process or several, beside [`faults`] if there are
//! any, and [`conserve`], the check at the end. What came of it is told by [`report`], whose files [`compare`] reads again;
//! [`generator`] says whether the generator was itself the bottleneck. A [`drill`] is a run with faults in a cluster of its own.
//!
//! It links the client crate only; it shares no code with the server that it tests, whose clusters it drives as a person
//! would. What runs clusters may link it, as the demo does, to have a drill in one of its own ([`drill::RunningCluster`]).

pub mod cli;
pub mod compare;
pub mod conserve;
pub mod drill;
pub mod faults;
pub mod figures;
pub mod finding;
pub mod generator;
pub mod ids;
pub mod keys;
pub mod latency;
pub mod ledger;
pub mod limits;
pub mod measure;
pub mod plan;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod target;
pub mod threshold;
pub mod timeline;
