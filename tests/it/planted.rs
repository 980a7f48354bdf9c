//! The list of planted bugs cannot rot: every bug still has its place in the sources.

use std::path::Path;

#[path = "../planted/bugs.rs"]
#[allow(dead_code)] // there is more in it than is needed here
mod bugs;

#[test]
fn every_bug_can_still_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bugs = bugs::list(root).unwrap();
    assert!(bugs.len() >= 30, "{} bugs", bugs.len());
    bugs::planted(root, &bugs).unwrap();
}
