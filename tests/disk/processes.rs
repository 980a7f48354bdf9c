//! Real processes under load, as the tests of the whole have them.

#[path = "../it/clones.rs"]
pub(crate) mod clones;
#[path = "../it/harness/mod.rs"]
pub(crate) mod harness;
#[path = "../it/kills.rs"]
pub(crate) mod kills;
#[path = "../it/minting/mod.rs"]
pub(crate) mod minting;
