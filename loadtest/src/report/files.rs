//! The files that were asked for.

use std::time::SystemTime;

use anyhow::Context as _;

use super::charts::{self, Course, Latencies, Span};
use super::hlog::{self, Track};
use super::html::{self, Chart};
use super::plot::Band;
use super::{Summary, hgrm};
use crate::conserve::Reader;
use crate::drill::script;
use crate::figures::Figures;
use crate::keys::Kind;
use crate::run::{Sent, Setup};
use crate::summary::total;
use crate::timeline::Timeline;

/// As many as an eye can follow; narrower slices are put together.
const POINTS_MAX: usize = 120;
const THROUGHPUT: &str = "Throughput over time";
const ERRORS: &str = "Errors over time";
const TAIL: &str = "99th percentile over time";

/// Writes all of them.
pub(crate) fn write(setup: &Setup, sent: &Sent, summary: &Summary) -> anyhow::Result<()> {
    percentiles(setup, sent)?;
    if let Some(path) = &setup.args.hlog {
        hlog::write_file(path, &tracks(setup, sent), sent.started, sent.books.board.slice_width())?;
    }
    if let Some(path) = &setup.args.html {
        let page = html::page(summary, &utc(sent.started), &all_charts(setup, sent));
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Such as `2026-01-02 03:04:05 UTC`.
fn utc(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string().replace('T', " ").replace('Z', " UTC")
}

fn percentiles(setup: &Setup, sent: &Sent) -> anyhow::Result<()> {
    let Some(directory) = &setup.args.hgrm else { return Ok(()) };
    let failed = || format!("cannot write percentile files to {}", directory.display());
    let board = &sent.books.board;
    for kind in setup.args.mix.kinds() {
        let all = total(&setup.args, board, |_, each| each == kind);
        hgrm::write_file(directory, kind.name(), &all.latency).with_context(failed)?;
        for (target, reader) in (0_u16..).zip(&setup.readers) {
            let name = format!("{}-{}", kind.name(), reader.name);
            hgrm::write_file(directory, &name, &board.copy(target, kind).latency).with_context(failed)?;
        }
    }
    Ok(())
}

fn tracks(setup: &Setup, sent: &Sent) -> Vec<Track> {
    let track = |kind: Kind, target: u16, name: &str| Track {
        name: format!("{}/{name}", kind.name()),
        timeline: sent.books.board.timeline(target, kind),
    };
    let kinds = setup.args.mix.kinds();
    kinds
        .flat_map(|kind| (0_u16..).zip(&setup.readers).map(move |(target, reader)| track(kind, target, &reader.name)))
        .collect()
}

/// The percentiles of each kind, then what happened when.
fn all_charts(setup: &Setup, sent: &Sent) -> Vec<Chart> {
    let kinds: Vec<Kind> = setup.args.mix.kinds().collect();
    let percentiles = kinds.iter().map(|kind| percentile_chart(setup, sent, *kind));
    percentiles.chain(charts_over_time(setup, sent, &kinds)).collect()
}

fn charts_over_time(setup: &Setup, sent: &Sent, kinds: &[Kind]) -> [Chart; 3] {
    let (mut by_target, mut by_kind) = (by_target(setup, sent, kinds), by_kind(setup, sent, kinds));
    let slices = by_target.iter().map(|course| course.timeline.counts().len()).max().unwrap_or(0);
    let narrow_s = sent.books.board.slice_width().as_secs_f64();
    let times = slices.div_ceil(POINTS_MAX).max(1);
    for course in by_target.iter_mut().chain(&mut by_kind) {
        course.timeline = course.timeline.coarser(times);
    }
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (width_s, end_s) = (narrow_s * times as f64, sent.measured_s.max(narrow_s * slices as f64));
    let courses = sent.played.iter().flatten();
    let bands: Vec<Band> = courses.filter_map(band).collect();
    let span = Span { width_s, measured_s: sent.measured_s, end_s, bands: &bands };
    let width = format!("{} ms", (width_s * 1_000.0).round());
    let failed = by_target.iter().flat_map(|course| course.timeline.counts()).any(|counts| counts.errors > 0);
    let errors = "Operations a second that were refused, got no answer, or were never sent";
    let chart = |title: &str, note: String, plot| Chart { title: title.into(), note, plot: Some(plot) };
    [
        chart(
            THROUGHPUT,
            format!("Acknowledged operations a second at each target, by slices of {width}."),
            charts::throughput(THROUGHPUT, &by_target, &span),
        ),
        Chart {
            title: ERRORS.into(),
            note: if failed { format!("{errors}.") } else { format!("{errors}: none.") },
            plot: failed.then(|| charts::errors(ERRORS, &by_target, &span)),
        },
        chart(
            TAIL,
            format!("Of what came to its end in each slice of {width}, from the intended time of sending."),
            charts::p99(TAIL, &by_kind, &span),
        ),
    ]
}

/// From when a fault was done until it was made good.
fn band(course: &script::Course) -> Option<Band> {
    let span = (course.began?.as_secs_f64(), course.ended?.as_secs_f64());
    Some(Band { span, label: course.fault.to_string() })
}

fn percentile_chart(setup: &Setup, sent: &Sent, kind: Kind) -> Chart {
    let board = &sent.books.board;
    let at_target = |(position, reader): (usize, &Reader)| {
        let Figures { latency, .. } = board.copy(u16::try_from(position).unwrap_or(u16::MAX), kind);
        Latencies { name: reader.name.clone(), colour: Some(position), histogram: latency }
    };
    let mut all: Vec<Latencies> = setup.readers.iter().enumerate().map(at_target).collect();
    let uncorrected = total(&setup.args, board, |_, each| each == kind).uncorrected;
    all.push(Latencies { name: "all, uncorrected".into(), colour: None, histogram: uncorrected });
    let title = format!("Latency by percentile: {}", kind.name());
    let note = "From the intended time of sending. The dashed line is what a generator that waits for answers would have shown.";
    Chart { plot: Some(charts::percentiles(&title, &all)), title, note: note.into() }
}

fn by_target(setup: &Setup, sent: &Sent, kinds: &[Kind]) -> Vec<Course> {
    let course = |(position, reader): (usize, &Reader)| {
        let target = u16::try_from(position).unwrap_or(u16::MAX);
        let timelines = kinds.iter().map(|kind| sent.books.board.timeline(target, *kind));
        Course { name: reader.name.clone(), colour: position, timeline: sum(timelines) }
    };
    setup.readers.iter().enumerate().map(course).collect()
}

fn by_kind(setup: &Setup, sent: &Sent, kinds: &[Kind]) -> Vec<Course> {
    let course = |kind: &Kind| {
        let targets = (0_u16..).take(setup.readers.len());
        let timelines = targets.map(|target| sent.books.board.timeline(target, *kind));
        Course { name: kind.name().into(), colour: kind.position(), timeline: sum(timelines) }
    };
    kinds.iter().map(course).collect()
}

fn sum(timelines: impl Iterator<Item = Timeline>) -> Timeline {
    timelines.fold(Timeline::default(), |mut sum, each| {
        sum.add(&each);
        sum
    })
}
