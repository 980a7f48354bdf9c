//! The shape of Snowtide's code: how large its parts are, and which of them uses which.
//!
//! [`checkout`] reads the folders of a checkout; nothing else here reads or writes. [`source`] parses one text with syn
//! and keeps plain facts of it: lines, functions, types, words, and the paths that the code names. [`names`] finds the
//! module that a path leads to. [`arrows`] are the paths that lead from one module to another, and the circles that they
//! close. [`shape`] adds all of it up and [`report`] prints it; [`rules`] says what the guard (`tests/guard`) objects to.
//!
//! It sees what is written, not what the compiler makes of it: it does not expand macros (it reads their tokens), it does
//! not know types, and it reads code behind every feature.

pub mod arrows;
pub mod checkout;
pub mod names;
mod place;
pub mod report;
pub mod rules;
pub mod shape;
pub mod source;
mod tests_within;
mod tokens;
