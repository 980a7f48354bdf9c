//! Bounds on the figures, such as `increment.p99<5ms`: parsed, and judged when the run is over. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::figures::{Figures, float, ms};
use crate::keys::Kind;
use crate::schedule;

const SHAPE: &str = "write [OPERATION][@REGION].METRIC<VALUE, such as increment.p99<5ms, increment@eu-west.max<1s, \
    errors<0.1% or id.rate>10k";
const OPERATIONS: &str = "increment, id, read, live, limit or all";
const METRICS: &str = "p50, p99, p99.9 and so on, max, mean, rate or errors";

/// A bound on one figure.
#[derive(Clone, Debug)]
pub struct Threshold {
    text: String,
    /// Of this kind of operation; of all without it.
    pub kind: Option<Kind>,
    /// At the targets of this region; at all without it.
    pub region: Option<String>,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// 0 to 1, in milliseconds.
    Quantile(f64),
    /// In milliseconds.
    Max,
    /// In milliseconds.
    Mean,
    /// Operations a second.
    Rate,
    /// Operations that were not acknowledged.
    Errors,
    /// The same in percent of all that were due.
    ErrorsPercent,
}

/// Whether a figure keeps a bound.
type Comparison = fn(&f64, &f64) -> bool;

/// What became of a threshold.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// As it was written.
    pub threshold: String,
    /// The figure, in milliseconds, operations, percent, or operations a second; none if nothing was measured.
    pub actual: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// The bound was not kept, or nothing was measured.
    pub crossed: bool,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| format!("there is no < or > in it: {SHAPE}"))?;
        let (left, right) = text.split_at(at);
        let (comparison, value) = comparison(right);
        let (scope, metric) = scope_and_metric(left.trim());
        let (kind, region) = scope.map_or(Ok((None, None)), parse_scope)?;
        let (metric, bound) = metric_and_bound(metric, value.trim())?;
        Ok(Self { text: text.to_owned(), kind, region, metric, comparison, bound })
    }
}

/// `right` begins with a comparison.
fn comparison(right: &str) -> (Comparison, &str) {
    let words: [(&str, Comparison); 4] = [("<=", f64::le), (">=", f64::ge), ("<", f64::lt), (">", f64::gt)];
    let found = words.into_iter().find_map(|(word, comparison)| Some((comparison, right.strip_prefix(word)?)));
    found.unwrap_or((f64::lt, right))
}

/// The point of `p99.9` separates nothing.
fn scope_and_metric(left: &str) -> (Option<&str>, &str) {
    match left.split_once('.') {
        Some((first, rest)) if !is_percentile(first) => (Some(first), rest),
        _ => (None, left),
    }
}

fn is_percentile(word: &str) -> bool {
    word.strip_prefix('p').is_some_and(|digits| digits.parse::<f64>().is_ok())
}

fn parse_scope(scope: &str) -> Result<(Option<Kind>, Option<String>), String> {
    let (operation, region) = scope.split_once('@').unwrap_or((scope, ""));
    let kind = match operation {
        "" | "all" => None,
        word => Some(Kind::named(word).ok_or_else(|| format!("`{word}` is no operation: {OPERATIONS}"))?),
    };
    Ok((kind, Some(region.to_owned()).filter(|region| !region.is_empty())))
}

fn metric_and_bound(metric: &str, value: &str) -> Result<(Metric, f64), String> {
    let bound = |metric, bound: Option<f64>, meant: &str| match bound {
        Some(bound) => Ok((metric, bound)),
        None => Err(format!("`{value}` is {meant}")),
    };
    let time = |metric| bound(metric, millis(value), "no time: a number and us, ms or s, such as 1.5ms");
    match metric {
        "max" => time(Metric::Max),
        "mean" => time(Metric::Mean),
        "rate" => {
            let rate = schedule::per_second(value).filter(is_amount);
            bound(Metric::Rate, rate, "no rate: operations a second, such as 500, 200k or 1.5M")
        }
        "errors" => {
            let (metric, number) = match value.strip_suffix('%') {
                Some(number) => (Metric::ErrorsPercent, number),
                None => (Metric::Errors, value),
            };
            bound(metric, number_of(number), "neither a number of operations nor a percentage such as 0.1%")
        }
        metric => {
            let digits = metric.strip_prefix('p').ok_or_else(|| format!("`{metric}` is no metric: {METRICS}"))?;
            let percent = number_of(digits).filter(|percent| *percent <= 100.0);
            time(Metric::Quantile(percent.ok_or_else(|| format!("`{metric}` is no percentile: p0 to p100"))? / 100.0))
        }
    }
}

fn number_of(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(is_amount)
}

fn is_amount(number: &f64) -> bool {
    number.is_finite() && *number >= 0.0
}

/// `us` before `s`, `ms` before `s`: the longer word first.
fn millis(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3)];
    units.into_iter().find_map(|(unit, factor)| Some(number_of(text.strip_suffix(unit)?)? * factor))
}

impl Threshold {
    /// Compares with what was measured in `seconds`.
    pub fn judge(&self, figures: &Figures, seconds: f64) -> Judged {
        let (actual, unit) = self.metric.of(figures, seconds);
        let crossed = actual.is_none_or(|actual| !(self.comparison)(&actual, &self.bound));
        Judged { threshold: self.text.clone(), actual, unit, crossed }
    }
}

impl Metric {
    /// The figure with its unit; `None` where nothing was measured: a bound on that is not kept.
    fn of(self, figures: &Figures, seconds: f64) -> (Option<f64>, &'static str) {
        let latency = &figures.latency;
        let time = |ms: f64| ((!latency.is_empty()).then_some(ms), "ms");
        let errors = figures.errors();
        let due = Some(figures.acknowledged + errors).filter(|due| *due > 0);
        match self {
            Self::Quantile(quantile) => time(ms(latency.value_at_quantile(quantile))),
            Self::Max => time(ms(latency.max())),
            Self::Mean => time(latency.mean() / 1_000.0),
            Self::Rate => (Some(float(figures.acknowledged_in_time) / seconds), "/s"),
            Self::Errors => (due.map(|_| float(errors)), "operations"),
            Self::ErrorsPercent => (due.map(|due| float(errors) * 100.0 / float(due)), "%"),
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threshold, actual, unit, crossed } = self;
        let verdict = if *crossed { "CROSSED" } else { "kept" };
        match actual {
            Some(actual) => write!(f, "threshold {threshold}: {verdict}, {actual:.3} {unit}"),
            None => write!(f, "threshold {threshold}: {verdict}, nothing was measured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::figures::Tally;
    use crate::target::Failure;

    fn parsed(text: &str) -> Threshold {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// 1 to 1 000 ms and 10 refused, in two seconds.
    fn judged(text: &str) -> Judged {
        let mut figures = Figures::default();
        for ms in 1..=1_000 {
            let tally = Tally { acknowledged: 1, ..Tally::default() };
            figures.take(&tally, Duration::from_millis(ms), Duration::ZERO);
            figures.acknowledged_in_time += 1;
        }
        let mut refused = Tally::default();
        refused.fail(&Failure::refused("throttled"), 10);
        figures.take(&refused, Duration::ZERO, Duration::ZERO);
        parsed(text).judge(&figures, 2.0)
    }

    #[test]
    fn a_threshold_names_operation_region_and_metric() {
        let threshold = parsed("increment@eu-west.p99.9<5ms");
        assert_eq!((threshold.kind, threshold.region.as_deref()), (Some(Kind::Increment), Some("eu-west")));
        assert_eq!((threshold.metric, threshold.bound), (Metric::Quantile(99.9 / 100.0), 5.0));
        for text in ["p99.9 < 5ms", "all.p99.9<5ms", "@a.p99.9<5ms"] {
            assert_eq!((parsed(text).kind, parsed(text).metric), (None, threshold.metric), "{text}");
        }
        assert_eq!(parsed("id.rate>=1.5M").bound, 1_500_000.0);
        assert_eq!(parsed("max<1s").bound, 1_000.0);
        assert_eq!(parsed("mean<=10us").bound, 0.01);
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_what_is_wrong() {
        for (text, word) in [
            ("increment.p99", "< or >"),
            ("", "< or >"),
            ("write.p99<5ms", "`write` is no operation"),
            ("increment.p<5ms", "percentile"),
            ("p101<5ms", "percentile"),
            ("p-1<5ms", "percentile"),
            ("increment.median<5ms", "`median` is no metric"),
            ("p99<5", "`5` is no time"),
            ("p99<5 parsec", "is no time"),
            ("p99<NaNms", "is no time"),
            ("p99<-1ms", "is no time"),
            ("rate>fast", "`fast` is no rate"),
            ("errors<few", "neither"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn figures_are_compared() {
        for (text, crossed) in [
            ("p50<501ms", false),
            ("p50<499ms", true),
            ("p99<1s", false),
            ("max<=1.1s", false),
            ("max<900ms", true),
            ("mean<501ms", false),
            ("rate<=500", false),
            ("rate<500", true),
            ("rate>=500", false),
            ("rate>500", true),
            ("errors<=10", false),
            ("errors<10", true),
            ("errors<1%", false),
            ("errors<0.9%", true),
        ] {
            assert_eq!(judged(text).crossed, crossed, "{text}: {}", judged(text));
        }
        assert_eq!(judged("rate>600").to_string(), "threshold rate>600: CROSSED, 500.000 /s");
    }

    #[test]
    fn nothing_measured_keeps_no_bound() {
        for text in ["p99<5s", "errors<1%", "mean<1s"] {
            let judged = parsed(text).judge(&Figures::default(), 1.0);
            assert!(judged.crossed && judged.to_string().contains("nothing was measured"), "{judged}");
        }
    }
}
