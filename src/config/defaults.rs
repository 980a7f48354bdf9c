//! The built-in defaults as text, with everything that is said of each key: as a configuration file, and as a page.
//!
//! Both follow from the declarations. The file is what is loaded first, and `config/default.toml` is a copy of it.

use std::fmt::Write as _;

use super::schema::CONFIG;
use crate::section::Field;
use crate::section::shape::Shape;

const WIDTH: usize = 120;

const HEAD: &str = "\
# Snowtide's defaults: what holds where nothing else is set. They are compiled into the binary, which prints them:
# `snowtide config defaults`. So in this repository, do not change this file, but the declaration of the key.
#
# The layers, from the lowest to the highest:
#   1. the built-in defaults (this file, as it was when the binary was built)
#   2. config/default.toml in the working directory, if there is one
#   3. the file named by --config
#   4. the region files in `regions_dir`, one a region: the cluster's map, the same set on every node
#   5. the environment: SNOWTIDE_COMMIT__BYTES_MAX=1MiB sets commit.bytes_max (two underscores for each dot)
#   6. flags: --set commit.bytes_max=1MiB
#
# Tables merge key by key; single values and lists are replaced. A file that has a [namespace.<name>] names all
# namespaces: those of lower files no longer count.
#
# Durations are written \"20ms\", \"1s\", \"5m\", \"1h\" or \"1h 30m\". Sizes are written \"64KiB\", \"4MiB\", \"1GiB\" (powers of
# two), \"4MB\" (powers of ten) or as a number of bytes. Relative paths start at the working directory.
#
# `snowtide config check` tells whether a configuration is allowed, `snowtide config show --origins` where each value
# came from. Unknown keys and values out of range are refused at start.
";

const PAGE_HEAD: &str = "\
# Every setting

What each key does, its default, what is allowed, and what happens at a bound. [Configuration](configuration.md) says where
values come from, and which of these an operator turns. `snowtide config defaults --page` prints this page.
";

/// The built-in defaults as a configuration file.
pub fn default_file() -> String {
    let tables = tables();
    tables.iter().fold(HEAD.to_owned(), |file, table| file + &table.as_toml())
}

/// Every key, as a page of the book.
pub fn page() -> String {
    let tables = tables();
    tables.iter().fold(PAGE_HEAD.to_owned(), |page, table| page + &table.as_markdown())
}

/// A table with the keys that stand in it themselves.
#[derive(Default)]
struct Table {
    /// Empty at the top.
    path: String,
    /// As it is written of any table, where the operator chooses its name.
    pattern: String,
    text: &'static [&'static str],
    /// Where the operator chooses names.
    allowed: Option<Shape>,
    keys: Vec<&'static Field>,
}

/// Each table before those within.
fn tables() -> Vec<Table> {
    let mut found = Vec::new();
    gather(Table::default(), &CONFIG, &mut found);
    found
}

fn gather(mut table: Table, shape: &Shape, found: &mut Vec<Table>) {
    let is_table = |field: &&'static Field| matches!(field.shape, Shape::Table(_) | Shape::Named { .. });
    let (within, keys): (Vec<&'static Field>, Vec<&'static Field>) = shape.keys().partition(is_table);
    table.keys = keys;
    let (path, pattern) = (table.path.clone(), table.pattern.clone());
    found.push(table);
    for field in within {
        let (path, pattern) = (below(&path, field.key), below(&pattern, field.key));
        match field.shape {
            Shape::Named { each, .. } => {
                let (path, pattern) = (below(&path, field.default), below(&pattern, "<name>"));
                let table = Table { path, pattern, text: field.text, allowed: Some(field.shape), keys: Vec::new() };
                gather(table, each, found);
            }
            shape => gather(Table { path, pattern, text: field.text, ..Table::default() }, &shape, found),
        }
    }
}

fn below(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

impl Table {
    /// No heading for what only holds other tables, and none at the top.
    fn as_toml(&self) -> String {
        let allowed = self.allowed.map(|shape| format!("Allowed: {shape}."));
        let mut toml = String::new();
        if !self.path.is_empty() {
            let head = [comment(self.text), allowed.map(|allowed| filled(&allowed, "# ", "# ")).unwrap_or_default()];
            toml = format!("\n{}[{}]\n", head.concat(), self.path);
        }
        for (index, field) in self.keys.iter().enumerate() {
            let gap = if index == 0 && !self.path.is_empty() { "" } else { "\n" };
            let allowed = filled(&format!("Allowed: {}.", field.shape), "# ", "# ");
            // Writing to a string cannot fail.
            let _ = writeln!(toml, "{gap}{}{allowed}{} = {}", comment(field.text), field.key, field.default);
        }
        toml
    }

    fn as_markdown(&self) -> String {
        let title = if self.pattern.is_empty() { "At the top".to_owned() } else { format!("`[{}]`", self.pattern) };
        let allowed = self.allowed.map(|shape| format!("Allowed: {shape}.")).unwrap_or_default();
        let mut page = format!("\n## {title}\n");
        if !self.text.is_empty() {
            page += &format!("\n{}", filled(&escaped(&format!("{} {allowed}", joined(self.text))), "", ""));
        }
        for field in &self.keys {
            let Field { key, default, shape, .. } = field;
            let said = escaped(&format!("{} Allowed: {shape}.", joined(field.text)));
            page += "\n";
            page += &filled(&format!("`{key} = {default}`: {said}"), "- ", "  ");
        }
        page
    }
}

/// The lines of a text, filled; what is indented stays as it is.
fn comment(text: &[&str]) -> String {
    let mut lines = String::new();
    for paragraph in text.chunk_by(|line, next| is_prose(line) && is_prose(next)) {
        match paragraph {
            [line] if !is_prose(line) => lines += &format!("#{line}\n"),
            prose => lines += &filled(&joined(prose), "# ", "# "),
        }
    }
    lines
}

fn is_prose(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with("  ")
}

/// The prose of a text.
fn joined(text: &[&str]) -> String {
    text.iter().filter(|line| is_prose(line)).map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// In lines of at most [`WIDTH`], the first after `first`, the others after `next`.
fn filled(text: &str, first: &str, next: &str) -> String {
    let (mut lines, mut line) = (String::new(), first.to_owned());
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &line;
            lines += "\n";
            line = next.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line += " ";
        }
        line += word;
        is_empty = false;
    }
    lines + &line + "\n"
}

/// So that Markdown shows what stands there; what stands between backticks it shows anyway.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => part.replace('<', "&lt;").replace('*', "\\*").replace("._~", ".\\_~"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}
