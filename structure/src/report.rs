//! The figures as tables for people: of one checkout, or of two with what became of each figure.

use std::collections::BTreeSet;
use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

use crate::shape::{CircleShape, CrateShape, Lengths, PartShape, Ranked, Shape};

const PARTS: [&str; 6] = ["part", "files", "product", "tests", "functions", "test functions"];

/// A list of the largest: what it says at its head, and where it stands in a shape.
type List = (&'static str, fn(&Shape) -> &Vec<Ranked>);

const LISTS: [List; 3] = [
    ("The longest functions, tests aside (lines)", |shape| &shape.longest_functions),
    ("The structs with the most fields", |shape| &shape.most_fields),
    ("The types with the most methods, over all their impl blocks", |shape| &shape.most_methods),
];

/// Writes `shape`, and beside each figure that differs what it was in `before`.
///
/// # Errors
///
/// If nothing can be written there.
pub fn write(out: &mut impl Write, shape: &Shape, before: Option<&Shape>) -> io::Result<()> {
    writeln!(
        out,
        "Lines are lines of code: not blank, and no comment. Tests are #[cfg(test)], *tests.rs, tests/, benches/."
    )?;
    writeln!(out, "Functions: number (median / 90th percentile / longest, in lines from signature to closing brace).")?;
    if before.is_some() {
        writeln!(out, "Before → after, where they differ.")?;
    }
    for after in &shape.crates {
        let earlier = before.map(|before| found(&before.crates, |part: &CrateShape| part.name == after.name));
        writeln!(out, "\n{}\n{}", after.name, parts(after, earlier.as_ref()))?;
    }
    for (head, list) in LISTS {
        writeln!(out, "\n{head}\n{}", ranked(list(shape), before.map(list)))?;
    }
    circles(out, &shape.circles, before.map(|before| before.circles.as_slice()))
}

/// The one that `is` meant, or an empty one.
fn found<T: Clone + Default>(all: &[T], is: impl Fn(&T) -> bool) -> T {
    all.iter().find(|one| is(one)).cloned().unwrap_or_default()
}

fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.column_iter_mut().skip(left).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn parts(after: &CrateShape, before: Option<&CrateShape>) -> Table {
    let mut table = table(&PARTS, 1);
    let earlier = |name: &str| before.map(|before| found(&before.parts, |part: &PartShape| part.name == name));
    table.add_rows(after.parts.iter().map(|part| row(part, earlier(&part.name).as_ref())));
    for gone in before.iter().flat_map(|before| &before.parts) {
        if !after.parts.iter().any(|part| part.name == gone.name) {
            table.add_row(row(&PartShape { name: gone.name.clone(), ..PartShape::default() }, Some(gone)));
        }
    }
    table.add_row(row(&after.total, before.map(|before| &before.total)));
    table
}

fn row(after: &PartShape, before: Option<&PartShape>) -> Vec<String> {
    let cell = |show: fn(&PartShape) -> String| change(before.map(show), show(after));
    vec![
        after.name.clone(),
        cell(|part| part.files.to_string()),
        cell(|part| part.product_lines.to_string()),
        cell(|part| part.test_lines.to_string()),
        cell(|part| lengths(part.functions)),
        cell(|part| lengths(part.test_functions)),
    ]
}

fn lengths(Lengths { number, median, p90, longest }: Lengths) -> String {
    if number == 0 { "-".to_owned() } else { format!("{number} ({median} / {p90} / {longest})") }
}

fn change(before: Option<String>, after: String) -> String {
    match before {
        Some(before) if before != after => format!("{before} → {after}"),
        _ => after,
    }
}

/// Those of `after`, and at the end those of `before` that are listed no longer.
fn ranked(after: &[Ranked], before: Option<&Vec<Ranked>>) -> Table {
    let mut table = table(&["size", "name", "where"], 3);
    let size = |list: &[Ranked], one: &Ranked| {
        list.iter().find(|other| other.is_same(one)).map_or_else(|| "…".to_owned(), |found| found.size.to_string())
    };
    let row = |one: &Ranked| {
        let size = change(before.map(|before| size(before, one)), size(after, one));
        [size, one.name.clone(), format!("{}{}", one.of, one.at)]
    };
    let gone = before.into_iter().flatten().filter(|gone| !after.iter().any(|one| one.is_same(gone)));
    table.add_rows(after.iter().chain(gone).map(row));
    table
}

fn circles(out: &mut impl Write, after: &[CircleShape], before: Option<&[CircleShape]>) -> io::Result<()> {
    writeln!(
        out,
        "\nCircles: modules of one parent that lead to each other, and the pairs among them that do so directly"
    )?;
    let texts = |circles: &[CircleShape]| circles.iter().map(circle).collect::<BTreeSet<_>>();
    let (now, then) = (texts(after), before.map(texts));
    if now.is_empty() {
        writeln!(out, "  none")?;
    }
    for circle in &now {
        let is_new = then.as_ref().is_some_and(|then| !then.contains(circle));
        writeln!(out, "{} {circle}", if is_new { '+' } else { ' ' })?;
    }
    for gone in then.iter().flatten().filter(|gone| !now.contains(*gone)) {
        writeln!(out, "- {gone}")?;
    }
    Ok(())
}

fn circle(CircleShape { within, modules, pairs }: &CircleShape) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(one, other)| format!("{one} ⇄ {other}")).collect();
    format!("{within} ({}): {}\n      {}", modules.len(), modules.join(", "), pairs.join(", "))
}
