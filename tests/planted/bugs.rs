//! The list of bugs, and how they get into a copy of the sources: each behind a switch of its own, so that one compile
//! serves them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// In replacements, this stands for the question whether their bug is planted.
const SWITCH: &str = "PLANTED";

/// The module that answers it, in the copy.
const MODULE: &str = r#"//! Which bug is planted in this process.

use std::sync::LazyLock;

static PLANTED: LazyLock<Option<usize>> =
    LazyLock::new(|| std::env::var("SNOWTIDE_PLANTED").ok().and_then(|number| number.parse().ok()));

/// Whether it is this one.
pub fn is(number: usize) -> bool {
    *PLANTED == Some(number)
}
"#;

/// One bug; `bugs.toml` says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bug {
    pub(crate) name: String,
    pub(crate) invariant: String,
    file: PathBuf,
    find: String,
    replace: String,
    #[serde(default = "swarm")]
    pub(crate) scenario: String,
    #[serde(default = "sim")]
    pub(crate) test: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    bug: Vec<Bug>,
}

fn swarm() -> String {
    "swarm".to_owned()
}

fn sim() -> String {
    "sim".to_owned()
}

/// All bugs, in the order of the list. Their numbers begin with 1.
pub(crate) fn list(root: &Path) -> Result<Vec<Bug>, String> {
    let path = root.join("tests/planted/bugs.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map(|list: List| list.bug).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files that bugs are planted in, with all of them in.
pub(crate) fn planted(root: &Path, bugs: &[Bug]) -> Result<BTreeMap<PathBuf, String>, String> {
    let mut places: BTreeMap<PathBuf, BTreeMap<usize, (usize, String)>> = BTreeMap::new();
    for (number, bug) in (1..).zip(bugs) {
        let text = read(&root.join(&bug.file))?;
        let found: Vec<usize> = text.match_indices(&bug.find).map(|(at, _)| at).collect();
        let [at] = found[..] else {
            return Err(format!("bug {:?}: its text stands {} times in {}", bug.name, found.len(), bug.file.display()));
        };
        if !bug.replace.contains(SWITCH) {
            return Err(format!("bug {:?}: its replacement has no {SWITCH}", bug.name));
        }
        let replacement = bug.replace.replace(SWITCH, &format!("crate::planted::is({number})"));
        places.entry(bug.file.clone()).or_default().insert(at, (at + bug.find.len(), replacement));
    }
    let files = places.into_iter().map(|(file, places)| {
        let text = replaced(&read(&root.join(&file))?, &places);
        text.map(|text| (file.clone(), text)).ok_or_else(|| format!("two bugs overlap in {}", file.display()))
    });
    files.collect()
}

/// Copies the sources to `to`, bugs and all. What has not changed since the last time is left alone, so that it is not
/// compiled again.
pub(crate) fn plant(root: &Path, to: &Path, bugs: &[Bug]) -> Result<(), String> {
    let mut planted = planted(root, bugs)?;
    let library = PathBuf::from("src/lib.rs");
    planted.insert(library.clone(), read(&root.join(library))? + "\n#[allow(missing_docs)]\npub mod planted;\n");
    planted.insert("src/planted.rs".into(), MODULE.to_owned());
    planted.insert("Cargo.toml".into(), told_apart(&read(&root.join("Cargo.toml"))?)?);
    let mut stale: BTreeSet<PathBuf> = sources(to)?.into_iter().collect();
    for file in sources(root)? {
        stale.remove(&file);
        let text = match planted.remove(&file) {
            Some(text) => text.into_bytes(),
            None => fs::read(root.join(&file)).map_err(|error| format!("{}: {error}", file.display()))?,
        };
        write(&to.join(file), &text)?;
    }
    for (file, text) in planted {
        stale.remove(&file);
        write(&to.join(file), text.as_bytes())?;
    }
    // What was moved since the last time would stand there twice.
    let gone = |file: &PathBuf| fs::remove_file(to.join(file)).map_err(|error| format!("{}: {error}", file.display()));
    stale.iter().try_for_each(gone)
}

/// The copy shares a target directory with the product. Cargo knows packages there by their names, versions and places in
/// the workspace: with another version, what is built of the one is never taken for what is built of the other.
fn told_apart(manifest: &str) -> Result<String, String> {
    let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
    let ours = concat!("version = \"", env!("CARGO_PKG_VERSION"), "+planted\"");
    match manifest.matches(version).count() {
        1 => Ok(manifest.replace(version, ours)),
        many => Err(format!("Cargo.toml: {version:?} stands there {many} times, once was expected")),
    }
}

/// The text with all replacements; `None` if two of them overlap. By where each begins: where it ends, and what comes.
fn replaced(text: &str, places: &BTreeMap<usize, (usize, String)>) -> Option<String> {
    let (mut result, mut reached) = (String::new(), 0);
    for (at, (end, replacement)) in places {
        result += text.get(reached..*at)?;
        result += replacement;
        reached = *end;
    }
    Some(result + text.get(reached..)?)
}

/// Every file there that a build needs, relative to the root.
fn sources(root: &Path) -> Result<Vec<PathBuf>, String> {
    let there = |path: &PathBuf| root.join(path).exists();
    let files = ["Cargo.toml", "Cargo.lock", "README.md"].map(PathBuf::from);
    let dirs = [
        "src",
        "tests",
        "benches",
        "config",
        "regions",
        "client",
        "dev",
        "docs",
        "loadtest",
        "fuzz",
        "protocol",
        "structure",
    ]
    .map(PathBuf::from);
    let mut found: Vec<PathBuf> = files.into_iter().filter(there).collect();
    let mut left: Vec<PathBuf> = dirs.into_iter().filter(there).collect();
    while let Some(dir) = left.pop() {
        let entries = fs::read_dir(root.join(&dir)).map_err(|error| format!("{}: {error}", dir.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", dir.display()))?;
            let path = dir.join(entry.file_name());
            if root.join(&path).is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|held| held == text) {
        return Ok(());
    }
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
}
