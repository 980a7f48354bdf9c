//! A run for people at a terminal: tables, what was found, and the verdict.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

use super::Summary;
use super::drill::{DrillReport, FAULTS, REGIONS, RegionRow, fault_cells};
use super::row::{Latency, Row, digits};
use crate::figures::Codes;

const COUNTS: [&str; 7] = ["target", "operation", "done", "refused", "unknown", "unsent", "done/s of asked/s"];
const LATENCIES: [&str; 8] = ["target", "operation", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// Writes what people read of a run, the verdict last; if `quiet`, only what was found and the verdict.
pub fn write(out: &mut impl Write, quiet: bool, summary: &Summary) -> io::Result<()> {
    if !quiet {
        let operations = &summary.settings.operations;
        writeln!(out, "seed {}, counters {}/{}*", operations.seed, operations.namespace, operations.key_prefix)?;
        figures(out, summary)?;
        if let Some(drill) = &summary.drill {
            drill_tables(out, drill)?;
        }
    }
    if let Some(limits) = summary.limits.as_ref().filter(|_| !quiet) {
        writeln!(out, "{limits}")?;
    }
    for judged in summary.thresholds.iter().filter(|judged| judged.crossed || !quiet) {
        writeln!(out, "{judged}")?;
    }
    for finding in &summary.findings {
        writeln!(out, "{finding}")?;
    }
    if let Some(drill) = &summary.drill {
        writeln!(out, "{}", drill.verdict())?;
    }
    writeln!(out, "{}", summary.verdict())
}

/// A table for people; all but the first `left` columns are numbers.
pub(crate) fn table<R: Into<comfy_table::Row>>(
    header: &[&str],
    left: usize,
    rows: impl IntoIterator<Item = R>,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table.add_rows(rows);
    table.column_iter_mut().skip(left).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn drill_tables(out: &mut impl Write, drill: &DrillReport) -> io::Result<()> {
    writeln!(out, "{}", table(&FAULTS, 1, drill.faults.iter().map(fault_cells)))?;
    writeln!(out, "{}", table(&REGIONS, 1, drill.regions.iter().map(RegionRow::cells)))
}

/// The figures, what went wrong, and how to read them.
fn figures(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    writeln!(out, "{}", table(&COUNTS, 2, summary.rows().map(counts)))?;
    writeln!(out, "Latency in ms, from the intended time | uncorrected, from the actual sending:")?;
    writeln!(out, "{}", table(&LATENCIES, 2, summary.rows().map(latencies)))?;
    let all = summary.totals.last();
    codes(out, "refused", all.map(|row| &row.refused_by_code))?;
    codes(out, "outcome unknown", all.map(|row| &row.unknown_by_code))?;
    if let Some(ratio) = summary.ids_to_live() {
        writeln!(out, "One ID a request at {ratio:.3} of the rate of /livez.")?;
    }
    if let Some(warning) = summary.generator.warning() {
        writeln!(out, "{warning}")?;
    }
    if !summary.settings.pace.open_loop {
        return writeln!(
            out,
            "Closed loop (--rate max): each request waited for an earlier answer, so these latencies hide stalls."
        );
    }
    writeln!(
        out,
        "Latencies run from the intended send time; what a node refused is left out, what got no answer is not."
    )?;
    match all.map_or(0, |row| row.counts.unsent) {
        0 => Ok(()),
        unsent => writeln!(out, "{unsent} operations were due but never sent: the targets did not keep up."),
    }
}

fn counts(row: &Row) -> Vec<String> {
    let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
    let asked = row.asked_per_s.map_or_else(|| "max".to_owned(), |asked| format!("{asked:.0}"));
    let mut cells = vec![row.origin.name(), row.operation.to_string(), row.counts.acknowledged.to_string()];
    cells.extend([row.counts.refused, row.counts.unknown, row.counts.unsent].map(count));
    cells.push(format!("{:.0} of {asked}", row.achieved_per_s));
    cells
}

fn latencies(row: &Row) -> Vec<String> {
    let mut cells = vec![row.origin.name(), row.operation.to_string()];
    let pairs = percentiles(&row.latency_ms).into_iter().zip(percentiles(&row.uncorrected_ms));
    cells.extend(pairs.map(|(corrected, uncorrected)| format!("{corrected} | {uncorrected}")));
    cells
}

fn percentiles(latency: &Latency) -> [String; 6] {
    let shown = |ms: f64| if latency.count == 0 { "-".to_owned() } else { digits(ms) };
    [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max].map(shown)
}

fn codes(out: &mut impl Write, what: &str, codes: Option<&Codes>) -> io::Result<()> {
    let Some(codes) = codes.filter(|codes| !codes.is_empty()) else { return Ok(()) };
    let listed: Vec<_> = codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
    writeln!(out, "{what}: {}", listed.join(", "))
}
