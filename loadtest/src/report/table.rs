//! The table for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

use super::{Latency, Row, Summary, digits};

const COUNTS: [&str; 7] = ["target", "operation", "done", "refused", "unknown", "unsent", "done/s of asked/s"];
const LATENCIES: [&str; 8] = ["target", "operation", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// Writes the figures, what went wrong, and how to read them.
pub fn write(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let rows = || summary.results.iter().chain(&summary.totals);
    writeln!(out, "{}", table(&COUNTS, rows().map(counts)))?;
    writeln!(out, "Latency in ms, from the intended time | uncorrected, from the actual sending:")?;
    writeln!(out, "{}", table(&LATENCIES, rows().map(latencies)))?;
    let all = summary.totals.last();
    codes(out, "refused", all.map(|row| &row.refused_by_code))?;
    codes(out, "outcome unknown", all.map(|row| &row.unknown_by_code))?;
    if let Some(ratio) = summary.ids_to_live() {
        writeln!(out, "One ID a request at {ratio:.3} of the rate of /livez.")?;
    }
    if let Some(warning) = summary.generator.warning() {
        writeln!(out, "{warning}")?;
    }
    if !summary.settings.open_loop {
        return writeln!(
            out,
            "Closed loop (--rate max): each request waited for an earlier answer, so these latencies hide stalls."
        );
    }
    writeln!(
        out,
        "Latencies run from the intended send time; what a node refused is left out, what got no answer is not."
    )?;
    match all {
        Some(row) if row.unsent > 0 => {
            writeln!(out, "{} operations were due but never sent: the targets did not keep up.", row.unsent)
        }
        _ => Ok(()),
    }
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table.add_rows(rows);
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn counts(row: &Row) -> Vec<String> {
    let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
    let mut cells = vec![row.place(), row.operation.to_owned(), row.acknowledged.to_string()];
    cells.extend([row.refused, row.unknown, row.unsent].map(count));
    cells.push(match row.asked_per_s {
        Some(asked) => format!("{:.0} of {asked:.0}", row.achieved_per_s),
        None => format!("{:.0} of max", row.achieved_per_s),
    });
    cells
}

fn latencies(row: &Row) -> Vec<String> {
    let mut cells = vec![row.place(), row.operation.to_owned()];
    let (corrected, uncorrected) = (figures(&row.latency_ms), figures(&row.uncorrected_ms));
    cells.extend(
        corrected.iter().zip(uncorrected).map(|(corrected, uncorrected)| format!("{corrected} | {uncorrected}")),
    );
    cells
}

fn figures(latency: &Latency) -> [String; 6] {
    let shown = |ms: f64| if latency.count == 0 { "-".to_owned() } else { digits(ms) };
    [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max].map(shown)
}

fn codes<K: AsRef<str>>(out: &mut impl Write, what: &str, codes: Option<&BTreeMap<K, u64>>) -> io::Result<()> {
    let Some(codes) = codes.filter(|codes| !codes.is_empty()) else { return Ok(()) };
    let listed: Vec<_> = codes.iter().map(|(code, count)| format!("{} {count}", code.as_ref())).collect();
    writeln!(out, "{what}: {}", listed.join(", "))
}
