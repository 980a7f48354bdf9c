//! Who uses whom: between crates, and between the modules of one crate; and the circles that this makes.
//!
//! An arrow between modules is told at the level where it leads across: where `a::b` names `a::c::d`, that is an arrow from
//! `b` to `c` within `a`. A module and those inside of it are one thing to the rest, and use each other as they like.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{Names, Stop, Target};
use crate::source::{Crate, Source};

/// That one module uses another, or one crate another.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Arrow {
    /// The module that both are in; empty at the top level, and between crates.
    pub within: Vec<String>,
    /// Who uses.
    pub from: String,
    /// Who is used.
    pub to: String,
    /// A file and line that shows it.
    pub place: String,
}

/// A group of modules in which each leads to every other, by their arrows.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Circle {
    /// The module that all of them are in; empty at the top level.
    pub within: Vec<String>,
    /// Their names, in order.
    pub modules: Vec<String>,
    /// Those of them that use each other without a third, in order.
    pub pairs: Vec<(String, String)>,
}

/// Each path that a source names, and what it leads to.
pub fn targets<'a>(
    names: &'a Names<'_>,
    source: &'a Source,
    stop: Stop,
) -> impl Iterator<Item = (&'a [String], Target, usize)> {
    source.scopes.iter().flat_map(move |scope| {
        let resolve = move |(path, line): &(Vec<String>, usize)| {
            Some((scope.module.as_slice(), names.resolve(&scope.module, path, stop)?, *line))
        };
        scope.used.iter().filter_map(resolve)
    })
}

/// The arrows between the modules of a crate, each once.
pub fn of_modules(parsed: &Crate) -> Vec<Arrow> {
    let names = Names::of(parsed);
    let mut arrows = BTreeMap::new();
    for (source, _) in parsed.product() {
        for (from, target, line) in targets(&names, source, Stop::Outside) {
            let Target::Here(to, _) = target else { continue };
            let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
            // Where one is around the other, nothing leads across.
            let (Some(own), Some(other)) = (from.get(shared), to.get(shared)) else { continue };
            let key = (from[..shared].to_vec(), own.clone(), other.clone());
            arrows.entry(key).or_insert_with(|| format!("{}:{line}", source.path));
        }
    }
    arrows.into_iter().map(|((within, from, to), place)| Arrow { within, from, to, place }).collect()
}

/// The arrows between the crates of a workspace, each once, by the names that code gives them.
pub fn of_crates(crates: &[Crate]) -> Vec<Arrow> {
    let all: BTreeSet<String> = crates.iter().map(Crate::identifier).collect();
    let mut arrows = BTreeMap::new();
    for parsed in crates {
        let names = Names::of(parsed);
        for source in parsed.sources.iter().filter(|source| !source.is_test) {
            for (_, target, line) in targets(&names, source, Stop::Never) {
                let Target::Abroad(path) = target else { continue };
                if let Some(to) = path.first().filter(|to| all.contains(*to)) {
                    let key = (parsed.identifier(), to.clone());
                    arrows.entry(key).or_insert_with(|| format!("{}:{line}", source.path));
                }
            }
        }
    }
    arrows.into_iter().map(|((from, to), place)| Arrow { within: Vec::new(), from, to, place }).collect()
}

/// The circles that `arrows` close.
pub fn circles(arrows: &[Arrow]) -> Vec<Circle> {
    let mut levels: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for arrow in arrows {
        levels.entry(&arrow.within).or_default().entry(&arrow.from).or_default().insert(&arrow.to);
    }
    levels.into_iter().flat_map(|(within, uses)| of_level(within, &uses)).collect()
}

fn of_level(within: &[String], uses: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Circle> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = uses.keys().map(|from| (*from, reachable(from, uses))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    let groups: BTreeSet<Vec<String>> = reached
        .iter()
        .filter(|(own, _)| reaches(own, own))
        .map(|(own, reached)| reached.iter().filter(|other| reaches(other, own)).map(|&o| o.to_owned()).collect())
        .collect();
    let direct = |from: &String, to: &String| uses.get(from.as_str()).is_some_and(|uses| uses.contains(to.as_str()));
    let circle = |modules: Vec<String>| {
        let pairs = modules.iter().flat_map(|from| modules.iter().map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from < to && direct(from, to) && direct(to, from));
        let pairs = pairs.map(|(from, to)| (from.clone(), to.clone())).collect();
        Circle { within: within.to_vec(), modules, pairs }
    };
    groups.into_iter().map(circle).collect()
}

/// Everything that `from` leads to, itself only if a circle leads back.
fn reachable<'a>(from: &str, uses: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<&str> = uses.get(from).into_iter().flatten().copied().collect();
    while let Some(next) = ahead.pop() {
        if reached.insert(next) {
            ahead.extend(uses.get(next).into_iter().flatten().copied());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{self, Package, Text};

    fn parsed(texts: &[(&str, &str)]) -> Crate {
        let text = |(path, text): &(&str, &str)| Text {
            path: (*path).to_owned(),
            within: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        source::read(&Package { name: "some".to_owned(), texts: texts.iter().map(text).collect() }).unwrap()
    }

    fn shown(parsed: &Crate) -> Vec<String> {
        let show = |arrow: Arrow| format!("{}{} > {}", arrow.within.join("/") + "/", arrow.from, arrow.to);
        of_modules(parsed).into_iter().map(show).collect()
    }

    #[test]
    fn what_a_parent_imports_for_its_children_leads_to_where_it_comes_from() {
        let parsed = parsed(&[
            ("src/lib.rs", "mod a; mod b; mod c; pub use b::Public;"),
            ("src/a/mod.rs", "mod x; mod y; use self::y::Y; use crate::c;"),
            ("src/a/x.rs", "use super::{Y, c::C}; use crate::Public;"),
            ("src/a/y.rs", "use super::x; fn f(_: super::Own) {}"),
            ("src/b.rs", "pub use crate::c::C as Public;"),
            ("src/c.rs", ""),
        ]);
        assert_eq!(shown(&parsed), ["/a > b", "/a > c", "/b > c", "a/x > y", "a/y > x"]);
    }

    #[test]
    fn tests_have_no_arrows_wherever_they_stand() {
        let parsed = parsed(&[
            ("src/lib.rs", "mod a; mod b;"),
            (
                "src/a.rs",
                "#[cfg(test)] mod fake; struct A { #[cfg(test)] b: crate::b::B } fn f() { #[cfg(test)] let b = crate::b::B; }",
            ),
            ("src/a/fake.rs", "use crate::b::B;"),
            ("src/b.rs", "#[cfg(all(test, unix))] mod tests { use crate::a::A; } #[cfg(not(test))] use crate::a::A;"),
        ]);
        assert_eq!(shown(&parsed), ["/b > a"]);
    }

    #[test]
    fn circles_are_groups_that_lead_back_and_the_pairs_in_them() {
        let arrow = |(from, to): (&str, &str)| Arrow {
            within: Vec::new(),
            from: from.to_owned(),
            to: to.to_owned(),
            place: String::new(),
        };
        let arrows = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "b"), ("c", "d"), ("e", "a"), ("f", "g"), ("g", "f")];
        let found: Vec<_> =
            circles(&arrows.map(arrow)).into_iter().map(|circle| (circle.modules, circle.pairs)).collect();
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [(names(&["a", "b", "c"]), vec![pair("b", "c")]), (names(&["f", "g"]), vec![pair("f", "g")])]
        );
    }
}
