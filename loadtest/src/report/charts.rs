//! Which charts a report has, and what is in them.

use std::time::Duration;

use super::plot::{Axis, Band, Line, Plot};
use crate::figures::{float, ms};
use crate::latency::LatencyHistogram;
use crate::timeline::{self, Counts, Timeline};

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 8;
/// Percentiles that can be hovered over.
const MARKED: [(f64, &str); 5] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
/// Words of the percentile axis; a run of 10 million operations reaches the last.
const PERCENTILES: [(f64, &str); 8] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
    (0.999999, "99.9999 %"),
];

/// Latencies with a name.
pub(super) struct Latencies {
    /// In the legend.
    pub name: String,
    /// As for [`Line`].
    pub colour: Option<usize>,
    /// In microseconds.
    pub histogram: LatencyHistogram,
}

/// A timeline with a name.
pub(super) struct Series {
    /// In the legend.
    pub name: String,
    /// The number of its colour.
    pub colour: usize,
    /// Closed.
    pub timeline: Timeline,
}

/// What all charts over time share.
pub(super) struct Span<'a> {
    /// How wide a slice is, in seconds.
    pub width_s: f64,
    /// The length of the measured part, in seconds.
    pub measured_s: f64,
    /// Where all charts end, in seconds.
    pub end_s: f64,
    /// What is shaded.
    pub bands: &'a [Band],
}

/// Latency by percentile, nines evenly spaced.
pub(super) fn percentiles(title: &str, all: &[Latencies]) -> Plot {
    let filled = || all.iter().filter(|each| !each.histogram.is_empty());
    let most = filled().map(|each| ms(each.histogram.max())).fold(0.1, f64::max);
    let least = filled().map(|each| ms(each.histogram.min())).fold(most, f64::min);
    let count = filled().map(|each| each.histogram.len()).max().unwrap_or(1);
    let right = float(count).log10().clamp(1.0, 6.0);
    let ticks = PERCENTILES.iter().map(|(quantile, word)| (nines(*quantile), (*word).to_owned()));
    let x = Axis {
        range: (0.0, right),
        logarithmic: false,
        ticks: ticks.filter(|(place, _)| *place <= right + 0.001).collect(),
    };
    let lines = filled().map(curve).collect();
    Plot { title: title.into(), x, y: Axis::logarithmic(least, most, word_ms), lines, bands: Vec::new() }
}

fn curve(latencies: &Latencies) -> Line {
    let Latencies { name, colour, histogram } = latencies;
    let mut points: Vec<_> = histogram
        .iter_quantiles(TICKS_PER_HALF)
        .filter(|step| step.quantile_iterated_to() < 1.0)
        .map(|step| (nines(step.quantile_iterated_to()), ms(step.value_iterated_to())))
        .collect();
    points.push((float(histogram.len()).log10().max(points.last().map_or(0.0, |last| last.0)), ms(histogram.max())));
    let mark = |(quantile, word): (f64, &str)| {
        let value = ms(histogram.value_at_quantile(quantile));
        (nines(quantile), value, format!("{name}: {word} = {value:.3} ms"))
    };
    let enough = |(quantile, _): &(f64, &str)| (1.0 - quantile) * float(histogram.len()) >= 1.0;
    let marks = MARKED.into_iter().filter(enough).map(mark).collect();
    Line { name: name.clone(), colour: *colour, points, marks }
}

/// Operations a second, by slice. The last slice is left out unless it lies in the measured part as a whole.
pub(super) fn throughput(title: &str, all: &[Series], span: &Span<'_>) -> Plot {
    let whole = |slice: usize| float(slice as u64 + 1) * span.width_s <= span.measured_s + 1e-6;
    over_time(title, all, span, word_count, |slice, counts| {
        whole(slice).then_some(float(counts.acknowledged) / span.width_s)
    })
}

/// Operations a second that were not acknowledged, by slice.
pub(super) fn errors(title: &str, all: &[Series], span: &Span<'_>) -> Plot {
    over_time(title, all, span, word_count, |_, counts| Some(float(counts.errors) / span.width_s))
}

fn over_time(
    title: &str,
    all: &[Series],
    span: &Span<'_>,
    word: impl Fn(f64) -> String,
    figure: impl Fn(usize, &Counts) -> Option<f64>,
) -> Plot {
    let slices = timeline::slice_at(Duration::from_secs_f64(span.measured_s), Duration::from_secs_f64(span.width_s));
    let line = |series: &Series| {
        let counts = series.timeline.counts();
        // A slice in which nothing came to its end is a zero, and so is everything behind the last.
        let slices = counts.len().max(slices);
        let at = |slice: usize| counts.get(slice).copied().unwrap_or_default();
        let points = (0..slices).filter_map(|slice| Some((middle(slice, span), figure(slice, &at(slice))?)));
        Line { name: series.name.clone(), colour: Some(series.colour), points: points.collect(), marks: Vec::new() }
    };
    plot_over_time(title, all.iter().map(line).collect(), span, |most| Axis::linear(most, word))
}

/// The 99th percentile of what came to its end in each slice.
pub(super) fn p99(title: &str, all: &[Series], span: &Span<'_>) -> Plot {
    let line = |series: &Series| {
        let point = |slice: usize| {
            let histogram = series.timeline.histogram(slice)?;
            Some((middle(slice, span), ms(histogram.value_at_quantile(0.99))))
        };
        let points = series.timeline.filled().filter_map(point).collect();
        Line { name: series.name.clone(), colour: Some(series.colour), points, marks: Vec::new() }
    };
    let lines: Vec<Line> = all.iter().map(line).collect();
    let least = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(f64::MAX, f64::min);
    plot_over_time(title, lines, span, |most| Axis::logarithmic(least.min(most), most, word_ms))
}

fn plot_over_time(title: &str, lines: Vec<Line>, span: &Span<'_>, y: impl FnOnce(f64) -> Axis) -> Plot {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let mut x = Axis::linear(span.end_s, |seconds| format!("{} s", short(seconds)));
    x.range.1 = span.end_s;
    x.ticks.retain(|(value, _)| *value <= span.end_s);
    Plot { title: title.into(), x, y: y(most), lines, bands: span.bands.to_vec() }
}

fn middle(slice: usize, span: &Span<'_>) -> f64 {
    (float(slice as u64) + 0.5) * span.width_s
}

/// How many nines, so to speak: 0.9 is 1, 0.99 is 2.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

/// As long as it must be.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn word_ms(ms: f64) -> String {
    match ms {
        ms if ms >= 1_000.0 => format!("{} s", short(ms / 1_000.0)),
        ms if ms < 0.1 => format!("{} µs", short(ms * 1_000.0)),
        ms => format!("{} ms", short(ms)),
    }
}

/// Such as `1.5k`.
fn word_count(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{}M", short(count / 1e6)),
        count if count >= 1e3 => format!("{}k", short(count / 1e3)),
        count => short(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let mut timeline = Timeline::default();
        for slice in [0, 1, 4] {
            let counts = Counts { acknowledged: 100, errors: slice as u64 };
            timeline.take(slice, counts, 100, Duration::from_millis(5));
        }
        timeline.close();
        Series { name: "a".into(), colour: 0, timeline }
    }

    #[test]
    fn nines_are_evenly_spaced_and_only_as_many_as_were_measured() {
        let mut histogram = LatencyHistogram::default();
        (1..=1_000).for_each(|ms| histogram.record(Duration::from_millis(ms), 1));
        let plot = percentiles("t", &[Latencies { name: "a".into(), colour: Some(0), histogram }]);
        let words: Vec<_> = plot.x.ticks.iter().map(|(_, word)| word.as_str()).collect();
        assert_eq!(words, ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert!((plot.x.ticks[3].0 - 2.0).abs() < 1e-9);
        let line = &plot.lines[0];
        assert!(line.points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(line.marks[2].2, "a: p99 = 990.207 ms");
        assert!((line.points.last().unwrap().1 - 1_000.0).abs() < 1.0);
    }

    #[test]
    fn throughput_is_by_the_second_and_an_outage_is_a_zero() {
        let span = Span { width_s: 0.1, measured_s: 0.45, end_s: 0.5, bands: &[] };
        let points = &throughput("t", &[series()], &span).lines[0].points;
        let rates: Vec<f64> = points.iter().map(|(_, rate)| rate.round()).collect();
        assert_eq!(rates, [1_000.0, 1_000.0, 0.0, 0.0], "the last slice is not whole");
        let errors = errors("t", &[series()], &span);
        assert!((errors.lines[0].points[4].1 - 40.0).abs() < 0.01);
        assert_eq!(p99("t", &[series()], &span).lines[0].points.len(), 3);
    }

    #[test]
    fn words_are_short() {
        assert_eq!([0.05, 0.5, 20.0, 2_000.0].map(word_ms), ["50 µs", "0.5 ms", "20 ms", "2 s"]);
        assert_eq!([0.0, 500.0, 1_500.0, 2e6].map(word_count), ["0", "500", "1.5k", "2M"]);
    }
}
