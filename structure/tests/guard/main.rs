//! The shape of the code, held by tests: what pure code may name (I7), which way the arrows point, who reads the clocks,
//! and that no new circle comes. They read every file of every crate to its end, and skip what stands under `#[cfg(test)]`.
//!
//! `sees` shows that they notice what they forbid.

// Nothing where something must be is what a test is for.
#![allow(clippy::unwrap_used)]

mod sees;
mod tables;

use std::path::Path;
use std::sync::LazyLock;

use snowtide_structure::source::{Crate, Package};
use snowtide_structure::{checkout, rules, source};
use tables::{CIRCLES_TO_UNTIE, CRATES, FORBIDDEN, MAPS, PURE};

/// For each name, the names that belong to it.
type Table = &'static [(&'static str, &'static [&'static str])];

static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(|| {
    let structure = Path::new(env!("CARGO_MANIFEST_DIR"));
    checkout::read(structure.parent().expect("a folder around this crate")).expect("a checkout")
});

static CRATES_READ: LazyLock<Vec<Crate>> =
    LazyLock::new(|| PACKAGES.iter().map(|package| source::read(package).expect("Rust")).collect());

fn the_server() -> &'static Crate {
    CRATES_READ.iter().find(|parsed| parsed.name == "snowtide").expect("the server")
}

fn map_of(parsed: &Crate) -> Table {
    let map = MAPS.iter().find(|(name, _)| *name == parsed.name);
    map.unwrap_or_else(|| panic!("{} has no map in structure/tests/guard/tables.rs", parsed.name)).1
}

#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_module_was_read() {
    assert_none(&CRATES_READ.iter().flat_map(rules::unread).collect::<Vec<_>>());
}

#[test]
fn pure_modules_name_no_clock_no_randomness_and_no_io() {
    assert_none(&rules::words(the_server(), &PURE, &FORBIDDEN));
}

#[test]
fn only_the_clock_reads_the_clocks() {
    assert_none(&rules::clock_readers(the_server(), "clock"));
}

#[test]
fn arrows_between_crates_point_one_way_and_every_permission_is_used() {
    assert_none(&rules::crate_arrows(&CRATES_READ, CRATES));
}

#[test]
fn arrows_between_modules_point_one_way_and_every_permission_is_used() {
    let findings = |parsed: &Crate| rules::module_arrows(parsed, map_of(parsed));
    assert_none(&CRATES_READ.iter().flat_map(findings).collect::<Vec<_>>());
}

#[test]
fn no_new_circle_comes_and_those_untied_are_struck_off() {
    let findings = |parsed: &Crate| rules::circles(parsed, CIRCLES_TO_UNTIE);
    assert_none(&CRATES_READ.iter().flat_map(findings).collect::<Vec<_>>());
}
