//! The figures of a workspace, as the report shows them and `--json` writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::arrows;
use crate::names::{Names, Stop, Target};
use crate::source::{Crate, Function, Lines, Source};

/// How many of the longest and largest are listed.
const LISTED: usize = 10;

/// The figures of a workspace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Shape {
    /// Its crates.
    pub crates: Vec<CrateShape>,
    /// The functions outside of tests with the most lines, the longest first.
    pub longest_functions: Vec<Ranked>,
    /// The structs with the most fields of their own.
    pub most_fields: Vec<Ranked>,
    /// The types with the most methods, over all implementations in their crate.
    pub most_methods: Vec<Ranked>,
    /// The circles between modules; the modules of each have the same parent.
    pub circles: Vec<CircleShape>,
}

/// The figures of one crate.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CrateShape {
    /// Its name.
    pub name: String,
    /// Its top-level modules, and its tests and benchmarks, by name.
    pub parts: Vec<PartShape>,
    /// All of them together.
    pub total: PartShape,
}

/// The figures of a top-level module, or of a program beside it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PartShape {
    /// Its name.
    pub name: String,
    /// How many files it has, tests included.
    pub files: usize,
    /// Lines of code outside of tests.
    pub product_lines: usize,
    /// Lines of code in tests.
    pub test_lines: usize,
    /// Functions outside of tests.
    pub functions: Lengths,
    /// Functions in tests.
    pub test_functions: Lengths,
}

/// How long some functions are, in lines of code.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lengths {
    /// How many there are.
    pub number: usize,
    /// Half of them are no longer.
    pub median: usize,
    /// Nine in ten are no longer.
    pub p90: usize,
    /// The longest of all.
    pub longest: usize,
}

/// Something that is listed for its size.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ranked {
    /// Its name.
    pub name: String,
    /// Its size: lines, fields or methods.
    pub size: usize,
    /// The file that it stands in; for methods, the module of their type.
    pub of: String,
    /// Where in the file; for methods, over how many files they are spread.
    pub at: String,
}

/// A circle between modules.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CircleShape {
    /// The crate, or the module, that all of them are in.
    pub within: String,
    /// Their names.
    pub modules: Vec<String>,
    /// Those of them that use each other without a third.
    pub pairs: Vec<(String, String)>,
}

impl Shape {
    /// Adds up the figures of `crates`.
    pub fn of(crates: &[Crate]) -> Self {
        Self {
            crates: crates.iter().map(CrateShape::of).collect(),
            longest_functions: largest(crates.iter().flat_map(functions)),
            most_fields: largest(crates.iter().flat_map(structs)),
            most_methods: largest(crates.iter().flat_map(methods)),
            circles: crates.iter().flat_map(circles).collect(),
        }
    }
}

impl CrateShape {
    fn of(parsed: &Crate) -> Self {
        let mut parts: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
        for source in &parsed.sources {
            parts.entry(&source.part).or_default().push(source);
        }
        Self {
            name: parsed.name.clone(),
            parts: parts.iter().map(|(name, sources)| PartShape::of(name, sources)).collect(),
            total: PartShape::of("all", &parsed.sources.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        }
    }
}

impl PartShape {
    fn of(name: &str, sources: &[&Source]) -> Self {
        let sum = |count: fn(&Lines) -> usize| sources.iter().map(|source| count(&source.lines)).sum();
        let functions = || sources.iter().flat_map(|source| &source.items.functions);
        Self {
            name: name.to_owned(),
            files: sources.len(),
            product_lines: sum(|lines| lines.product),
            test_lines: sum(|lines| lines.test),
            functions: Lengths::of(functions().filter(|function| !function.is_test)),
            test_functions: Lengths::of(functions().filter(|function| function.is_test)),
        }
    }
}

impl Lengths {
    fn of<'a>(functions: impl Iterator<Item = &'a Function>) -> Self {
        let mut lengths: Vec<usize> = functions.map(|function| function.lines).collect();
        lengths.sort_unstable();
        // The smallest length that the given part of all do not exceed.
        let percentile = |percent: usize| {
            let rank = (lengths.len() * percent).div_ceil(100);
            rank.checked_sub(1).and_then(|at| lengths.get(at)).copied().unwrap_or_default()
        };
        Self { number: lengths.len(), median: percentile(50), p90: percentile(90), longest: percentile(100) }
    }
}

impl Ranked {
    fn in_file(source: &Source, name: &str, size: usize, line: usize) -> Self {
        Self { name: name.to_owned(), size, of: source.path.clone(), at: format!(":{line}") }
    }

    /// Whether both stand for the same function or type, in two commits.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.of) == (&other.name, &other.of)
    }
}

/// The largest ones; those of the same size by name.
fn largest(all: impl Iterator<Item = Ranked>) -> Vec<Ranked> {
    let mut all: Vec<Ranked> = all.collect();
    all.sort_by(|one, other| other.size.cmp(&one.size).then_with(|| one.name.cmp(&other.name)));
    all.truncate(LISTED);
    all
}

fn functions(parsed: &Crate) -> Vec<Ranked> {
    let of = |source: &Source| -> Vec<Ranked> {
        let product = source.items.functions.iter().filter(|function| !function.is_test);
        product.map(|function| Ranked::in_file(source, &function.name, function.lines, function.line)).collect()
    };
    parsed.sources.iter().flat_map(|source| of(source)).collect()
}

fn structs(parsed: &Crate) -> Vec<Ranked> {
    let of = |source: &Source| -> Vec<Ranked> {
        let structs = source.items.structs.iter();
        structs.map(|found| Ranked::in_file(source, &found.name, found.fields, found.line)).collect()
    };
    parsed.sources.iter().flat_map(|source| of(source)).collect()
}

/// The types of a crate with all their methods. Types of other crates, and type parameters, are not its own.
fn methods(parsed: &Crate) -> Vec<Ranked> {
    let names = Names::of(parsed);
    // By the module and the name of each type: its methods, and the files that they are in.
    let mut types: BTreeMap<_, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (source, _) in parsed.product() {
        for found in &source.items.impls {
            if let Some(defined) = defined(&names, &found.module, &found.of) {
                let (methods, files) = types.entry(defined).or_default();
                *methods += found.methods;
                files.insert(&source.path);
            }
        }
    }
    let mut ranked = Vec::new();
    for ((module, name), (size, files)) in types {
        let of = [&[parsed.identifier()], module.as_slice()].concat().join("::");
        let spread = if files.len() == 1 { "file" } else { "files" };
        ranked.push(Ranked { name, size, of, at: format!(", in {} {spread}", files.len()) });
    }
    ranked
}

/// The module that defines a type of this crate, and the type's name there.
fn defined(names: &Names<'_>, module: &[String], of: &[String]) -> Option<(Vec<String>, String)> {
    match names.resolve(module, of, Stop::Never)? {
        Target::Here(module, Some(name)) => Some((module, name)),
        // A name that no import explains is defined where it stands.
        Target::Abroad(path) if path.len() == 1 => Some((module.to_vec(), path.into_iter().next()?)),
        _ => None,
    }
}

fn circles(parsed: &Crate) -> Vec<CircleShape> {
    let shape = |circle: arrows::Circle| CircleShape {
        within: [&[parsed.identifier()], circle.within.as_slice()].concat().join("::"),
        modules: circle.modules,
        pairs: circle.pairs,
    };
    arrows::circles(&arrows::of_modules(parsed)).into_iter().map(shape).collect()
}
