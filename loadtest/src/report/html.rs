//! The report as one HTML page: charts inside, nothing from elsewhere, no scripts, light and dark.

use super::Summary;
use super::drill::{DrillReport, FAULTS, REGIONS, fault_cells};
use super::plot::{Line, Plot, class, escape};
use super::row::{Latency, Row, RowCounts, digits};

const STYLE: &str = include_str!("page.css");
const OPERATIONS: [&str; 8] = ["target", "operation", "done", "refused", "unknown", "unsent", "done/s", "asked/s"];
const LATENCIES: [&str; 9] = ["target", "operation", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// One chart with what stands above it.
pub(super) struct Chart {
    /// The heading.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// The chart itself; without one, the note says all.
    pub plot: Option<Plot>,
}

/// The whole page.
pub(super) fn page(summary: &Summary, started: &str, charts: &[Chart]) -> String {
    let head = head(summary, started);
    let tiles = tiles(summary).unwrap_or_default();
    let drill = summary.drill.as_ref().map(drill).unwrap_or_default();
    let charts: String = charts.iter().map(chart).collect();
    let operations = table(&OPERATIONS, 2, summary.rows().map(|row| (is_total(row), operations(row))));
    let latencies = table(&LATENCIES, 2, summary.rows().map(|row| (is_total(row), latencies(row))));
    let settings = settings(summary);
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Snowtide load test</title><style>
{STYLE}</style></head><body><main>
{head}{tiles}{drill}{charts}
<section class="card"><h2>Operations</h2>{operations}</section>
<section class="card"><h2>Latency in milliseconds</h2><p class="soft">From the intended time of sending; behind it, in
grey, from the actual sending (uncorrected).</p>{latencies}</section>
<section class="card"><h2>Asked for</h2><div class="scroll"><table>{settings}</table></div></section>
</main></body></html>
"#
    )
}

fn head(summary: &Summary, started: &str) -> String {
    let pace = &summary.settings.pace;
    let rate = pace.rate_per_s.map_or_else(|| "as fast as possible".to_owned(), |rate| format!("{rate} operations/s"));
    let regions = escape(&summary.conservation.regions.join(", "));
    let (duration_s, warmup_s) = (pace.duration_s, pace.warmup_s);
    let good_if = |good| if good { "good" } else { "bad" };
    let drill = summary.drill.iter().map(|drill| note(good_if(drill.is_clean()), &drill.verdict()));
    let verdict = note(good_if(summary.ok), &summary.verdict());
    let warning = summary.generator.warning().into_iter().map(|warning| note("warn", &warning));
    let thresholds = summary.thresholds.iter().map(|judged| note(good_if(!judged.crossed), &judged.to_string()));
    let findings = summary.findings.iter().map(|finding| note("bad", &finding.to_string()));
    let notes: String = drill.chain([verdict]).chain(warning).chain(thresholds).chain(findings).collect();
    format!(
        "<h1>Snowtide load test</h1><p class=\"soft\">{started} · {regions} · {duration_s} s measured after {warmup_s} s of \
         warm-up · {rate}</p>{notes}"
    )
}

fn note(class: &str, text: &str) -> String {
    format!("<p class=\"card verdict {class}\">{}</p>\n", escape(text))
}

fn tiles(summary: &Summary) -> Option<String> {
    let all = summary.totals.last()?;
    let asked = all.asked_per_s.map_or_else(String::new, |asked| format!("of {} ", grouped(whole(asked))));
    let latency = &all.latency_ms;
    let tiles = [
        (grouped(whole(all.achieved_per_s)), &*format!("{asked}operations/s")),
        (time(latency.p50), "median latency"),
        (time(latency.p99), "99th percentile"),
        (time(latency.max), "slowest"),
        (grouped(all.counts.acknowledged), "acknowledged"),
        (grouped(all.counts.errors()), "refused, unknown or unsent"),
    ]
    .map(|(figure, word)| format!("<div class=\"tile\"><b>{figure}</b><span>{word}</span></div>"));
    Some(format!("<div class=\"tiles\">{}</div>\n", tiles.concat()))
}

fn chart(chart: &Chart) -> String {
    let (title, note) = (escape(&chart.title), escape(&chart.note));
    let figure = chart.plot.as_ref().map_or_else(String::new, |plot| {
        let legend: String = plot.lines.iter().map(legend).collect();
        format!("<div class=\"legend\">{legend}</div><figure class=\"scroll\">{}</figure>", plot.svg())
    });
    format!("<section class=\"card\"><h2>{title}</h2><p class=\"soft\">{note}</p>{figure}</section>\n")
}

fn legend(line: &Line) -> String {
    let (class, name) = (class(line.colour), escape(&line.name));
    format!(
        r#"<span><svg viewBox="0 0 22 8" aria-hidden="true"><path class="line {class}" d="M0 4H22"/></svg>{name}</span>"#
    )
}

fn drill(report: &DrillReport) -> String {
    let escaped = |cells: &[String]| cells.iter().map(|text| escape(text)).collect();
    let faults = table(&FAULTS, 1, report.faults.iter().map(|fault| (false, escaped(&fault_cells(fault)))));
    let regions = table(&REGIONS, 1, report.regions.iter().map(|region| (false, escaped(&region.cells()))));
    format!("<section class=\"card\"><h2>The drill</h2>{faults}{regions}</section>\n")
}

/// Cells are written as they are. Those of totals stand out; all but the first `left` columns are numbers.
fn table(header: &[&str], left: usize, rows: impl Iterator<Item = (bool, Vec<String>)>) -> String {
    let cell = |kind: &str, (position, text): (usize, &str)| {
        let class = if position < left { " class=\"left\"" } else { "" };
        format!("<{kind}{class}>{text}</{kind}>")
    };
    let header: String = header.iter().copied().enumerate().map(|each| cell("th", each)).collect();
    let row = |(is_total, cells): (bool, Vec<String>)| {
        let class = if is_total { " class=\"total\"" } else { "" };
        let cells: String = cells.iter().map(String::as_str).enumerate().map(|each| cell("td", each)).collect();
        format!("<tr{class}>{cells}</tr>")
    };
    let rows: String = rows.map(row).collect();
    format!("<div class=\"scroll\"><table><tr>{header}</tr>{rows}</table></div>")
}

fn operations(row: &Row) -> Vec<String> {
    let RowCounts { acknowledged, refused, unknown, unsent } = row.counts;
    let mut cells = names(row);
    cells.extend([acknowledged, refused, unknown, unsent].map(|count| count.to_string()));
    cells.push(format!("{:.0}", row.achieved_per_s));
    cells.push(row.asked_per_s.map_or_else(|| "max".to_owned(), |asked| format!("{asked:.0}")));
    cells
}

fn latencies(row: &Row) -> Vec<String> {
    let pairs = percentiles(&row.latency_ms).into_iter().zip(percentiles(&row.uncorrected_ms));
    let mut cells = names(row);
    cells.extend(pairs.map(|(corrected, uncorrected)| format!("{corrected} <i>{uncorrected}</i>")));
    cells
}

fn names(row: &Row) -> Vec<String> {
    vec![escape(&row.origin.name()), escape(&row.operation)]
}

fn is_total(row: &Row) -> bool {
    row.origin.region.is_none()
}

fn percentiles(latency: &Latency) -> [String; 7] {
    let Latency { mean, p50, p90, p99, p99_9, p99_99, max, .. } = *latency;
    [mean, p50, p90, p99, p99_9, p99_99, max].map(digits)
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people; a cast saturates")]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// A latency with its unit.
fn time(ms: f64) -> String {
    if ms >= 1_000.0 { format!("{:.2} s", ms / 1_000.0) } else { format!("{} ms", digits(ms)) }
}

fn settings(summary: &Summary) -> String {
    let settings = serde_json::to_value(&summary.settings).unwrap_or_default();
    let given = settings.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let row = |(key, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (key, value) = (escape(&key.replace('_', " ")), escape(&value));
        format!("<tr><td class=\"left soft\">{key}</td><td class=\"left\">{value}</td></tr>")
    };
    given.map(row).collect()
}
