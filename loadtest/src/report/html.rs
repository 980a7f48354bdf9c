//! The report as one HTML page: charts inside, nothing from elsewhere, no scripts, light and dark.

use std::fmt::Write as _;

use super::Summary;
use super::drill::{DrillReport, FAULTS, REGIONS, fault_cells};
use super::plot::{Plot, class, escape};
use super::row::{Latency, Row, RowCounts, digits};

const STYLE: &str = include_str!("page.css");

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
    let mut out = String::with_capacity(256 << 10);
    let _infallible = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Snowtide load test</title><style>\n{STYLE}</style></head><body><main>\n"
    );
    head(&mut out, summary, started);
    tiles(&mut out, summary);
    if let Some(report) = &summary.drill {
        drill(&mut out, report);
    }
    charts.iter().for_each(|each| chart(&mut out, each));
    operations(&mut out, summary);
    latencies(&mut out, summary);
    settings(&mut out, summary);
    out.push_str("</main></body></html>\n");
    out
}

fn head(out: &mut String, summary: &Summary, started: &str) {
    let settings = &summary.settings.pace;
    let rate =
        settings.rate_per_s.map_or_else(|| "as fast as possible".to_owned(), |rate| format!("{rate} operations/s"));
    let _infallible = writeln!(
        out,
        "<h1>Snowtide load test</h1><p class=\"soft\">{} · {} · {} s measured after {} s of warm-up · {}</p>",
        escape(started),
        escape(&summary.conservation.regions.join(", ")),
        settings.duration_s,
        settings.warmup_s,
        escape(&rate)
    );
    if let Some(drill) = &summary.drill {
        note(out, if drill.is_clean() { "good" } else { "bad" }, &drill.verdict());
    }
    note(out, if summary.ok { "good" } else { "bad" }, &summary.verdict());
    if let Some(warning) = summary.generator.warning() {
        note(out, "warn", &warning);
    }
    for judged in &summary.thresholds {
        note(out, if judged.crossed { "bad" } else { "good" }, &judged.to_string());
    }
    summary.findings.iter().for_each(|finding| note(out, "bad", &finding.to_string()));
}

fn note(out: &mut String, class: &str, text: &str) {
    let _infallible = writeln!(out, "<p class=\"card verdict {class}\">{}</p>", escape(text));
}

fn tiles(out: &mut String, summary: &Summary) {
    let Some(all) = summary.totals.last() else { return };
    let asked = all
        .asked_per_s
        .map_or_else(|| "operations/s".to_owned(), |asked| format!("of {} operations/s", grouped(whole(asked))));
    let latency = &all.latency_ms;
    out.push_str("<div class=\"tiles\">");
    for (figure, word) in [
        (grouped(whole(all.achieved_per_s)), asked),
        (time(latency.p50), "median latency".into()),
        (time(latency.p99), "99th percentile".into()),
        (time(latency.max), "slowest".into()),
        (grouped(all.counts.acknowledged), "acknowledged".into()),
        (grouped(all.counts.errors()), "refused, unknown or unsent".into()),
    ] {
        let _infallible = write!(out, "<div class=\"tile\"><b>{figure}</b><span>{}</span></div>", escape(&word));
    }
    out.push_str("</div>\n");
}

fn chart(out: &mut String, chart: &Chart) {
    let _infallible = write!(
        out,
        "<section class=\"card\"><h2>{}</h2><p class=\"soft\">{}</p>",
        escape(&chart.title),
        escape(&chart.note)
    );
    let Some(plot) = &chart.plot else { return out.push_str("</section>\n") };
    out.push_str("<div class=\"legend\">");
    for line in &plot.lines {
        let _infallible = write!(
            out,
            "<span><svg viewBox=\"0 0 22 8\" aria-hidden=\"true\"><path class=\"line {}\" d=\"M0 4H22\"/></svg>{}</span>",
            class(line.colour),
            escape(&line.name)
        );
    }
    let _infallible = writeln!(out, "</div><figure class=\"scroll\">{}</figure></section>", plot.svg());
}

fn drill(out: &mut String, report: &DrillReport) {
    let escaped = |cells: &[String]| cells.iter().map(|text| escape(text)).collect();
    out.push_str("<section class=\"card\"><h2>The drill</h2>");
    table(out, &FAULTS, 1, report.faults.iter().map(|fault| (false, escaped(&fault_cells(fault)))));
    table(out, &REGIONS, 1, report.regions.iter().map(|region| (false, escaped(&region.cells()))));
    out.push_str("</section>\n");
}

fn operations(out: &mut String, summary: &Summary) {
    out.push_str("<section class=\"card\"><h2>Operations</h2>");
    let header = ["target", "operation", "done", "refused", "unknown", "unsent", "done/s", "asked/s"];
    let cells = |row: &Row| {
        let RowCounts { acknowledged, refused, unknown, unsent } = row.counts;
        let mut cells = names(row);
        cells.extend([acknowledged, refused, unknown, unsent].map(|count| count.to_string()));
        cells.push(format!("{:.0}", row.achieved_per_s));
        cells.push(row.asked_per_s.map_or_else(|| "max".to_owned(), |asked| format!("{asked:.0}")));
        (is_total(row), cells)
    };
    table(out, &header, 2, summary.rows().map(cells));
    out.push_str("</section>\n");
}

fn latencies(out: &mut String, summary: &Summary) {
    out.push_str(
        "<section class=\"card\"><h2>Latency in milliseconds</h2><p class=\"soft\">From the intended time of sending; \
         behind it, in grey, from the actual sending (uncorrected).</p>",
    );
    let header = ["target", "operation", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let cells = |row: &Row| {
        let pairs = percentiles(&row.latency_ms).into_iter().zip(percentiles(&row.uncorrected_ms));
        let mut cells = names(row);
        cells.extend(pairs.map(|(corrected, uncorrected)| format!("{corrected} <i>{uncorrected}</i>")));
        (is_total(row), cells)
    };
    table(out, &header, 2, summary.rows().map(cells));
    out.push_str("</section>\n");
}

/// Cells are written as they are. Those of totals stand out; all but the first `left` columns are numbers.
fn table(out: &mut String, header: &[&str], left: usize, rows: impl Iterator<Item = (bool, Vec<String>)>) {
    let class = |position: usize| if position < left { " class=\"left\"" } else { "" };
    out.push_str("<div class=\"scroll\"><table><tr>");
    for (position, word) in header.iter().enumerate() {
        let _infallible = write!(out, "<th{}>{word}</th>", class(position));
    }
    for (is_total, cells) in rows {
        out.push_str(if is_total { "</tr><tr class=\"total\">" } else { "</tr><tr>" });
        for (position, cell) in cells.iter().enumerate() {
            let _infallible = write!(out, "<td{}>{cell}</td>", class(position));
        }
    }
    out.push_str("</tr></table></div>");
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

fn settings(out: &mut String, summary: &Summary) {
    let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(&summary.settings) else { return };
    out.push_str("<section class=\"card\"><h2>Asked for</h2><div class=\"scroll\"><table>");
    for (key, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (key, value) = (escape(&key.replace('_', " ")), escape(&value));
        let _infallible = write!(out, "<tr><td class=\"left soft\">{key}</td><td class=\"left\">{value}</td></tr>");
    }
    out.push_str("</table></div></section>\n");
}
