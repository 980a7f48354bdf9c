//! Shows that the guard sees: what it forbids is written at the end of files, in memory and behind their tests, and has to be
//! noticed in every module.

use std::collections::{BTreeMap, BTreeSet};

use snowtide_structure::source::{Crate, Source};
use snowtide_structure::{arrows, rules};

use super::tables::{CIRCLES_TO_UNTIE, CRATES, FORBIDDEN, PURE};
use super::{CRATES_READ, PACKAGES, map_of, the_server};

/// Ways to write that a module of the crate is used: `ROOT` stands for the way to the crate's root, `TO` for the module.
const WAYS: [&str; 8] = [
    "use crate::TO as _;",
    "use crate::{self as root, {TO::{deep::{self as _}}}};",
    "use ROOT::TO::Something as _;",
    "fn appended() { ROOT::TO::something(); }",
    "type Appended = Vec<Option<crate::TO::Something>>;",
    "fn appended() { tracing::debug!(\"{}\", crate::TO::something()); }",
    "use crate as around; use around::TO::something as _;",
    "mod appended { fn appended() { super::ROOT::TO::something(); } }",
];

/// Ways to read a clock.
const READERS: [&str; 5] = [
    "fn appended() { std::time::Instant::now(); }",
    "use std::time::Instant as Appended; fn appended() -> Appended { Appended::now() }",
    "use std::{time as t}; fn appended() { let read = t::SystemTime::now; read(); }",
    "fn appended() { println!(\"{:?}\", std::time::SystemTime::now()); }",
    "use tokio::time; fn appended() { time::Instant::now(); }",
];

/// For each top-level module of a crate the file to write into: one with tests before its end, if there is one.
fn files(parsed: &Crate) -> BTreeMap<&str, &Source> {
    let mut files: BTreeMap<&str, &Source> = BTreeMap::new();
    for (source, _) in parsed.product().filter(|(source, _)| source.part != "lib") {
        let file = files.entry(&source.part).or_insert(source);
        if file.lines.test < source.lines.test {
            *file = source;
        }
    }
    files
}

fn text(path: &str) -> &'static str {
    let texts = PACKAGES.iter().flat_map(|package| &package.texts);
    &texts.into_iter().find(|text| text.path == path).expect("a file that was read").text
}

/// The crate with `line` at the end of each of `files`.
fn with(parsed: &Crate, files: &BTreeMap<&str, &Source>, line: impl Fn(&str, &Source) -> String) -> Crate {
    let changed = |(part, source): (&&str, &&Source)| {
        (source.path.clone(), format!("{}\n{}\n", text(&source.path), line(part, source)))
    };
    parsed.with(&files.iter().map(changed).collect()).unwrap()
}

/// The way from a file's module to the root of its crate.
fn root(source: &Source) -> String {
    vec!["super"; source.module.as_ref().unwrap().len()].join("::")
}

#[test]
fn words_that_pure_code_must_not_name_are_noticed_in_every_pure_module() {
    let mut files = files(the_server());
    files.retain(|part, _| PURE.contains(part));
    assert_eq!(files.len(), PURE.len());
    for way in ["use WORD as _;", "fn appended() { println!(\"{}\", WORD::x()); }"] {
        let lines = FORBIDDEN.map(|word| way.replace("WORD", word)).join("\n");
        let findings = rules::words(&with(the_server(), &files, |_, _| lines.clone()), &PURE, &FORBIDDEN);
        for (file, word) in files.values().flat_map(|file| FORBIDDEN.map(|word| (file, word))) {
            let noticed = |f: &String| f.starts_with(&file.path) && f.contains(&format!(" names {word}: "));
            assert!(findings.iter().any(noticed), "nobody noticed `{way}` with {word} in {}", file.path);
        }
    }
}

#[test]
fn arrows_that_no_map_has_are_noticed_in_every_module_however_they_are_written() {
    for parsed in CRATES_READ.iter() {
        let (files, map) = (files(parsed), map_of(parsed));
        for way in WAYS {
            let strangers = |part: &str| -> Vec<&str> {
                let may = map.iter().find(|(from, _)| *from == part).unwrap().1;
                map.iter().map(|(to, _)| *to).filter(|to| *to != part && !may.contains(to)).collect()
            };
            let lines = |part: &str, source: &Source| {
                let line = |to: &&str| way.replace("TO", to).replace("ROOT", &root(source));
                strangers(part).iter().map(line).collect::<Vec<_>>().join("\n")
            };
            let findings = rules::module_arrows(&with(parsed, &files, lines), map);
            for (part, file) in &files {
                for to in strangers(part) {
                    let noticed = |finding: &String| {
                        finding.starts_with(&file.path)
                            && finding.ends_with(&format!(" uses {to}, and {part} must not"))
                    };
                    assert!(findings.iter().any(noticed), "nobody noticed `{way}` from {} to {to}", file.path);
                }
            }
        }
    }
}

#[test]
fn arrows_between_crates_that_the_map_has_not_are_noticed() {
    let changed = CRATES_READ.iter().map(|parsed| {
        let file = parsed.sources.iter().find(|source| !source.is_test).unwrap();
        let line =
            |_: &str, _: &Source| "fn appended() { print!(\"\", snowtide_structure::x(), snowtide::x()) }".to_owned();
        with(parsed, &BTreeMap::from([("", file.as_ref())]), line)
    });
    let changed: Vec<Crate> = changed.collect();
    let findings = rules::crate_arrows(&changed, CRATES);
    for (from, may) in CRATES {
        for to in ["snowtide_structure", "snowtide"].iter().filter(|to| *to != from && !may.contains(to)) {
            let noticed = format!(" uses {to}, and {from} must not");
            assert!(findings.iter().any(|finding| finding.ends_with(&noticed)), "{from} to {to}: {findings:?}");
        }
    }
}

#[test]
fn permissions_that_nothing_uses_are_noticed_in_every_module() {
    for parsed in CRATES_READ.iter() {
        let map = map_of(parsed);
        let all: Vec<&str> = map.iter().map(|(part, _)| *part).collect();
        let everything: Vec<(&str, &[&str])> = all.iter().map(|part| (*part, all.as_slice())).collect();
        let findings: BTreeSet<String> = rules::module_arrows(parsed, &everything).into_iter().collect();
        let unused = |from: &str, to: &str| {
            format!("{from} of {} may use {to}, and never does: remove the permission", parsed.identifier())
        };
        let expected = map.iter().flat_map(|(from, may)| {
            all.iter().filter(|to| !may.contains(to)).map(|to| unused(from, to)).collect::<Vec<_>>()
        });
        assert_eq!(findings, expected.collect());
    }
}

#[test]
fn modules_that_no_map_has_and_those_that_are_gone_are_noticed() {
    let map: Vec<_> = map_of(the_server()).iter().filter(|(part, _)| *part != "codec").copied().collect();
    let map = [map, vec![("gone", &[] as &[&str])]].concat();
    let findings = rules::module_arrows(the_server(), &map);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0], "codec of snowtide is not on the map");
    assert!(findings[1].starts_with("gone is on the map of snowtide, but it does not exist"));
}

#[test]
fn clocks_that_are_read_elsewhere_are_noticed_in_every_module() {
    let mut files = files(the_server());
    files.remove("clock");
    for way in READERS {
        let findings = rules::clock_readers(&with(the_server(), &files, |_, _| way.to_owned()), "clock");
        for file in files.values() {
            let noticed = findings.iter().any(|finding| finding.starts_with(&file.path));
            assert!(noticed, "nobody noticed `{way}` in {}", file.path);
        }
    }
}

#[test]
fn every_import_that_answers_another_is_noticed_as_a_circle() {
    for parsed in CRATES_READ.iter() {
        let found = arrows::of_modules(parsed);
        let answered = |arrow: &&arrows::Arrow| {
            found.iter().any(|other| (&other.within, &other.from, &other.to) == (&arrow.within, &arrow.to, &arrow.from))
        };
        let of = |arrow: &arrows::Arrow| [&[parsed.identifier()], arrow.within.as_slice()].concat().join("::");
        let mut texts = BTreeMap::new();
        let mut expected = BTreeSet::new();
        for arrow in found.iter().filter(|arrow| !answered(arrow)) {
            let module = |name: &str| [arrow.within.as_slice(), &[name.to_owned()]].concat();
            let (user, used) = (module(&arrow.from).join("::"), module(&arrow.to));
            let (file, _) = parsed.product().find(|(_, module)| *module == used).unwrap();
            let text = texts.entry(file.path.clone()).or_insert_with(|| text(&file.path).to_owned());
            text.push_str(&format!("\nfn appended() {{ crate::{user}::something(); }}\n"));
            let (one, other) = (arrow.from.clone().min(arrow.to.clone()), arrow.from.clone().max(arrow.to.clone()));
            expected.insert(format!("{} has a new circle of {one}, {other}: ", of(arrow)));
        }
        let findings = rules::circles(&parsed.with(&texts).unwrap(), CIRCLES_TO_UNTIE);
        for pair in expected {
            assert!(findings.iter().any(|finding| finding.starts_with(&pair)), "nobody noticed this: {pair}");
        }
    }
}

#[test]
fn circles_that_were_untied_are_noticed() {
    let known = [CIRCLES_TO_UNTIE, &[("snowtide::store", &["rows", "wal"])]].concat();
    let findings = rules::circles(the_server(), &known);
    assert_eq!(findings, ["snowtide::store has no circle of exactly rows, wal any more: remove it from the list"]);
}

#[test]
fn what_stands_under_cfg_test_may_name_anything() {
    let parsed = the_server();
    let file = files(parsed)["crdt"];
    let line = "#[cfg(test)]\nuse tokio::net::TcpStream;\n#[cfg(test)]\nmod appended { use crate::node::Node; }";
    let changed = with(parsed, &BTreeMap::from([("crdt", file)]), |_, _| line.to_owned());
    assert_eq!(rules::words(&changed, &PURE, &FORBIDDEN), Vec::<String>::new());
    assert_eq!(rules::module_arrows(&changed, map_of(parsed)), Vec::<String>::new());
}
