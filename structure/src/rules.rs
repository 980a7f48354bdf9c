//! What the guard objects to. Each rule takes parsed crates and a table, and returns its findings as sentences.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrows::{self, Arrow};
use crate::names::{Names, Stop, Target};
use crate::source::{Crate, Source};

/// For each user, whom it may use.
pub type Arrows<'a> = &'a [(&'a str, &'a [&'a str])];

/// Calls that read a clock of the system, by their last two names.
const CLOCK_READERS: [[&str; 2]; 6] = [
    ["Instant", "now"],
    ["SystemTime", "now"],
    ["Timestamp", "now"],
    ["Zoned", "now"],
    ["OffsetDateTime", "now_utc"],
    ["OffsetDateTime", "now_local"],
];

/// Modules that a file declares and no source is: whatever stands there, the other rules do not see it.
pub fn unread(parsed: &Crate) -> Vec<String> {
    let read: BTreeSet<&[String]> = parsed.product().map(|(_, module)| module).collect();
    let of = |source: &Source| -> Vec<String> {
        let missing = source.declared.iter().filter(|module| !read.contains(module.as_slice()));
        missing.map(|module| format!("{} declares {}, which was not read", source.path, module.join("::"))).collect()
    };
    parsed.product().flat_map(|(source, _)| of(source)).collect()
}

/// Every place where one of the top-level `modules` names one of the `forbidden` words, or a path that begins with one.
pub fn words(parsed: &Crate, modules: &[&str], forbidden: &[&str]) -> Vec<String> {
    let names = Names::of(parsed);
    let mut findings = Vec::new();
    for (source, _) in parsed.product().filter(|(source, _)| modules.contains(&source.part.as_str())) {
        let words = source.words.iter().filter(|(word, _)| forbidden.contains(&word.as_str()));
        findings.extend(words.map(|(word, line)| names_forbidden(source, *line, word)));
        for (_, target, line) in arrows::targets(&names, source, Stop::Never) {
            let Target::Abroad(path) = target else { continue };
            let path = path.join("::");
            let begins = |word: &&&str| path.strip_prefix(**word).is_some_and(|b| b.is_empty() || b.starts_with("::"));
            findings.extend(forbidden.iter().find(begins).map(|word| names_forbidden(source, line, word)));
        }
    }
    findings.dedup();
    findings
}

fn names_forbidden(source: &Source, line: usize, word: &str) -> String {
    format!("{}:{line} names {word}: pure code is told everything (I7)", source.path)
}

/// Every place outside of the top-level module `clock` where the crate reads a clock of the system.
pub fn clock_readers(parsed: &Crate, clock: &str) -> Vec<String> {
    let names = Names::of(parsed);
    let mut findings = Vec::new();
    for (source, _) in parsed.product().filter(|(source, _)| source.part != clock) {
        for (_, target, line) in arrows::targets(&names, source, Stop::Never) {
            let Target::Abroad(path) = target else { continue };
            if CLOCK_READERS.iter().any(|reader| path.ends_with(&reader.map(str::to_owned))) {
                findings.push(format!("{}:{line} calls {}: ask src/{clock}.rs", source.path, path.join("::")));
            }
        }
    }
    findings
}

/// Arrows between top-level modules of a crate that `allowed` does not list, permissions there that nothing uses, and
/// modules that it does not know.
pub fn module_arrows(parsed: &Crate, allowed: Arrows<'_>) -> Vec<String> {
    let arrows = arrows::of_modules(parsed).into_iter().filter(|arrow| arrow.within.is_empty()).collect();
    let parts = parsed.product().map(|(source, _)| source.part.as_str()).filter(|part| *part != "lib");
    judge(&parsed.identifier(), arrows, &parts.collect(), allowed)
}

/// The same for the crates of a workspace.
pub fn crate_arrows(crates: &[Crate], allowed: Arrows<'_>) -> Vec<String> {
    let all: Vec<String> = crates.iter().map(Crate::identifier).collect();
    judge("the workspace", arrows::of_crates(crates), &all.iter().map(String::as_str).collect(), allowed)
}

fn judge(of: &str, arrows: Vec<Arrow>, parts: &BTreeSet<&str>, allowed: Arrows<'_>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = allowed.iter().copied().collect();
    let may = |from: &str, to: &str| allowed.get(from).is_some_and(|uses| uses.contains(&to));
    let unknown = parts.iter().filter(|part| !allowed.contains_key(**part));
    let gone = allowed.keys().filter(|part| !parts.contains(**part));
    let mut findings: Vec<String> = unknown.map(|part| format!("{part} of {of} is not on the map")).collect();
    findings.extend(gone.map(|part| format!("{part} is on the map of {of}, but it does not exist: remove it")));
    let used: BTreeSet<(String, String)> = arrows.iter().map(|a| (a.from.clone(), a.to.clone())).collect();
    let wrong = arrows.into_iter().filter(|arrow| !may(&arrow.from, &arrow.to));
    findings.extend(wrong.map(|Arrow { from, to, place, .. }| format!("{place} uses {to}, and {from} must not")));
    for (from, uses) in allowed {
        let unused = uses.iter().filter(|to| !used.contains(&(from.to_owned(), (**to).to_owned())));
        findings.extend(unused.map(|to| format!("{from} of {of} may use {to}, and never does: remove the permission")));
    }
    findings
}

/// Circles of a crate that `known` does not list, and those listed there that do not exist as they are listed. Each is
/// listed by the module that it is in, and its own modules in order: every group whose modules all lead to each other,
/// and every pair within such a group whose two use each other directly.
pub fn circles(parsed: &Crate, known: &[(&str, &[&str])]) -> Vec<String> {
    let arrows = arrows::of_modules(parsed);
    let of = parsed.identifier();
    let closed: BTreeSet<Tie> = arrows::circles(&arrows).into_iter().flat_map(|circle| ties(&of, circle)).collect();
    let owned = |modules: &[&str]| modules.iter().map(|module| (*module).to_owned()).collect();
    let known = known.iter().filter(|(within, _)| within.split("::").next() == Some(&of));
    let known: BTreeSet<Tie> = known.map(|(within, modules)| ((*within).to_owned(), owned(modules))).collect();
    let is_known = |within: &str, arrow: &Arrow| {
        let holds =
            |(known, modules): &&Tie| known == within && [&arrow.from, &arrow.to].iter().all(|m| modules.contains(m));
        known.iter().find(holds).is_some()
    };
    let new = closed.difference(&known).map(|(within, modules)| {
        let inside = |arrow: &&Arrow| self::within(&of, &arrow.within) == *within && modules.contains(&arrow.from);
        let inside = arrows.iter().filter(inside).filter(|arrow| modules.contains(&arrow.to));
        let shown = inside.filter(|arrow| modules.len() == 2 || !is_known(within, arrow));
        let shown: Vec<_> = shown.map(|arrow| format!("{} uses {}", arrow.place, arrow.to)).collect();
        format!("{within} has a new circle of {}: {}", modules.join(", "), shown.join(", "))
    });
    let untied = known.difference(&closed).map(|(within, modules)| {
        format!("{within} has no circle of exactly {} any more: remove it from the list", modules.join(", "))
    });
    new.chain(untied).collect()
}

/// The module that a circle is in, and its own modules.
type Tie = (String, Vec<String>);

fn ties(of: &str, circle: arrows::Circle) -> Vec<Tie> {
    let within = within(of, &circle.within);
    let pairs = circle.pairs.into_iter().map(|(one, other)| vec![one, other]);
    pairs.chain([circle.modules]).map(|modules| (within.clone(), modules)).collect()
}

fn within(of: &str, module: &[String]) -> String {
    [&[of.to_owned()], module].concat().join("::")
}
