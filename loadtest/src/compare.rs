//! Two runs beside each other: ratios by operation and region, and a verdict on each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::figures::float;
use crate::report::row::{Latency, Row, digits};
use crate::report::{Summary, text};

/// A share of errors may grow by this much: the smallest difference that is called one.
const ERRORS_SLACK: f64 = 0.001;
const COLUMNS: [&str; 9] =
    ["target", "operation", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "done/s", "errors %", "verdict"];
/// Settings in which two runs may differ that were asked the same.
const NOT_ASKED: [&str; 6] = ["scenario", "open_loop", "warmup_s", "seed", "namespace", "key_prefix"];

const HELP: &str = "\
p50, p99, the rate and the share of errors decide; p99.9 and the maximum are shown, but a handful of operations make \
    them. A ratio is the second run's figure divided by the first one's.

Exit codes: 0 nothing is worse; 1 a run had findings, whatever its figures; 2 the runs cannot be compared; 99 something \
    is worse.";

/// Compare two runs by their --json files.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Compare {
    /// The first run, what is compared with.
    #[arg(value_name = "A.json")]
    first: PathBuf,

    /// The second run.
    #[arg(value_name = "B.json")]
    second: PathBuf,

    /// Differences up to this are none.
    #[arg(long, default_value = "10%", value_name = "PERCENT", value_parser = percent)]
    tolerance: f64,
}

/// As much of a summary as is compared. Other versions of the program may have written it.
#[derive(Deserialize)]
struct SummaryFile {
    format: u32,
    settings: BTreeMap<String, Value>,
    results: Vec<Row>,
    totals: Vec<Row>,
    ok: bool,
}

/// What is said of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Same,
    Better,
    Worse,
}

/// Two runs and what came out.
pub struct Comparison {
    /// For people.
    pub text: String,
    /// What it comes to.
    pub outcome: Outcome,
}

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is worse.
    Good,
    /// Any row is worse.
    Worse,
    /// A run had findings: figures of a cluster that miscounts are no merit, however good.
    Wrong,
}

impl Compare {
    /// Reads both files and compares. An error means that this cannot be done.
    pub fn run(&self) -> anyhow::Result<Comparison> {
        compare(&read(&self.first)?, &read(&self.second)?, self.tolerance)
    }
}

fn read(path: &Path) -> anyhow::Result<SummaryFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parsed = serde_json::from_slice(&bytes);
    let run: SummaryFile = parsed.with_context(|| format!("{} was not written by --json", path.display()))?;
    ensure!(run.format == Summary::FORMAT, "{} has format {}, this program reads 1", path.display(), run.format);
    Ok(run)
}

impl SummaryFile {
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.results.iter().chain(&self.totals)
    }

    /// The row of the same operation at the same target, though ports may differ.
    fn like(&self, row: &Row) -> Option<&Row> {
        self.rows().find(|other| other.operation == row.operation && other.origin.name() == row.origin.name())
    }
}

fn compare(first: &SummaryFile, second: &SummaryFile, tolerance: f64) -> anyhow::Result<Comparison> {
    let matched = second.rows().filter_map(|row| Some((first.like(row)?, row)));
    let judged: Vec<_> = matched.map(|(before, after)| (before, after, judge(before, after, tolerance))).collect();
    let worst = judged.iter().map(|(.., verdict)| *verdict).max();
    let worst = worst.context("the runs have no operation at any target in common")?;
    let rows = judged.into_iter().map(|(before, after, verdict)| cells(before, after, verdict));
    let mut lines = vec![text::table(&COLUMNS, 2, rows).to_string()];
    lines.extend(alone("second", second, first).chain(alone("first", first, second)));
    lines.extend(different(first, second));
    lines.push(worst.sentence(tolerance));
    let wrong = wrong(first, second);
    let outcome = match (&wrong, worst) {
        (Some(_), _) => Outcome::Wrong,
        (None, Verdict::Worse) => Outcome::Worse,
        (None, Verdict::Same | Verdict::Better) => Outcome::Good,
    };
    lines.extend(wrong);
    Ok(Comparison { text: lines.join("\n"), outcome })
}

/// Says which rows are in one run only.
fn alone(which: &str, run: &SummaryFile, other: &SummaryFile) -> impl Iterator<Item = String> {
    let alone = run.rows().filter(|row| other.like(row).is_none());
    alone.map(move |row| format!("{} at {} is in the {which} run only", row.operation, row.origin.name()))
}

/// Says which runs had findings, if any had.
fn wrong(first: &SummaryFile, second: &SummaryFile) -> Option<String> {
    let which = match (first.ok, second.ok) {
        (true, true) => return None,
        (false, true) => "the first run",
        (true, false) => "the second run",
        (false, false) => "each run",
    };
    Some(format!("WRONG: {which} had findings: its counters or IDs were wrong, whatever its figures"))
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "WORSE",
        }
    }

    /// What it says of all rows together.
    fn sentence(self, tolerance: f64) -> String {
        let what = match self {
            Self::Same => "nothing differs",
            Self::Better => "the second run is better somewhere, and nowhere worse,",
            Self::Worse => "the second run is worse somewhere",
        };
        format!("{}: {what} by more than {} %", self.word(), tolerance * 100.0)
    }
}

/// Where the two were not asked for the same.
fn different(first: &SummaryFile, second: &SummaryFile) -> Vec<String> {
    let asked = |run: &SummaryFile, key: &str| run.settings.get(key).cloned().unwrap_or(Value::Null);
    let keys: BTreeSet<&String> = first.settings.keys().chain(second.settings.keys()).collect();
    let line = |key: &str| format!("Not asked for the same: {key} {} and {}", asked(first, key), asked(second, key));
    let differs = |key: &&str| !NOT_ASKED.contains(key) && asked(first, key) != asked(second, key);
    keys.into_iter().map(String::as_str).filter(differs).map(line).collect()
}

fn judge(before: &Row, after: &Row, tolerance: f64) -> Verdict {
    let most = 1.0 + tolerance;
    let latency = |metric: fn(&Latency) -> f64| ratio(metric(&before.latency_ms), metric(&after.latency_ms));
    // Nothing done after something was is infinitely slower; nothing both times is neither (NaN).
    let slowdown = Some(before.achieved_per_s / after.achieved_per_s);
    let costs = [latency(|latency| latency.p50), latency(|latency| latency.p99), slowdown];
    let errors = errors_share(after) - errors_share(before);
    if costs.iter().flatten().any(|cost| *cost > most) || errors > ERRORS_SLACK {
        Verdict::Worse
    } else if costs.iter().flatten().any(|cost| *cost < 1.0 / most) || errors < -ERRORS_SLACK {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

/// How many times the first the second is; `None` where there is nothing to divide by.
fn ratio(before: f64, after: f64) -> Option<f64> {
    (before > 0.0).then_some(after / before)
}

fn cells(before: &Row, after: &Row, verdict: Verdict) -> Vec<String> {
    let latency = |metric: fn(&Latency) -> f64| pair(metric(&before.latency_ms), metric(&after.latency_ms), digits);
    vec![
        after.origin.name(),
        after.operation.to_string(),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        latency(|latency| latency.p99_9),
        latency(|latency| latency.max),
        pair(before.achieved_per_s, after.achieved_per_s, |rate| format!("{rate:.0}")),
        format!("{:.2} → {:.2}", errors_share(before) * 100.0, errors_share(after) * 100.0),
        verdict.word().to_owned(),
    ]
}

fn pair(before: f64, after: f64, shown: impl Fn(f64) -> String) -> String {
    let times = ratio(before, after).map_or_else(String::new, |ratio| format!(" ×{ratio:.2}"));
    format!("{} → {}{times}", shown(before), shown(after))
}

fn errors_share(row: &Row) -> f64 {
    let errors = row.counts.errors();
    float(errors) / float(row.counts.acknowledged.saturating_add(errors).max(1))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    let share = number.ok().map(|percent| percent / 100.0).filter(|share| (0.0..=10.0).contains(share));
    share.ok_or_else(|| "write a percentage from 0 to 1000, such as 10%".into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(p99: f64, rate: f64, refused: u64) -> SummaryFile {
        let latency = json!({"count": 1, "mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": p99, "p99_9": p99, "p99_99": p99,
            "max": 50.0});
        let row = json!({"target": "quic://a:1", "region": "eu-west", "node": 0, "operation": "read",
            "acknowledged": 1_000, "refused": refused, "unknown": 0, "unsent": 0, "latency_ms": latency,
            "achieved_per_s": rate, "added_later": true});
        let run = json!({"format": 1, "settings": {"rate_per_s": rate}, "results": [row], "totals": [], "ok": true});
        serde_json::from_value(run).unwrap()
    }

    fn compared(second: &SummaryFile) -> Comparison {
        compare(&run(10.0, 1_000.0, 0), second, 0.1).unwrap()
    }

    #[test]
    fn differences_within_the_tolerance_are_none() {
        let same = compared(&run(10.9, 950.0, 1));
        assert!(
            same.outcome == Outcome::Good && same.text.ends_with("same: nothing differs by more than 10 %"),
            "{}",
            same.text
        );
    }

    #[test]
    fn a_slower_tail_a_lower_rate_or_more_errors_are_worse() {
        for second in [run(11.2, 1_000.0, 0), run(10.0, 880.0, 0), run(10.0, 1_000.0, 5), run(10.0, 0.0, 0)] {
            let comparison = compared(&second);
            assert!(comparison.outcome == Outcome::Worse && comparison.text.contains("WORSE"), "{}", comparison.text);
        }
        let mixed = compared(&run(11.2, 2_000.0, 0));
        assert_eq!(mixed.outcome, Outcome::Worse, "what is better elsewhere does not make up for it");
    }

    #[test]
    fn a_faster_tail_is_better_and_shown_as_a_ratio() {
        let better = compared(&run(5.0, 1_000.0, 0));
        assert!(better.outcome == Outcome::Good && better.text.contains("better"), "{}", better.text);
        assert!(better.text.contains("10.0 → 5.00 ×0.50"), "{}", better.text);
    }

    #[test]
    fn figures_do_not_make_up_for_findings() {
        for (first, second, word) in [(false, true, "the first"), (true, false, "the second"), (false, false, "each")] {
            let with = |p99, ok| SummaryFile { ok, ..run(p99, 1_000.0, 0) };
            let wrong = compare(&with(10.0, first), &with(5.0, second), 0.1).unwrap();
            assert_eq!(wrong.outcome, Outcome::Wrong, "{}", wrong.text);
            assert!(wrong.text.lines().last().unwrap().starts_with(&format!("WRONG: {word} run")), "{}", wrong.text);
        }
    }

    #[test]
    fn what_was_not_asked_alike_is_said() {
        let text = compared(&run(10.0, 2_000.0, 0)).text;
        assert!(text.contains("Not asked for the same: rate_per_s 1000.0 and 2000.0"), "{text}");
    }

    #[test]
    fn runs_without_anything_in_common_cannot_be_compared() {
        let mut other = run(10.0, 1_000.0, 0);
        other.results[0].operation = "id".into();
        assert!(compare(&run(10.0, 1_000.0, 0), &other, 0.1).is_err());
    }

    #[test]
    fn tolerances_are_percentages() {
        assert_eq!((percent("10%"), percent("0")), (Ok(0.1), Ok(0.0)));
        assert!(percent("-1%").is_err() && percent("NaN").is_err() && percent("x").is_err());
    }
}
