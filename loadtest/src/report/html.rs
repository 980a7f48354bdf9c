//! The report as one HTML page: charts inside, nothing from elsewhere, no scripts, light and dark.

use std::fmt::Write as _;

use super::plot::{Plot, class, escape};
use super::{Latency, Row, Summary, digits};
use crate::drill::report::{DrillReport, FAULTS, FaultRow, REGIONS, RegionRow};

const STYLE: &str = include_str!("page.css");

/// One chart with what stands above it.
pub struct Chart {
    /// The heading.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// The chart itself; without one, the note says all.
    pub plot: Option<Plot>,
}

/// The whole page.
pub fn page(summary: &Summary, started: &str, charts: &[Chart]) -> String {
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
    tables(&mut out, summary);
    settings(&mut out, summary);
    out.push_str("</main></body></html>\n");
    out
}

fn head(out: &mut String, summary: &Summary, started: &str) {
    let settings = &summary.settings;
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
    let failed = all.refused + all.unknown + all.unsent;
    let latency = &all.latency_ms;
    out.push_str("<div class=\"tiles\">");
    for (figure, word) in [
        (grouped(whole(all.achieved_per_s)), asked),
        (time(latency.p50), "median latency".into()),
        (time(latency.p99), "99th percentile".into()),
        (time(latency.max), "slowest".into()),
        (grouped(all.acknowledged), "acknowledged".into()),
        (grouped(failed), "refused, unknown or unsent".into()),
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
    out.push_str("<section class=\"card\"><h2>The drill</h2>");
    small_table(out, &FAULTS, report.faults.iter().map(FaultRow::cells));
    small_table(out, &REGIONS, report.regions.iter().map(RegionRow::cells));
    out.push_str("</section>\n");
}

fn small_table<const N: usize>(out: &mut String, words: &[&str; N], rows: impl Iterator<Item = [String; N]>) {
    out.push_str("<div class=\"scroll\"><table class=\"narrow\"><tr>");
    header(out, words, 1);
    for row in rows {
        out.push_str("<tr>");
        for (position, text) in row.iter().enumerate() {
            let class = if position == 0 { " class=\"left\"" } else { "" };
            let _infallible = write!(out, "<td{class}>{}</td>", escape(text));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
}

fn tables(out: &mut String, summary: &Summary) {
    out.push_str("<section class=\"card\"><h2>Operations</h2><div class=\"scroll\"><table><tr>");
    header(out, &["target", "operation", "done", "refused", "unknown", "unsent", "done/s", "asked/s"], 2);
    for row in rows(summary) {
        opening(out, row);
        for count in [row.acknowledged, row.refused, row.unknown, row.unsent] {
            cell(out, &count.to_string());
        }
        cell(out, &format!("{:.0}", row.achieved_per_s));
        cell(out, &row.asked_per_s.map_or_else(|| "max".to_owned(), |asked| format!("{asked:.0}")));
        out.push_str("</tr>");
    }
    out.push_str("</table></div></section>\n<section class=\"card\"><h2>Latency in milliseconds</h2>\
        <p class=\"soft\">From the intended time of sending; behind it, in grey, from the actual sending (uncorrected).</p>\
        <div class=\"scroll\"><table><tr>");
    header(out, &["target", "operation", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"], 2);
    for row in rows(summary) {
        opening(out, row);
        for (corrected, uncorrected) in figures(&row.latency_ms).into_iter().zip(figures(&row.uncorrected_ms)) {
            let _infallible = write!(out, "<td>{} <i>{}</i></td>", digits(corrected), digits(uncorrected));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div></section>\n");
}

fn rows(summary: &Summary) -> impl Iterator<Item = &Row> {
    summary.results.iter().chain(&summary.totals)
}

fn header(out: &mut String, words: &[&str], left: usize) {
    for (position, word) in words.iter().enumerate() {
        let class = if position < left { " class=\"left\"" } else { "" };
        let _infallible = write!(out, "<th{class}>{word}</th>");
    }
    out.push_str("</tr>");
}

fn opening(out: &mut String, row: &Row) {
    let class = if row.region.is_none() { " class=\"total\"" } else { "" };
    let _infallible = write!(
        out,
        "<tr{class}><td class=\"left\">{}</td><td class=\"left\">{}</td>",
        escape(&row.place()),
        escape(row.operation)
    );
}

fn cell(out: &mut String, text: &str) {
    let _infallible = write!(out, "<td>{}</td>", escape(text));
}

fn figures(latency: &Latency) -> [f64; 7] {
    [latency.mean, latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max]
}

/// A latency with its unit.
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
