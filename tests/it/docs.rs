//! The documentation holds together: every relative link leads to something, every page stands in the book, Rust stands
//! only where it is compiled, and the README is short. [`super::readme`] runs the commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer, and nobody reads it to its end.
const README_LINES_MAX: usize = 130;
/// Markdown that stands outside of the book.
const BESIDE_THE_BOOK: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "client/README.md"];
/// What `client/src/lib.rs` takes as documentation, so that its Rust is compiled.
const COMPILED: [&str; 2] = ["client/README.md", "docs/client.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document, by its path from the root.
pub(crate) fn read(document: &Path) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{}: {error}", document.display()))
}

/// The pages of the book, in its order.
pub(crate) fn pages() -> Vec<PathBuf> {
    links(&read(Path::new("docs/SUMMARY.md"))).iter().map(|link| Path::new("docs").join(link)).collect()
}

/// Every Markdown file in `docs`, at any depth.
fn files_of_the_book() -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from("docs")]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    BESIDE_THE_BOOK.into_iter().map(PathBuf::from).chain(files_of_the_book()).collect()
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> String {
    let (mut lines, mut is_code) = (String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines += line;
            lines += "\n";
        }
    }
    lines
}

/// Where the links of a text lead, except those to other sites. What stands between backticks is no link.
fn links(text: &str) -> Vec<String> {
    let prose: String = prose(text).split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

/// The anchors of a text's headings, which GitHub and mdBook derive in the same way.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(anchor("Beyond one node's word"), "beyond-one-nodes-word");
    assert_eq!(anchor("Upgrade, and what formats promise"), "upgrade-and-what-formats-promise");
    assert_eq!(links("[a](b.md#c) `[d](e)` [f](https://g.example)\n```\n[h](i)\n```\n[`j`](k)"), ["b.md#c", "k"]);
}

#[test]
fn every_link_leads_to_something() {
    let mut broken = Vec::new();
    for document in documents() {
        for link in links(&read(&document)) {
            let (path, place) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let folder = document.parent().unwrap();
            let target = if path.is_empty() { document.clone() } else { folder.join(path) };
            let is_there = root().join(&target).exists();
            let is_found = is_there && (place.is_empty() || anchors(&read(&target)).contains(place));
            if !is_found {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn every_page_stands_in_the_book() {
    let pages: BTreeSet<PathBuf> = pages().into_iter().collect();
    let is_page = |file: &PathBuf| !file.ends_with("SUMMARY.md");
    let files: BTreeSet<PathBuf> = files_of_the_book().into_iter().filter(is_page).collect();
    assert_eq!(files, pages, "the files in docs, and the pages that docs/SUMMARY.md names");
}

#[test]
fn rust_stands_where_it_is_compiled() {
    for document in documents() {
        let is_compiled = COMPILED.iter().any(|compiled| document == Path::new(compiled));
        assert!(is_compiled || !read(&document).contains("\n```rust"), "nothing compiles {}", document.display());
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read(Path::new("README.md")).lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines: move some into docs/");
}
