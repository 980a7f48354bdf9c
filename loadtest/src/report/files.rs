//! The files that were asked for.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;

use super::charts::{self, Latencies, Series, Span};
use super::html::{self, Chart};
use super::plot::Band;
use super::{Summary, hgrm, hlog};
use crate::faults::script::FaultRecord;
use crate::keys::Kind;
use crate::run::{Origin, Outcome};

/// As many as an eye can follow; narrower slices are put together.
const POINTS_MAX: usize = 120;
const THROUGHPUT: &str = "Throughput over time";
const ERRORS: &str = "Errors over time";
const TAIL: &str = "99th percentile over time";

/// Writes all of them.
pub(super) fn write(outcome: &Outcome, summary: &Summary) -> anyhow::Result<()> {
    let (output, sent) = (&outcome.setup.plan.output, &outcome.sent);
    if let Some(directory) = &output.hgrm {
        let failed = || format!("cannot write percentile files to {}", directory.display());
        percentiles(outcome, directory).with_context(failed)?;
    }
    if let Some(path) = &output.hlog {
        hlog::write_file(path, &by_kind_and_target(outcome), sent.started, sent.record.recorder.slice_width())?;
    }
    if let Some(path) = &output.html {
        let page = html::page(summary, &utc(sent.started), &all_charts(outcome));
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Such as `2026-01-02 03:04:05 UTC`.
fn utc(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string().replace('T', " ").replace('Z', " UTC")
}

fn percentiles(outcome: &Outcome, directory: &Path) -> std::io::Result<()> {
    for kind in outcome.kinds() {
        hgrm::write_file(directory, kind.name(), &outcome.figures(|_, each| each == kind).latency)?;
        for (target, origin) in outcome.targets() {
            let figures = outcome.figures(|at, each| at == target && each == kind);
            hgrm::write_file(directory, &format!("{}-{}", kind.name(), origin.name()), &figures.latency)?;
        }
    }
    Ok(())
}

/// The percentiles of each kind, then what happened when.
fn all_charts(outcome: &Outcome) -> Vec<Chart> {
    let percentiles = outcome.kinds().map(|kind| percentile_chart(outcome, kind));
    percentiles.chain(charts_over_time(outcome)).collect()
}

fn charts_over_time(outcome: &Outcome) -> [Chart; 3] {
    let (mut by_target, mut by_kind) = (by_target(outcome), by_kind(outcome));
    let measured_s = outcome.sent.measured_s;
    let slices = by_target.iter().map(|series| series.timeline.counts().len()).max().unwrap_or(0);
    let narrow_s = outcome.sent.record.recorder.slice_width().as_secs_f64();
    let times = slices.div_ceil(POINTS_MAX).max(1);
    for series in by_target.iter_mut().chain(&mut by_kind) {
        series.timeline = series.timeline.coarser(times);
    }
    let (width_s, end_s) = (narrow_s * times as f64, measured_s.max(narrow_s * slices as f64));
    let bands: Vec<Band> = outcome.sent.faults.iter().flatten().filter_map(band).collect();
    let span = Span { width_s, measured_s, end_s, bands: &bands };
    let width = format!("{} ms", (width_s * 1_000.0).round());
    let failed = by_target.iter().flat_map(|series| series.timeline.counts()).any(|counts| counts.errors > 0);
    let none = if failed { "" } else { ": none" };
    let chart = |title: &str, note, plot| Chart { title: title.into(), note, plot };
    [
        chart(
            THROUGHPUT,
            format!("Acknowledged operations a second at each target, by slices of {width}."),
            Some(charts::throughput(THROUGHPUT, &by_target, &span)),
        ),
        chart(
            ERRORS,
            format!("Operations a second that were refused, got no answer, or were never sent{none}."),
            failed.then(|| charts::errors(ERRORS, &by_target, &span)),
        ),
        chart(
            TAIL,
            format!("Of what came to its end in each slice of {width}, from the intended time of sending."),
            Some(charts::p99(TAIL, &by_kind, &span)),
        ),
    ]
}

/// From when a fault was done until it was made good.
fn band(record: &FaultRecord) -> Option<Band> {
    Some(Band { span: (record.began_s?, record.ended_s?), label: record.fault.clone() })
}

fn percentile_chart(outcome: &Outcome, kind: Kind) -> Chart {
    let at_target = |(target, origin): (u16, &Origin)| Latencies {
        name: origin.name(),
        colour: Some(usize::from(target)),
        histogram: outcome.figures(|at, each| at == target && each == kind).latency,
    };
    let uncorrected = outcome.figures(|_, each| each == kind).uncorrected;
    let uncorrected = Latencies { name: "all, uncorrected".into(), colour: None, histogram: uncorrected };
    let all: Vec<Latencies> = outcome.targets().map(at_target).chain([uncorrected]).collect();
    let title = format!("Latency by percentile: {}", kind.name());
    let note = "From the intended time of sending. The dashed line is what a generator that waits for answers would have shown.";
    Chart { plot: Some(charts::percentiles(&title, &all)), title, note: note.into() }
}

fn by_target(outcome: &Outcome) -> Vec<Series> {
    let series = |(target, origin): (u16, &Origin)| Series {
        name: origin.name(),
        colour: usize::from(target),
        timeline: outcome.timeline(|at, _| at == target),
    };
    outcome.targets().map(series).collect()
}

fn by_kind(outcome: &Outcome) -> Vec<Series> {
    let series = |kind: Kind| Series {
        name: kind.name().into(),
        colour: kind.position(),
        timeline: outcome.timeline(|_, each| each == kind),
    };
    outcome.kinds().map(series).collect()
}

/// Such as `increment/eu-west/0 quic`.
fn by_kind_and_target(outcome: &Outcome) -> Vec<Series> {
    let series = |kind: Kind, target: u16, origin: &Origin| Series {
        name: format!("{}/{}", kind.name(), origin.name()),
        colour: usize::from(target),
        timeline: outcome.timeline(|at, each| at == target && each == kind),
    };
    let of_kind = |kind| outcome.targets().map(move |(target, origin)| series(kind, target, origin));
    outcome.kinds().flat_map(of_kind).collect()
}
